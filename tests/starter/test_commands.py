"""Tests of host_tasks.kit.words."""

from pathlib import Path

import pytest

from host_tasks.kit.paths import DOCKER_DIR, ENV_FILE, ROOT
from host_tasks.kit.words import path_word, task_command
from host_tasks.setup.basics import CALLED_AS


def test_task_command_is_in_the_words_that_the_person_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came by a path in another folder is not told to type what is not there."""
    monkeypatch.setenv(CALLED_AS, "python3 ../tasks.py")

    assert task_command("up --yes") == "python3 ../tasks.py up --yes"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        (ROOT, "python3 tasks.py up"),
        (DOCKER_DIR, "python3 ../tasks.py up"),
        (Path("/"), f"python3 {ROOT}/tasks.py up"),
    ],
    ids=["root", "subfolder", "outside"],
)
def test_task_command_works_where_nobody_said_how(folder: Path, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the words are not known it is the command that needs nothing installed, right from this folder."""
    monkeypatch.delenv(CALLED_AS)
    monkeypatch.chdir(folder)

    assert task_command("up") == expected


@pytest.mark.parametrize(
    ("folder", "path", "expected"),
    [
        (ROOT, ENV_FILE, "docker/.env"),
        (DOCKER_DIR, ENV_FILE, ".env"),
        (DOCKER_DIR, ROOT / "it's", "'../it'\"'\"'s'"),
        (Path("/"), ENV_FILE, str(ENV_FILE)),
        (ROOT, Path("/srv/my data"), "'/srv/my data'"),
    ],
    ids=["root", "subfolder", "quoted", "from outside", "to outside"],
)
def test_path_word_leads_there_from_this_folder(
    folder: Path, path: Path, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path in a command is right where the command is pasted."""
    monkeypatch.chdir(folder)

    assert path_word(path) == expected
