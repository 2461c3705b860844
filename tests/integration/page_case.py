"""What tests of the operators' page share: a browser, and how somebody finds the way in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from playwright.sync_api import Page, expect
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

from tests.integration.service import ServiceCase, run
from tests.web.browser import shared_browser
from tests.web.page_server import PageServer


def rows(page: Page) -> Any:
    """The servers that are shown."""
    return page.locator("#servers > tr")


def focused(page: Page) -> str:
    """What has the focus: its id, label or text."""
    found: str = page.evaluate(
        "() => { const it = document.activeElement;"
        " return it.id || it.ariaLabel || it.name || it.textContent.trim(); }"
    )
    return found


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Press Tab until something has the focus, as somebody without a pointer does."""
    for _ in range(100):
        if focused(page) == name:
            return
        page.keyboard.press(key)
    raise AssertionError(f"{name} cannot be reached by keyboard")


class PageCase(ServiceCase):
    """A test case with a browser. A page may complain of nothing on its console, but of what it
    could not fetch."""

    def setUp(self) -> Any:
        self.browser = shared_browser()
        self.addCleanup(self.browser.leave)
        return super().setUp()

    async def sees(self, look: Callable[[], Any]) -> Any:
        """What `look` returns on the browser's thread."""
        result = await self.browser.run(look)
        complaints = self.browser.complaints
        self.assertEqual([each for each in complaints if "Failed to load" not in each], [])
        return result


class ArrangedCase(PageCase):
    """The page of `service`, told what a test wants."""

    reactor: Any = reactor
    service_name = "bbs"
    counters: Sequence[str] = ("messages",)

    def setUp(self) -> Any:
        self.server = PageServer(self.service_name, self.counters)
        self.port = self.server.listen(reactor)
        self.addCleanup(lambda: run(self.server.close(reactor)))
        self.addCleanup(lambda: self.port.stopListening())
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/"
        return super().setUp()

    def say(self, kind: str, data: Any) -> None:
        """Let the server say something: from the browser's thread."""
        blockingCallFromThread(self.reactor, self.server.say, kind, data)

    def hang_up(self) -> None:
        """Let the server end its streams: from the browser's thread."""
        blockingCallFromThread(self.reactor, self.server.hang_up)

    def open(self, **options: Any) -> Page:
        """The page, with what the server has said so far."""
        page = self.browser.open(self.url, **options)
        expect(page.locator("#as-of")).to_contain_text("Live")
        return page
