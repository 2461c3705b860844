"""People on the operators' page, in a browser, with a server that says what a test wants."""

from __future__ import annotations

import json
import re
from typing import Any

from playwright.sync_api import Page, Route, expect

from tests.integration.page_case import (
    ArrangedCase,
    focused,
    looks,
    tab_to,
    too_wide,
    violations,
)
from tests.web.page_server import NOW, a_person, a_server, a_state

MARKUP = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
SHOWN = r"<img src=x onerror=alert(1)>\u202e\x1b[2J"


class Searching(ArrangedCase):
    def setUp(self) -> Any:
        made = super().setUp()
        self.server.say("state", a_state([a_server()], operator="ops", last_action=1))
        self.answer("people", people=[a_person(), a_person("bob", state="offline")], more=None)
        self.answer("people/show", **a_person())
        return made

    def answer(self, path: str, code: int = 200, **members: Any) -> None:
        """What the server says from now on when it is asked for this."""
        self.server.answers[f"/{path}"] = (code, members)

    def asked(self, path: str) -> dict[str, Any]:
        """What the page said when it asked for this last."""
        found: dict[str, Any] = json.loads(
            [body for each, body in self.server.told if each == f"/{path}"][-1]
        )
        return found

    def find(self, page: Page, name: str = "ann") -> None:
        """Search for somebody, and open what is found."""
        page.get_by_label("A part of the name").fill(name[:2])
        page.get_by_label("A part of the name").press("Enter")
        page.get_by_role("button", name=name, exact=True).click()
        expect(page.locator("#person")).to_be_visible()

    async def test_somebody_is_found_and_shown_in_numbers(self) -> None:
        def look() -> None:
            page = self.open()
            self.find(page)
            expect(page.locator("#found")).to_have_text("2 people")
            expect(page.locator("#found-people small")).to_have_text(["online", "offline"])
            self.assertEqual(focused(page), "person-name")
            person = page.locator("#person")
            for text in ("online on", "203.0.113.1:22223", "Friends4", "Messages sent1,234"):
                expect(person).to_contain_text(text)
            made = person.locator("time").first
            expect(made).to_have_text(re.compile(r"^\d+ \w+ (\d{4} )?\d\d:\d\d:\d\d$"))
            self.assertEqual(made.get_attribute("title"), "2026-08-20T11:06:40.000Z")
            expect(person.get_by_role("button", name="Resume")).to_be_hidden()

        await self.sees(look)

    async def test_who_is_here_is_shown_without_a_search(self) -> None:
        self.server.say("state", a_state([a_server(who=["ann"])], operator="ops", last_action=1))

        def look() -> None:
            page = self.open()
            page.locator("#online").get_by_role("button", name="ann").click()
            expect(page.locator("#person")).to_be_visible()
            expect(page.locator("#more-people")).to_be_hidden()

        await self.sees(look)

    async def test_axe_finds_nothing_wrong_and_nothing_is_too_wide(self) -> None:
        suspended = {"since": NOW - 60, "until": None, "reason": MARKUP}
        person = a_person(MARKUP * 3, suspended=suspended, state="suspended")
        self.answer("people", people=[person], more="z")
        self.answer("people/show", **person)

        def look() -> None:
            page = self.open()
            self.find(page, SHOWN * 3)
            for look in looks(page):
                self.assertEqual(violations(page), [], look)
                page.get_by_role("button", name="Suspend", exact=True).click()
                self.assertEqual(violations(page, "#suspend"), [])
                page.keyboard.press("Escape")
            self.assertEqual(too_wide(page), [])

        await self.sees(look)

    async def test_other_peoples_text_is_text(self) -> None:
        suspended = {"since": NOW - 60, "until": NOW + 60, "reason": MARKUP}
        person = a_person(MARKUP, suspended=suspended, counts={MARKUP: 1})
        self.answer("people", people=[person], more=None)
        self.answer("people/show", **person)
        self.answer("people/kick", message=f"{MARKUP}: 1 session ended")

        def look() -> None:
            page = self.open()
            self.find(page, SHOWN)
            expect(page.locator("#person-name")).to_have_text(SHOWN)
            expect(page.locator("dl")).to_contain_text(SHOWN)
            page.get_by_role("button", name="Log out everywhere").click()
            expect(page.locator("#kick .whose")).to_have_text(SHOWN)
            page.get_by_role("button", name="Log out", exact=True).last.click()
            expect(page.locator("#person-said")).to_have_text(f"{SHOWN}: 1 session ended")
            self.assertEqual(self.asked("people/kick"), {"name": MARKUP})
            self.assertEqual(page.locator("img").count(), 1)

        await self.sees(look)

    async def test_suspending(self) -> None:
        self.answer("people/suspend", message="ann is suspended; 1 session ended")

        def look() -> None:
            page = self.open()
            self.find(page)
            self.answer("people/show", **a_person(state="suspended"))
            for choice, seconds in (("604800", {"for": 604800}), ("", {})):
                page.get_by_role("button", name="Suspend", exact=True).first.click()
                dialog = page.get_by_role("dialog", name="Suspend this person?")
                dialog.locator("select").select_option(choice)
                dialog.get_by_label("Reason").fill("spam")
                dialog.get_by_role("button", name="Suspend").click()
                expect(dialog).to_be_hidden()
                expect(page.locator("#person-said")).to_contain_text("is suspended")
                expect(page.locator("#found-people small").first).to_have_text("suspended")
                self.assertEqual(
                    self.asked("people/suspend"), {"name": "ann", "reason": "spam", **seconds}
                )

        await self.sees(look)

    async def test_a_new_password_is_typed_twice_and_seen_by_nobody(self) -> None:
        self.answer("people/password", 400, message="Password too short")

        def look() -> None:
            page = self.open()
            self.find(page)
            page.get_by_role("button", name="New password").click()
            dialog = page.get_by_role("dialog", name="A new password")
            first, second = dialog.locator("input").all()
            for field in (first, second):
                self.assertEqual(field.get_attribute("type"), "password")
            first.fill("one")
            second.fill("two")
            second.press("Enter")
            expect(dialog.get_by_role("alert")).to_contain_text("The two differ")
            self.assertEqual([path for path, _ in self.server.told if "password" in path], [])
            second.fill("one")
            second.press("Enter")
            expect(dialog.get_by_role("alert")).to_have_text("Password too short")
            self.answer("people/password", message="ann has the new password")
            second.press("Enter")
            expect(dialog).to_be_hidden()
            self.assertEqual(self.asked("people/password"), {"name": "ann", "password": "one"})
            page.get_by_role("button", name="New password").click()
            self.assertEqual([first.input_value(), second.input_value()], ["", ""])

        await self.sees(look)

    async def test_deleting_takes_the_name_once_more(self) -> None:
        self.answer("people/delete", 400, message="Type the name once more: the two differ")

        def look() -> None:
            page = self.open()
            self.find(page)
            page.get_by_role("button", name="Delete", exact=True).click()
            dialog = page.get_by_role("dialog", name="Delete this account?")
            dialog.get_by_label("Type the name once more").fill("an")
            dialog.get_by_role("button", name="Delete it").click()
            expect(dialog.get_by_role("alert")).to_contain_text("the two differ")
            self.answer("people/delete", message="ann is deleted; 1 session ended")
            self.answer("people/show", 404, message="Nobody has this name")
            dialog.get_by_label("Type the name once more").fill("ann")
            dialog.get_by_role("button", name="Delete it").click()
            expect(dialog).to_be_hidden()
            expect(page.locator("#found")).to_have_text("ann is deleted; 1 session ended")
            expect(page.locator("#person")).to_be_hidden()
            expect(page.locator("#found-people li")).to_have_count(1)
            expect(page.locator("#people-title")).to_be_focused()
            self.assertEqual(self.asked("people/delete"), {"name": "ann", "again": "ann"})

        await self.sees(look)

    async def test_a_name_that_shows_as_an_escape_is_typed_as_that(self) -> None:
        self.answer("people", people=[a_person(MARKUP)], more=None)
        self.answer("people/show", **a_person(MARKUP))
        self.answer("people/delete", message="deleted")

        def look() -> None:
            page = self.open()
            self.find(page, SHOWN)
            page.get_by_role("button", name="Delete", exact=True).click()
            dialog = page.get_by_role("dialog", name="Delete this account?")
            dialog.get_by_label("Type the name once more").fill(SHOWN)
            dialog.get_by_role("button", name="Delete it").click()
            expect(dialog).to_be_hidden()
            self.assertEqual(self.asked("people/delete"), {"name": MARKUP, "again": MARKUP})

        await self.sees(look)

    async def test_a_deed_is_for_whom_the_question_named(self) -> None:
        self.answer("people/kick", message="ann: 1 session ended")

        def look() -> None:
            page = self.open()
            self.find(page)
            held: list[Route] = []
            page.route(re.compile("show.name=bob"), lambda route: held.append(route))
            page.get_by_role("button", name="bob", exact=True).click()
            page.get_by_role("button", name="Log out everywhere").click()
            expect(page.locator("#kick .whose")).to_have_text("ann")
            held[0].fulfill(json=a_person("bob"))
            expect(page.locator("#person-name")).to_have_text("bob")
            page.locator("#kick .danger").click()
            expect(page.locator("#kick")).to_be_hidden()
            self.assertEqual(self.asked("people/kick"), {"name": "ann"})

        await self.sees(look)

    async def test_what_comes_late_does_not_take_the_place_of_what_is_newer(self) -> None:
        def look() -> None:
            page = self.open()
            self.find(page)
            held: list[Route] = []
            page.route(re.compile("show.name=bob|search=late"), lambda route: held.append(route))
            page.get_by_role("button", name="bob", exact=True).click()
            page.get_by_label("A part of the name").fill("late")
            page.get_by_label("A part of the name").press("Enter")
            self.find(page)
            held[0].fulfill(json=a_person("bob"))
            held[1].fulfill(json={"people": [a_person("late")], "more": None})
            page.wait_for_timeout(200)
            expect(page.locator("#person-name")).to_have_text("ann")
            expect(page.locator("#found-people button")).to_have_text(["ann", "bob"])

        await self.sees(look)

    async def test_resuming(self) -> None:
        suspended = {"since": NOW - 60, "until": None, "reason": "spam"}
        self.answer("people/show", **a_person(suspended=suspended, state="suspended"))
        self.answer("people/resume", message="ann may log in again")

        def look() -> None:
            page = self.open()
            self.find(page)
            expect(page.locator("#person")).to_contain_text("spam")
            page.get_by_role("button", name="Resume").click()
            expect(page.locator("#person-said")).to_have_text("ann may log in again")

        await self.sees(look)

    async def test_by_keyboard_alone(self) -> None:
        self.answer("people/kick", message="ann: 1 session ended")

        def look() -> None:
            page = self.open()
            tab_to(page, "search")
            page.keyboard.type("an")
            page.keyboard.press("Enter")
            expect(page.locator("#found")).to_have_text("2 people")
            tab_to(page, "ann")
            page.keyboard.press("Enter")
            expect(page.locator("#person-name")).to_be_focused()
            tab_to(page, "Log out everywhere")
            page.keyboard.press("Enter")
            self.assertEqual(focused(page), "Cancel")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            expect(page.locator("#person-said")).to_have_text("ann: 1 session ended")
            self.assertEqual(focused(page), "Log out everywhere")

        await self.sees(look)

    async def test_a_question_goes_when_it_is_done(self) -> None:
        self.answer("people/kick", message="ann: 1 session ended")

        def look() -> None:
            page = self.open()
            self.find(page)
            # How ann is after it, nobody says.
            page.route(re.compile("show.name=ann"), lambda route: None)
            page.get_by_role("button", name="Log out everywhere").click()
            page.locator("#kick .danger").click()
            expect(page.locator("#kick")).to_be_hidden()
            expect(page.locator("#person-said")).to_have_text("ann: 1 session ended")
            self.assertEqual(focused(page), "Log out everywhere")

        await self.sees(look)

    async def test_more_of_a_long_list(self) -> None:
        self.answer("people", people=[a_person()], more="ann")

        def look() -> None:
            page = self.open()
            page.get_by_role("button", name="Search").click()
            expect(page.locator("#found")).to_have_text("1 person, and there are more")
            self.answer("people", people=[a_person("bob")], more=None)
            # What is typed meanwhile has not been searched for yet.
            page.get_by_label("A part of the name").fill("eva")
            with page.expect_request(re.compile("search=&behind=ann")):
                page.get_by_role("button", name="More").click()
            expect(page.locator("#found-people li")).to_have_count(2)
            expect(page.get_by_role("button", name="More")).to_be_hidden()

        await self.sees(look)

    async def test_who_logs_out_sees_nobody_any_more(self) -> None:
        def look() -> None:
            page = self.open()
            self.find(page)
            self.say("state", a_state([a_server()]))
            expect(page.locator("#search")).to_be_hidden()
            expect(page.locator("#for-whom")).to_be_visible()
            self.assertEqual(page.locator("#found-people li").count(), 0)
            self.assertNotIn("1,234", page.locator("body").text_content() or "")
            self.assertEqual(page.locator("#person-name").text_content(), "")

        await self.sees(look)

    async def test_what_operators_did_to_people(self) -> None:
        deed = {"id": 7, "at": NOW - 86400.0, "operator": "ops", "address": "192.0.2.1"}
        done = {"action": "suspend", "target": "", "person": MARKUP, "detail": "until resumed"}
        self.server.answers["/actions"] = (200, [{**deed, **done}])

        def look() -> None:
            page = self.open_by_clock()
            entry = page.locator("#actions li")
            expect(entry.locator("span")).to_have_text(
                f"ops suspended {SHOWN} (until resumed), from 192.0.2.1"
            )
            expect(entry.locator("time")).to_have_text(re.compile("^17 Nov"))
            asked = self.server.asked.count("/actions")
            for at in (NOW + 1, NOW + 2):
                self.say("state", a_state([], at=at, operator="ops", last_action=2))
                expect(page.locator("#as-of")).to_contain_text(f":4{at - NOW:.0f}")
                page.clock.run_for(1500)
                self.asks(page, "/actions", asked + 1)

        await self.sees(look)
