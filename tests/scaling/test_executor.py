"""What people read of why a server is given up, lost or ended."""

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import REBALANCE, DrainCause, LossCause
from bbs.scaling.executor import words
from bbs.scaling.fleet_view import Health, Machine
from tests.scaling.planner_tools import POLICY, booting, draining, launching, lost, ready, warm

ENDED = {"machine": Machine.ENDED}
TOLD = {"machine": Machine.ENDED, "evidence": "i-1 terminated: Spot"}
WARNED = {"warning": "spot: interrupted at 12:34 UTC"}

WORDS = (
    (None, draining(), "drained"),
    (None, lost(), "lost"),
    (DrainCause.OPERATOR, launching(), "asked for"),
    (DrainCause.OPERATOR, ready(), "asked for"),
    (DrainCause.OPERATOR, warm(), "asked for"),
    (DrainCause.WARNED, ready(**WARNED), "spot: interrupted at 12:34 UTC"),
    (DrainCause.WARNED, draining(**WARNED), "spot: interrupted at 12:34 UTC"),
    (DrainCause.WARNED, warm(warning="retired"), "retired"),
    (DrainCause.IDLE, ready(taken=0), "idle for 120 s"),
    (DrainCause.CONSOLIDATION, ready(taken=1), "consolidated: 1 people fit elsewhere"),
    (DrainCause.CONSOLIDATION, ready(taken=4), "consolidated: 4 people fit elsewhere"),
    (DrainCause.REPLACEMENT, ready(taken=0), "replaced: 0 people go over"),
    (DrainCause.REPLACEMENT, ready(taken=1), "replaced: 1 person goes over"),
    (DrainCause.REPLACEMENT, ready(taken=9), "replaced: 9 people go over"),
    (DrainCause.REPLACEMENT, draining(), "replaced"),
    (DrainCause.REPLACEMENT, warm(), "replaced: it stood by"),
    (DrainCause.RECOMMENDED, ready(warning=REBALANCE), REBALANCE),
    (DrainCause.OUTDATED, warm(), "of another version"),
    (DrainCause.SURPLUS, warm(), "beyond fleet.warm"),
    (DrainCause.UNSTOPPABLE, warm(machine=Machine.RUNS), "runs on the shelf"),
    (LossCause.ENDED, ready(**ENDED), "ended"),
    (LossCause.ENDED, ready(**TOLD), "ended: i-1 terminated: Spot"),
    (LossCause.ENDED, ready(machine=Machine.MISSING), "ended"),
    (LossCause.ENDED, lost(**TOLD), "ended: i-1 terminated: Spot"),
    (LossCause.ENDED, warm(**ENDED), "ended"),
    (
        LossCause.ENDED,
        warm(machine=Machine.ENDED, evidence="this fleet cannot start it"),
        "ended: this fleet cannot start it",
    ),
    (LossCause.LEFT, ready(health=Health.LEAVING), "it has said that it stops"),
    (LossCause.SILENT, ready(health=Health.SILENT), "silent for more than 10 s"),
    (LossCause.LATE, launching(age=181.0), "failed: not ready in 180 s"),
    (LossCause.LATE, booting(age=181.0), "failed: not ready in 180 s"),
    (LossCause.LATE, launching(age=60.0), "failed: not ready before others"),
    (LossCause.FAILED, launching(**ENDED), "failed: ended"),
    (LossCause.FAILED, booting(**TOLD), "failed: ended: i-1 terminated: Spot"),
    (LossCause.FAILED, launching(health=Health.LEAVING), "failed: it has said that it stops"),
    (LossCause.FAILED, launching(health=Health.SILENT), "failed: silent for more than 10 s"),
)

OF_THE_PROVIDER = {LossCause.REFUSED, LossCause.UNSTARTABLE}
"""Causes that no plan has: what people read of these is what the provider said."""


class WordsTests(SynchronousTestCase):
    def test_each(self) -> None:
        for cause, server, text in WORDS:
            self.assertEqual(words(cause, server, POLICY), text)

    def test_all(self) -> None:
        causes = {cause for cause, _, _ in WORDS if cause} | OF_THE_PROVIDER
        self.assertEqual(causes, {*DrainCause, *LossCause})
