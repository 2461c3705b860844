"""The operators' page in a browser, with a server that says what a fleet is rarely seen in."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.integration.page_case import (
    ArrangedCase,
    figure,
    focused,
    looks,
    open_details,
    overlaps,
    rows,
    tab_to,
    too_wide,
    violations,
)
from tests.integration.service import eventually
from tests.web.browser import HEIGHT, NARROW, WIDE
from tests.web.page_server import NOW, a_server, a_state, an_hour

DIALOGS = (
    "login",
    "drain",
    "replace",
    "cancel-replacement",
    "kick",
    "suspend",
    "password",
    "delete",
)

STATES = ("launching", "warm", "ready", "draining", "lost", "gone")


def problem(cause: str, text: str, urgent: bool = False) -> dict[str, Any]:
    """Something that is wrong, as the page gets it."""
    return {"cause": cause, "text": text, "todo": "Do something.", "urgent": urgent}


class Looks(ArrangedCase):
    """The page, told what a test wants."""

    def all_states(self, **members: Any) -> dict[str, Any]:
        """A fleet in every state, people who wait, and everything that can be wrong."""
        servers = [
            a_server(
                number, state=state, reason="because", who=["ann", "bob"], age=50_000.0 + number
            )
            for number, state in enumerate(STATES, 1)
        ]
        return a_state(
            servers,
            operator="ops",
            database=False,
            broker=False,
            refusal={"reason": "no <b>credit</b>", "until": NOW + 60},
            waiting={"count": 2, "longest": 12.3, "who": ["eve", "dan"]},
            replacing={"outdated": 1, "asked": 2, "waits_for": "people wait for places"},
            disk={"free": 3 * 2**28, "floor": 2**28, "whole": 2**34},
            backup={"at": None},
            summary={"level": "attention", "text": "Not urgent, but see below."},
            alarms=[problem("maximum", "People wait", urgent=True)],
            warnings=[problem("broker-away", "The broker is away")],
            **members,
        )

    async def test_axe_finds_nothing_wrong(self) -> None:
        self.server.say("state", self.all_states())
        self.server.say("history", an_hour())
        self.server.say("news", {"id": 1, "at": NOW, "text": "Server 3f2a… is ready."})

        def look() -> None:
            page = self.open()
            open_details(page)
            for _ in looks(page):
                self.assertEqual(violations(page), [])
                for dialog in DIALOGS:
                    page.evaluate("id => document.getElementById(id).showModal()", dialog)
                    self.assertEqual(violations(page, f"#{dialog}"), [], dialog)
                    page.keyboard.press("Escape")
                self.say("state", a_state([a_server()]))
                expect(rows(page)).to_have_count(1)
                self.assertEqual(violations(page), [])
                self.hang_up()
                expect(page.locator("#lost")).to_contain_text("Last known")
                self.assertEqual(violations(page), [])
                self.say("state", self.all_states())
                expect(rows(page)).to_have_count(len(STATES))

        await self.sees(look)

    async def test_nothing_is_wider_than_the_window(self) -> None:
        self.server.say("state", self.all_states())
        self.server.say("history", an_hour())

        def look() -> None:
            page = self.open()
            open_details(page)
            self.assertEqual(too_wide(page), [])
            self.assertEqual(overlaps(page), [])

        await self.sees(look)

    async def test_every_state_has_its_word_its_shape_and_its_colour(self) -> None:
        self.server.say("state", self.all_states())

        def look() -> None:
            page = self.open()
            expect(rows(page).locator("b")).to_have_text([*reversed(STATES)])
            for style in ("e => e.getAttribute('d')", "e => getComputedStyle(e).fill"):
                found = [path.evaluate(style) for path in rows(page).locator("path").all()]
                self.assertEqual(len(set(found)), len(STATES), found)

        await self.sees(look)

    async def test_a_server_without_a_place_is_full(self) -> None:
        self.server.say("state", a_state([a_server(1, people=2, capacity=2), a_server(2)]))

        def look() -> None:
            page = self.open()
            expect(rows(page).locator(".reason")).to_have_text(["takes people", "full"])
            heights = "all => all.map(e => e.getBoundingClientRect().height).filter(h => h)"
            for height in page.locator("summary").evaluate_all(heights):
                self.assertGreaterEqual(height, 24.0)  # px, as WCAG 2.2 asks of a target

        await self.sees(look)

    async def test_what_is_wrong_is_said_with_what_to_do(self) -> None:
        away = problem("database-away", "The database is away", urgent=True)
        other = problem("launches-refused", "No server can be launched: no <b>credit</b>")
        waiting = {"count": 2, "longest": 3.0}
        self.server.say("state", a_state(warnings=[away, other], waiting=waiting))

        def look() -> None:
            page = self.open()
            expect(page.locator("#alarm p")).to_have_text(["The database is away. Do something."])
            expect(page.locator("#alerts p")).to_have_text(
                ["No server can be launched: no <b>credit</b>. Do something."]
            )
            expect(page.locator("#waiting")).to_contain_text("2 people wait")
            self.say("state", a_state())
            expect(page.locator("#alerts p")).to_have_count(0)
            expect(page.locator("#alarm p")).to_have_count(0)
            expect(page.locator("#waiting")).to_have_text("Nobody waits for a place.")

        await self.sees(look)

    async def test_one_sentence_comes_first(self) -> None:
        levels = {
            "well": "All is well: 3 people, 1 server, 7 free places.",
            "attention": "Not urgent, but see below: 3 people.",
            "alarm": "Somebody has to act now: 3 people.",
        }
        self.server.say("state", a_state())

        def look() -> None:
            page = self.open()
            colours, shapes = set(), set()
            summary = page.locator("#summary")
            for level, text in levels.items():
                self.say("state", a_state(summary={"level": level, "text": text}))
                expect(summary).to_have_text(text)
                icon = summary.locator("svg")
                colours.add(icon.evaluate("e => getComputedStyle(e).fill"))
                shapes.add(icon.locator("path").get_attribute("d"))
                for each in looks(page):
                    box, main = summary.bounding_box(), page.locator("main").bounding_box()
                    assert box is not None and main is not None
                    self.assertLess(box["y"] + box["height"], main["y"] + 1, each)
                    self.assertLess(box["y"], 150, each)
            self.assertEqual((len(colours), len(shapes)), (len(levels), len(levels)))
            expect(page).to_have_title("ALARM – bbs: the fleet")
            # What was known is not said to be so any more.
            self.server.refusal = "Gone."
            self.hang_up()
            expect(summary).to_contain_text("Not known: this page has lost its server.")

        await self.sees(look)

    async def test_without_scripts(self) -> None:
        """The sentence is there, and nothing that only a script fills."""

        def look() -> None:
            page = self.browser.open_apart(self.url, scripts=False)
            expect(page.locator("#summary")).to_have_text(
                "No app server is ready: 0 people, 0 servers, 0 free places."
            )
            for hidden in ("main", "#live", "#operator"):
                expect(page.locator(hidden)).to_be_hidden()

        await self.sees(look)

    async def test_servers_and_people_come_first_where_it_is_narrow(self) -> None:
        self.server.say("state", a_state([a_server()], operator="ops"))
        parts = ("figures", "fleet", "people", "events", "details")

        def order(page: Page) -> tuple[list[str], list[str]]:
            """The parts in the document's order, and from top to bottom, then left to right."""
            tops = {}
            for part in parts:
                box = page.locator(f"#{part}").bounding_box()
                assert box is not None
                tops[part] = (box["y"], box["x"])
            names = "() => [...document.querySelector('main').children].map(each => each.id)"
            return page.evaluate(names), sorted(tops, key=lambda part: tops[part])

        def look() -> None:
            page = self.open()
            wide = order(page)
            self.assertEqual(wide, ([*parts], [*parts]))
            boxes = [page.locator(f"#{part}").bounding_box() for part in ("fleet", "people")]
            fleet, people = boxes
            assert fleet is not None and people is not None
            self.assertLess(abs(fleet["y"] - people["y"]), 2)
            slider = page.get_by_role("slider").first
            self.say("history", an_hour())
            slider.focus()
            page.set_viewport_size({"width": NARROW, "height": HEIGHT})
            narrow = ["fleet", "people", "figures", "events", "details"]
            page.wait_for_function("document.querySelector('main').firstElementChild.id == 'fleet'")
            self.assertEqual(order(page), (narrow, narrow))
            expect(slider).to_be_focused()
            page.reload()
            expect(rows(page)).to_have_count(1)
            self.assertEqual(order(page), (narrow, narrow))
            # However many servers there are, the people are one step away.
            many = [a_server(number) for number in range(1, 60)]
            self.say("state", a_state(many, operator="ops"))
            expect(page.locator("#people-title")).not_to_be_in_viewport()
            page.get_by_role("link", name="People", exact=True).click()
            expect(page.locator("#people-title")).to_be_in_viewport()
            page.set_viewport_size({"width": WIDE, "height": HEIGHT})
            page.wait_for_function("document.querySelector('main').firstElementChild.id != 'fleet'")
            self.assertEqual(order(page), wide)

        await self.sees(look)

    async def test_four_figures_and_the_rest_under_details(self) -> None:
        self.server.say("state", a_state([a_server(), a_server(2, state="draining")]))

        def look() -> None:
            page = self.open()
            titles = page.locator("#figures h3")
            expect(titles).to_have_text(["People", "Servers", "Free places", "People waiting"])
            expect(figure(page, "Servers")).to_contain_text("1 open, 1 ending")
            for hidden in ("#more-figures", "#where", "#login-servers"):
                expect(page.locator(hidden)).to_be_hidden()
            tab_to(page, "Details")
            page.keyboard.press("Enter")
            expect(page.locator("#more-figures")).to_be_visible()
            # What only developers know has its meaning beside it, and stays open.
            self.say("state", a_state(at=NOW + 1))
            expect(figure(page, "Reactor lag")).to_contain_text("how late this login server gets")

        await self.sees(look)

    async def test_the_disk_and_the_last_backup(self) -> None:
        disk = {"free": 3 * 2**30, "floor": 2**28, "whole": 2**33}
        self.server.say("state", a_state(disk=disk, backup={"at": NOW - 7500}))

        def look() -> None:
            page = self.open()
            facts = page.locator("#upkeep li")
            expect(facts).to_have_text(
                [
                    "Disk: 3 GiB of 8 GiB are free; 256 MiB have to be.",
                    "Last backup: 2 h 5 min ago.",
                ]
            )
            self.assertEqual([each.get_attribute("class") for each in facts.all()], ["good"] * 2)
            low = {**disk, "free": 2**28}
            for at, text in (
                (None, "Last backup: never. Make one: bbs backup FILE"),
                (NOW - 8 * 86400.0, "Last backup: 8 d ago."),
            ):
                self.say("state", a_state(disk=low, backup={"at": at}))
                expect(facts.nth(1)).to_have_text(text)
                found = [each.get_attribute("class") for each in facts.all()]
                self.assertEqual(found, ["warn"] * 2)
            self.say("state", a_state(disk={**disk, "free": 2**28 - 1}))
            expect(facts).to_have_class(["bad"])
            # A MySQL has its own disk and its own tools.
            self.say("state", a_state())
            expect(facts).to_have_count(0)

        await self.sees(look)

    async def test_plots_begin_at_the_first_sample(self) -> None:
        hour = an_hour()
        young = {name: [None] * 300 + samples[300:] for name, samples in hour["series"].items()}
        young["errors_per_minute"][350] = None
        self.server.say("state", a_state())
        self.server.say("history", {**hour, "series": young})

        def look() -> None:
            page = self.open()
            plots = page.locator("#figures .plot svg")
            expect(plots).to_have_count(4)
            for each in plots.all():
                self.assertEqual(each.get_attribute("viewBox"), "300 0 59 40")
            expect(page.locator("#figures-title")).to_contain_text("Now, and since ")
            slider = page.get_by_role("slider").first
            slider.focus()
            page.keyboard.press("Home")
            reading = page.locator("#figures .range").first
            expect(reading).not_to_contain_text("no value")
            expect(reading).to_have_class(re.compile("reading"))
            # The hour fills up.
            self.say("history", hour)
            expect(page.locator("#figures-title")).to_have_text("Now, and in the last hour")
            expect(plots.first).to_have_attribute("viewBox", "0 0 359 40")

        await self.sees(look)

    async def test_a_single_sample(self) -> None:
        hour = an_hour()
        only = {name: [None] * 359 + [5] for name in hour["series"]}
        self.server.say("state", a_state())
        self.server.say("history", {**hour, "series": only})

        def look() -> None:
            page = self.open()
            plot = page.locator("#figures .plot svg").first
            expect(plot).to_have_attribute("viewBox", "358 0 1 40")
            expect(page.locator("#figures .range").first).to_have_text("min 5, max 5")

        await self.sees(look)

    async def test_who_is_here(self) -> None:
        people = [a_server(1, who=["bob", "ann"]), a_server(2, who=["eve\u202e"])]
        self.server.say("state", a_state(people, operator="ops"))

        def look() -> None:
            page = self.open()
            names = page.locator("#online button")
            expect(names).to_have_text(["ann", "bob", r"eve\u202e"])
            names.nth(1).focus()
            # Who goes takes nobody's focus away.
            self.say("state", a_state(people[1:], operator="ops"))
            expect(names).to_have_count(1)
            self.assertEqual(focused(page), "people-title")
            crowd = [a_server(1, who=[f"p{number:03}" for number in range(205)])]
            self.say("state", a_state(crowd, operator="ops"))
            expect(page.locator("#more-online")).to_have_text("And 5 more: search for them.")
            expect(names).to_have_count(200)
            # Strangers see nobody's name.
            self.say("state", a_state([a_server()]))
            expect(names).to_have_count(0)
            expect(page.locator("#for-whom")).to_be_visible()

        await self.sees(look)

    async def test_other_peoples_text_is_text(self) -> None:
        markup = "<img src=x onerror=alert(1)>"
        turned = "mallory\u202egnp.exe\x1b[2J"
        server = a_server(who=[markup, turned], reason=markup, address=markup, type=markup)
        self.server.say("state", a_state([server], operator=markup))
        self.server.say("news", {"id": 1, "at": NOW, "text": f"{markup} {turned}"})

        def look() -> None:
            page = self.open()
            page.locator(".who summary").click()
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
            other_row.locator(".who summary").click()
            button = other_row.locator(".drain")
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
            neighbour = rows(page).nth(2).locator(".drain").get_attribute("aria-label")
            self.say("state", a_state([one, third, new], operator="ops"))
            expect(rows(page)).to_have_count(3)
            self.assertEqual(focused(page), neighbour)
            # And where there is none any more, or nobody is logged in, to the title.
            self.say("state", a_state([one, third, new]))
            expect(page.get_by_role("button", name="Drain")).to_have_count(0)
            self.assertEqual(focused(page), "servers-title")
            self.say("state", a_state([one], operator="ops"))
            expect(rows(page)).to_have_count(1)
            rows(page).locator(".drain").focus()
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
            open_details(page)
            card, other = figure(page, "Logins a minute"), figure(page, "Reactor lag")
            other = other.locator(".range")
            reading = card.locator(".range")
            expect(reading).to_have_text("min 0, max 358")
            slider = page.get_by_role(
                "slider", name="Logins a minute over the last hour", exact=True
            )
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
            page = self.open_by_clock()
            spoken = page.locator("#spoken")
            for number in range(2, 8):
                self.say("news", {"id": number, "at": NOW + number, "text": f"Event {number}."})
            expect(page.locator("#news li")).to_have_count(7)
            expect(page.locator("#news li").first).to_contain_text("Event 7.")
            expect(spoken).to_be_empty()
            page.clock.fast_forward(4000)
            expect(spoken).to_have_text("Event 2. Event 3. Event 4. And 3 more.")
            # A stream that begins anew says them all again.
            self.hang_up()
            expect(page.locator("#lost")).to_contain_text("Last known")
            page.clock.fast_forward(1000)
            expect(page.locator("#lost")).to_be_empty()
            expect(page.locator("#news li")).to_have_count(7)
            page.clock.fast_forward(4000)
            expect(spoken).to_have_text("Connected again.")

        await self.sees(look)

    async def test_events_say_what_happened_once(self) -> None:
        self.server.say("state", a_state())
        happened = (
            ("launching", "warm", "Server warm is being launched."),
            ("warm", "warm", "Server warm has booted, and stands by."),
            ("launch-asked", "asked", "An operator asked to start server asked."),
            ("lost", "d33ebc29", "Server d33ebc29 was killed (SIGKILL)."),
            ("launching", "asked", "Server asked is being launched."),
            ("ready", "asked", "Server asked is ready."),
            ("launching", "7f3a1c22", "Server 7f3a1c22 is being launched."),
            ("gone", "d33ebc29", "Server d33ebc29 has ended: it was killed (SIGKILL)."),
            ("draining", "empty", "Server empty drains: it is empty."),
            ("gone", "empty", "Server empty has ended: it was empty."),
            ("draining", "kept", "Server kept drains: it is empty."),
            ("kept", "kept", "Server kept is needed after all, and takes people."),
            ("launching", "new", "Server new is being launched."),
            (None, None, "Something of another version."),
            # A machine takes a while.
            ("ready", "7f3a1c22", "Server 7f3a1c22 is ready after 91.3 s."),
            ("lost", "alone", "Server alone gave no sign of life."),
        )
        for id, (kind, server, text) in enumerate(happened, 1):
            at = NOW + id + (90 if id > 14 else 0)
            about = {"id": id, "at": at, "kind": kind, "server": server}
            self.server.say("news", {**about, "text": text})

        def look() -> None:
            page = self.open()
            items = page.locator("#news li")
            expect(items.locator("span")).to_have_text(
                [
                    "Server alone gave no sign of life.",
                    "Server 7f3a1c22 is ready after 91.3 s.",
                    "Something of another version.",
                    "Server new is being launched.",
                    "Server kept is needed after all, and takes people.",
                    "Server kept drains: it is empty.",
                    "Server empty has ended: it was empty.",
                    "Server asked is ready.",
                    "Server d33ebc29 was killed (SIGKILL) and was replaced by 7f3a1c22.",
                    "An operator asked to start server asked.",
                    "Server warm has booted, and stands by.",
                ]
            )
            looks_of = [each.get_attribute("class") for each in items.all()]
            expected = "bad good plain work good warn plain good bad work rest"
            self.assertEqual(looks_of, expected.split())
            fills = {
                look: items.nth(number).locator("svg").evaluate("e => getComputedStyle(e).fill")
                for number, look in enumerate(looks_of)
            }
            self.assertEqual(len({*fills.values()}), len(fills))
            for each in items.locator("path").all():
                self.assertTrue(each.get_attribute("d"))

        await self.sees(look)

    async def test_a_server_that_falls_silent_is_asked_again(self) -> None:
        self.server.say("state", a_state())

        def falls_silent() -> Page:
            page = self.open_by_clock()
            page.clock.fast_forward(14000)
            expect(page.locator("#as-of")).to_contain_text("Live")
            page.clock.fast_forward(2000)
            expect(page.locator("#lost")).to_contain_text("Last known")
            expect(page.locator("#lost")).to_contain_text("16 s ago")
            return page

        page = await self.sees(falls_silent)
        await eventually(lambda: self.server.watched == 0, "the stream is closed", 5)
        await self.sees(lambda: page.clock.fast_forward(2000))
        await eventually(lambda: self.server.watched == 1, "the page asks again")
        await self.sees(lambda: expect(page.locator("#as-of")).to_contain_text("Live"))

    async def test_a_page_that_nobody_sees_has_no_stream(self) -> None:
        self.server.say("state", a_state())

        def hide(page: Page, hidden: bool) -> None:
            page.evaluate(
                "hidden => { Object.defineProperty(document, 'hidden',"
                " {value: hidden, configurable: true});"
                " document.dispatchEvent(new Event('visibilitychange')); }",
                hidden,
            )

        page = await self.sees(self.open)
        await self.sees(lambda: hide(page, True))
        await eventually(lambda: self.server.watched == 0, "the stream is closed", 5)
        self.server.say("state", a_state([a_server()]))
        await self.sees(lambda: hide(page, False))
        await eventually(lambda: self.server.watched == 1, "the page asks again")
        await self.sees(lambda: expect(rows(page)).to_have_count(1))
        await self.sees(lambda: expect(page.locator("#lost")).to_be_empty())

    async def test_an_answer_that_never_comes(self) -> None:
        """What was asked for is given up, and may be asked for again."""
        self.server.say("state", a_state(operator="ops"))

        def tries() -> None:
            page = self.open_by_clock()
            start = page.get_by_role("button", name="Start a server")
            for number in (1, 2):
                start.click()
                start.click()
                page.clock.fast_forward(9900)
                expect(page.locator("#said")).to_be_empty()
                page.clock.fast_forward(200)
                expect(page.locator("#said")).to_contain_text("The server does not answer.")
                self.assertEqual(self.server.asked.count("/servers"), number)
                page.evaluate("document.getElementById('said').textContent = ''")

        await self.sees(tries)

    async def test_why_there_is_no_stream(self) -> None:
        """The server's words are shown, and operators can log in all the same."""
        self.server.refusal = "Too many <b>watch</b>."

        def look() -> None:
            page = self.browser.open(self.url)
            lost = page.locator("#lost")
            expect(lost).to_have_text("Not connected yet. Too many <b>watch</b>. Reconnecting…")
            self.assertEqual(violations(page), [])
            page.get_by_role("button", name="Log in").click()
            expect(page.get_by_role("dialog")).to_be_visible()
            self.server.refusal = ""
            self.say("state", a_state())
            expect(lost).to_be_empty()

        await self.sees(look)

    async def test_what_happens_together_is_one_reason_to_fetch_the_record(self) -> None:
        self.server.say("state", a_state(operator="ops"))
        old = [{"id": number, "at": NOW - 1, "text": "Before."} for number in range(1, 41)]
        for news in old:
            self.server.say("news", news)

        def look() -> None:
            page = self.open_by_clock()
            expect(page.locator("#news li")).to_have_count(40)
            for number in range(41, 61):
                self.say("news", {"id": number, "at": NOW + 1, "text": "Now."})
            expect(page.locator("#news li")).to_have_count(60)
            page.clock.run_for(1500)
            # Once for the login, once for the news.
            self.asks(page, "/actions", 2)
            self.hang_up()
            expect(page.locator("#lost")).not_to_be_empty()
            page.clock.run_for(1000)
            expect(page.locator("#lost")).to_be_empty()
            page.clock.run_for(1500)
            self.asks(page, "/actions", 2)

        await self.sees(look)

    async def test_after_an_upgrade_it_loads_itself_anew_once(self) -> None:
        self.server.say("state", a_state(version="1"))

        def look() -> None:
            page = self.open()
            loads: list[Page] = []
            page.on("load", lambda page: loads.append(page))
            self.say("state", a_state([a_server()], version="1"))
            expect(rows(page)).to_have_count(1)
            self.assertEqual(loads, [])
            self.say("state", a_state(version="2"))
            expect(page.locator("#where")).to_contain_text("Version 2,")
            expect(page.locator("#as-of")).to_contain_text("Live")
            self.say("state", a_state([a_server()], version="2"))
            expect(rows(page)).to_have_count(1)
            self.assertEqual(len(loads), 1)

        await self.sees(look)

    async def test_two_of_one_name(self) -> None:
        """Whatever a server says twice, what is gone from it is gone from the page."""
        twice = a_state(waiting={"count": 2, "longest": 1.0, "who": ["ann", "ann", "bob"]})
        self.server.say("state", twice)

        def look() -> None:
            page = self.open()
            who = page.locator("#waiting-who li")
            expect(who).to_have_text(["ann", "bob"])
            self.say("state", twice)
            self.say("state", {**twice, "at": NOW + 1})
            expect(page.locator("#as-of")).to_have_text(re.compile(":41$"))
            expect(who).to_have_text(["ann", "bob"])
            self.say("state", {**twice, "waiting": {"count": 1, "longest": 1.0, "who": ["bob"]}})
            expect(who).to_have_text(["bob"])

        await self.sees(look)

    async def test_numbers_and_times_read_well(self) -> None:
        cases = {
            "duration": {
                "null": "–", "0": "0 s", "0.00123": "1.2 ms", "0.0426": "43 ms", "0.9996": "1.0 s",
                "2.13": "2.1 s", "3": "3 s", "59.4": "59 s", "60": "1 min", "192.2": "3 min 12 s",
                "7500": "2 h 5 min", "93600": "1 d 2 h",
            },
            "number": {"null": "–", "0": "0", "12345": "12,345", "3.14": "3.1", "17.2": "17"},
            "size": {"0": "0 bytes", "1024": "1 KiB", "1610612736": "1.5 GiB", "2e12": "1.8 TiB"},
            "visible": {
                '"a\\nb\\u2066"': r"a\x0ab\u2066", '"\\ud800"': r"\ud800", '"芳"': "芳",
                '"\\u{1bca0}"': r"\U0001bca0", '"\\u0600\\u0661"': "\u0600\u0661",
            },
        }  # fmt: skip

        def look() -> None:
            page = self.open()
            for function, each in cases.items():
                for argument, text in each.items():
                    said = page.evaluate(
                        f"import('/words.js').then(({{{function}: say}}) => say({argument}))"
                    )
                    self.assertEqual(said, text, f"{function}({argument})")
            today = "import('/words.js').then(({time}) => time(Date.now() / 1000))"
            self.assertRegex(page.evaluate(today), r"^\d\d:\d\d:\d\d$")
            before = "import('/words.js').then(({time}) => time(86400))"
            self.assertEqual(page.evaluate(before), "2 Jan 1970 00:00:00")

        self.server.say("state", a_state())
        await self.sees(look)

    async def test_without_a_password_file_it_only_shows(self) -> None:
        self.server.say("state", a_state([a_server()], may_act=False))

        def look() -> None:
            page = self.open()
            expect(page.get_by_text("Read only: no operator is set up.")).to_be_visible()
            expect(page.get_by_role("button")).to_have_text(["Plots"])

        await self.sees(look)

    async def test_whole_ids_are_copied(self) -> None:
        server = a_server()
        self.server.say("state", a_state([server]))

        def look() -> None:
            page = self.open()
            page.locator(".id").evaluate("e => getSelection().selectAllChildren(e)")
            self.assertEqual(page.evaluate("String(getSelection())"), server["id"])

        await self.sees(look)


class Alarms(ArrangedCase):
    def alarm(self, cause: str = "maximum", text: str = "People wait") -> dict[str, Any]:
        """An alarm as the page gets it."""
        return problem(cause, text, urgent=True)

    async def test_it_is_above_everything_and_ends(self) -> None:
        self.server.say("state", a_state([a_server()], alarms=[self.alarm()]))

        def look() -> None:
            page = self.open()
            alarm = page.locator("#alarm")
            self.assertEqual(alarm.get_attribute("role"), "alert")
            for look in looks(page):
                expect(alarm).to_have_text("People wait. Do something.")
                expect(page).to_have_title("ALARM – bbs: the fleet")
                box, heading = alarm.bounding_box(), page.locator("h1").bounding_box()
                assert box is not None and heading is not None
                self.assertLess(box["y"] + box["height"], heading["y"] + 1)
                self.assertEqual(violations(page), [], look)
                self.say("state", a_state([a_server()]))
                expect(alarm).to_be_empty()
                expect(page).to_have_title("bbs: the fleet")
                self.say("state", a_state([a_server()], alarms=[self.alarm()]))
                expect(alarm).not_to_be_empty()
            self.assertEqual(too_wide(page), [])

        await self.sees(look)

    async def test_what_stays_the_same_is_not_read_out_again(self) -> None:
        self.server.say("state", a_state(alarms=[self.alarm("refused"), self.alarm()]))

        def look() -> None:
            page = self.open()
            page.evaluate(
                "() => { window.changes = 0; new MutationObserver(all => changes += all.length)"
                ".observe(document.getElementById('alarm'),"
                " {childList: true, subtree: true, characterData: true}); }"
            )
            waiting = {"count": 7, "longest": 1.0}
            self.say(
                "state",
                a_state(alarms=[self.alarm("refused"), self.alarm()], at=NOW + 1, waiting=waiting),
            )
            expect(page.locator("#waiting")).to_contain_text("7 people")
            self.assertEqual(page.evaluate("changes"), 0)
            self.say("state", a_state(alarms=[self.alarm()]))
            expect(page.locator("#alarm p")).to_have_count(1)

        await self.sees(look)

    async def test_other_peoples_text_is_text(self) -> None:
        alarm = self.alarm(text="<b>\u202earn:aws</b>")
        self.server.say("state", a_state(alarms=[alarm]))

        def look() -> None:
            page = self.open()
            expect(page.locator("#alarm strong")).to_have_text(r"<b>\u202earn:aws</b>.")

        await self.sees(look)

    async def test_without_a_connection_that_is_more_urgent(self) -> None:
        self.server.say("state", a_state(alarms=[self.alarm()]))

        def look() -> None:
            page = self.open()
            self.server.refusal = "Gone."
            self.hang_up()
            expect(page).to_have_title("bbs: not connected")
            expect(page.locator("#alarm")).not_to_be_empty()

        await self.sees(look)


class OneServer(ArrangedCase):
    def setUp(self) -> Any:
        self.chosen = a_server(2)
        made = super().setUp()
        self.server.say("state", a_state([a_server(1), self.chosen, a_server(3)]))
        self.server.say("history", an_hour())
        waves: list[float | None] = [None, *range(359)]
        series = {"people": waves, "messages_per_second": waves}
        self.server.answers["/history"] = (200, {"step": 10, "end": NOW, "series": series})
        return made

    def button(self, page: Page) -> Any:
        """What shows a server's plots."""
        return page.get_by_role("button", name=f"Plots of {self.chosen['id'][:8]}")

    async def test_its_last_hour(self) -> None:
        def look() -> None:
            page = self.open()
            self.button(page).click()
            panel = page.locator("#server-plots")
            expect(panel.get_by_role("heading", level=3)).to_have_text(
                f"Server {self.chosen['id'][:8]} in the last hour"
            )
            self.assertEqual(focused(page), "server-plots-title")
            expect(panel.get_by_role("heading", level=4)).to_have_text(
                ["People", "Messages a second"]
            )
            expect(panel.locator(".range")).to_have_text(["min 0, max 358"] * 2)
            expect(panel.locator("strong")).to_have_text(["358"] * 2)
            slider = panel.get_by_role("slider", name="People on this server over the last hour")
            slider.focus()
            page.keyboard.press("ArrowLeft")
            expect(panel.locator(".range")).to_have_text([re.compile(r":\d\d: 357$")] * 2)
            # It goes on with the others, and what is looked at stays.
            asked = self.server.asked.count("/history")
            self.say("point", {"end": NOW + 10, "series": {}})
            page.wait_for_timeout(500)
            self.assertEqual(self.server.asked.count("/history"), asked + 1)
            expect(panel.locator(".range").first).to_have_text(re.compile(r": 357$"))
            panel.get_by_role("button", name="Close").click()
            expect(panel).to_be_hidden()
            expect(self.button(page)).to_be_focused()
            self.say("point", {"end": NOW + 20, "series": {}})
            page.wait_for_timeout(500)
            self.assertEqual(self.server.asked.count("/history"), asked + 1)

        await self.sees(look)

    async def test_by_keyboard(self) -> None:
        def look() -> None:
            page = self.open()
            tab_to(page, f"Plots of {self.chosen['id'][:8]}")
            page.keyboard.press("Enter")
            expect(page.locator("#server-plots-title")).to_be_focused()
            tab_to(page, "Close")
            page.keyboard.press("Enter")
            self.assertEqual(focused(page), f"Plots of {self.chosen['id'][:8]}")

        await self.sees(look)

    async def test_axe_finds_nothing_wrong_and_nothing_is_too_wide(self) -> None:
        def look() -> None:
            page = self.open()
            self.button(page).click()
            expect(page.locator("#server-plots .range")).to_have_count(2)
            for look in looks(page):
                self.assertEqual(violations(page), [], look)
            self.assertEqual(too_wide(page), [])

        await self.sees(look)

    async def test_one_that_has_none(self) -> None:
        self.server.answers["/history"] = (404, "No such server")

        def look() -> None:
            page = self.open()
            self.button(page).click()
            expect(page.locator("#server-plots p").first).to_contain_text("No plots yet")

        await self.sees(look)


class WhoIsThere(ArrangedCase):
    async def test_a_place_a_connection_and_a_session_are_told_apart(self) -> None:
        servers = [a_server(1, people=7, connected=4), a_server(2, connected=None)]
        self.server.say("state", a_state(servers, connected=4, away=3))

        def look() -> None:
            page = self.open()
            expect(figure(page, "People")).to_contain_text("of 20 places")
            connected = figure(page, "Connected")
            expect(connected.locator("strong")).to_have_text("4")
            expect(connected.locator(".note")).to_have_text("3 away")
            expect(rows(page).locator(".connected")).to_have_text(["", "4 connected"])

        await self.sees(look)

    async def test_errors_and_failed_logins(self) -> None:
        self.server.say("state", a_state())

        def look() -> None:
            page = self.open()
            errors = figure(page, "Errors a minute")
            expect(errors.locator("strong")).to_have_text("3")
            expect(errors.locator(".note")).to_have_text(
                "2 unavailable (no database, broker or place in time), 1 too many attempts"
            )
            failed = figure(page, "Failed logins a minute")
            expect(failed.locator("strong")).to_have_text("3")

        await self.sees(look)


class Outdated(ArrangedCase):
    """Servers of another version than the page's."""

    def setUp(self) -> Any:
        self.old = a_server(1, version="0.0.9")
        made = super().setUp()
        self.server.answers["/actions"] = (200, [])
        for path, said in (("", "To be replaced"), ("/cancel", "Not to be replaced any more")):
            answer = {"status": 0, "message": f"{said}: 1 server"}
            self.server.answers[f"/servers/replace{path}"] = (200, answer)
        return made

    def state(self, outdated: int, asked: int = 0, waits: str | None = None) -> dict[str, Any]:
        """What the page is told, as an operator's."""
        replacing = {"outdated": outdated, "asked": asked, "waits_for": waits}
        server = {**self.old, "replace_asked": asked > 0}
        return a_state([server], operator="ops", replacing=replacing)

    async def test_they_are_replaced_or_stay_after_a_question(self) -> None:
        self.server.say("state", self.state(0))

        def look() -> None:
            page = self.open()
            button = page.locator("#replace-or-cancel")
            expect(button).to_be_hidden()
            self.say("state", self.state(1))
            expect(button).to_have_text("Replace outdated")
            tab_to(page, "replace-or-cancel")
            page.keyboard.press("Enter")
            dialog = page.get_by_role("dialog", name="Replace outdated servers?")
            expect(dialog).to_contain_text("1 server runs another version than 0.1.0.")
            self.assertEqual(violations(page), [])
            page.keyboard.press("Escape")
            self.assertEqual(focused(page), "replace-or-cancel")
            self.assertNotIn("/servers/replace", self.server.asked)
            button.click()
            dialog.get_by_label("How many at the most").fill("3")
            dialog.get_by_role("button", name="Replace them").click()
            expect(page.locator("#said")).to_have_text("To be replaced: 1 server")
            self.assertIn(("/servers/replace", '{"most":"3"}'), self.server.told)
            self.say("state", self.state(0, 1, "people wait for places"))
            # The same button, which keeps the focus.
            expect(button).to_have_text("Cancel replacement")
            expect(button).to_be_focused()
            expect(page.locator("#replacing")).to_have_text(
                "1 server is to be replaced, one after the other."
                " This waits: people wait for places."
            )
            expect(rows(page).locator(".reason")).to_have_text("to be replaced")
            self.assertEqual(violations(page), [])
            button.click()
            dialog = page.get_by_role("dialog", name="Let these servers stay?")
            expect(dialog).to_contain_text("1 server is to be replaced, and would stay.")
            dialog.get_by_role("button", name="Let them stay").click()
            expect(page.locator("#said")).to_have_text("Not to be replaced any more: 1 server")
            self.say("state", self.state(0))
            expect(button).to_be_hidden()
            expect(page.locator("#replacing")).to_be_empty()
            self.assertEqual(focused(page), "servers-title")

        await self.sees(look)

    async def test_it_is_for_operators(self) -> None:
        self.server.say("state", self.state(1))

        def look() -> None:
            page = self.open()
            button = page.locator("#replace-or-cancel")
            button.click()
            expect(page.get_by_role("dialog")).to_be_visible()
            self.say("state", {**self.state(0, 1), "operator": None})
            expect(page.get_by_role("dialog")).to_be_hidden()
            expect(button).to_be_hidden()
            expect(page.locator("#replacing")).to_have_text(
                "1 server is to be replaced, one after the other."
            )

        await self.sees(look)

    async def test_versions_of_login_servers(self) -> None:
        others = [{"id": f"{number}" * 32, "version": "0.3.0"} for number in (1, 2)]
        old = {"id": "3" * 32, "version": None}
        self.server.say("state", a_state(login_servers=[old, *others]))

        def look() -> None:
            page = self.open()
            said = page.locator("#login-servers")
            expect(said).to_have_text("Login servers: 1 of an older version, 2 of version 0.3.0.")
            self.say("state", a_state(login_servers=others))
            expect(said).to_have_text("Login servers: 2 of version 0.3.0.")

        await self.sees(look)


class Dates(ArrangedCase):
    async def test_what_is_not_of_today_has_its_date(self) -> None:
        self.server.say("state", a_state())
        for id, at in ((1, NOW), (2, NOW - 400 * 86400.0)):
            self.server.say("news", {"id": id, "at": at, "text": f"It was {id}."})

        def look() -> None:
            page = self.browser.open_apart("about:blank")
            page.clock.set_fixed_time(NOW + 60)
            page.goto(self.url)
            times = page.locator("#news time")
            expect(times).to_have_text(["14 Oct 2025 11:06:40", "11:06:40"])
            self.assertEqual(times.first.get_attribute("datetime"), "2025-10-14T11:06:40.000Z")
            self.assertEqual(times.first.get_attribute("title"), "2025-10-14T11:06:40.000Z")

        await self.sees(look)
