"""The page's hour and its news over restarts, and at several login servers."""

from __future__ import annotations

from twisted.internet.task import Clock

from bbs.core.values import State
from bbs.rules import fleet_admin, fleet_transitions, membership, page_history
from bbs.rules.fleet_admin import By
from bbs.rules.page_history import NEWS_KEPT, EventKind, FleetEvent
from bbs.scaling.housekeeping import HOUSEKEEPING_INTERVAL
from bbs.storage.models import LoginServer, News, Point, Server
from bbs.web.history import MOST_PLOTTED, chosen
from bbs.web.page import OperatorsPage
from tests.web.case import AwayCase, Browser, PageCase, Watcher


class MemoryCase(PageCase):
    def another(self, id: str) -> OperatorsPage:
        """The page of another login server, which runs beside."""
        self.service.database.run(membership.enroll, membership.Member(id, id))
        mine, self.service.me = self.service.me, membership.Member(id, id)
        page = self.make_page()
        self.service.me = mine
        page.startService()
        self.addCleanup(lambda: page.running and self.successResultOf(page.stopService()))
        return page

    def restart(self, id: str = "successor") -> None:
        """This login server stops, and starts again: under another id, as it does."""
        self.stop_page()
        LoginServer.delete().where(LoginServer.id == self.service.me.id).execute()
        self.service.me = membership.Member(id, self.service.me.identity)
        self.service.login.controller.me = self.service.me
        self.page = self.make_page()
        self.page.startService()

    def live(self, seconds: float) -> None:
        """Time passes, in which the other login servers live, too."""
        for _ in range(round(seconds)):
            LoginServer.update(beats=LoginServer.beats + 1).execute()
            self.pass_time(1)

    def hour(self, page: OperatorsPage | None = None) -> dict[str, list[float | None]]:
        """The series that a page shows, without the empty beginning."""
        series = Browser(page or self.page).get("/history").json["series"]
        return {name: values[-40:] for name, values in series.items()}

    def texts(self, page: OperatorsPage | None = None) -> list[str]:
        """The news that a page has for somebody who comes."""
        return Watcher(Browser(page or self.page)).open().texts()


class Restarting(MemoryCase):
    def test_the_hour_goes_on(self) -> None:
        self.service.people("ann")
        self.pass_time(31)
        before = self.hour()
        self.restart()
        self.assertEqual(self.hour(), before)
        self.assertEqual([x for x in before["free_places"] if x is not None], [1, 1, 1])
        self.assertEqual(len([x for x in before["reactor_lag"] if x is not None]), 3)
        self.pass_time(11)
        self.assertEqual(self.hour()["free_places"][-5:], [None, 1, 1, 1, 1])

    def test_a_time_in_which_nobody_looked_is_a_gap(self) -> None:
        self.pass_time(21)
        self.stop_page()
        self.pass_time(30)
        self.restart()
        self.pass_time(11)
        self.assertEqual(self.hour()["servers"][-6:], [1, 1, None, None, None, 1])

    def test_the_news_go_on_and_so_do_their_ids(self) -> None:
        watcher = self.watcher()
        self.pass_time(1)
        self.operator().post("/servers")
        self.pass_time(3)
        told = watcher.texts()
        self.assertEqual(len(told), 5)
        self.restart()
        again = self.watcher()
        self.assertEqual(again.texts(), told)
        self.assertEqual(again.ids, watcher.ids)
        self.operator().post("/servers")
        self.pass_time(3)
        again.events()
        self.assertEqual(again.ids, sorted({*again.ids}))
        self.assertGreater(len(again.ids), 5)

    def test_what_an_operator_did_meanwhile(self) -> None:
        """It is told when somebody looks again, with the time at which it was done."""
        self.pass_time(11)
        before = len(self.texts())
        self.stop_page()
        at = self.service.wall() + 5
        (server,) = self.server_ids()
        self.service.database.run(fleet_admin.drain, By("root", "a shell", at), server)
        self.pass_time(60)
        self.restart()
        news = [data for _, data in self.watcher().events("news")][before:]
        self.assertEqual(news[0]["text"], f"An operator asked to drain server {server[:8]}.")
        self.assertEqual(news[0]["at"], round(at, 1))
        self.restart("third")
        self.assertEqual(len(self.texts()), before + len(news))

    def test_what_was_done_is_told_once(self) -> None:
        self.watcher()
        self.pass_time(2)
        self.operator().post("/servers")
        self.pass_time(2)
        told = self.texts()
        self.assertEqual(len(told), 5)
        self.restart()
        self.assertEqual(self.texts(), told)

    def test_a_first_start_digs_nothing_up(self) -> None:
        """Of a database in which much has happened, and that kept none of it."""
        self.stop_page()
        for table in (News, Point):
            table.delete().execute()
        self.successResultOf(
            self.service.database.run(fleet_transitions.begin, self.service.me, self.service.wall())
        )
        self.page = self.make_page()
        self.page.startService()
        self.assertEqual(self.texts(), [])

    def test_stamps_are_those_of_what_happened(self) -> None:
        """Nobody watches, and so what happens is seen later."""
        self.pass_time(11)
        asked = self.service.wall()
        self.operator().post("/servers")
        self.pass_time(11)
        stamps = [data["at"] for _, data in self.watcher().events("news")][2:]
        self.assertEqual([round(each - asked, 1) for each in stamps], [0, 0, 0.2])


class WhenItHappened(MemoryCase):
    def test_a_server_that_is_killed(self) -> None:
        """Its people move at once, and the news have the time of that: neither that of the page's
        next look, of which there is one in ten seconds while nobody watches, nor of the end."""
        self.service.people("ann")
        self.pass_time(11.5)
        (server,) = self.server_ids()
        killed = self.service.wall()
        self.service.servers.pop(server)
        lost_at = None
        for _ in range(600):
            self.clock.advance(0.1)
            if lost_at is None and Server.get(Server.id == server).state == State.LOST:
                lost_at = self.service.wall()
        self.assertIsNotNone(lost_at)
        assert lost_at is not None
        self.assertGreater(lost_at, killed + self.policy.lost_after)
        stamps = {data["text"]: data["at"] for _, data in self.watcher().events("news")}
        patience = f"{self.policy.lost_after:g} s"
        lost = f"Server {server[:8]} gave no sign of life for more than {patience}."
        self.assertAlmostEqual(stamps[lost], lost_at, delta=0.11)


class SeveralLoginServers(MemoryCase):
    process: Clock | None = None
    """The clock of the first of them, where that is to stop."""
    is_stopped = False

    def have_a_process(self) -> None:
        """The page of the first is of a process that can be stopped, and go on."""
        self.stop_page()
        self.process = Clock()
        self.process.advance(self.clock.seconds())
        self.page = self.make_page(self.process)
        self.page.startService()

    def go_on(self) -> None:
        """It goes on, and finds that time has passed."""
        assert self.process is not None
        self.is_stopped = False
        self.process.advance(self.clock.seconds() - self.process.seconds())

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            if self.process is not None and not self.is_stopped:
                for _ in range(10):
                    self.process.advance(0.1)
            super().pass_time(1)

    def test_they_show_the_same_hour_and_the_same_news(self) -> None:
        other = self.another("other")
        self.service.people("ann", "bob", "eva")
        self.live(31)
        self.operator().post("/servers")
        self.live(31)
        mine, theirs = self.hour(), self.hour(other)
        for name in ("free_places", "logins_per_minute", "launches", "servers"):
            known = [x for x in theirs[name] if x is not None]
            self.assertGreater(len(known), 3)
            self.assertEqual([x for x in mine[name] if x is not None][: len(known)], known, name)
        self.assertEqual(self.texts(other), self.texts())
        self.assertGreater(len(self.texts()), 1)

    def test_a_broker_that_is_away_is_told_once(self) -> None:
        """By the page that sees it first; the others see the same."""
        other = self.another("other")
        watchers = [self.watcher(), Watcher(Browser(other)).open()]
        self.live(2)
        for watcher in watchers:
            watcher.events()
        self.service.broker.away()
        self.live(2)
        for watcher in watchers:
            self.assertEqual(watcher.texts(), ["The broker is away: messages arrive later."])
        kinds = [row.kind for row in News.select() if row.kind.startswith("broker")]
        self.assertEqual(kinds, [EventKind.BROKER_AWAY])

    def test_nothing_is_written_twice(self) -> None:
        self.another("other")
        self.another("third")
        self.live(41)
        fleet = Point.select().where(Point.login_server == "")
        self.assertEqual(fleet.count(), 4)
        self.watcher()
        self.operator().post("/servers")
        self.live(12)
        texts = [row.text for row in News.select()]
        self.assertEqual((len(texts), len({*texts})), (5, 5))

    def test_who_watches_any_of_them_hears_it_soon(self) -> None:
        other = self.another("other")
        watcher = Watcher(Browser(other)).open()
        self.watcher()
        self.live(2)
        watcher.events()
        self.operator().post("/servers")
        self.live(3)
        self.assertEqual(len(watcher.texts()), 3)

    def test_another_goes_on_when_one_stops(self) -> None:
        other = self.another("other")
        self.live(11)
        self.stop_page()
        self.operator_of(other).post("/servers")
        self.live(12)
        self.assertEqual(self.texts(other), [row.text for row in News.select()])
        self.assertEqual(len(self.texts(other)), 5)
        self.assertEqual(self.hour(other)["servers"][-1], 2)

    def test_another_goes_on_when_one_falls_silent(self) -> None:
        """As long as nobody knows that it is dead."""
        self.have_a_process()
        other = self.another("other")
        self.live(11)
        self.is_stopped = True
        self.operator_of(other).post("/servers")
        self.live(32)
        self.assertEqual(News.select().count(), 5)
        fleet = self.hour(other)["servers"]
        self.assertEqual(fleet[-1], 2)

    def test_what_one_told_before_it_fell_silent_is_not_told_again(self) -> None:
        self.have_a_process()
        other = self.another("other")
        self.watcher()
        Watcher(Browser(other)).open()
        self.live(11)
        self.operator().post("/servers")
        self.live(3)
        told = self.texts(other)
        self.assertEqual(len(told), 5)
        self.is_stopped = True
        self.live(32)
        self.assertEqual(self.texts(other), told)
        self.assertEqual(News.select().count(), 5)

    def test_one_that_comes_back_goes_on_from_what_the_other_wrote(self) -> None:
        self.have_a_process()
        other = self.another("other")
        self.watcher()
        self.live(11)
        self.is_stopped = True
        self.operator_of(other).post("/servers")
        self.live(32)
        self.go_on()
        self.live(31)
        mine, theirs = (
            [x for x in self.hour(page)["servers"] if x is not None] for page in (None, other)
        )
        self.assertEqual(mine, theirs)
        ids = []
        for page in (self.page, other):
            watcher = Watcher(Browser(page)).open()
            watcher.events()
            ids.append(watcher.ids)
        self.assertEqual(ids, [[row.id for row in News.select().order_by(News.id)]] * 2)

    def operator_of(self, page: OperatorsPage) -> Browser:
        """An operator at another page."""
        browser = Browser(page)
        self.assertEqual(browser.log_in().code, 200)
        return browser


class WithoutADatabase(MemoryCase, AwayCase):
    def test_it_goes_on_in_memory_and_news_are_written_later(self) -> None:
        watcher = self.watcher()
        self.pass_time(12)
        watcher.events()
        self.go()
        self.pass_time(21)
        self.assertEqual(len(watcher.events("point")), 2)
        self.come_back()
        self.pass_time(12)
        texts = [row.text for row in News.select().order_by(News.id)]
        self.assertEqual(
            [text[:20] for text in texts[2:4]], ["The database is away", "The database is back"]
        )
        self.assertEqual(Point.select().where(Point.login_server == "").count(), 2)

    def outage(self) -> None:
        """The database is away for a while."""
        self.go()
        self.pass_time(6)
        self.come_back()
        self.pass_time(3)

    def told(self, text: str) -> list[str]:
        """The rows that begin so."""
        return [row.text for row in News.select() if row.text.startswith(text)]

    def test_each_of_several_pages_tells_it_once_and_one_stores_it(self) -> None:
        pages = [self.page, self.another("other"), self.another("third")]
        watchers = [Watcher(Browser(page)).open() for page in pages]
        self.pass_time(2)
        for watcher in watchers:
            watcher.events()
        for _ in range(2):
            self.outage()
            for watcher in watchers:
                away, back = watcher.texts()
                self.assertTrue(away.startswith("The database is away: "))
                self.assertEqual(back, "The database is back.")
        self.assertEqual(len(self.told("The database")), 4)
        self.restart()
        for page in (self.page, *pages[1:]):
            self.assertEqual(sum("database" in text for text in self.texts(page)), 4)

    def test_what_follows_is_told_at_a_page_whose_clock_is_ahead(self) -> None:
        """What it told without the database has its own time, and so a higher id than what others
        store next."""
        right = self.service.wall
        self.service.wall = lambda: right() + 60  # type: ignore[method-assign]
        ahead = self.another("ahead")
        self.service.wall = right  # type: ignore[method-assign]
        self.watcher()
        watcher = Watcher(Browser(ahead)).open()
        self.pass_time(2)
        self.outage()
        self.assertEqual(len(self.told("The database")), 2)
        latest = News.select().order_by(News.id.desc()).get()
        self.assertLess(latest.id, max(data["id"] for _, data in watcher.events("news")))
        self.operator().post("/servers")
        self.pass_time(3)
        self.assertEqual(len(watcher.texts()), 3)

    def test_the_broker_goes_meanwhile(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        watcher.events()
        self.go()
        self.pass_time(3)
        self.service.broker.away()
        self.pass_time(3)
        self.assertEqual(
            [text[:14] for text in watcher.texts()], ["The database i", "The broker is "]
        )
        self.come_back()
        self.pass_time(3)
        self.assertEqual(watcher.texts(), ["The database is back."])
        self.assertEqual(len(self.told("The ")), 3)


class HowMuch(MemoryCase):
    def test_one_transaction_in_ten_seconds(self) -> None:
        self.watcher()
        self.pass_time(1)
        self.database.asked.clear()
        self.pass_time(30)
        rules = [rule for rule, _ in self.database.asked]
        wrote = [rule for rule in rules if rule.__module__ == page_history.__name__]
        self.assertEqual(wrote, [page_history.write_points] * 3)

    def test_the_controller_removes_what_is_too_old(self) -> None:
        """Also where nobody has a page."""
        self.stop_page()
        events = [FleetEvent(EventKind.GONE, 1.0, f"s{number}") for number in range(2 * NEWS_KEPT)]
        self.successResultOf(self.service.database.run(page_history.add, *events))
        self.pass_time(HOUSEKEEPING_INTERVAL + 6)
        self.assertEqual(News.select().count(), NEWS_KEPT)

    def test_an_older_version_beside_is_not_in_the_way(self) -> None:
        """It knows neither of the lease nor of the tables, and its rows tell nothing."""
        LoginServer.insert(id="older", identity="older").execute()
        self.live(21)
        self.assertEqual(self.hour()["servers"][-2:], [1, 1])


class OfOneServer(MemoryCase):
    def test_its_hour(self) -> None:
        self.pass_time(21)
        tokens = self.service.people("ann")
        home = self.service.at_home(tokens["ann"])
        home.ask(f"create-group {tokens['ann']} chess")
        for _ in range(30):
            home.ask(f"send-group {tokens['ann']} chess e4")
        self.pass_time(10)
        (server,) = self.server_ids()
        hour = self.browser().get(f"/history?server={server}").json
        self.assertEqual((hour["step"], len(hour["series"]["people"])), (10, 360))
        self.assertEqual(hour["series"]["people"][-4:], [None, 0, 0, 1])
        self.assertGreater(hour["series"]["messages_per_second"][-1], 1)
        self.restart()
        again = self.browser().get(f"/history?server={server}").json
        self.assertEqual(again["series"], hour["series"])

    def test_one_that_is_none(self) -> None:
        self.pass_time(11)
        for server in ("nobody", "%FF"):
            self.assertEqual(self.browser().get(f"/history?server={server}").code, 404)

    def test_one_that_is_none_is_not_remembered(self) -> None:
        """It has plots with its first point, though somebody asked for them a moment before."""
        (server,) = self.server_ids()
        watcher = self.watcher()
        while not watcher.events("point"):
            self.assertEqual(self.browser().get(f"/history?server={server}").code, 404)
            self.beat()
            self.clock.advance(0.1)
        self.assertEqual(self.browser().get(f"/history?server={server}").code, 200)

    def test_so_many_and_no_more(self) -> None:
        for number in range(MOST_PLOTTED + 5):
            Server.insert(
                id=f"extra{number:02}", scope="x", state="ready", capacity=1, created=float(number)
            ).execute()
        self.pass_time(11)
        codes = [
            self.browser().get(f"/history?server=extra{number:02}").code
            for number in range(MOST_PLOTTED + 5)
        ]
        self.assertEqual((codes.count(200), codes.count(404)), (MOST_PLOTTED, 5))

    def test_who_has_plots_keeps_them(self) -> None:
        many = [f"s{number}" for number in range(MOST_PLOTTED + 2)]
        first = chosen({}, many)
        self.assertEqual(first, many[:MOST_PLOTTED])
        self.assertEqual({*chosen(dict.fromkeys(first), [*reversed(many)])}, {*first})
        self.assertEqual(
            chosen(dict.fromkeys(first), many[1:]), [*many[1:MOST_PLOTTED], many[MOST_PLOTTED]]
        )
