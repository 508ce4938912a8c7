"""What was tried on which engine: how it is written down and said, and which lines of an engine's are warnings."""

from pathlib import Path

import pytest
import tried
import warned

NEW = {"engine": "28.5.2", "Compose": "5.6.1", "buildx": "0.29.1", "image store": "containerd"}
OLD = {"engine": "26.1.5", "Compose": "2.26.1", "buildx": "0.13.1", "image store": "overlay2"}
SYSTEM = {"Python": "3.11.7", "system": "Debian 12, x86_64"}
TEXT = f"| engine | Docker Engine 1 | Docker Desktop | |\n\n{tried.HEADING}\n|---|\n| of before |\n\nThe end.\n"
SAID = """\
| engine | Docker Engine 26.1.5, 28.5.2; Compose 2.26.1, 5.6.1; buildx 0.13.1, 0.29.1 | Docker Desktop | |

| engine | Compose | buildx | image store | Python | system |
|---|---|---|---|---|---|
| 26.1.5 | 2.26.1 | 0.13.1 | overlay2 | 3.11.7 | Debian 12, x86_64 |
| 28.5.2 | 5.6.1 | 0.29.1 | containerd | 3.11.7 | Debian 12, x86_64 |

The end.
"""


def test_texts_say_what_was_tried_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is tried again replaces its own, and stays where the others are; saying it twice changes nothing."""
    monkeypatch.setattr(tried, "FILE", tmp_path / "tried.json")
    for name, versions in (("newest", {**NEW, "engine": "27.0.0"}), ("this", OLD), ("newest", NEW)):
        tried.record(name, {**versions, **SYSTEM})

    assert tried.said(TEXT) == SAID
    assert tried.said(SAID) == SAID


@pytest.mark.parametrize(
    "line",
    [
        'time="2026-12-01T02:47:35Z" level=warning msg="COMPOSE_BAKE=false is deprecated"',
        "WARN[0000] the attribute `version` is obsolete",
        "#9 1.2 WARNING: Running pip as the 'root' user",
        "[W 2026-12-01 02:47:35.000 ServerApp] ServerApp.x is deprecated in 2.0",
    ],
    ids=["Compose", "logrus on a terminal", "pip in a build", "Jupyter"],
)
def test_warning_is_found(line: str) -> None:
    """In whatever form the programs give it."""
    assert warned.warnings(f"first\n{line}\nlast\n") == [line]


def test_what_is_no_warning_is_let_through() -> None:
    """A file's name, doctor's own word for a finding that needs no cure at once, and what is excepted."""
    said = "/usr/lib/python3.11/warnings.py 0:0 644 f\nwarn  reach: open to others\n"

    assert warned.warnings(f"{said}[NbConvertApp] WARNING | Alternative text is missing on 1 image(s).\n") == []
