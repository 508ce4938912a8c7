"""A base as the published one is: a taken uid, an ENTRYPOINT and shell files of its own; here on the stand-in."""

import json
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Clone, cloned, docker

# After Ubuntu 24.04's and Miniforge's Dockerfiles: user, tini, what their shells read, and the settings of conda.
BASE = r"""
FROM {base}
RUN useradd --create-home --uid 1000 --shell /bin/bash ubuntu && \
    printf '#!/bin/sh\nshift\necho "by the entrypoint of the base" >&2\nexec "$@"\n' >/usr/local/bin/tini && \
    chmod 0755 /usr/local/bin/tini && \
    printf '%s\n' '[ -z "$PS1" ] && return' 'PS1="base:\w\$ "' >/etc/bash.bashrc && \
    printf '%s\n' 'PATH=/usr/bin:/bin' 'if [ "${{PS1-}}" ]; then . /etc/bash.bashrc; fi' \
        'for i in /etc/profile.d/*.sh; do . "$i"; done' >/etc/profile && \
    for file in /etc/skel/.bashrc ~/.bashrc ~ubuntu/.bashrc; do \
        echo '. /opt/conda/etc/profile.d/conda.sh && conda activate base' >>"$file"; \
    done && \
    printf 'channels:\n  - conda-forge\n' >~/.condarc
ENV LC_ALL=C.UTF-8 PATH=/opt/conda/bin:$PATH
ENTRYPOINT ["tini", "--"]
CMD ["/bin/bash"]
"""
ENVIRONMENT = "channels: [conda-forge]\ndependencies: [python, pip]\n"


@pytest.fixture(scope="module")
def image(built: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image with a small environment on such a base."""
    base = built.values().get("BASE_IMAGE")
    if not base:
        pytest.skip("the published base image itself is in use here")
    text = BASE.format(base=base)
    subprocess.run(["docker", "build", "--quiet", "--tag", "other-base:test", "-"], input=text, text=True, check=True)
    clone = cloned(tmp_path_factory.mktemp("other-base") / "clone")
    (clone.root / "environment.yml").write_text(ENVIRONMENT, encoding="utf-8")
    (clone.root / "postBuild").unlink()
    words = ["--file", "docker/Dockerfile", "--build-arg", "BASE_IMAGE=other-base:test", "--tag", "on-other-base:test"]
    values = built.values()
    secrets = {"ca_bundle": values.get("CA_BUNDLE"), "pip_config": values.get("PIP_CONFIG")}
    words += [word for name, path in secrets.items() if path for word in ("--secret", f"id={name},src={path}")]
    done = clone.run("docker", "build", *words, ".")
    assert done.returncode == 0, done.stderr[-4000:]
    yield "on-other-base:test"
    docker("image", "rm", "--force", "on-other-base:test", "other-base:test")


def test_image_on_another_base_is_the_users(image: str) -> None:
    """Neither the account that had the uid nor its home is left, and the entrypoint is ours."""
    script = "id -un; id -u; getent passwd ubuntu; ls /home; echo $HOME; command -v python"
    inspected = json.loads(docker("image", "inspect", image))[0]["Config"]

    said = docker("run", "--rm", image, "bash", "-c", f"{script} 2>&1")

    home = "/home/al-khawarizmi"
    assert said.splitlines() == ["al-khawarizmi", "1000", "al-khawarizmi", home, "/opt/env/bin/python"]
    assert inspected["Entrypoint"] == ["/usr/local/bin/entrypoint.sh"]
    assert inspected["Cmd"] == ["jupyter", "lab"]


@pytest.mark.parametrize(
    "words",
    [["python", "-c"], ["bash", "-c"], ["bash", "-lc"], ["bash", "-ic"], ["bash", "-lic"], ["sh", "-lc"]],
    ids=" ".join,
)
def test_image_on_another_base_is_active(image: str, words: list[str]) -> None:
    """In every shell, whatever files of its own the base has for it, and in none: Python's prefix is /opt/env."""
    code = "import sys, os; print(sys.prefix, os.environ['CONDA_PREFIX'])"
    body = code if words[0] == "python" else f'python -c "{code}"'

    assert docker("run", "--rm", "--entrypoint", words[0], image, *words[1:], body) == "/opt/env /opt/env"


def test_shell_on_another_base_names_the_environment(image: str) -> None:
    """The base's own prompt stays, behind the name of the environment."""
    assert docker("run", "--rm", image, "bash", "-ic", 'echo "$PS1"').startswith("(/opt/env) base:")
