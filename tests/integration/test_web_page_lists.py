"""A service's own lists on the operators' page, in a browser, and the acts on what is in them."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, expect

from bbs.board import board
from bbs.web.lists import described
from tests.integration.page_case import ArrangedCase, focused, looks, tab_to, too_wide, violations
from tests.web.browser import HEIGHT, NARROW
from tests.web.page_server import NOW, a_server, a_state

MARKUP = "<img src=x onerror=alert(1)>\u202e\x1b[2J"
SHOWN = r"<img src=x onerror=alert(1)>\u202e\x1b[2J"


def row(key: str, *cells: object) -> dict[str, Any]:
    """A row as the page gets it."""
    return {"key": key, "cells": cells}


class Lists(ArrangedCase):
    lists = board.lists
    passed = 0  # Points.

    def setUp(self) -> Any:
        made = super().setUp()
        self.server.say("state", a_state([a_server()], operator="ops", last_action=1))
        self.answer("lists", [described(each) for each in board.lists])
        self.announced(row("7", "Down at nine", NOW - 60, "an operator ends it"))
        self.found(
            row("chess", "chess", "ann", 12, 1234, "open"),
            row(MARKUP, MARKUP, None, 0, 0, "private"),
        )
        return made

    def answer(self, path: str, said: Any, code: int = 200) -> None:
        """What the server says from now on when it is asked for this."""
        self.server.answers[f"/{path}"] = (code, said)

    def announced(self, *rows: dict[str, Any]) -> None:
        self.answer("lists/announcements", {"rows": rows, "more": None})

    def found(self, *rows: dict[str, Any], more: str | None = None) -> None:
        """The groups of the part that is read next."""
        self.answer("lists/groups", {"rows": rows, "more": more})

    def asked(self, path: str) -> dict[str, Any]:
        """What the page said when it asked for this last."""
        found: dict[str, Any] = json.loads(
            [body for each, body in self.server.told if each == f"/{path}"][-1]
        )
        return found

    def groups(self, page: Page) -> Any:
        return page.get_by_role("region", name="Groups")

    def rows(self, page: Page) -> Any:
        rows = self.groups(page).locator("tbody tr")
        expect(rows.first).to_be_visible()
        return rows

    async def test_they_are_shown_in_the_services_words(self) -> None:
        def look() -> None:
            page = self.open()
            titles = page.locator("#lists h2")
            expect(titles).to_have_text(["Announcements", "Groups"])
            cells = self.rows(page).first.locator("th, td:not(.acts)")
            expect(cells).to_have_text(["chess", "ann", "12", "1,234", "open"])
            # Other people's text is text.
            cells = self.rows(page).nth(1).locator("th, td:not(.acts)")
            expect(cells).to_have_text([SHOWN, "–", "0", "0", "private"])
            said = page.get_by_role("region", name="Announcements").locator("tbody tr")
            expect(said).to_contain_text("Down at nine")
            expect(said.locator("time")).to_have_attribute("datetime", "2026-11-18T11:05:40.000Z")
            expect(page.locator("#lists img")).to_have_count(0)

        await self.sees(look)

    async def test_axe_finds_nothing_wrong_and_nothing_is_too_wide(self) -> None:
        name = "a" * 100
        self.found(*(row(f"{each}{name}", f"{each}{name}", name, 1, 2, "open") for each in "bcd"))
        self.announced(row("7", "x" * 2000, NOW - 60, NOW + 60))

        def look() -> None:
            page = self.open()
            self.rows(page)
            for each in looks(page):
                self.assertEqual(violations(page), [], each)
                for act in ("Announce", f"Rename b{name}"[:80], f"Remove b{name}"[:80]):
                    page.get_by_role("button", name=act).first.click()
                    self.assertEqual(violations(page, "#act"), [], (each, act))
                    page.keyboard.press("Escape")
            self.assertEqual(too_wide(page), [])

        await self.sees(look)

    async def test_by_keyboard_alone(self) -> None:
        self.answer("lists/groups/group-remove", {"status": 0, "message": "You removed it"})

        def look() -> None:
            page = self.open()
            self.rows(page)
            tab_to(page, "Remove chess")
            page.keyboard.press("Enter")
            dialog = page.get_by_role("dialog", name="Remove this group?")
            expect(dialog.locator(".whose")).to_have_text("chess")
            expect(dialog).to_contain_text("gone for good")
            self.assertEqual(focused(page), "again")
            page.keyboard.type("chess")
            self.found(row("go", "go", None, 0, 0, "open"))
            page.keyboard.press("Enter")
            expect(dialog).to_be_hidden()
            self.assertEqual(
                self.asked("lists/groups/group-remove"), {"key": "chess", "again": "chess"}
            )
            expect(self.groups(page).get_by_role("status")).to_have_text("You removed it")
            expect(self.rows(page)).to_have_count(1)
            # The button that had the focus is gone with its row.
            self.assertEqual(focused(page), "list-groups")

        await self.sees(look)

    async def test_a_refusal_is_beside_the_fields(self) -> None:
        self.answer("lists/groups/group-rename", {"message": MARKUP}, 409)

        def look() -> None:
            page = self.open()
            page.get_by_role("button", name="Rename chess").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Its new name").fill("go")
            dialog.get_by_role("button", name="Rename").click()
            expect(dialog.get_by_role("alert")).to_have_text(SHOWN)
            self.assertEqual(
                self.asked("lists/groups/group-rename"), {"key": "chess", "name": "go"}
            )
            # The next question says nothing of the one before.
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Give chess").click()
            expect(page.locator("#act-problem")).to_have_text("")
            expect(dialog.locator("input")).to_have_count(1)

        await self.sees(look)

    async def test_an_escape_is_typed_as_the_escape(self) -> None:
        self.answer("lists/groups/group-remove", {"message": "no"}, 409)

        def look() -> None:
            page = self.open()
            page.get_by_role("button", name="Remove <img").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Type the name once more").fill(SHOWN)
            dialog.get_by_label("Type the name once more").press("Enter")
            expect(dialog.get_by_role("alert")).to_have_text("no")
            asked = self.asked("lists/groups/group-remove")
            self.assertEqual(asked, {"key": MARKUP, "again": MARKUP})

        await self.sees(look)

    async def test_a_text_of_several_lines_until_a_time(self) -> None:
        self.answer("lists/announcements/announce", {"status": 0, "message": "You announced: a b"})

        def look() -> None:
            page = self.open()
            page.get_by_role("button", name="Announce").click()
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Text").fill("a\nb")
            dialog.get_by_label("Ends at").fill("2026-12-24T18:00")
            dialog.get_by_role("button", name="Announce").click()
            expect(dialog).to_be_hidden()
            self.assertEqual(
                self.asked("lists/announcements/announce"), {"text": "a\nb", "until": 1798135200}
            )

        await self.sees(look)

    async def test_a_long_list_is_searched_and_read_in_parts(self) -> None:
        self.found(row("b", "b", None, 0, 0, "open"), more="9")

        def look() -> None:
            page = self.open()
            expect(self.rows(page)).to_have_count(1)
            self.found(row("a", "a", None, 0, 0, "open"))
            more = self.groups(page).get_by_role("button", name="More")
            more.click()
            expect(self.rows(page)).to_have_count(2)
            expect(more).to_be_hidden()
            # Whoever reads on is not thrown back.
            self.say("point", {"end": NOW, "series": {}})
            page.evaluate("fetch('/icon.svg', {cache: 'no-store'}).then(() => null)")
            expect(self.rows(page)).to_have_count(2)
            self.found()
            self.groups(page).get_by_label("A part of the group's name").fill("zz")
            page.keyboard.press("Enter")
            expect(self.groups(page)).to_contain_text("Nothing found.")

        await self.sees(look)

    def pass_a_point(self, page: Page) -> None:
        """Let a point come, and wait until the page has dealt with it."""
        self.passed += 1
        self.say("point", {"end": NOW, "series": {}})
        self.say("news", {"id": self.passed, "at": NOW, "text": f"Point {self.passed}."})
        expect(page.locator("#news")).to_contain_text(f"Point {self.passed}.")

    async def test_a_point_does_not_stop_whoever_reads_on(self) -> None:
        self.found(row("b", "b", None, 0, 0, "open"), more="9")

        def look() -> None:
            page = self.open_by_clock()
            expect(self.rows(page)).to_have_count(1)
            del self.server.answers["/lists/groups"]
            self.groups(page).get_by_role("button", name="More").click()
            self.asks(page, "/lists/groups", 2)
            self.pass_a_point(page)
            self.asks(page, "/lists/groups", 2)
            page.clock.run_for(10_001)
            problem = self.groups(page).locator(".problem")
            expect(problem).to_have_text("The server does not answer. Try again in a moment.")
            self.found(row("a", "a", None, 0, 0, "open"))
            self.pass_a_point(page)
            expect(self.rows(page).locator("th")).to_have_text(["a"])
            expect(problem).to_have_text("")

        await self.sees(look)

    async def test_a_problem_of_reading_is_apart_from_what_was_done(self) -> None:
        self.answer("lists/groups/group-remove", {"status": 0, "message": "You removed it"})

        def look() -> None:
            page = self.open()
            page.get_by_role("button", name="Remove chess").click()
            page.get_by_role("dialog").get_by_label("Type the name once more").fill("chess")
            self.answer("lists/groups", {"message": MARKUP}, 503)
            page.keyboard.press("Enter")
            problem = self.groups(page).locator(".problem")
            expect(problem).to_have_text(SHOWN)
            expect(self.groups(page).get_by_role("status")).to_have_text("You removed it")
            self.found()
            self.pass_a_point(page)
            expect(self.groups(page)).to_contain_text("None.")
            expect(problem).to_have_text("")
            expect(self.groups(page).get_by_role("status")).to_have_text("You removed it")

        await self.sees(look)

    async def test_what_could_not_be_read_at_first_is_read_later(self) -> None:
        self.answer("lists", {"message": MARKUP}, 503)

        def look() -> None:
            page = self.open()
            expect(page.locator("#lists")).to_have_text(SHOWN)
            self.answer("lists", [described(each) for each in board.lists])
            self.pass_a_point(page)
            expect(self.rows(page)).to_have_count(2)
            # Whoever has logged out asks for none.
            self.say("state", a_state([a_server()]))
            self.pass_a_point(page)
            self.asks(page, "/lists", 2)

        await self.sees(look)

    async def test_it_is_read_again_by_itself(self) -> None:
        def look() -> None:
            page = self.open()
            expect(self.rows(page)).to_have_count(2)
            self.found(row("new", "new", None, 1, 0, "open"))
            self.say("point", {"end": NOW, "series": {}})
            expect(self.rows(page).locator("th")).to_have_text(["new"])

        await self.sees(look)

    async def test_what_operators_did_is_among_their_events_in_words(self) -> None:
        done = {
            "id": 1,
            "at": NOW - 5,
            "operator": "ann",
            "address": "192.0.2.1",
            "action": "group-remove",
            "target": "",
            "person": None,
            "detail": MARKUP,
            "words": f"removed the group {MARKUP}",
        }
        self.answer("actions", [done])
        self.server.say("news", {"id": 1, "at": NOW - 9, "text": "It was earlier."})
        self.server.say("news", {"id": 2, "at": NOW, "text": "It was later."})

        def look() -> None:
            page = self.open()
            words = page.locator("#news li span")
            act = f"ann removed the group {SHOWN}"
            expect(words).to_have_text(["It was later.", act, "It was earlier."])
            expect(page.locator("#actions li span")).to_have_text([f"{act}, from 192.0.2.1"])
            # Strangers see neither these nor the lists.
            self.say("state", a_state([a_server()]))
            expect(words).to_have_text(["It was later.", "It was earlier."])
            expect(page.locator("#lists")).to_be_hidden()
            expect(page.locator("#lists > *")).to_have_count(0)

        await self.sees(look)

    async def test_servers_and_people_stay_first_where_it_is_narrow(self) -> None:
        def look() -> None:
            page = self.open()
            page.set_viewport_size({"width": NARROW, "height": HEIGHT})
            page.wait_for_function("document.querySelector('main').firstElementChild.id == 'fleet'")
            self.rows(page)
            names = "() => [...document.querySelector('main').children].map(each => each.id)"
            self.assertEqual(
                page.evaluate(names),
                ["fleet", "people", "figures", "events", "lists", "details"],
            )
            page.get_by_role("link", name="Lists").click()
            expect(page.get_by_role("heading", name="Announcements")).to_be_in_viewport()

        await self.sees(look)


class WithoutLists(ArrangedCase):
    """A service that declares none has nothing of them on its page."""

    async def test_nothing_is_there(self) -> None:
        self.server.say("state", a_state([a_server()], operator="ops"))

        def look() -> None:
            page = self.open()
            for each in ("#lists", "#act", "#list", "a[href='#lists']"):
                expect(page.locator(each)).to_have_count(0)
            self.assertNotIn("/lists", self.server.asked)

        await self.sees(look)
