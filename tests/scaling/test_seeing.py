"""What is known of each app server, put together, and for how long it is good."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.rules.servers import ServerRow
from bbs.scaling.ages import Ages
from bbs.scaling.plan import Seen
from bbs.scaling.seeing import Seeing
from bbs.scaling.shelving import Shelving
from bbs.scaling.sight import Sight
from bbs.values import Instance, State

SCOPE = "ec2:fleet"
INTERVAL = 2.0

ROW = ServerRow(
    id="a",
    state=State.READY,
    scope=SCOPE,
    host="192.0.2.1",
    port=22223,
    capacity=10,
    taken=7,
    created=0.0,
    ready=60.0,
    leaving=False,
    drain_asked=False,
    reason="",
    instance_id="i-1",
    kind="t3.micro",
)
RUNS = Instance("a", "192.0.2.1", True, "running", "i-1", "t3.micro")


class SeeingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.provider: Any = mock.Mock(shared=True, scope=SCOPE)
        self.sight = Sight(self.provider, lambda: None, self.clock)
        self.ages = Ages(self.clock, self.clock.seconds, 30.0)
        means: Any = mock.Mock(provider=self.provider)
        steps: Any = mock.Mock()
        shelving = Shelving(means, self.sight, self.ages, steps, "1")
        self.seeing = Seeing(SCOPE, self.sight, self.ages, shelving, INTERVAL)
        self.lists(RUNS)

    def lists(self, *instances: Instance) -> None:
        """The provider has these."""
        self.sight.instances = {each.launch_id: each for each in instances}

    def look(
        self,
        row: ServerRow = ROW,
        dead: Collection[str] = (),
        silence: Mapping[str, float] | None = None,
    ) -> Seen:
        """What the server is seen as, after another interval."""
        self.clock.advance(INTERVAL)
        self.ages.see([row])
        [seen] = self.seeing.servers([row], dead, silence or {})
        return seen

    def test_one_that_serves_as_before_is_the_same(self) -> None:
        first = self.look()
        self.assertEqual((first.taken, first.alive, first.idle), (7, True, 0.0))
        self.assertIs(self.look(), first)
        self.assertIs(self.look(silence={"a": INTERVAL}), first)

    def test_another_row(self) -> None:
        self.look()
        row = replace(ROW, taken=8)
        self.assertEqual(self.look(row).taken, 8)
        self.assertTrue(self.look(replace(row, drain_asked=True)).drain_asked)

    def test_another_word_of_the_provider(self) -> None:
        self.look()
        self.lists(replace(RUNS, alive=False, detail="Spot"))
        # As long as it beats, one that a list shows as ended is not silent, and ended all the same.
        seen = self.look()
        self.assertEqual((seen.alive, seen.detail), (False, "Spot"))
        self.lists()
        self.assertIsNone(self.look().alive)

    def test_one_that_is_silent(self) -> None:
        self.look()
        for seconds in (INTERVAL + 0.1, 11.0):
            self.assertEqual(self.look(silence={"a": seconds}).silence, seconds)
        self.assertEqual(self.look().silence, 0.0)

    def test_one_whose_launcher_is_dead(self) -> None:
        self.look()
        self.assertIs(self.look(dead={"fleet"}).alive, False)

    def test_one_that_is_empty_grows_idle(self) -> None:
        row = replace(ROW, taken=0)
        self.assertEqual([self.look(row).idle for _ in range(3)], [0.0, INTERVAL, 2 * INTERVAL])

    def test_one_that_launches_grows_old(self) -> None:
        row = replace(ROW, state=State.LAUNCHING)
        first = self.look(row).age
        self.assertEqual([self.look(row).age - first for _ in range(2)], [INTERVAL, 2 * INTERVAL])

    def test_one_that_comes_back(self) -> None:
        """What was known of one that was not among the rows is known no more."""
        first = self.look()
        self.seeing.servers([], (), {})
        self.assertIsNot(self.look(), first)
