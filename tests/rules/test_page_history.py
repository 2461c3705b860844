"""What the operators' pages remember together, and who of them writes it down."""

from __future__ import annotations

from bbs.rules import page_history
from bbs.rules.membership import LeaseSeen
from bbs.rules.page_history import HOUR, NEWS_KEPT, Remembered, Sentence
from bbs.storage.models import Lease, LoginServer, News, Point
from tests.database_case import RulesCase, on_both_databases


@on_both_databases
class Remembering(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        for id in ("me", "other"):
            LoginServer.insert(id=id, identity="").execute()

    def write(
        self, who: str, *, lapsed: LeaseSeen | None = None, at: float | None = None, value: int = 1
    ) -> int | None:
        """`who` writes a point."""
        when = self.now if at is None else at
        written: int | None = self.call(
            page_history.write_points, who, lapsed, when, {"servers": value}, {"reactor_lag": value}
        )
        return written

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
        first = self.write("me") or 0
        self.assertIsNone(self.write("other"))
        self.assertGreater(self.write("me", value=2) or 0, first)
        self.assertIsNone(self.write("other"))
        self.assertEqual((self.values(), self.values("other")), ([1, 2], [1, 2]))
        own = [moment.series for moment in self.recall("other").own]
        self.assertEqual(own, [{"reactor_lag": 1}, {"reactor_lag": 1}])

    def test_one_that_runs_no_more_is_followed_at_once(self) -> None:
        self.write("other")
        self.assertIsNone(self.write("me"))
        LoginServer.delete().where(LoginServer.id == "other").execute()
        self.assertIsNotNone(self.write("me"))
        self.assertEqual(Lease.get(Lease.name == page_history.NARRATOR).holder, "me")

    def test_one_that_has_been_silent_for_long(self) -> None:
        self.write("other")
        seen = self.call(page_history.narrator)
        assert seen is not None
        self.assertEqual((seen.holder, seen.beats), ("other", 0))
        self.write("other")
        self.assertIsNone(self.write("me", lapsed=seen))  # It was not: it has moved.
        self.assertIsNotNone(self.write("me", lapsed=self.call(page_history.narrator)))
        self.assertIsNone(self.write("other"))

    def test_one_at_a_time_follows(self) -> None:
        LoginServer.insert(id="third", identity="").execute()
        self.write("other")
        seen = self.call(page_history.narrator)
        self.assertIsNotNone(self.write("me", lapsed=seen))
        self.assertIsNone(self.write("third", lapsed=seen))

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
        for number in range(5):
            self.write("me", at=first + number * 1000.0, value=number)
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
        written = self.call(page_history.write_points, "me", None, self.now, None, {})
        self.assertEqual((written, self.values()), (0, []))

    def test_points_behind_one(self) -> None:
        first = self.write("me", value=1) or 0
        self.write("me", value=2)
        behind = self.call(page_history.moments_behind, first, self.now)
        self.assertEqual([moment.series["servers"] for moment in behind], [2])


@on_both_databases
class Telling(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        for id in ("me", "other"):
            LoginServer.insert(id=id, identity="").execute()
        self.assertTrue(self.call(page_history.narrate, "me", None))

    def tell(self, *ids: int, who: str = "me") -> bool:
        """`who` writes news of these ids."""
        news = [Sentence(id, self.now, f"It was {id}. é") for id in ids]
        written: bool = self.call(page_history.write_news, who, news)
        return written

    def told(self, behind: int = 0) -> list[int]:
        """The ids of the news that are kept."""
        return [each.id for each in self.call(page_history.news_behind, behind)]

    def test_who_narrates_tells(self) -> None:
        self.assertTrue(self.tell(7, 8))
        self.assertFalse(self.tell(9, who="other"))
        (seven, _) = self.call(page_history.news_behind, 0)
        self.assertEqual(seven, Sentence(7, self.now, "It was 7. é"))
        self.assertEqual((self.told(), self.told(7)), ([7, 8], [8]))

    def test_twice_is_once(self) -> None:
        self.tell(7, 8)
        self.assertTrue(self.tell(7, 8, 9))
        self.assertEqual(self.told(), [7, 8, 9])

    def test_with_the_points(self) -> None:
        news = [Sentence(7, self.now, "It was.")]
        self.call(page_history.write_points, "other", None, self.now, {}, {}, news)
        self.assertEqual(self.told(), [])
        self.call(page_history.write_points, "me", None, self.now, {}, {}, news)
        self.assertEqual(self.told(), [7])

    def test_so_many_and_no_more(self) -> None:
        self.tell(*range(1, 61))
        self.tell(*range(61, 121))
        self.assertEqual(self.told(), [*range(21, 121)])
        self.assertEqual(News.select().count(), NEWS_KEPT)
