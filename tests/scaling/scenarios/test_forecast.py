"""How many places are kept spare for whoever comes while a launch boots."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from itertools import accumulate, pairwise
from math import ceil, exp, lgamma, log, sqrt
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.demand import FAMILIAR, UNKNOWN, Forecast, Peak

INTERVAL = 2.0
BOOT = 46.0


def watching(target: float = 1.0, boots: float | None = BOOT) -> Forecast:
    forecast = Forecast(target, INTERVAL)
    forecast.booted([] if boots is None else [boots] * 5)
    return forecast


def poisson(chance: Random, mean: float) -> int:
    """So many, of which there are `mean` on average."""
    seconds, number = chance.expovariate(1.0), 0
    while seconds < mean:
        seconds, number = seconds + chance.expovariate(1.0), number + 1
    return number


def most_growth(mean: float) -> int:
    """By how much one Poisson number exceeds another 99 of 100 times at the most, where both have
    this mean: a quantile of Skellam's distribution."""
    chances = [
        exp(number * log(mean) - mean - lgamma(number + 1))
        for number in range(int(mean + 10 * sqrt(mean)) + 10)
    ]
    growths: defaultdict[int, float] = defaultdict(float)
    for come, likely in enumerate(chances):
        for gone, as_likely in enumerate(chances):
            growths[come - gone] += likely * as_likely
    upto = accumulate(growths[growth] for growth in sorted(growths))
    return next(growth for growth, sum in zip(sorted(growths), upto, strict=True) if sum >= 0.99)


def let_come(
    forecast: Forecast, people: int, come: float, go: float, seconds: int, seed: int = 1
) -> int:
    """People come and go by Poisson processes of these rates; how many are there then."""
    chance = Random(seed)
    for second in range(0, seconds, 2):
        forecast.see(people, float(second))
        people = max(0, people + poisson(chance, 2 * come) - poisson(chance, 2 * go))
    return people


class ForecastTests(SynchronousTestCase):
    def test_where_nothing_is_known(self) -> None:
        forecast = watching()
        forecast.see(0, 0.0)
        self.assertEqual(forecast.spare(), UNKNOWN)
        for second in range(0, int(FAMILIAR) + 20, 2):
            forecast.see(0, float(second))
        self.assertEqual(forecast.spare(), 1)

    def test_somebody_new_guesses_by_how_many_there_are(self) -> None:
        """Who takes a fleet of a thousand over keeps about as many as whoever had it before."""
        forecast = watching()
        forecast.see(1000, 0.0)
        self.assertIn(forecast.spare(), range(28, 50))

    def test_a_place_for_whoever_comes_where_few_do(self) -> None:
        forecast = watching()
        let_come(forecast, 1, 0.0, 0.0, 3600)
        self.assertEqual(forecast.spare(), 1)

    def test_people_who_come_and_go(self) -> None:
        """As often as 99 of 100 times so many more come than go in a boot."""
        for rate in (0.1, 0.5, 2.0):
            lead = BOOT + INTERVAL - 1.0
            needed = most_growth(rate * lead) + 1
            found = []
            for seed in range(10):
                forecast = watching()
                let_come(forecast, 1000, rate, rate, 3000, seed)
                found.append(forecast.spare())
            mean = sum(found) / len(found)
            # A little more, for what is not known of the rate.
            self.assertGreater(mean, 0.9 * needed, (rate, needed, found))
            self.assertLess(mean, 1.35 * needed + 1, (rate, needed, found))

    def test_more_who_come_need_more_and_fewer_fewer(self) -> None:
        means = []
        for come, go in ((2.0, 2.4), (2.0, 2.0), (2.4, 2.0)):
            spares = []
            for seed in range(10):
                forecast = watching()
                let_come(forecast, 10000, come, go, 2000, seed)
                spares.append(forecast.spare())
            means.append(sum(spares) / len(spares))
        for less, more in pairwise(means):
            # 0.4 a second more, for 47 seconds, give or take what chance has of it.
            self.assertLess(abs(more - less - 0.4 * 47), 5, means)

    def test_groups(self) -> None:
        """Who comes in tens needs more room than as many who come by themselves."""
        forecast = watching()
        alone = watching()
        let_come(alone, 500, 0.5, 0.5, 3600)
        chance, people = Random(3), 500
        for second in range(0, 3600, 2):
            forecast.see(people, float(second))
            people += 10 * poisson(chance, 2 * 0.05) - poisson(chance, 2 * 0.5)
        self.assertGreater(forecast.spare(), 1.5 * alone.spare())

    def test_one_crowd_is_no_climate(self) -> None:
        """A thousand come at once: most of what is kept afterwards is not kept for another such."""
        forecast = watching()
        for second in range(0, 600, 2):
            forecast.see(20 if second < 300 else 1020, float(second))
        self.assertLess(forecast.spare(), 40)

    def test_longer_boots_need_more(self) -> None:
        spares = []
        for boot in (10.0, 45.0, 180.0):
            forecast = watching(boots=boot)
            let_come(forecast, 1000, 1.0, 1.0, 2000)
            spares.append(forecast.spare())
        self.assertEqual(spares, sorted(set(spares)))

    def test_the_latest_boots_count(self) -> None:
        forecast = watching(boots=180.0)
        let_come(forecast, 1000, 1.0, 1.0, 2000)
        before = forecast.spare()
        forecast.booted([10.0] * 100)
        self.assertLess(forecast.spare(), before / 2)

    def test_who_may_wait_for_a_boot_needs_no_spare_place(self) -> None:
        forecast = watching(target=BOOT + INTERVAL)
        let_come(forecast, 100, 1.0, 1.0, 2000)
        self.assertEqual(forecast.spare(), 0)

    @given(
        st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.0, 10**6)), min_size=1, max_size=50),
        st.lists(st.floats(0.0, 3600.0), max_size=30),
        st.floats(0.001, 1e6),
    )
    def test_whatever_is_seen(
        self, seen: list[tuple[int, float]], boots: list[float], target: float
    ) -> None:
        """A whole number of places, and no more than would serve all and more."""
        forecast = Forecast(target, INTERVAL)
        forecast.booted(boots)
        now = 0.0
        for people, pause in seen:
            now += pause
            forecast.see(people, now)
        most = max(people for people, _ in seen)
        spare = forecast.spare()
        json.dumps(spare)
        self.assertIsInstance(spare, int)
        self.assertTrue(0 <= spare <= ceil(2e4 * (most + 10)))


class PeakTests(SynchronousTestCase):
    def test_not_known_before_the_window_has_passed(self) -> None:
        peak = Peak(120.0)
        self.assertIsNone(peak.most)
        for second in range(0, 120, 2):
            peak.see(5, float(second))
            self.assertIsNone(peak.most)
        peak.see(3, 120.0)
        self.assertEqual(peak.most, 5)

    def test_the_most_of_the_window(self) -> None:
        peak = Peak(120.0)
        for second in range(0, 400, 2):
            peak.see(9 if second == 200 else 4, float(second))
            if 200 <= second <= 320:
                self.assertEqual(peak.most, 9, second)
        self.assertEqual(peak.most, 4)

    def test_who_has_not_looked_for_long_knows_nothing(self) -> None:
        peak = Peak(120.0)
        peak.see(5, 0.0)
        peak.see(5, 120.0)
        self.assertEqual(peak.most, 5)
        peak.see(5, 300.0)
        self.assertIsNone(peak.most)

    @given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.001, 40.0)), max_size=300))
    def test_never_less_than_what_was(self, seen: list[tuple[int, float]]) -> None:
        peak, now, all_of_it = Peak(120.0), 0.0, []
        for people, pause in seen:
            now += pause
            peak.see(people, now)
            all_of_it.append((people, now))
            lately = max(p for p, at in all_of_it if now - at <= 120.0)
            if peak.most is not None:
                self.assertGreaterEqual(peak.most, lately)

    def test_little_is_kept(self) -> None:
        """However often somebody looks, and though ever fewer are there."""
        peak = Peak(120.0)
        for look in range(10_000):
            peak.see(10_000 - look, look / 50)
        self.assertLess(len(pickle.dumps(peak)), 2000)
