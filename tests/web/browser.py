"""A browser for tests, on a thread of its own.

    browser = shared_browser()
    self.addCleanup(browser.leave)
    await browser.run(lambda: browser.open(url).get_by_text("Live").wait_for())

Chromium takes longer to start than most tests take, so all tests of a process share one. What a
test opens knows nothing of what others have opened, and is closed at its end.

Playwright waits where it is called, and the reactor must not: so what a test does in the browser is
a function that `run` calls on the browser's thread, while the service goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from twisted.internet import reactor as system_reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

import bbs

T = TypeVar("T")

reactor: Any = system_reactor

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
        self._contexts: list[BrowserContext] = []

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
        self._contexts.append(context)
        context.set_default_timeout(TIMEOUT * 1000)
        expect.set_options(timeout=TIMEOUT * 1000)
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)
        return page

    def close(self) -> None:
        """Close all pages, with what they have stored, and forget what they said."""
        while self._contexts:
            self._contexts.pop().close()
        self.complaints.clear()

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


class Browser(Chromium):
    """Chromium on a thread of its own, from when it is first used until the process ends."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(1, "browser", self.__enter__)

    def leave(self) -> Deferred[None]:
        """Close what a test has opened."""
        return self.run(self.close)

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Call `work` on the browser's thread; fires with what it returns or raises."""
        done: Deferred[T] = Deferred()

        def call() -> None:
            try:
                result: Any = work()
            except BaseException:
                result = Failure()
            reactor.callFromThread(done.callback, result)

        self._thread.submit(call)
        return done


@cache
def shared_browser() -> Browser:
    """The browser of all tests of this process."""
    return Browser()
