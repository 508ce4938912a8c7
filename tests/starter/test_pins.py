"""What others make is named by its content: the base image by digest, actions by commit."""

import re
from pathlib import Path

import pytest
import yaml

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
