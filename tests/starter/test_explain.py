"""What `config --explain` prints: each value with its origin, what is ignored, and no secret."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from observed import Seen, settings

from host_tasks.kit import runner
from host_tasks.kit.words import ExitCode, HostError
from host_tasks.subjects import base, compose, explain
from host_tasks.subjects.explain import Explanation

COMPOSE_TEXT = """\
# A comment that names ${NOBODY:-nothing}
services:
  jupyterlab-server:
    image: ${USER:?run invoke env}-$USER-$$PRICE
    ports: ["127.0.0.1:${JUPYTER_PORT:-8888}:8888"]
    environment: ["A=${THEIRS:-one}", "B=${THEIRS}", "C=${PLAIN-two}", "D=$BARE"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A docker/ with a Compose file, and no .env yet."""
    (tmp_path / "docker-compose.yml").write_text(COMPOSE_TEXT, encoding="utf-8")
    return tmp_path


def explained(folder: Path, env: str = "", shell: Mapping[str, str] | None = None) -> dict[str, Explanation]:
    """Return the explanations of a folder whose .env has this text, by key."""
    path = folder / ".env"
    path.write_text(env, encoding="utf-8")
    who = settings()
    return {each.key: each for each in explain.explain(who, shell or {}, folder)}


def test_own_key_comes_from_the_file_and_the_shell_is_ignored(folder: Path) -> None:
    """An exported USER does not win: file and line are named, the reason for the value, and what is ignored."""
    found = explained(folder, "# first\nUSER=ada\n", {"USER": "bob"})

    assert found["USER"] == Explanation("USER", "ada", f"{folder}/.env:2, from you", "ignored: bob of the shell")


def test_own_key_that_the_shell_repeats_is_not_called_ignored(folder: Path) -> None:
    """Where shell and file agree there is nothing to warn of."""
    assert explained(folder, "USER=ada\n", {"USER": "ada"})["USER"].ignored is None


def test_another_key_comes_from_the_shell_first(folder: Path) -> None:
    """What the tasks do not own is the shell's where it is exported, as plain Compose has it, else the file's."""
    env = "THEIRS=file\n"

    assert explained(folder, env, {"THEIRS": "shell"})["THEIRS"] == Explanation("THEIRS", "shell", "the shell", None)
    assert explained(folder, env)["THEIRS"] == Explanation("THEIRS", "file", f"{folder}/.env:1", None)


@pytest.mark.parametrize(
    ("key", "value", "line"), [("JUPYTER_PORT", "8888", 5), ("THEIRS", "one", 6), ("PLAIN", "two", 6)]
)
def test_default_names_its_line(key: str, value: str, line: int, folder: Path) -> None:
    """A value that nobody set is the Compose file's default; a reference without one does not hide it."""
    assert explained(folder)[key] == Explanation(key, value, f"default in {folder}/docker-compose.yml:{line}", None)


@pytest.mark.parametrize(("key", "value"), [("THEIRS", "one"), ("PLAIN", "")])
@pytest.mark.parametrize("where", ["file", "shell"])
def test_empty_value_gives_way_to_a_default_with_a_colon(key: str, value: str, where: str, folder: Path) -> None:
    """${NAME:-default} takes the place of an empty value, ${NAME-default} does not (Compose specification, 12)."""
    found = explained(folder, f"{key}=\n") if where == "file" else explained(folder, "", {key: ""})

    assert found[key].value == value


def test_default_of_the_override_file_is_named(folder: Path) -> None:
    """Compose reads docker-compose.override.yml by itself; a file that it does not read is not looked at."""
    (folder / "docker-compose.override.yml").write_text("x-a: ${OVER:-1}\n", encoding="utf-8")
    (folder / "docker-compose.prod.yml").write_text("x-a: ${PROD:-1}\n", encoding="utf-8")

    found = explained(folder)

    assert found["OVER"].origin == f"default in {folder}/docker-compose.override.yml:1"
    assert "PROD" not in found


def test_unset_variable_comes_from_nowhere(folder: Path) -> None:
    """A variable without value and default is named as such."""
    assert explained(folder)["BARE"] == Explanation("BARE", None, "nowhere", None)


def test_escaped_and_commented_names_are_no_variables(folder: Path) -> None:
    """$$NAME is text, and a comment is none of Compose's business."""
    assert {"PRICE", "NOBODY"}.isdisjoint(explained(folder))


@pytest.mark.parametrize("name", ["COMPOSE_FILE", "COMPOSE_PROFILES", "DOCKER_BUILDKIT"])
def test_variable_that_would_retarget_compose_is_named_as_ignored(name: str, folder: Path) -> None:
    """What the shell exports in vain is listed although no file names it."""
    assert explained(folder, "", {name: "x"})[name] == Explanation(name, None, "nowhere", "ignored: x of the shell")


def test_base_image_has_its_default_in_the_dockerfile(folder: Path) -> None:
    """Without BASE_IMAGE it is the published image, and the Dockerfile says so."""
    expected = Explanation("BASE_IMAGE", base.published(), "default in docker/Dockerfile", None)

    assert explained(folder)["BASE_IMAGE"] == expected


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("API_TOKEN", "hunter2", "****"),
        ("DB_PASSWORD", "hunter2", "****"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2", "****"),
        ("HTTPS_PROXY", "http://ada:hunter2@proxy:3128", "http://****@proxy:3128"),
        ("HTTPS_PROXY", "http://ada:x@hunter2@proxy:3128", "http://****@proxy:3128"),
        ("HTTPS_PROXY", "ada:hunter2@proxy:3128", "****@proxy:3128"),
        ("GIT_REMOTE", "https://hunter2@host/a@b", "https://****@host/a@b"),
        ("API_TOKEN", "", ""),
        ("KEYBOARD", "qwerty", "qwerty"),
        ("MAIL", "ada@host", "ada@host"),
    ],
)
def test_secret_is_masked_wherever_it_comes_from(key: str, value: str, shown: str, folder: Path) -> None:
    """Neither the file's nor the shell's secret is printed, used or ignored; what is none stays readable."""
    found = [explained(folder, f"{key}='{value}'\n"), explained(folder, f"{key}='{value}'\n", {key: value})]
    other = explained(folder, f"{key}=other\n", {key: value})

    assert [each[key].value for each in found] == [shown, shown]
    assert shown in (other[key].value, (other[key].ignored or "ignored: ").removeprefix("ignored: ").split(" of ")[0])
    assert not any("hunter2" in explain.table(list(each.values())) for each in (*found, other))


def test_table_says_what_is_unset_and_what_is_ignored(folder: Path) -> None:
    """A row has the variable, its value, and where it is from."""
    rows = explain.table(list(explained(folder, "USER=ada\n", {"USER": "bob"}).values())).splitlines()

    assert rows[0].split() == ["VARIABLE", "VALUE", "ORIGIN"]
    assert rows[1].split(maxsplit=2) == ["USER", "ada", f"{folder}/.env:1, from you; ignored: bob of the shell"]
    assert next(row for row in rows if row.startswith("BARE")).split() == ["BARE", "(unset)", "nowhere"]


def ended(returncode: int) -> runner.Finished:
    """Return how `docker compose config` ended."""
    return runner.Finished((), returncode, "", "")


def test_config_that_fails_ends_with_78(monkeypatch: pytest.MonkeyPatch) -> None:
    """`config` shows what Compose says and ends with 78, also where a second look at the files finds no fault."""
    who = settings()
    seen = Seen(settings=who, model={})
    monkeypatch.setattr(compose, "call", lambda *_, **__: ended(0))
    explain.print_config(seen)
    monkeypatch.setattr(compose, "call", lambda *_, **__: ended(15))
    monkeypatch.setattr(compose, "OVERRIDE_FILES", ())

    with pytest.raises(HostError) as refusal:
        explain.print_config(seen)

    assert (refusal.value.code, refusal.value.problem) == (
        ExitCode.CONFIG,
        "Compose cannot read docker/docker-compose.yml: exit code 15",
    )
