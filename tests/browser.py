"""A headless Chromium for tests and screenshots of the console: Debian's, driven by selenium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

__all__ = ["Browser", "open_browser"]


class Browser:
    """One window. Everything that is looked for is waited for, ``wait_s`` at most."""

    def __init__(self, driver: Chrome, wait_s: float) -> None:
        self.driver = driver
        self._wait = WebDriverWait(driver, wait_s, poll_frequency=0.05)

    def go(self, url: str) -> None:
        """Open a page anew, also where only what follows the ``#`` changes."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        """The first element that a CSS selector names."""
        found: WebElement = self._wait.until(
            lambda driver: driver.find_element(By.CSS_SELECTOR, selector), f"no {selector}"
        )
        return found

    def count(self, selector: str) -> int:
        """How many elements a CSS selector names now."""
        return len(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def counts(self, selector: str, wanted: int) -> None:
        """Wait until a CSS selector names that many elements."""
        try:
            self.until(lambda: self.count(selector) == wanted, selector)
        except TimeoutException:
            shown = self.find("body").text
            raise AssertionError(
                f"{self.count(selector)} and not {wanted} of {selector}; the page reads:\n{shown}"
            ) from None

    def until(self, check: Callable[[], object], what: str) -> None:
        """Wait until ``check()`` is true."""
        self._wait.until(lambda _: check(), what)

    def reads(self, selector: str, text: str) -> None:
        """Wait until an element shows a text, among others or alone."""
        # An element may be replaced while it is read: then it is looked for anew.
        script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : '';"
        self.until(
            lambda: text in self.driver.execute_script(script, selector),
            f"{selector} does not read {text!r}",
        )

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.find(selector).click()

    def click_text(self, tag: str, text: str) -> None:
        """Click on the first element of that kind whose text begins so."""
        path = f"//{tag}[starts-with(normalize-space(), {text!r})]"
        self._wait.until(lambda driver: driver.find_element(By.XPATH, path), f"no {text}").click()

    def click_path(self, path: str) -> None:
        """Click on the first element that an XPath names."""
        self._wait.until(lambda driver: driver.find_element(By.XPATH, path), f"no {path}").click()

    def fill(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        field = self.find(selector)
        field.clear()
        field.send_keys(text)

    def complaints(self) -> list[str]:
        """What was logged as wrong since the last call: failed scripts, files that were refused.

        An answer of the API that is no success is told by the page, and is no complaint.
        """
        messages = [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING")
        ]
        return [
            message
            for message in messages
            if not ("/v1/" in message and "Failed to load resource" in message)
        ]


@contextmanager
def open_browser(
    chromium: str,
    driver: str,
    profile: Path,
    *,
    size: tuple[int, int] = (1100, 860),
    dark: bool = False,
    wait_s: float = 20.0,
) -> Iterator[Browser]:
    """A browser that keeps all its files in ``profile``, and ends with the block."""
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--hide-scrollbars",
        f"--window-size={size[0]},{size[1]}",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's own sandbox refuses to run as root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = Chrome(options=options, service=Service(driver))
    try:
        started.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]},
        )
        # A window has a least width; what a page is told is any.
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        started.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield Browser(started, wait_s)
    finally:
        started.quit()
