"""A token that a person sets in the Compose files: the link opens with it, or it says who keeps it from opening."""

import json

from conftest import Clone
from lab import cookies_of, status_of


def override(clone: Clone, **server: object) -> None:
    """Have the person's own Compose file say something of the server."""
    text = json.dumps({"services": {"jupyterlab-server": server}})
    (clone.root / "docker" / "docker-compose.override.yml").write_text(text, encoding="utf-8")


def test_link_has_the_token_of_a_variable_and_rotate_does_not_claim_another(clone: Clone) -> None:
    """With JUPYTER_TOKEN the link opens, and `url --rotate` says that it stays."""
    override(clone, environment={"JUPYTER_TOKEN": "lovelace"})

    link = clone.succeed("up", "--yes").splitlines()[-1]
    rotated = clone.task("url", "--rotate")

    assert link.endswith("/?token=lovelace")
    assert status_of(link.replace("/?", "/api/contents?")) == status_of(link) == 200
    assert (rotated.returncode, rotated.stdout) == (78, "")
    assert "has kept its token, which JUPYTER_TOKEN of your Compose files sets" in rotated.stderr
    assert status_of(link.replace("/?", "/api/contents?")) == 200


def test_token_of_the_command_line_is_named(clone: Clone) -> None:
    """A server that goes by another token, or by none, has no link, and the message names the option."""
    command, told = ["jupyter", "lab"], []
    for option in ("--IdentityProvider.token=lovelace", "--IdentityProvider.token="):
        override(clone, command=[*command, option])
        up = clone.task("up", "--yes")
        told.append((up.returncode, up.stdout))
        assert "--IdentityProvider.token of your Compose files" in up.stderr.splitlines()[-2]
        assert clone.task("url").returncode == 78

    assert told == [(78, ""), (78, "")]
    (clone.root / "docker" / "docker-compose.override.yml").unlink()
    assert "/?token=" in clone.succeed("up", "--yes")


def test_server_below_another_address_is_reached_by_its_link(clone: Clone) -> None:
    """Link and health check ask at /, which leads to wherever the person's own Compose file has put the server."""
    override(clone, command=["jupyter", "lab", "--ServerApp.base_url=/ada/"])

    link = clone.succeed("up", "--yes").splitlines()[-1]

    (clone.root / "docker" / "docker-compose.override.yml").unlink()
    assert (status_of(link), cookies_of(link)[0]) == (200, f"{link.split('/?')[0]}/ada")
