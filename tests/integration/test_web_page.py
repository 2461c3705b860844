"""The operators' page in a browser, with a real service behind it."""

from __future__ import annotations

import os
import re
import signal

from playwright.sync_api import Page, expect

from tests.integration.page_case import PageCase, figure, focused, rows, tab_to
from tests.integration.service import Service, connect, eventually
from tests.services.servers import free_port

PASSWORD = "correct horse"


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

    def log_in(self, page: Page, name: str = "ops", password: str = PASSWORD) -> None:
        """Log in as an operator."""
        page.get_by_role("button", name="Log in").click()
        page.locator("#login").get_by_label("Name").fill(name)
        page.locator("#login").get_by_label("Password").fill(password)
        page.locator("#login").get_by_label("Password").press("Enter")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()

    async def test_what_an_operator_announces_is_shown_until_it_is_ended(self) -> None:
        service = self.running()
        await service.login_server()

        def announces() -> None:
            page = self.browser.open(self.url)
            self.log_in(page)
            page.get_by_role("button", name="Announce").click()
            page.locator("#act").get_by_label("Text").fill("Down at <b>nine</b>")
            page.locator("#act").get_by_role("button", name="Announce").click()
            rows = page.get_by_role("region", name="Announcements").locator("tbody tr")
            expect(rows).to_contain_text("Down at <b>nine</b>")
            expect(page.locator("#news")).to_contain_text("ops announced: Down at <b>nine</b>")
            rows.get_by_role("button", name="End").click()
            page.locator("#act").get_by_role("button", name="End").click()
            expect(rows).to_have_count(0)
            expect(page.locator("#news")).to_contain_text("ops ended the announcement 1")

        await self.sees(announces)

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
            row.locator(".who summary").click()
            expect(row.get_by_role("listitem")).to_have_text("ann")
            row.locator(".drain").click()
            dialog = page.get_by_role("dialog", name="Drain this server?")
            expect(dialog).to_contain_text("1 person on it moves to other servers")
            dialog.get_by_role("button", name="Drain it").click()
            expect(dialog).to_be_hidden()
            expect(page.locator("#said")).to_contain_text("is being drained")
            expect(row.locator("b")).to_have_text("gone")
            expect(page.locator("#actions li")).to_have_count(2)
            expect(page.locator("#actions li").first).to_contain_text("ops drained server")
            expect(rows(page).filter(has_text="1 of 10")).to_have_count(1)
            self.assertTrue(page.evaluate("window.loadedOnce"))

        await self.sees(is_drained)

    async def test_a_server_that_is_killed_is_replaced(self) -> None:
        service = self.running()
        up = await service.login_server()
        page = await self.sees(lambda: self.browser.open(self.url))

        def all_is_well() -> None:
            summary = page.locator("#summary")
            expect(summary).to_have_text("All is well: 0 people, 1 server, 10 free places.")
            expect(summary).to_have_class("well")

        await self.sees(all_is_well)
        (before,) = await service.fleet()
        (child,) = up.children()
        os.kill(child, signal.SIGKILL)

        def says_what_happened() -> None:
            news = page.locator("#news")
            killed = f"{before['id'][:8]} was killed (SIGKILL) and was replaced by"
            expect(news).to_contain_text(killed)
            expect(news).not_to_contain_text(f"{before['id'][:8]} has ended")
            all_is_well()

        await self.sees(says_what_happened)

    async def test_the_last_backup(self) -> None:
        service = self.running()
        await service.login_server()
        page = await self.sees(lambda: self.browser.open(self.url))

        def never() -> None:
            facts = page.locator("#upkeep li")
            expect(facts.nth(0)).to_have_text(re.compile(r"Disk: [\d.,]+ .iB of .* are free; "))
            expect(facts.nth(1)).to_have_text("Last backup: never. Make one: bbs backup FILE")

        await self.sees(never)
        file = service.folder / "copy.sqlite3"
        process = service.bbs("backup", file, "--config", service.config)
        await process.ended(60.0)
        self.assertEqual((process.exit_code, process.errors), (0, ""))
        last = page.locator("#upkeep li").nth(1)
        made = re.compile(r"Last backup: \d+ s ago\.")
        await self.sees(lambda: expect(last).to_have_text(made))

    async def test_a_wrong_password_is_said_and_the_focus_stays(self) -> None:
        service = await self.shared()

        def tries() -> None:
            page = self.browser.open(service.page)
            page.get_by_role("button", name="Log in").click()
            page.locator("#login").get_by_label("Name").fill("operator")
            page.locator("#login").get_by_label("Password").fill("wrong")
            page.locator("#login").get_by_label("Password").press("Enter")
            problem = page.get_by_role("alert").filter(visible=True)
            expect(problem).to_have_text("No such operator or password error")
            self.assertEqual(focused(page), "password")
            # What is typed next takes the wrong one's place.
            page.keyboard.type(service.operators_password)
            page.keyboard.press("Enter")
            expect(page.get_by_role("button", name="Log out")).to_be_visible()
            self.assertEqual(focused(page), "log-in-or-out")
            self.assertEqual(page.locator("#login").get_by_label("Password").input_value(), "")

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
            drain = rows(page).first.locator(".drain").get_attribute("aria-label")
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
            # What was known stays to be read, and what cannot be done now is said.
            expect(rows(page)).to_have_count(1)
            page.get_by_role("button", name="Start a server").click()
            expect(page.locator("#said")).to_contain_text("The server does not answer.")

        await self.sees(misses_it)
        await service.login_server()

        def finds_it() -> None:
            expect(page.locator("#lost")).to_be_empty()
            expect(page.locator("#as-of")).to_contain_text("Live")
            expect(page).to_have_title("bbs: the fleet")
            expect(page.locator("#said")).to_have_text("You are logged out.")
            expect(rows(page).locator("b", has_text="ready")).to_have_count(1)
            self.assertTrue(page.evaluate("window.loadedOnce"))
            self.log_in(page)

        await self.sees(finds_it)

    async def test_an_operators_day(self) -> None:
        """Somebody forgot a password, and somebody spams."""
        service = await self.shared()
        await service.register("ann", "mallory")
        mallory = await service.person("mallory")
        self.assertEqual((await mallory.asks("listen"))["status"], 0)

        def helps() -> None:
            page = self.browser.open(service.page)
            self.log_in(page, "operator", service.operators_password)
            self.find(page, "ann")
            page.get_by_role("button", name="New password").click()
            dialog = page.get_by_role("dialog", name="A new password")
            for field in dialog.locator("input").all():
                field.fill("a-new-one")
            dialog.get_by_role("button", name="Set it").click()
            expect(page.locator("#person-said")).to_contain_text("ann has the new password")
            self.find(page, "mallory")
            expect(page.locator("#person dl")).to_contain_text("online on ")
            page.get_by_role("button", name="Suspend", exact=True).first.click()
            dialog = page.get_by_role("dialog", name="Suspend this person?")
            dialog.get_by_label("Reason").fill("spam")
            dialog.get_by_role("button", name="Suspend").click()
            expect(page.locator("#person-said")).to_have_text(
                "mallory is suspended; 1 session ended"
            )
            expect(page.locator("#person dl")).to_contain_text("spam")
            expect(page.locator("#actions li").first).to_contain_text(
                "operator suspended mallory (until "
            )
            expect(page.locator("#actions li")).to_have_count(2)
            self.assertNotIn("a-new-one", page.content())

        await self.sees(helps)
        await eventually(lambda: mallory.wire.events, "mallory hears of it")
        self.assertEqual([each["event"] for each in mallory.wire.events], ["logout"])
        wire = await connect(service.port)
        self.assertEqual((await wire.ask("login", "ann", "ann"))["status"], 1)
        self.assertEqual((await wire.ask("login", "ann", "a-new-one"))["status"], 0)
        wire.close()
        self.assertNotIn("a-new-one", service.log())

    async def test_its_hour_and_its_events_outlive_a_restart(self) -> None:
        service = self.running()
        up = await service.login_server()

        def sees_it() -> list[str]:
            page = self.browser.open(self.url)
            self.log_in(page)
            page.get_by_role("button", name="Start a server").click()
            expect(page.locator("#news")).to_contain_text("An operator asked to start server")
            expect(rows(page).locator("b")).to_have_text(["ready", "ready"])
            reading = figure(page, "Free places").locator(".range")
            expect(reading).to_contain_text("min ")
            self.assertEqual(page.locator("#news time").first.get_attribute("title"), at(page))
            return page.locator("#news li").all_text_contents()

        def at(page: Page) -> str:
            return page.locator("#news time").first.get_attribute("datetime") or ""

        before = await self.sees(sees_it)
        await up.kill()
        await service.login_server()

        def still_there() -> None:
            page = self.browser.open(self.url)
            for text in before:
                expect(page.locator("#news")).to_contain_text(text.strip())
            reading = figure(page, "Free places").locator(".range")
            expect(reading).to_contain_text("min ")

        await self.sees(still_there)

    def find(self, page: Page, name: str) -> None:
        """Search for somebody and open what is found."""
        page.get_by_label("A part of the name").fill(name)
        page.get_by_label("A part of the name").press("Enter")
        page.locator("#found-people").get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#person-name")).to_have_text(name)

    async def test_what_is_not_of_the_page_does_not_run(self) -> None:
        service = await self.shared()

        def tries() -> list[str]:
            page = self.browser.open(service.page)
            page.evaluate(
                "() => { const script = document.createElement('script');"
                " script.textContent = 'window.ran = true'; document.body.append(script);"
                " document.body.setAttribute('style', 'color: red'); }"
            )
            self.assertIsNone(page.evaluate("window.ran ?? null"))
            heard = [*self.browser.complaints]
            self.browser.complaints.clear()
            return heard

        heard = await self.sees(tries)
        self.assertEqual(len([each for each in heard if "Content Security Policy" in each]), 2)
