"""The operators' page in a browser: with a real service behind, and with a server that says what
a fleet is rarely seen in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from tests.browser import NARROW, STATIC, WIDE, Browser
from tests.integration.service import Service, ServiceCase, eventually, run
from tests.page_server import NOW, PageServer, a_server, a_state, an_hour
from tests.services.servers import free_port

PASSWORD = "correct horse"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
STATES = ("launching", "ready", "draining", "lost", "gone")


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

    async def _start(self) -> None:
        self.browser = Browser(reactor)
        self.addCleanup(self.browser.stop)
        await self.browser.start()

    def setUp(self) -> Deferred[None]:
        return run(self._start())

    async def sees(self, look: Callable[[], Any]) -> Any:
        """What `look` returns on the browser's thread."""
        result = await self.browser.run(look)
        complaints = self.browser.complaints
        self.assertEqual([each for each in complaints if "Failed to load" not in each], [])
        return result


class Fleet(PageCase):
    """The page of a real login server, with a real fleet."""

    def running(self, **fleet: object) -> Service:
        """A service with the page, at its beginning."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        service = self.service(
            web={"listen": f"tcp:{port}:interface=127.0.0.1"},
            fleet={"minimum": 1, "spare": 0, "heartbeat_interval": 0.2, **fleet},
        )
        passwords = service.folder / "passwords"
        passwords.write_text(f"ops:{PASSWORD}\n")
        passwords.chmod(0o600)
        service.write_config(web__password_file=str(passwords))
        return service

    def log_in(self, page: Page) -> None:
        """Log in as an operator."""
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Name").fill("ops")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Password").press("Enter")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()

    async def test_a_server_appears_is_drained_and_goes_without_a_reload(self) -> None:
        service = self.running()
        await service.login_server()
        page = await self.sees(lambda: self.browser.open(self.url))

        def appears() -> None:
            page.evaluate("window.loadedOnce = true")
            expect(rows(page)).to_have_count(1)
            expect(rows(page).first).to_contain_text("ready")
            expect(page.get_by_role("button", name="Start a server")).to_be_hidden()
            self.log_in(page)
            page.get_by_role("button", name="Start a server").click()
            expect(page.locator("#said")).to_contain_text("is being started")
            expect(rows(page)).to_have_count(2)
            expect(rows(page).nth(1).locator("b")).to_have_text("ready")
            expect(page.locator("#news")).to_contain_text(re.compile("is ready after .* s"))

        await self.sees(appears)
        await service.register("ann")
        ann = await service.person("ann")

        def is_drained() -> None:
            row = rows(page).filter(has_text=f":{ann.port}")
            expect(row).to_contain_text("1 of 10")
            row.get_by_text("Who").click()
            expect(row.get_by_role("listitem")).to_have_text("ann")
            row.get_by_role("button").click()
            dialog = page.get_by_role("dialog")
            expect(dialog).to_contain_text("1 person on it moves to other servers")
            dialog.get_by_role("button", name="Drain it").click()
            expect(dialog).to_be_hidden()
            expect(page.locator("#said")).to_contain_text("is being drained")
            expect(row.locator("b")).to_have_text("gone")
            expect(page.locator("#actions li")).to_have_count(2)
            expect(page.locator("#actions li").first).to_contain_text("ops from 127.0.0.1: drain")
            expect(rows(page).filter(has_text="1 of 10")).to_have_count(1)
            self.assertTrue(page.evaluate("window.loadedOnce"))

        await self.sees(is_drained)

    async def test_a_wrong_password_is_said_and_the_focus_stays(self) -> None:
        service = self.running()
        await service.login_server()

        def tries() -> None:
            page = self.browser.open(self.url)
            page.get_by_role("button", name="Log in").click()
            page.get_by_label("Name").fill("ops")
            page.get_by_label("Password").fill("wrong")
            page.get_by_label("Password").press("Enter")
            problem = page.get_by_role("alert").filter(visible=True)
            expect(problem).to_have_text("No such operator or password error")
            self.assertEqual(focused(page), "password")
            # What is typed next takes the wrong one's place.
            page.keyboard.type(PASSWORD)
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Log out")).to_be_visible()
            self.assertEqual(focused(page), "log-in-or-out")
            self.assertEqual(page.get_by_label("Password").input_value(), "")

        await self.sees(tries)

    async def test_everything_is_done_by_keyboard_alone(self) -> None:
        service = self.running(minimum=2)
        await service.login_server()

        def types() -> None:
            page = self.browser.open(self.url)
            expect(rows(page).locator("b")).to_have_text(["ready", "ready"])
            page.keyboard.press("Tab")
            self.assertEqual(focused(page), "Skip to the servers")
            page.keyboard.press("Enter")
            self.assertEqual(focused(page), "servers-title")
            tab_to(page, "log-in-or-out", "Shift+Tab")
            page.keyboard.press("Enter")
            self.assertEqual(focused(page), "name")
            page.keyboard.press("Control+A")
            page.keyboard.type("ops")
            page.keyboard.press("Tab")
            page.keyboard.type(PASSWORD)
            page.keyboard.press("Enter")
            expect(page.locator("#log-in-or-out")).to_have_text("Log out")
            drain = rows(page).first.get_by_role("button").get_attribute("aria-label")
            tab_to(page, drain)
            page.keyboard.press("Enter")
            self.assertEqual(focused(page), "Cancel")
            page.keyboard.press("Escape")
            expect(page.get_by_role("dialog")).to_be_hidden()
            self.assertEqual(focused(page), drain)
            page.keyboard.press("Enter")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            expect(rows(page).first.locator("b")).to_have_text("gone")
            self.assertEqual(focused(page), drain)
            tab_to(page, "log-in-or-out", "Shift+Tab")
            page.keyboard.press("Enter")
            expect(page.locator("#log-in-or-out")).to_have_text("Log in")
            self.assertEqual(focused(page), "log-in-or-out")
            expect(page.get_by_role("button", name="Drain")).to_have_count(0)

        await self.sees(types)

    async def test_a_page_left_open_over_a_restart_finds_the_server_again(self) -> None:
        service = self.running()
        up = await service.login_server()
        page = await self.sees(lambda: self.browser.open(self.url))

        def sees_it() -> None:
            expect(rows(page).locator("b")).to_have_text(["ready"])
            self.log_in(page)
            page.evaluate("window.loadedOnce = true")

        await self.sees(sees_it)
        await up.end()

        def misses_it() -> None:
            lost = page.locator("#lost")
            expect(lost).to_have_text(
                re.compile(r"Last known \d\d:\d\d:\d\d, [\d.]+ m?s ago. Reconnecting…")
            )
            expect(page).to_have_title("bbs: not connected")
            # What was known stays to be read.
            expect(rows(page)).to_have_count(1)

        await self.sees(misses_it)
        await service.login_server()

        def finds_it() -> None:
            expect(page.locator("#lost")).to_be_empty()
            expect(page.locator("#as-of")).to_contain_text("Live")
            expect(page.locator("#said")).to_have_text("You are logged out.")
            expect(rows(page).filter(has_text="ready")).to_have_count(1)
            self.assertTrue(page.evaluate("window.loadedOnce"))
            self.log_in(page)

        await self.sees(finds_it)

    async def test_what_is_not_of_the_page_does_not_run(self) -> None:
        service = self.running()
        await service.login_server()

        def tries() -> list[str]:
            page = self.browser.open(self.url)
            page.evaluate(
                "() => { const script = document.createElement('script');"
                " script.textContent = 'window.ran = true'; document.body.append(script);"
                " document.body.setAttribute('style', 'color: red'); }"
            )
            self.assertIsNone(page.evaluate("window.ran ?? null"))
            heard, self.browser.complaints = self.browser.complaints, []
            return heard

        heard = await self.sees(tries)
        self.assertEqual(len([each for each in heard if "Content Security Policy" in each]), 2)


class Arranged(PageCase):
    """The page, told what a test wants."""

    def setUp(self) -> Deferred[None]:
        self.server = PageServer()
        self.port = self.server.listen(reactor)
        self.addCleanup(lambda: self.port.stopListening())
        self.addCleanup(lambda: self.server.hang_up())
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/"
        return super().setUp()

    def say(self, kind: str, data: Any) -> None:
        """Let the server say something: from the browser's thread."""
        blockingCallFromThread(reactor, self.server.say, kind, data)

    def open(self, **options: Any) -> Page:
        """The page, with what the server has said so far."""
        page = self.browser.open(self.url, **options)
        expect(page.locator("#as-of")).to_contain_text("Live")
        return page

    def all_states(self, **members: Any) -> dict[str, Any]:
        """A fleet in every state, people who wait, and everything that can be wrong."""
        servers = [
            a_server(number, state=state, reason="because", who=["ann", "bob"])
            for number, state in enumerate(STATES, 1)
        ]
        return a_state(
            servers,
            operator="ops",
            database=False,
            broker=False,
            refusal={"reason": "no <b>credit</b>", "until": NOW + 60},
            waiting={"count": 2, "longest": 12.3, "who": ["eve", "dan"]},
            **members,
        )

    async def test_axe_finds_nothing_wrong(self) -> None:
        self.server.say("state", self.all_states())
        self.server.say("history", an_hour())
        self.server.say("news", {"id": 1, "at": NOW, "text": "Server 3f2a… is ready."})

        def violations(page: Page) -> list[str]:
            options = {"runOnly": {"type": "tag", "values": list(RULES)}}
            found = Axe().run(page, options=options).response["violations"]
            return [f"{each['id']}: {each['nodes'][0]['html']}" for each in found]

        def look() -> None:
            for width in (WIDE, NARROW):
                for dark in (False, True):
                    page = self.open(width=width, dark=dark)
                    self.assertEqual(violations(page), [])
                    for dialog, button in (("login", "log in"), ("drain", "Drain")):
                        page.evaluate("id => document.getElementById(id).showModal()", dialog)
                        self.assertEqual(violations(page), [], button)
                        page.keyboard.press("Escape")
            blockingCallFromThread(reactor, self.server.hang_up)
            expect(page.locator("#lost")).to_contain_text("Last known")
            self.assertEqual(violations(page), [])

        await self.sees(look)

    async def test_nothing_is_wider_than_the_window(self) -> None:
        self.server.say("state", self.all_states())
        self.server.say("history", an_hour())

        def look() -> None:
            for width in (WIDE, 1024, 768, NARROW, 320):
                page = self.open(width=width)
                self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)

        await self.sees(look)

    async def test_every_state_has_its_word_its_shape_and_its_colour(self) -> None:
        self.server.say("state", self.all_states())

        def look() -> None:
            page = self.open()
            expect(rows(page).locator("b")).to_have_text([*reversed(STATES)])
            for looks in ("e => e.getAttribute('d')", "e => getComputedStyle(e).fill"):
                found = [path.evaluate(looks) for path in rows(page).locator("path").all()]
                self.assertEqual(len(set(found)), len(STATES), found)

        await self.sees(look)

    async def test_what_is_wrong_is_said(self) -> None:
        self.server.say("state", self.all_states(maximum=4, fleet_at=NOW - 60))

        def look() -> None:
            page = self.open()
            alerts = page.locator("#alerts p")
            expect(alerts).to_have_count(4)
            expect(alerts.nth(0)).to_contain_text("The database is away: nobody can log in")
            expect(alerts.nth(1)).to_contain_text("The broker is away")
            expect(alerts.nth(2)).to_contain_text("No server can be launched: no <b>credit</b>.")
            expect(alerts.nth(3)).to_contain_text("at its maximum of 4 servers")
            expect(page.locator("#waiting")).to_contain_text("2 people wait")
            self.say("state", a_state())
            expect(alerts).to_have_count(0)
            expect(page.locator("#waiting")).to_have_text("Nobody waits for a place.")

        await self.sees(look)

    async def test_other_peoples_text_is_text(self) -> None:
        markup = "<img src=x onerror=alert(1)>"
        turned = "mallory\u202egnp.exe\x1b[2J"
        server = a_server(who=[markup, turned], reason=markup, address=markup, type=markup)
        self.server.say("state", a_state([server], operator=markup))
        self.server.say("news", {"id": 1, "at": NOW, "text": f"{markup} {turned}"})

        def look() -> None:
            page = self.open()
            page.get_by_text("Who").click()
            expect(rows(page).get_by_role("listitem")).to_have_text(
                [markup, r"mallory\u202egnp.exe\x1b[2J"]
            )
            expect(page.locator("#operator-name")).to_have_text(markup)
            expect(page.locator("#news")).to_contain_text(markup)
            self.assertEqual(page.locator("img").count(), 1)

        await self.sees(look)

    async def test_updates_leave_the_focus_and_what_is_open_alone(self) -> None:
        one, other, third = (a_server(number, who=["ann"]) for number in (1, 2, 3))
        self.server.say("state", a_state([one, other, third], operator="ops"))

        def look() -> None:
            page = self.open()
            other_row = rows(page).nth(1)
            other_row.get_by_text("Who").click()
            button = other_row.get_by_role("button")
            button.focus()
            kept = focused(page)
            # What is older comes first, and stays in its place whatever comes.
            new = a_server(4, age=90000.0)
            drained = {**other, "state": "draining", "people": 1}
            self.say("state", a_state([new, third, drained, one], operator="ops"))
            expect(rows(page)).to_have_count(4)
            self.assertEqual(focused(page), kept)
            expect(rows(page).nth(1)).to_contain_text("draining")
            expect(rows(page).nth(1).get_by_role("listitem")).to_be_visible()
            # It is not to be pressed any more, and keeps the focus all the same.
            page.keyboard.press("Enter")
            expect(page.get_by_role("dialog")).to_be_hidden()
            # Only where the row goes does the focus: to its neighbour.
            neighbour = rows(page).nth(2).get_by_role("button").get_attribute("aria-label")
            self.say("state", a_state([one, third, new], operator="ops"))
            expect(rows(page)).to_have_count(3)
            self.assertEqual(focused(page), neighbour)
            self.say("state", a_state())
            expect(page.get_by_text("No servers.")).to_be_visible()
            self.assertEqual(focused(page), "servers-title")

        await self.sees(look)

    async def test_the_last_hour_is_read_by_pointer_and_by_keyboard(self) -> None:
        self.server.say("state", a_state())
        hour = an_hour(end=NOW, logins_per_minute=[None, *range(359)])
        self.server.say("history", hour)

        def look() -> None:
            page = self.open()
            card = page.locator("#figures li").filter(has_text="Logins a minute")
            other = page.locator("#figures li").filter(has_text="Reactor lag").locator(".range")
            reading = card.locator(".range")
            expect(reading).to_have_text("min 0, max 358")
            slider = page.get_by_role("slider", name="Logins a minute over the last hour")
            slider.focus()
            page.keyboard.press("ArrowLeft")
            expect(reading).to_have_text(re.compile(r"\d\d:\d\d:\d\d: 357$"))
            self.assertEqual(slider.get_attribute("aria-valuetext"), reading.text_content())
            # The other plots are at the same moment.
            self.assertEqual(
                (other.text_content() or "")[:-5].split(": ")[0],
                (reading.text_content() or "").split(": ")[0],
            )
            page.keyboard.press("Home")
            expect(reading).to_contain_text("no value")
            page.keyboard.press("Tab")
            page.keyboard.press("Shift+Tab")
            slider.evaluate("element => element.blur()")
            expect(reading).to_have_text("min 0, max 358")
            box = slider.bounding_box()
            assert box is not None
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
            expect(reading).to_have_text(re.compile(": (178|179|180)$"))
            page.mouse.move(0, 0)
            expect(reading).to_have_text("min 0, max 358")
            # The hour goes on, also over points that did not come.
            point = dict.fromkeys(hour["series"], 1.0) | {"logins_per_minute": 1000}
            self.say("point", {"end": NOW + 30, "series": point})
            expect(reading).to_have_text("min 2, max 1,000")
            slider.focus()
            expect(reading).to_contain_text(": 1,000")
            page.keyboard.press("ArrowLeft")
            expect(reading).to_contain_text("no value")

        await self.sees(look)

    async def test_events_are_read_out_together(self) -> None:
        self.server.say("state", a_state())
        self.server.say("news", {"id": 1, "at": NOW - 1, "text": "Before."})

        def look() -> None:
            page = self.open()
            spoken = page.locator("#spoken")
            for number in range(2, 8):
                self.say("news", {"id": number, "at": NOW + number, "text": f"Event {number}."})
            expect(page.locator("#news li")).to_have_count(7)
            expect(page.locator("#news li").first).to_contain_text("Event 7.")
            expect(spoken).to_have_text("Event 2. Event 3. Event 4. And 3 more.")
            # A stream that begins anew says them all again.
            blockingCallFromThread(reactor, self.server.hang_up)
            expect(page.locator("#lost")).to_contain_text("Last known")
            expect(page.locator("#lost")).to_be_empty()
            expect(page.locator("#news li")).to_have_count(7)
            expect(spoken).to_have_text("Connected again.")

        await self.sees(look)

    async def test_a_server_that_falls_silent_is_asked_again(self) -> None:
        self.server.say("state", a_state())

        def falls_silent() -> Page:
            page = self.browser.open("about:blank")
            page.clock.install()
            page.goto(self.url)
            expect(page.locator("#as-of")).to_contain_text("Live")
            page.clock.fast_forward(14000)
            expect(page.locator("#as-of")).to_contain_text("Live")
            page.clock.fast_forward(2000)
            expect(page.locator("#lost")).to_contain_text("Last known")
            expect(page.locator("#lost")).to_contain_text("16 s ago")
            return page

        page = await self.sees(falls_silent)
        self.assertEqual(self.server.watched, 0)
        await self.sees(lambda: page.clock.fast_forward(2000))
        await eventually(lambda: self.server.watched == 1, "the page asks again")
        await self.sees(lambda: expect(page.locator("#as-of")).to_contain_text("Live"))

    async def test_without_a_password_file_it_only_shows(self) -> None:
        self.server.say("state", a_state([a_server()], may_act=False))

        def look() -> None:
            page = self.open()
            expect(page.get_by_text("Shows only: no operator is set up.")).to_be_visible()
            expect(page.get_by_role("button")).to_have_count(0)

        await self.sees(look)

    async def test_whole_ids_are_copied(self) -> None:
        server = a_server()
        self.server.say("state", a_state([server]))

        def look() -> None:
            page = self.open()
            page.locator(".id").evaluate("e => getSelection().selectAllChildren(e)")
            self.assertEqual(page.evaluate("String(getSelection())"), server["id"])

        await self.sees(look)


class Size(ServiceCase):
    """What the page costs to fetch."""

    def test_it_is_under_100_kilobytes_and_its_own(self) -> None:
        files = [path for path in STATIC.iterdir() if path.is_file()]
        self.assertLess(sum(path.stat().st_size for path in files), 100_000)
        for path in files:
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            self.assertNotRegex(text, r"https?://|//cdn|innerHTML|\bstyle=|\bon\w+=", path.name)
