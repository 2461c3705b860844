"""The operators' page of services that are not the board, in a browser."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from playwright.sync_api import Page, expect

from bbs.operators import Counter
from tests.integration.page_case import ArrangedCase, figure, overlaps, rows, too_wide
from tests.web.page_server import NOW, a_server, a_state, an_hour


def rates(**each: float) -> dict[str, dict[str, float]]:
    """What is counted a second, as it is told."""
    return {name: {"per_second": rate} for name, rate in each.items()}


class ALobby(ArrangedCase):
    service_name = "lobby"
    counters = (Counter("joins"), Counter("games_won"))

    def a_lobby(self, **members: Any) -> dict[str, Any]:
        """Its present."""
        servers = [
            a_server(number, counters=rates(joins=number, games_won=0.5)) for number in (1, 2)
        ]
        counters = rates(joins=3.0, games_won=1.0)
        return a_state(servers, service="lobby", counters=counters, **members)

    async def test_it_is_called_by_its_name(self) -> None:
        self.server.say("state", self.a_lobby())

        def look() -> None:
            page = self.open()
            expect(page).to_have_title("lobby: the fleet")
            expect(page.get_by_role("heading", level=1)).to_have_text("lobby")
            for word in ("bbs", "essage"):
                self.assertNotIn(word, page.locator("body").inner_text())
            self.hang_up()
            expect(page).to_have_title("lobby: not connected")

        await self.sees(look)

    async def test_what_it_counts_is_shown(self) -> None:
        self.server.say("state", self.a_lobby())
        waves = [None, *range(359)]
        hour = an_hour(joins_per_second=waves, games_won_per_second=waves)
        self.server.say("history", hour)

        def look() -> None:
            page = self.open()
            joins = figure(page, "Joins a second")
            expect(joins.locator("strong")).to_have_text("3")
            expect(joins.locator(".range")).to_have_text("min 0, max 358")
            expect(figure(page, "Games won a second").locator("strong")).to_have_text("1")
            expect(page.get_by_role("columnheader", name="Counted/s")).to_be_visible()
            expect(rows(page).first.locator(".rate div")).to_have_text(
                ["joins 2", "games won 0.5"], use_inner_text=True
            )
            point = dict.fromkeys(hour["series"], 1.0) | {"joins_per_second": 1000}
            self.say("point", {"end": NOW + 10, "series": point})
            expect(joins.locator(".range")).to_have_text("min 0, max 1,000")

        await self.sees(look)

    async def test_nothing_is_wider_than_the_window(self) -> None:
        self.server.say("state", self.a_lobby(operator="ops"))
        self.server.say("history", an_hour())

        def look() -> None:
            page = self.open()
            self.assertEqual(too_wide(page), [])
            self.assertEqual(overlaps(page), [])

        await self.sees(look)

    async def test_a_new_version_that_counts_something_else(self) -> None:
        """The page is made anew; until then nothing breaks."""
        self.server.say("state", self.a_lobby())
        wave: list[float | None] = [1.0] * 360
        self.server.say("history", an_hour(joins_per_second=wave, games_won_per_second=wave))

        def look() -> None:
            page = self.open()
            loads: list[Page] = []
            page.on("load", lambda page: loads.append(page))
            self.server.info = replace(self.server.info, counters=(Counter("joins"),))
            self.say("history", an_hour(joins_per_second=wave))
            self.assertEqual(loads, [])
            one = [a_server(counters=rates(joins=1.5))]
            self.say("state", a_state(one, service="lobby", counters=rates(joins=2.0)))
            expect(page.get_by_role("columnheader", name="Joins/s")).to_be_visible()
            expect(figure(page, "Games won a second")).to_have_count(0)
            expect(rows(page).locator(".rate")).to_have_text("1.5")
            self.assertEqual(len(loads), 1)

        await self.sees(look)


class CountsNothing(ArrangedCase):
    service_name = "quiet"
    counters = ()

    async def test_there_is_no_room_for_it(self) -> None:
        self.server.say("state", a_state([a_server(counters={})], service="quiet", counters={}))
        self.server.say("history", an_hour())

        def look() -> None:
            page = self.open()
            expect(rows(page)).to_have_count(1)
            expect(page.get_by_role("columnheader")).to_have_count(5)
            expect(rows(page).locator("td")).to_have_count(5)
            expect(page.locator(".figures li")).to_have_count(13)

        await self.sees(look)
