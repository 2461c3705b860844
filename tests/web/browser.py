"""A browser for tests, on a thread of its own.

    browser = shared_browser()
    self.addCleanup(browser.leave)
    await browser.run(lambda: browser.open(url).get_by_text("Live").wait_for())

Chromium takes longer to start than most tests take, so all tests of a process share one.

Playwright waits where it is called, and the reactor must not: so what a test does in the browser is
a function that `run` calls on the browser's thread, while the service goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from typing import Any, TypeVar

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from twisted.internet import reactor as system_reactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

reactor: Any = system_reactor

CHROMIUM = "/usr/bin/chromium"
"""Debian's; Playwright's own is a download."""

WIDE, NARROW, HEIGHT = 1280, 390, 800
"""Pixels, of the widths that the page is made for, and of a window's height."""

NOWHERE = "http://127.0.0.1:1/"
"""Where the page of a `Browser` is between tests. Nobody is asked."""

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

    def open(self, url: str, width: int = WIDE, dark: bool = False, scripts: bool = True) -> Page:
        """A page at `url`, of somebody who has not been there before."""
        return self.visit(self.visitor(width, dark, scripts), url)

    def visitor(
        self, width: int = WIDE, dark: bool = False, scripts: bool = True
    ) -> BrowserContext:
        """Somebody who has not been anywhere."""
        context = self._process.new_context(
            java_script_enabled=scripts,
            viewport={"width": width, "height": HEIGHT},
            color_scheme="dark" if dark else "light",
            locale="en-GB",
            timezone_id="Etc/UTC",
        )
        context.set_default_timeout(TIMEOUT * 1000)
        expect.set_options(timeout=TIMEOUT * 1000)
        return context

    def visit(self, context: BrowserContext, url: str) -> Page:
        """A page at `url`."""
        page = context.new_page()
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(url)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


class Browser:
    """Chromium on a thread of its own, from when it is first used until the process ends.

    Tests have one page after the other, as a new one takes half a second of a processor. No server
    remembers whose it is: cookies go with the test, and whatever else pages keep is kept by the
    address and port of their server. A test that changes more, such as the clock, has a visitor of
    its own.
    """

    def __init__(self) -> None:
        self._chromium = Chromium()
        self._thread = ThreadPoolExecutor(1, "browser", self._chromium.__enter__)
        self._used = False
        self._others: list[BrowserContext] = []

    @property
    def complaints(self) -> list[str]:
        """What pages of the test have complained of."""
        return self._chromium.complaints

    def open(self, url: str) -> Page:
        """The page, at `url`."""
        self._used = True
        self._page.goto(url)
        return self._page

    def open_apart(self, url: str, scripts: bool = True) -> Page:
        """A page at `url` of a visitor who goes with the test."""
        page = self._chromium.open(url, scripts=scripts)
        self._others.append(page.context)
        return page

    @cached_property
    def _page(self) -> Page:
        visitor = self._chromium.visitor()
        # Of the same host as all servers, so that the page's process stays.
        visitor.route(NOWHERE, lambda route: route.fulfill(body=""))
        return self._chromium.visit(visitor, NOWHERE)

    def leave(self) -> Deferred[None]:
        """Have nothing open, and forget what was."""
        return self.run(self._leave)

    def _leave(self) -> None:
        while self._others:
            self._others.pop().close()
        if self._used:
            page, self._used = self._page, False
            page.unroute_all(behavior="ignoreErrors")
            page.goto(NOWHERE)
            page.mouse.move(0, 0)
            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": WIDE, "height": HEIGHT})
            page.context.clear_cookies()
        self.complaints.clear()

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
