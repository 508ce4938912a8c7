"""Make the README's pictures anew: a terminal with the two commands, and the page that their link opens.

Run it as an ordinary user with an engine, Chromium and tmux: .venv/bin/python tests/starter/screenshots.py
Both are real: the commands are the README's, typed into a terminal, in a clone of this tree that is removed afterwards.
"""

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests/starter/image", "tests/starter", "docker")]

from aids import wait_until  # noqa: E402
from browser import Lab, chromium, missing  # noqa: E402
from conftest import Clone, cloned, git, removed  # noqa: E402
from selenium.webdriver import Chrome  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from texts import FORK, still_ours  # noqa: E402

PICTURES = ROOT / "docker" / "pictures"
COLUMNS, ROWS = 110, 50
UP_S = 900
SHRINK = """
import sys
from pathlib import Path
from PIL import Image

source = Path(sys.argv[1])
few = Image.open(source).convert("RGB").quantize(256, dither=Image.Dither.NONE)
few.save(source.with_suffix(".small.png"), optimize=True)
"""
PAGE = """<meta charset="utf-8"><style>
body {{ margin: 0; background: #fff }}
pre {{ display: inline-block; width: {columns}ch; margin: 0; padding: 14px 18px;
    background: #1e2430; color: #d8dee9; border-radius: 8px; font: 13px/1.35 "DejaVu Sans Mono", monospace;
    white-space: break-spaces; word-break: break-all }}
b {{ color: #a3d9a5 }}
i {{ color: #81a1c1 }}
</style><pre>{text}</pre>"""


class Terminal:
    """A real terminal, without anybody in front of it."""

    def __init__(self, socket: Path, folder: Path, origin: Path) -> None:
        """Start a shell in a folder, where the README's address leads to the origin."""
        self.socket = socket
        (folder / FORK).symlink_to(origin)  # git rewrites no address without a colon
        words = ["-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(folder)]
        self.tmux(*words, "env 'PS1=\\W $ ' bash --norc --noprofile")
        self.wait(folder.name)

    def tmux(self, *words: str, **environ: str) -> str:
        """Return what a command of tmux prints."""
        argv = ["tmux", "-S", str(self.socket), *words]
        return subprocess.run(
            argv, env={**os.environ, **environ}, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def text(self) -> str:
        """Return everything from the first line on; what the terminal wrapped is one line again."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-").rstrip()

    def wait(self, folder: str) -> None:
        """Wait for the prompt in a folder."""
        wait_until(
            lambda: self.text().endswith(f"\n{folder} $") or self.text() == f"{folder} $", timeout_s=UP_S, what=folder
        )

    def run(self, command: str, folder: str) -> None:
        """Type a command, and wait for the prompt after it."""
        self.tmux("send-keys", "-l", command)
        self.tmux("send-keys", "Enter")
        self.wait(folder)


def origin_of(folder: Path) -> Path:
    """Return a repository that holds this tree."""
    clone = cloned(folder / "origin")
    git(clone, "init", "--quiet")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "x")
    return clone.root


def session(folder: Path) -> tuple[Clone, str]:
    """Run the README's first commands in a terminal; return the clone, and what the terminal shows."""
    place, origin = folder / "projects", origin_of(folder)
    place.mkdir()
    terminal = Terminal(folder / "tmux", place, origin)
    try:
        for command in still_ours()["README.md"].blocks[0].splitlines():
            terminal.run(command, "my-project")
        return Clone(place / "my-project"), terminal.text()
    finally:
        terminal.tmux("kill-server")


def drawn(text: str) -> str:
    """Return what a terminal shows as HTML, without what is nobody's business, and with the build's steps counted."""
    text = re.sub(r"token=\w+", "token=…", text.removesuffix("\nmy-project $"))
    # Whose registry it is, and who was asked for its address, is the machine's business.
    text = re.sub(r"(Error response from daemon): .*?(no such host)", r"\1: … \2", text, flags=re.DOTALL)
    text = html.escape(text, quote=False)
    text = re.sub(r"^(projects|my-project) \$ .*$", r"<b>\g<0></b>", text, flags=re.MULTILINE)
    steps = re.compile(r"(?:^ =&gt; .*\n)+", re.MULTILINE)
    return steps.sub(lambda found: f"<i> … {found[0].count(chr(10))} lines of the build …</i>\n", text)


def picture_of_terminal(driver: Chrome, text: str, scratch: Path) -> bytes:
    """Return a picture of what a terminal shows."""
    scratch.write_text(PAGE.format(columns=COLUMNS, text=drawn(text)), encoding="utf-8")
    driver.get(scratch.as_uri())
    terminal = driver.find_element(By.TAG_NAME, "pre")
    driver.set_window_size(
        terminal.size["width"] + 16, terminal.size["height"] + 200
    )  # the browser's own bars take less
    return terminal.screenshot_as_png


def picture_of_lab(driver: Chrome, link: str) -> bytes:
    """Run the example as a newcomer does, and return the page with its plot."""
    driver.set_window_size(1200, 900)
    lab = Lab(driver, link)
    lab.run_notebook("penguins.ipynb")
    plot = driver.find_elements(By.CSS_SELECTOR, ".jp-CodeCell")[1]
    driver.execute_script("arguments[0].scrollIntoView({block: 'start'})", plot)
    return driver.get_screenshot_as_png()


def written(clone: Clone, name: str, picture: bytes) -> None:
    """Write a picture to docker/pictures, made small by the environment's Pillow."""
    scratch = clone.root / "results" / name
    scratch.write_bytes(picture)
    clone.succeed("run", "--", "python", "-c", SHRINK, f"results/{name}")
    PICTURES.mkdir(exist_ok=True)
    shutil.copyfile(scratch.with_suffix(".small.png"), PICTURES / name)


def main() -> None:
    """Write docker/pictures."""
    if reason := missing():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clone, text = session(folder)
        try:
            with chromium(folder / "profile") as driver:
                written(clone, "lab.png", picture_of_lab(driver, text.splitlines()[-2]))
                written(clone, "terminal.png", picture_of_terminal(driver, text, folder / "terminal.html"))
        finally:
            removed(clone)


if __name__ == "__main__":
    main()
