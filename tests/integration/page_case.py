"""What tests of the operators' page share: a browser, and how somebody finds the way in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page, expect
from twisted.internet import reactor
from twisted.internet.threads import blockingCallFromThread

from bbs.core.values import Counter
from bbs.rules.service_admin import OperatorList
from tests.integration.service import run
from tests.integration.shared import SharedCase
from tests.web.browser import HEIGHT, NARROW, WIDE, shared_browser
from tests.web.page_server import NOW, OF_BOARD, PageServer

RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""The tags of axe's rules that hold: WCAG 2.2, levels A and AA, and what is good practice."""


TIMEOUT_BY_CLOCK = """
AbortSignal.timeout = (milliseconds) => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), milliseconds);
  return controller.signal;
};
"""
"""The one thing with a time of which Playwright's clock knows nothing."""

BOXES = """
["table", "#people"].map((part) => document.querySelector(part).getBoundingClientRect().toJSON())
"""
"""Where the table of servers is, and where the people."""

LOOKS = (
    ((WIDE, False), (NARROW, True))
    if "BBS_TEST_LOOKS" not in os.environ
    else tuple(product((WIDE, NARROW), (False, True)))
)
"""Widths in pixels, and whether colours are dark: each of them, or each with each other."""


def resize(page: Page, width: int) -> None:
    """Make the window so wide, and wait until the page's script has arranged it anew: it is told of
    a new width with the next frame."""
    page.set_viewport_size({"width": width, "height": HEIGHT})
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def looks(page: Page) -> Iterator[tuple[int, bool]]:
    """Have a page be of each width and of each colours."""
    for width, dark in LOOKS:
        page.emulate_media(color_scheme="dark" if dark else "light")
        resize(page, width)
        yield width, dark


def too_wide(page: Page) -> list[int]:
    """The widths of windows that a page is wider than, of those that people have."""
    found = []
    for width in (WIDE, 1024, 768, NARROW, 320):
        resize(page, width)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append(width)
    return found


def overlaps(page: Page) -> list[int]:
    """The widths of windows in which the table of servers is not beside or above the people."""
    found = []
    for width in (1920, 1440, WIDE, 1270, 1265, 1024, 768, NARROW):
        resize(page, width)
        # Asked at once: the page may be laid out anew between two questions.
        table, people = page.evaluate(BOXES)
        is_beside = table["right"] <= people["left"]
        if not is_beside and table["bottom"] > people["top"]:
            found.append(width)
    return found


def violations(page: Page, within: str | None = None) -> list[str]:
    """What axe finds wrong, on all of a page or `within` an element of it: the rule, and the first
    element that breaks it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = page.evaluate("([where, how]) => axe.run(where ?? document, how)", [within, options])
    return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]


def open_details(page: Page) -> None:
    """Have what most people never look at be seen."""
    page.locator("#details > summary").click()
    expect(page.locator("#more-figures")).to_be_visible()


def figure(page: Page, title: str) -> Any:
    """The card of a figure."""
    heading = page.locator("h3", has_text=re.compile(f"^{re.escape(title)}$"))
    return page.locator(".figures > li").filter(has=heading)


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


class PageCase(SharedCase):
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
    counters: Sequence[Counter] = OF_BOARD
    lists: Sequence[OperatorList] = ()

    def setUp(self) -> Any:
        self.server = PageServer(self.service_name, self.counters, self.lists)
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

    def open(self) -> Page:
        """The page, with what the server has said so far."""
        return self._live(self.browser.open(self.url))

    def open_by_clock(self) -> Page:
        """The same on a clock that stands, unless `page.clock` moves it."""
        page = self.browser.open_apart("about:blank")
        page.clock.install(time=NOW)
        page.clock.pause_at(NOW + 1)
        page.add_init_script(TIMEOUT_BY_CLOCK)
        page.goto(self.url)
        return self._live(page)

    def asks(self, page: Page, path: str, number: int) -> None:
        """Wait until a page has asked for a path so many times in all, and check that it asks for
        it no more: from the browser's thread."""
        for _ in range(500):
            if self.server.asked.count(path) >= number:
                break
            page.wait_for_timeout(10)
        # A further one is on its way by now, if there is one: a browser has several connections,
        # so that the order in which they arrive is anybody's.
        page.evaluate("fetch('/icon.svg', {cache: 'no-store'}).then(() => null)")
        self.assertEqual(self.server.asked.count(path), number)

    def _live(self, page: Page) -> Page:
        expect(page.locator("#as-of")).to_contain_text("Live")
        return page
