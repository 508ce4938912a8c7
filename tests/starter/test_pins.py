"""What others make is named by its content: the base image by digest, actions by commit."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from aids import executable

from host_tasks.kit.paths import DOCKERFILE, ROOT, STARTER_TESTS

SECURITY = ROOT / "SECURITY.md"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_base_image_is_pinned_by_digest() -> None:
    """The default of BASE_IMAGE names its content."""
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)

    assert re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_may_do_little(path: Path) -> None:
    """Each action is named by its commit and release; a workflow may do nothing but what a job of it names."""
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)", text)
    workflow = yaml.safe_load(text)

    assert used
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", each)] == []
    assert workflow["permissions"] == {}
    assert [name for name, job in workflow["jobs"].items() if "permissions" not in job] == []


@pytest.mark.skipif(not WORKFLOWS, reason="the person has deleted them")
def test_published_image_says_what_it_is(tmp_path: Path) -> None:
    """By labels of the OCI, which the workflow's own script hands to the builder; without a licence or a lock, none."""
    text = next(path for path in WORKFLOWS if path.name == "publish.yml").read_text(encoding="utf-8")
    (script,) = (
        step["run"] for step in yaml.safe_load(text)["jobs"]["build"]["steps"] if "buildx build" in step.get("run", "")
    )
    stub = executable(tmp_path / "path" / "docker", f'printf "%s\\n" "$@" >>{tmp_path}/words')
    known = {"GITHUB_SERVER_URL": "https://h", "GITHUB_REPOSITORY": "A/b", "GITHUB_SHA": "c0", "GITHUB_REF_NAME": "v1"}
    environ = {**known, "ARCHITECTURE": "amd64", "PATH": f"{stub.parent}:/usr/bin:/bin"}

    def labels(**more: str) -> dict[str, str]:
        (tmp_path / "words").unlink(missing_ok=True)
        subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env={**environ, **more}, check=True)
        words = (tmp_path / "words").read_text(encoding="utf-8").splitlines()
        return dict(word.removeprefix("--label=").split("=", 1) for word in words if word.startswith("--label="))

    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("ARG BASE_IMAGE=x:1@sha256:0\n", encoding="utf-8")
    few = labels(LICENSE="")
    (tmp_path / "environment.lock").mkdir()
    (tmp_path / "environment.lock" / "a.txt").write_text("a\n", encoding="utf-8")
    all_ = labels(LICENSE="MIT")

    assert few == {
        "org.opencontainers.image.source": "https://h/A/b",
        "org.opencontainers.image.revision": "c0",
        "org.opencontainers.image.version": "v1",
        "org.opencontainers.image.base.name": "x:1",
        "org.opencontainers.image.base.digest": "sha256:0",
    }
    assert {label: value for label, value in all_.items() if label not in few} == {
        "org.opencontainers.image.licenses": "MIT",
        "conda-pip-docker.lock": "sha256:" + hashlib.sha256(b"a\n").hexdigest(),
    }


@pytest.mark.skipif(not SECURITY.exists(), reason="the file is the person's, to keep or not")
def test_promises_name_tests_that_are_there() -> None:
    """Every test that SECURITY.md names is in the file that it names."""
    rows = [line for line in SECURITY.read_text(encoding="utf-8").splitlines() if ".py`" in line]
    promises = [(re.findall(r"`((?:image/)?test_\w+\.py)`", row), re.findall(r"`(test_\w+)`", row)) for row in rows]

    missing = [
        (files, name)
        for files, names in promises
        for name in names
        if not any(f"def {name}(" in (STARTER_TESTS / file).read_text(encoding="utf-8") for file in files)
    ]

    assert len(rows) > 10
    assert all((STARTER_TESTS / file).is_file() for files, _ in promises for file in files)
    assert missing == []
