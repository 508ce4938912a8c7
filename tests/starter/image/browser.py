"""A person's browser: headless Chromium, and what a person does with JupyterLab in it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import debian
from selenium.common.exceptions import (
    ElementNotInteractableException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
PACKAGES = ("chromium", "chromium-driver")  # Debian 12
TIMEOUT_S = 120  # two cores, shared
# Root has no sandbox; the rest keeps Chromium from asking, updating and calling home.
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--window-size=1280,900",
)
Found = TypeVar("Found")


def missing() -> str:
    """Return why there is no browser here, or an empty text; root gets Debian's, where its archive can be reached."""
    return debian.missing(PROGRAMS, PACKAGES)


def chromium(profile: Path) -> Chrome:
    """Start a browser that keeps everything of its own in a folder."""
    options = ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for each in (*SWITCHES, f"--user-data-dir={profile}"):
        options.add_argument(each)
    # With both programs named, Selenium looks for none and downloads none.
    return Chrome(options=options, service=ChromeService(str(shutil.which("chromedriver"))))


class Lab:
    """JupyterLab as it is on the screen."""

    def __init__(self, driver: Chrome, link: str) -> None:
        """Open a link and wait for the page."""
        self.driver = driver
        driver.get(link)
        self.all(".jp-DirListing-item", "the file browser")

    def until(self, condition: Callable[[], Found], what: str) -> Found:
        """Return the condition's value as soon as it is true; what the page replaces meanwhile is looked up again."""
        ignored = (StaleElementReferenceException, ElementNotInteractableException)
        waiting = WebDriverWait(self.driver, TIMEOUT_S, poll_frequency=0.1, ignored_exceptions=ignored)
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException as err:
            raise AssertionError(f"{what}: not within {TIMEOUT_S} s on a page that says\n{self.text()}") from err

    def text(self) -> str:
        """Return what the page says."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def shown(self, css: str, text: str = "") -> list[WebElement]:
        """Return the visible elements; with a text, those that have it and no other."""
        elements = self.driver.find_elements(By.CSS_SELECTOR, css)
        return [each for each in elements if each.is_displayed() and text in ("", each.text)]

    def all(self, css: str, what: str, text: str = "") -> list[WebElement]:
        """Return such elements as soon as there is one."""
        return self.until(lambda: self.shown(css, text), what)

    def click(self, css: str, text: str = "", *, twice: bool = False) -> None:
        """Click the first such element as soon as it can be clicked."""

        def clicked() -> bool:
            for element in self.shown(css, text)[:1]:
                actions = ActionChains(self.driver)
                (actions.double_click if twice else actions.click)(element).perform()
                return True
            return False

        self.until(clicked, f"{css} {text}")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def menu(self, name: str, *items: str) -> None:
        """Choose an entry of a menu; a menu that closes again, since the page took the focus, is opened again."""

        def chosen() -> bool:
            if not self.shown(".lm-Menu"):
                self.click(".lm-MenuBar-item", name)
            for item in items:
                entries = self.shown(".lm-Menu-itemLabel", item)
                if not entries:
                    return False
                ActionChains(self.driver).click(entries[0]).perform()
            return True

        self.until(chosen, f"{name} > {' > '.join(items)}")

    def run_notebook(self, name: str) -> None:
        """Open a notebook of the folder shown, run all its cells, and wait until the last one has its number."""
        self.click(".jp-DirListing-itemName", name, twice=True)
        self.all(".jp-Notebook-ExecutionIndicator[data-status='idle']", f"an idle kernel for {name}")
        # Running makes the last cell the active one, and cells that are out of sight may be out of the page.
        last = ".jp-Notebook .jp-CodeCell.jp-mod-active .jp-InputPrompt"

        def ran() -> bool:
            prompts = [each.text for each in self.shown(last)]
            # JupyterLab 4.6 may drop what it sends to a kernel that has just become idle: then no star shows.
            if prompts in ([], ["[ ]:"]):
                self.menu("Run", "Run All Cells")
            return any(each.strip("[]:").isdigit() for each in prompts)

        self.until(ran, f"a number at the last cell of {name}")

    def names(self) -> list[str]:
        """Return what the file browser lists."""
        return self.until(lambda: [each.text for each in self.shown(".jp-DirListing-itemName")], "the listing")

    def select(self, name: str) -> None:
        """Select a file or folder in the file browser."""
        self.click(".jp-DirListing-itemName", name)
        self.all(".jp-mod-selected .jp-DirListing-itemName", f"{name} selected", name)

    def accept(self) -> str:
        """Press the last button of a dialog, which is OK or its like, and return what it said."""
        said = self.all(".jp-Dialog-content", "a dialog")[0].text
        self.click(".jp-Dialog-button:last-child")
        self.until(lambda: not self.shown(".jp-Dialog-content", said), f"an end of: {said}")
        return said

    def rename(self, name: str, new: str) -> None:
        """Rename a file in the file browser."""
        self.select(name)
        self.press(Keys.F2)
        self.all("input.jp-DirListing-editor", "the field for a name")
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
        self.press(new, Keys.ENTER)
        self.until(lambda: new in self.names(), new)

    def delete(self, name: str) -> None:
        """Delete a file or folder in the file browser, and say yes to its question."""
        self.select(name)
        self.press(Keys.DELETE)
        self.accept()
