"""A browser without a window, for the tests of the pages."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest


class Browser:
    """Chromium under selenium, with what the tests ask of it; skips where there is none."""

    def __init__(self) -> None:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        driver = shutil.which("chromedriver")
        if not (chromium and driver):
            pytest.skip("there is no chromium with chromedriver here")
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-background-networking"):
            options.add_argument(f"--{flag}")
        options.add_argument("--window-size=1400,1200")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def visit(self, page: Path, fragment: str = "") -> None:
        """Open a page; what the console held before is forgotten."""
        self.driver.get_log("browser")
        self.driver.get(page.resolve().as_uri() + fragment)

    def run(self, script: str):
        """Value of an expression in the page."""
        return self.driver.execute_script(f"return {script}")

    def until(self, script: str, seconds: float = 30):
        """Value of an expression once it is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < end, f"still not: {script}"
            time.sleep(0.05)
        return value

    def click(self, selector: str, seconds: float = 30) -> None:
        """Click an element, as a person would who sees it and waits until the page stands still."""
        from selenium.common.exceptions import ElementClickInterceptedException

        element = self.driver.find_element("css selector", selector)
        end = time.monotonic() + seconds
        while True:
            self.driver.execute_script(
                "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
            )
            try:
                return element.click()
            except ElementClickInterceptedException:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def type(self, selector: str, *keys: str) -> None:
        """Send keys to an element."""
        self.driver.find_element("css selector", selector).send_keys(*keys)

    def complaints(self) -> list[str]:
        """What the console complains of."""
        return [x["message"] for x in self.driver.get_log("browser") if x["level"] in ("SEVERE", "WARNING")]

    def outside(self) -> list[str]:
        """Addresses asked for that are neither on this disk nor within the page."""
        asked = self.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
        return [name for name in asked if not name.startswith(("file:", "data:", "blob:"))]
