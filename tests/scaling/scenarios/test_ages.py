"""How old launches are, by the clock of whoever watches."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import State
from bbs.rules.servers import ServerRow
from bbs.scaling.observer import Ages

HOUR = 3600.0
MOST = 30.0


class AgesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.set_ahead = 0.0
        self.ages = Ages(self.clock, self.wall, MOST)

    def wall(self) -> float:
        return self.clock.seconds() + self.set_ahead

    def row(self, age: float = 0.0, state: State = State.LAUNCHING, taken: int = 0) -> ServerRow:
        """A row that was stamped so many seconds ago."""
        return ServerRow(
            id="a",
            state=state,
            scope="test",
            host=None,
            port=None,
            capacity=1,
            taken=taken,
            created=self.wall() - age,
            ready=None,
            leaving=False,
            drain_asked=False,
            reason="",
            instance_id=None,
            kind=None,
        )

    def test_measured_from_the_first_look(self) -> None:
        for ahead in (0.0, -HOUR, HOUR):
            self.ages.forget()
            row = self.row()
            self.ages.see([row])
            self.set_ahead += ahead
            self.clock.advance(7)
            self.ages.see([row])
            self.assertEqual(self.ages.age("a"), 7)

    def test_the_stamp_says_how_much_had_passed(self) -> None:
        self.ages.see([self.row(age=12)])
        self.assertEqual(self.ages.age("a"), 12)

    def test_no_stamp_makes_it_older_than_that(self) -> None:
        self.ages.see([self.row(age=HOUR)])
        self.assertEqual(self.ages.age("a"), MOST)

    def test_nor_younger_than_it_is(self) -> None:
        self.ages.see([self.row(age=-HOUR)])
        self.assertEqual(self.ages.age("a"), 0)

    def test_one_of_which_no_row_was_seen_begins_now(self) -> None:
        self.assertEqual(self.ages.began("a"), self.clock.seconds())
        self.clock.advance(3)
        self.ages.see([self.row(age=HOUR)])
        self.assertEqual(self.ages.age("a"), 3)

    def test_who_is_gone_is_forgotten(self) -> None:
        self.ages.see([self.row()])
        self.clock.advance(3)
        self.ages.see([])
        self.ages.see([self.row()])
        self.assertEqual(self.ages.age("a"), 0)

    def test_idle_since_the_last_person_left(self) -> None:
        for row, idle in (
            (self.row(), 0),
            (self.row(state=State.READY), 0),
            (self.row(state=State.READY), 5),
            (self.row(state=State.READY), 10),
            (self.row(state=State.READY, taken=1), 0),
            (self.row(state=State.READY), 0),
            (self.row(state=State.READY), 5),
        ):
            self.ages.see([row])
            self.assertEqual(self.ages.seen["a"][1], idle)
            self.set_ahead += HOUR
            self.clock.advance(5)
        self.ages.forget()
        self.ages.see([self.row(state=State.READY)])
        self.assertEqual(self.ages.seen["a"][1], 0)
