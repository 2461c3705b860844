"""The page's events: the present, the news and the last hour, as they change."""

from __future__ import annotations

import json

from bbs.rules import page_history
from bbs.rules.overview import GONE_SHOWN, overview
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.storage.models import Server
from bbs.web.auth import IDLE
from bbs.web.stream import MOST_STREAMS, PATIENCE, RESERVED, STATE_INTERVAL, event
from tests.web.case import PageCase, Watcher


class OnTheWire(PageCase):
    def test_an_event(self) -> None:
        self.assertEqual(
            event("news", {"a": "é\n"}, 7), 'event: news\nid: 7\ndata: {"a": "é\\n"}\n\n'.encode()
        )
        self.assertEqual(event("bye", {}), b"event: bye\ndata: {}\n\n")

    def test_the_head(self) -> None:
        watcher = self.watcher()
        head = watcher.browser.transport.value().decode()
        self.assertTrue(head.startswith("HTTP/1.0 200 OK\r\n"), head)
        self.assertIn("Content-Type: text/event-stream\r\n", head)
        self.assertIn("Cache-Control: no-store\r\n", head)
        self.assertIn("retry: 2000\n\n", head)


class Watching(PageCase):
    def test_what_comes_first(self) -> None:
        self.watcher()
        self.service.people("ann", "bob", "eva")
        self.pass_time(2)
        kinds = [kind for kind, _ in self.watcher().events()]
        self.assertEqual((kinds[0], {*kinds[1:-1]}, kinds[-1]), ("history", {"news"}, "state"))

    def test_a_state_when_something_changes_and_else_every_five_seconds(self) -> None:
        watcher = self.watcher()
        self.pass_time(STATE_INTERVAL)
        watcher.events()
        self.pass_time(2 * STATE_INTERVAL)
        self.assertEqual(len(watcher.events("state")), 2)
        self.service.people("ann")
        self.pass_time(1)
        self.assertEqual([data["people"] for _, data in watcher.events("state")], [1])

    def test_a_server_appears_is_drained_and_goes(self) -> None:
        (first,) = self.server_ids()
        operator = self.operator()
        watcher = self.watcher()
        self.pass_time(1)
        watcher.texts()
        operator.post("/servers")
        self.pass_time(2)
        second = self.server_ids()[1]
        self.assertEqual(
            watcher.texts(),
            [
                f"An operator asked to start server {second[:8]}.",
                f"Server {second[:8]} is being launched.",
                f"Server {second[:8]} is ready after 0.2 s.",
            ],
        )
        operator.post(f"/servers/{first}/drain")
        self.pass_time(3)
        self.assertEqual(
            watcher.texts(),
            [
                f"An operator asked to drain server {first[:8]}.",
                f"Server {first[:8]} drains (takes nobody new): an operator asked for it.",
                f"Server {first[:8]} has ended: an operator asked for it.",
            ],
        )
        Server.update(ended=Server.ended - GONE_SHOWN).where(Server.id == first).execute()
        self.pass_time(STATE_INTERVAL + 1)
        self.assertEqual([each["id"] for each in watcher.last_state()["servers"]], [second])

    def test_a_point_every_ten_seconds(self) -> None:
        watcher = self.watcher()
        self.pass_time(1)
        watcher.events()
        self.pass_time(30)
        points = watcher.events("point")
        self.assertEqual(len(points), 3)
        self.assertEqual(points[0][1]["series"]["free_places"], 2)
        self.assertAlmostEqual(points[1][1]["end"] - points[0][1]["end"], 10, places=0)

    def test_names_are_for_operators(self) -> None:
        self.service.people("ann")
        public, mine = self.watcher(), self.watcher(self.operator())
        self.pass_time(1)
        self.assertEqual(mine.last_state()["servers"][0]["who"], ["ann"])
        self.pass_time(6)
        self.assertEqual(mine.last_state()["servers"][0]["who"], ["ann"])
        self.assertNotIn("ann", json.dumps(public.events()))

    def test_somebody_else_who_reads_takes_no_names_away(self) -> None:
        self.service.people("ann")
        mine = self.watcher(self.operator())
        self.pass_time(1)
        mine.events()
        self.database.hold(overview)
        self.pass_time(2)
        self.service.people("bob")
        self.database.waiting.pop().fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.browser().send("GET", "/state")
        self.database.go_on()
        self.assertEqual(mine.last_state()["servers"][0]["who"], ["ann", "bob"])

    def test_a_session_that_ends_takes_the_names_along(self) -> None:
        browser = self.operator()
        mine = self.watcher(browser)
        self.pass_time(1)
        self.assertEqual(mine.last_state()["operator"], "liz")
        other = self.browser()
        other.cookie = browser.cookie
        other.post("/logout")
        self.pass_time(5)
        self.assertIsNone(mine.last_state()["operator"])

    def test_reading_is_no_use_of_a_session(self) -> None:
        mine = self.watcher(self.operator())
        for _ in range(3):
            self.clock.advance(IDLE / 2)
        self.pass_time(5)
        self.assertIsNone(mine.last_state()["operator"])

    def test_nobody_watches_and_nothing_is_asked(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        watcher.browser.close()
        self.database.asked.clear()
        self.pass_time(30)
        self.assertEqual(len(self.database.calls(overview)), 3)


class ComingBack(PageCase):
    def happens(self, server: str) -> None:
        """Something is stored of a server, and the page looks."""
        event = FleetEvent(EventKind.GONE, self.service.wall(), server)
        self.successResultOf(self.service.database.run(page_history.add, event))
        self.pass_time(1)

    def news(self, count: int) -> list[int]:
        """So many sentences; their ids."""
        watcher = self.watcher()
        for number in range(count):
            self.happens(f"extra{number}")
        watcher.events()
        watcher.browser.close()
        return watcher.ids

    def test_only_what_is_new(self) -> None:
        ids = self.news(3)
        again = Watcher(self.browser()).open(Last_Event_ID=str(ids[1]))
        again.events()
        self.assertEqual(again.ids, ids[2:])
        by_query = self.watcher(path=f"/stream?after={ids[0]}")
        by_query.events()
        self.assertEqual(by_query.ids, ids[1:])

    def test_ids_that_are_none(self) -> None:
        ids = self.news(2)
        for last in ("x", "-1", "²", "9" * 17, ""):
            watcher = Watcher(self.browser()).open(Last_Event_ID=last)
            watcher.events()
            self.assertEqual(watcher.ids, ids, last)

    def test_ids_from_a_clock_that_was_ahead(self) -> None:
        """They are made from the time: a process whose clock is right begins with lower ones."""
        ids = self.news(2)
        ahead = round((self.service.wall() + 3600) * 1000)
        watcher = Watcher(self.browser()).open(Last_Event_ID=str(ahead))
        watcher.events()
        self.assertEqual(watcher.ids, ids)

    def test_ids_rise_over_a_restart(self) -> None:
        before = self.news(2)
        self.stop_page()
        self.page = self.make_page()
        self.page.startService()
        after = Watcher(self.browser()).open(Last_Event_ID=str(before[-1]))
        self.pass_time(1)
        self.happens("extra1")
        after.events()
        self.assertEqual(len(after.ids), 1)
        self.assertGreater(after.ids[0], before[-1])

    def test_who_comes_later_gets_the_hour_up_to_then(self) -> None:
        ends = []
        for _ in range(2):
            ((_, history),) = self.watcher().events("history")
            ends.append(history["end"])
            self.pass_time(11)
        self.assertGreater(ends[1], ends[0])


class Readers(PageCase):
    def test_one_who_does_not_read_costs_no_memory(self) -> None:
        watcher = self.watcher()
        self.operator().post("/servers")
        self.pass_time(2)
        watcher.events()
        told = [*watcher.ids]
        watcher.browser.channel.pauseProducing()
        self.service.people("ann")
        self.pass_time(PATIENCE - 5)
        self.assertEqual(watcher.browser.transport.value(), b"")
        watcher.browser.channel.resumeProducing()
        kinds = [kind for kind, _ in watcher.events()]
        self.assertEqual(kinds[0], "history")
        self.assertEqual(kinds[-1], "state")
        self.assertTrue(told)
        self.assertEqual(watcher.ids, told)
        self.pass_time(PATIENCE + 10)
        self.assertFalse(watcher.browser.transport.disconnected)

    def test_one_whose_buffer_is_shorter_than_what_comes_first(self) -> None:
        """As is a socket's, whose reader is quick: it says that it is full, soon that it is not.
        What was written has been taken all the same, and nothing comes twice."""
        watcher = self.watcher()
        self.service.people("ann")
        self.pass_time(3)
        channel, transport = watcher.browser.channel, watcher.browser.transport
        watcher.events()
        transport.on_write = channel.pauseProducing
        for _ in range(10):
            self.pass_time(1)
            channel.resumeProducing()
        kinds = [kind for kind, _ in watcher.events()]
        self.assertGreater(kinds.count("state"), 1)
        self.assertEqual(kinds.count("history"), 0)

    def test_a_clock_that_is_set_changes_no_figure(self) -> None:
        watcher = self.watcher()
        self.service.people("ann", "bob")
        self.pass_time(12)
        for ahead in (-3600.0, 3600.0):
            self.service.set_ahead = ahead
            watcher.events()
            self.pass_time(12)
            state = next(data for kind, data, *_ in watcher.events() if kind == "state")
            self.assertEqual(state["logins_per_minute"], 2)
            self.assertLess(abs(state["at"] - self.service.wall()), 15)

    def test_what_was_missed_comes_as_one(self) -> None:
        watcher = self.watcher()
        watcher.browser.channel.pauseProducing()
        self.service.people("ann", "bob", "eva")
        self.pass_time(3)
        watcher.events()
        watcher.browser.transport.written.clear()
        watcher.browser.channel.resumeProducing()
        (together,) = watcher.browser.transport.written
        for kind in (b"history", b"news", b"state"):
            self.assertIn(b"event: " + kind, together)

    def test_one_who_never_reads_is_cut_off(self) -> None:
        watcher, other = self.watcher(), self.watcher()
        for _ in range(round(PATIENCE / 5) + 2):
            watcher.browser.channel.pauseProducing()
            self.pass_time(5)
        self.assertTrue(watcher.browser.transport.disconnected)
        self.assertFalse(other.browser.transport.disconnected)

    def test_no_more_than_so_many(self) -> None:
        watchers = [self.watcher() for _ in range(MOST_STREAMS - RESERVED)]
        reply = self.browser().get("/stream")
        self.assertEqual((reply.code, reply.headers["retry-after"]), (503, "30"))
        self.assertIn("log in as an operator", reply.body)
        # Some are kept for operators, and no more.
        operator = self.operator()
        for _ in range(RESERVED):
            operator.connect()
            self.assertTrue(self.watcher(operator).events("state"))
        operator.connect()
        self.assertEqual(operator.get("/stream").code, 503)
        for watcher in watchers[: RESERVED + 1]:
            watcher.browser.close()
        self.assertTrue(self.watcher().events("state"))

    def test_the_end(self) -> None:
        watcher = self.watcher()
        watcher.events()
        self.stop_page()
        self.assertEqual(watcher.events(), [("bye", {})])
        self.assertTrue(watcher.browser.transport.disconnecting)

    def test_the_end_of_a_connection_that_could_serve_more(self) -> None:
        browser = self.browser()
        browser.send("GET", "/stream")
        self.stop_page()
        self.assertTrue(browser.transport.value().endswith(b"\r\n0\r\n\r\n"))
        self.assertTrue(browser.transport.disconnecting)
