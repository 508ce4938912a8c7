"""The first hour of somebody who knows notebooks and not Docker: the printed link, in a real browser."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aids import wait_until
from browser import Lab, chromium, missing
from conftest import Clone
from selenium.webdriver.common.keys import Keys

EXAMPLE = "penguins.ipynb"
WIDTHS = "return [...document.querySelectorAll('.jp-OutputArea-output img')].map(each => each.naturalWidth)"


@pytest.fixture(scope="module")
def lab(running: Clone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The browser, after a click on the link that `up` prints."""
    if reason := missing():
        pytest.skip(reason)
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield Lab(driver, running.succeed("up", "--yes").splitlines()[-1])


def visible(folder: Path) -> set[str]:
    """Return the names in a folder; hidden ones are JupyterLab's checkpoints and its trash."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_link_opens_the_notebooks(lab: Lab, running: Clone) -> None:
    """The page lists what is in notebooks/ on the host."""
    assert set(lab.names()) == visible(running.root / "notebooks")
    assert EXAMPLE in lab.names()


def test_example_runs_to_its_end_and_shows_its_plot(lab: Lab, running: Clone) -> None:
    """`Run All Cells` ends with a number at every cell and a picture on the page; figure and table are on the host."""
    lab.run_notebook(EXAMPLE)

    assert lab.until(lambda: lab.driver.execute_script(WIDTHS), "a plot")[0] > 300
    assert {"penguins.png", "penguins.csv"} <= visible(running.root / "results")


def test_terminal_completes_and_remembers(lab: Lab, running: Clone) -> None:
    """In the terminal TAB completes a file's name, and the arrow keys bring a command back and move in it."""
    results = running.root / "results"
    lab.menu("File", "New", "Terminal")
    lab.click(".jp-Terminal-body .xterm-screen")

    lab.press("cd ~/app; cp notebooks/peng", Keys.TAB, "results/first", Keys.ENTER)
    wait_until(lambda: (results / "first").is_file(), timeout_s=60, what="results/first")
    lab.press(Keys.ARROW_UP, *[Keys.BACKSPACE] * len("first"), "sond", *[Keys.ARROW_LEFT] * 3, "ec", Keys.ENTER)
    lab.press(Keys.ARROW_UP)

    example = (running.root / "notebooks" / EXAMPLE).read_bytes()
    copies = [results / name for name in ("first", "second")]
    # A file that cp(1) has made is empty first.
    wait_until(lambda: [path.read_bytes() for path in copies if path.is_file()] == [example] * 2, timeout_s=60)


def test_notebook_can_be_made_renamed_and_deleted(lab: Lab, running: Clone) -> None:
    """A notebook made by a click is on the host at once, and so are its new name and its end."""
    notebooks = running.root / "notebooks"
    before = visible(notebooks)

    lab.menu("File", "New Launcher")
    lab.click(".jp-LauncherCard[data-category='Notebook']")
    lab.until(lambda: "Untitled.ipynb" in lab.names(), "the new notebook")
    made = visible(notebooks)
    lab.rename("Untitled.ipynb", "mine.ipynb")
    renamed = visible(notebooks)
    lab.delete("mine.ipynb")
    lab.until(lambda: "mine.ipynb" not in lab.names(), "the notebook's end")

    assert made == before | {"Untitled.ipynb"}
    assert renamed == before | {"mine.ipynb"}
    assert visible(notebooks) == before


def test_mounted_folder_cannot_be_deleted(lab: Lab, running: Clone) -> None:
    """Deleting one of the six folders is refused in words, and every file stays on the host."""
    before = visible(running.root / "data")
    lab.click(".jp-BreadCrumbs-home")
    lab.until(lambda: "data" in lab.names(), "the six folders")

    lab.delete("data")

    assert "data" in lab.accept()
    assert "data" in lab.names()
    assert visible(running.root / "data") == before


def test_other_port_of_the_address_gets_no_cookie(lab: Lab, running: Clone) -> None:
    """What serves on another port, as another clone does, is sent no cookie of this one, and its pages see none."""
    sent: list[str | None] = []
    running.succeed("up", "--yes")
    here, cookies = lab.driver.current_url, lab.driver.get_cookies()

    class Other(BaseHTTPRequestHandler):
        """A server that notes each cookie, and serves a page that does."""

        def do_GET(self) -> None:
            sent.append(self.headers.get("Cookie"))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<body><script>document.body.textContent = `sees ${document.cookie}`</script>")

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever).start()
        seen = []
        for path in ("/", "/lab", "/api/contents", "/lab/tree/notebooks"):
            lab.driver.get(f"http://127.0.0.1:{server.server_port}{path}")
            seen.append(lab.text())
        server.shutdown()
    lab.driver.get(here)
    lab.all(".jp-DirListing-item", "the file browser, by the cookie")

    assert {cookie["name"].split("-")[0] for cookie in cookies} == {"username", "_xsrf"}
    assert (set(sent), set(seen)) == ({None}, {"sees"})
