"""A browser for tests, on a thread of its own.

    browser = Browser(reactor)
    await browser.start()
    self.addCleanup(browser.stop)
    await browser.run(lambda: browser.open(url).get_by_text("Live").wait_for())

Playwright waits where it is called, and the reactor must not: so what a test does in the browser is
a function that `run` calls on the browser's thread, while the service goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

import bbs

T = TypeVar("T")

STATIC = Path(bbs.__file__).parent / "web" / "static"
"""The folder of the page's files."""

CHROMIUM = "/usr/bin/chromium"
"""Debian's; Playwright's own is a download."""

WIDE, NARROW = 1280, 390
"""Pixels, of the widths that the page is made for."""

TIMEOUT = 20.0
"""Seconds until something that should be on a page is missing."""


class Chromium:
    """Chromium without a window. Everything in it happens on the thread that starts it.

    :ivar complaints: what pages said on their console that was no information: an error that
        nobody caught, something that the content security policy kept from happening.
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def __enter__(self) -> Chromium:
        self._playwright = sync_playwright().start()
        self._process = self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-lcd-text"]
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.close()
        self._playwright.stop()

    def open(self, url: str, width: int = WIDE, dark: bool = False) -> Page:
        """A page at `url`, of somebody who has not been there before."""
        context = self._process.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if dark else "light",
            locale="en-GB",
            timezone_id="Etc/UTC",
        )
        context.set_default_timeout(TIMEOUT * 1000)
        expect.set_options(timeout=TIMEOUT * 1000)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


class Browser(Chromium):
    """The same on a thread of its own."""

    def __init__(self, reactor: Any) -> None:
        super().__init__()
        self._reactor = reactor
        self._thread = ThreadPoolExecutor(1, "browser")

    def start(self) -> Deferred[Any]:
        """Start the browser."""
        return self.run(self.__enter__)

    def stop(self) -> Deferred[Any]:
        """End the browser, and with it all its pages."""
        stopped = self.run(self.__exit__)
        self._thread.shutdown(wait=False)
        return stopped

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Call `work` on the browser's thread; fires with what it returns or raises."""
        done: Deferred[T] = Deferred()

        def call() -> None:
            try:
                result: Any = work()
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)

        self._thread.submit(call)
        return done
