"""What the operators' pages remember together, and who writes it down."""

from __future__ import annotations

from bbs.rules import page_history
from bbs.rules.page_history import (
    HOUR,
    NEWS_KEPT,
    EventKind,
    FleetEvent,
    Moment,
    Remembered,
    StoredEvent,
    sentence,
)
from bbs.storage.models import LoginServer, News, Point
from tests.database_case import RulesCase, on_both_databases


@on_both_databases
class Remembering(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        for id in ("me", "other"):
            LoginServer.insert(id=id, identity="").execute()

    def write(
        self, who: str, *, behind: int = 0, at: float | None = None, value: int = 1
    ) -> list[int]:
        """`who`, which has read the points up to `behind`, writes one; the fleet's behind that."""
        when = self.now if at is None else at
        moments: tuple[Moment, ...] = self.call(
            page_history.write_points, who, behind, when, {"servers": value}, {"reactor_lag": value}
        )
        return [moment.id for moment in moments]

    def recall(self, who: str = "me") -> Remembered:
        """What the page of `who` begins with."""
        found: Remembered = self.call(page_history.recall, who, self.now)
        return found

    def values(self, who: str = "me") -> list[int]:
        """The fleet's series."""
        return [moment.series["servers"] for moment in self.recall(who).fleet]

    def test_nothing(self) -> None:
        self.assertEqual(self.recall(), Remembered((), (), ()))

    def test_one_writes_for_the_fleet_and_each_for_itself(self) -> None:
        [first] = self.write("me")
        self.assertEqual(self.write("other"), [first])
        [second] = self.write("me", behind=first, value=2)
        self.assertGreater(second, first)
        self.assertEqual(self.write("other", behind=first), [second])
        self.assertEqual((self.values(), self.values("other")), ([1, 2], [1, 2]))
        own = [moment.series for moment in self.recall("other").own]
        self.assertEqual(own, [{"reactor_lag": 1}, {"reactor_lag": 1}])

    def test_another_goes_on_where_one_has_written_none(self) -> None:
        """Whether it has stopped, or is silent."""
        [first] = self.write("other")
        [second] = self.write("me", behind=first)
        self.assertEqual(self.write("other", behind=first), [second])
        self.assertEqual(self.values(), [1, 1])

    def test_the_points_that_another_has_written(self) -> None:
        ids = [0]
        for number in range(3):
            ids += self.write("other", behind=ids[-1], value=number)
        self.assertEqual(self.write("me", behind=ids[1], value=9), ids[2:])
        self.assertEqual(self.values(), [0, 1, 2])

    def test_a_login_server_goes_on_with_what_another_measured_that_is_gone(self) -> None:
        self.write("other", value=1)
        self.write("gone", value=2)
        self.write("gone", value=3)
        own = [moment.series["reactor_lag"] for moment in self.recall().own]
        self.assertEqual(own, [2, 3])
        self.write("me", value=4)
        own = [moment.series["reactor_lag"] for moment in self.recall().own]
        self.assertEqual(own, [4])

    def test_an_hour_and_no_more(self) -> None:
        first = self.now
        last = 0
        for number in range(5):
            [last] = self.write("me", behind=last, at=first + number * 1000.0, value=number)
            self.clock.advance(1000)
        self.assertEqual(self.values(), [2, 3, 4])
        self.assertEqual(Point.select().where(Point.at < first + 4000 - HOUR - 60).count(), 0)
        self.assertEqual(Point.select().count(), 8)

    def test_what_a_clock_wrote_that_was_far_ahead(self) -> None:
        self.write("me", at=self.now + 100 * HOUR, value=9)
        self.assertEqual(self.values(), [])
        self.write("me", value=1)
        self.assertEqual((self.values(), Point.select().count()), ([1], 2))

    def test_the_fleet_could_not_be_seen(self) -> None:
        written = self.call(page_history.write_points, "me", 0, self.now, None, {})
        self.assertEqual((written, self.values()), ((), []))
        [first] = self.write("other")
        [moment] = self.call(page_history.write_points, "me", 0, self.now, None, {})
        self.assertEqual(moment.id, first)


@on_both_databases
class Events(RulesCase):
    def add(self, *kinds: EventKind, at: float | None = None) -> list[int]:
        """Store events of these kinds; their ids."""
        when = self.now if at is None else at
        ids: list[int] = self.call(
            page_history.add, *(FleetEvent(kind, when, "s1") for kind in kinds)
        )
        return ids

    def seen(self, *kinds: EventKind, behind: int = 0) -> list[int]:
        """A login server that has read the events up to `behind` sees these."""
        events = [FleetEvent(kind, self.now) for kind in kinds]
        ids: list[int] = self.call(page_history.add_seen, events, behind)
        return ids

    def stored(self, behind: int = 0) -> list[StoredEvent]:
        """The news that are kept."""
        return [*self.call(page_history.news_behind, behind)]

    def kinds(self) -> list[EventKind | None]:
        """Of what kind they are."""
        return [each.event.kind if each.event else None for each in self.stored()]

    def test_values_and_words(self) -> None:
        event = FleetEvent(EventKind.READY, self.now, "s1", "détail", 2.5)
        [id] = self.call(page_history.add, event)
        self.assertEqual(self.stored(), [StoredEvent(id, self.now, sentence(event), event)])
        self.assertEqual(News.get().text, "Server s1 is ready after 2.5 s.")

    def test_details_are_cut(self) -> None:
        self.call(page_history.add, FleetEvent(EventKind.LOST, self.now, "s1", "é" * 300))
        [stored] = self.stored()
        self.assertEqual(stored.event and stored.event.detail, "é" * 250)

    def test_ids_rise_whatever_clocks_say(self) -> None:
        first, second = self.add(EventKind.LAUNCHING, EventKind.READY)
        self.assertEqual((first, second), (int(self.now * 1000), first + 1))
        [third] = self.add(EventKind.LOST, at=self.now - 3600)
        [fourth] = self.add(EventKind.GONE, at=self.now + 3600)
        self.assertEqual([third, fourth], [second + 1, int((self.now + 3600) * 1000)])
        self.assertEqual([each.id for each in self.stored(first)], [second, third, fourth])
        self.assertEqual(self.call(page_history.add), [])

    def test_very_many_at_once(self) -> None:
        """A whole fleet can be launched in one transaction."""
        ids = self.add(*[EventKind.LAUNCHING] * 6000)
        self.assertEqual(len({*ids}), 6000)
        self.assertEqual(News.select().count(), 6000)

    def test_what_other_versions_wrote(self) -> None:
        """A newer one may know of more kinds."""
        News.insert(id=8, at=2.0, text="Something new.", kind="something").execute()
        self.assertEqual(self.stored(), [StoredEvent(8, 2.0, "Something new.", None)])

    def test_so_many_and_no_more(self) -> None:
        ids = self.add(*[EventKind.LAUNCHING] * (NEWS_KEPT + 20))
        self.assertEqual([each.id for each in self.stored()], ids[20:])
        self.assertEqual(self.call(page_history.forget_old_news), 20)
        self.assertEqual(self.call(page_history.forget_old_news), 0)
        self.assertEqual(News.select().count(), NEWS_KEPT)

    def test_the_beginning_of_what_goes_on_is_kept(self) -> None:
        self.add(EventKind.PEOPLE_WAIT, EventKind.LAUNCHES_REFUSED, EventKind.LAUNCHES_ACCEPTED)
        self.add(*[EventKind.LAUNCHING] * NEWS_KEPT)
        self.assertEqual(self.call(page_history.forget_old_news), 2)
        for kind, is_on in ((EventKind.PEOPLE_WAIT, True), (EventKind.LAUNCHES_REFUSED, False)):
            self.assertIs(self.call(page_history.goes_on, kind), is_on)

    def test_what_several_see_is_stored_once(self) -> None:
        first = self.seen(EventKind.BROKER_AWAY)
        self.assertEqual(self.seen(EventKind.BROKER_AWAY), first)
        self.assertEqual(self.seen(EventKind.BROKER_AWAY, behind=first[0]), first)
        back = self.seen(EventKind.BROKER_BACK, behind=first[0])
        self.assertEqual(self.seen(EventKind.BROKER_BACK, behind=first[0]), back)
        self.assertEqual(self.seen(EventKind.BROKER_BACK, behind=back[0]), back)
        self.assertEqual(self.kinds(), [EventKind.BROKER_AWAY, EventKind.BROKER_BACK])
        self.assertNotEqual(self.seen(EventKind.BROKER_AWAY, behind=back[0]), first)

    def test_an_outage_that_several_saw(self) -> None:
        """Nobody can store it before it is over."""
        outage = EventKind.DATABASE_AWAY, EventKind.DATABASE_BACK
        first = self.seen(*outage)
        self.assertEqual(self.seen(*outage), first)
        self.assertEqual(self.kinds(), [*outage])
        self.assertNotIn(self.seen(*outage, behind=first[1])[0], first)
        self.assertEqual(self.kinds(), [*outage] * 2)
