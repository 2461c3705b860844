"""How surely the keeper knows what a cloud has."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.interfaces import ProviderUnavailable
from bbs.scaling.sight import CONSISTENCY_GRACE, PATIENCE, Sight
from bbs.testing.provider import MemoryProvider
from bbs.values import Instance


class RealisticClock(Clock):
    """Time passes between any two looks at it."""

    def seconds(self) -> float:
        self.rightNow += 1e-6
        return Clock.seconds(self)


class SightTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = RealisticClock()
        self.clock.advance(1_000_000.0)
        self.provider = MemoryProvider("ec2:here:bbs")
        self.provider.shared = True
        self.news: list[None] = []
        self.sight = Sight(self.provider, lambda: self.news.append(None), self.clock)

    def listed(self, *alive: str, ended: tuple[str, ...] = ()) -> None:
        """Look, and be shown these."""
        shown = {id: Instance(id, "host", id in alive, "") for id in (*alive, *ended)}
        self.provider.list = lambda: succeed(shown)  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(0.0)))

    def listed_for(self, seconds: float, *alive: str) -> None:
        """The same again and again for so long."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(5.0, end - self.clock.seconds()))
            self.listed(*alive)
            self.sight.gone("a")

    def test_nothing_is_known_at_first(self) -> None:
        self.assertIs(self.sight.alive("a", spared=False), None)
        self.assertFalse(self.sight.gone("a"))
        self.assertEqual(self.sight.strays([]), {})

    def test_what_is_listed(self) -> None:
        self.listed("a", ended=("b",))
        self.assertEqual([self.sight.alive(id, spared=False) for id in "ab"], [True, False])
        self.assertEqual([self.sight.gone(id) for id in "ab"], [False, True])

    def test_absence_counts_when_it_has_lasted(self) -> None:
        self.listed()
        self.assertFalse(self.sight.gone("a"))
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertIs(self.sight.alive("a", spared=False), None)
        self.listed_for(1.0)
        self.assertIs(self.sight.alive("a", spared=False), False)
        self.assertIs(self.sight.alive("a", spared=True), None)
        self.assertTrue(self.sight.gone("a"))

    def test_absence_begins_anew_when_it_was_seen(self) -> None:
        self.listed()
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.listed("a")
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertFalse(self.sight.gone("a"))

    def test_who_does_not_wait_hears_of_it_later(self) -> None:
        self.listed("a")
        self.clock.advance(10.0)
        listing: Deferred[Mapping[str, Instance]] = Deferred()
        self.provider.list = lambda: listing  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(5.0, wait=False)))
        self.assertIs(self.sight.alive("a", spared=False), True)
        self.assertEqual(self.news, [])
        listing.callback({"a": Instance("a", "host", False, "")})
        self.assertIs(self.sight.alive("a", spared=False), False)
        self.assertEqual(len(self.news), 1)

    def test_behind_what_was_launched(self) -> None:
        self.assertFalse(self.sight.is_behind)
        self.listed()
        for id in "ab":
            self.sight.asking(id)
        self.assertFalse(self.sight.is_behind)
        self.sight.asked("a")
        self.assertFalse(self.sight.is_behind)
        self.sight.asked("b")
        self.assertTrue(self.sight.is_behind)
        self.listed("a")
        self.assertFalse(self.sight.is_behind)
        self.sight.asking("c")
        self.sight.asked("c", nothing=True)
        self.assertFalse(self.sight.is_behind)

    def test_a_list_that_did_not_come_is_no_news(self) -> None:
        self.listed("a")
        self.clock.advance(10.0)
        self.provider.list = lambda: fail(ProviderUnavailable("away"))  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(5.0, wait=False)))
        self.assertEqual(self.news, [])

    def test_the_first_list_is_waited_for_by_all(self) -> None:
        listing: Deferred[Mapping[str, Instance]] = Deferred()
        self.provider.list = lambda: listing  # type: ignore[method-assign]
        looking = Deferred.fromCoroutine(self.sight.look(5.0, wait=False))
        self.assertNoResult(looking)
        self.clock.advance(PATIENCE)
        self.successResultOf(looking)

    def test_without_a_list_no_time_passes(self) -> None:
        self.listed()
        self.assertFalse(self.sight.gone("a"))
        self.provider.list = lambda: fail(ProviderUnavailable("away"))  # type: ignore[method-assign]
        for _ in range(100):
            self.clock.advance(5.0)
            self.successResultOf(Deferred.fromCoroutine(self.sight.look(0.0)))
        self.assertFalse(self.sight.gone("a"))

    def test_while_it_is_asked_for_absence_means_nothing(self) -> None:
        self.sight.asking("a")
        self.listed()
        self.listed_for(2 * CONSISTENCY_GRACE)
        self.assertFalse(self.sight.gone("a"))
        self.sight.asked("a")
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertFalse(self.sight.gone("a"))
        self.listed_for(6.0)
        self.assertTrue(self.sight.gone("a"))

    def test_a_launch_of_which_nothing_came(self) -> None:
        self.sight.asking("a")
        self.sight.asked("a", nothing=True)
        self.assertTrue(self.sight.gone("a"))

    def test_but_something_may_when_it_is_asked_for_again(self) -> None:
        self.sight.asked("a", nothing=True)
        self.sight.asking("a")
        self.assertFalse(self.sight.gone("a"))
        self.sight.asked("a")
        self.listed()
        self.assertFalse(self.sight.gone("a"))

    def test_a_list_that_lasts_is_not_waited_for(self) -> None:
        answers: list[Deferred[dict[str, Instance]]] = []

        def list_slowly() -> Deferred[dict[str, Instance]]:
            answers.append(Deferred())
            return answers[-1]

        self.provider.list = list_slowly  # type: ignore[assignment,method-assign]
        looked = Deferred.fromCoroutine(self.sight.look(0.0))
        self.assertNoResult(looked)
        self.clock.advance(PATIENCE)
        self.successResultOf(looked)
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(0.0)))
        self.assertEqual((len(answers), self.news), (1, []))
        answers[0].callback({"a": Instance("a", None, True, "")})
        self.assertEqual(self.news, [None])
        self.assertIs(self.sight.alive("a", spared=False), True)

    def test_a_list_is_young_enough_or_not(self) -> None:
        self.listed("a")
        self.clock.advance(3.0)
        self.provider.list = lambda: self.fail("asked")  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(5.0)))

    def test_strays(self) -> None:
        self.listed("a", "b", ended=("c",))
        self.assertEqual(self.sight.strays(["a"]), {"b": False})
        self.clock.advance(CONSISTENCY_GRACE)
        self.listed("a", "b")
        self.assertEqual(self.sight.strays(["a"]), {"b": True})
        self.assertEqual(self.sight.strays(["a", "b"]), {})
        self.assertEqual(self.sight.strays(["a"]), {"b": False})

    def test_what_is_stopped_is_there(self) -> None:
        stopped = Instance("a", None, False, "", stopped=True)
        self.provider.list = lambda: succeed({"a": stopped})  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(0.0)))
        self.assertFalse(self.sight.gone("a"))
        self.assertIs(self.sight.alive("a", spared=False), False)
        self.assertEqual(self.sight.strays([]), {"a": False})

    def test_what_may_be_another_fleets_is_no_stray(self) -> None:
        other = Instance("a", None, True, "", ours=False)
        self.provider.list = lambda: succeed({"a": other})  # type: ignore[method-assign]
        self.successResultOf(Deferred.fromCoroutine(self.sight.look(0.0)))
        self.assertEqual(self.sight.strays([]), {})
        self.assertFalse(self.sight.gone("a"))

    def test_forgetting(self) -> None:
        self.listed()
        self.listed_for(2 * CONSISTENCY_GRACE)
        self.sight.asked("b", nothing=True)
        self.sight.forget()
        self.listed()
        self.assertEqual([self.sight.gone(id) for id in "ab"], [False, False])
