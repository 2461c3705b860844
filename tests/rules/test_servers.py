"""Why app servers drain, are lost or have ended, in words that everybody may read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.values import Cause, DrainCause, LossCause, State
from bbs.rules.servers import ServerRow, explain

PROVIDERS_OWN = "you are arn:aws:x"


def row(state: State, cause: Cause | None, reason: str = "") -> ServerRow:
    """A server in this state."""
    where = {"scope": "local:1", "host": "h", "port": 1, "instance_id": None, "kind": None}
    times = {"created": 1.0, "ready": 2.0, "leaving": False, "drain_asked": False}
    return ServerRow(
        id="s1",
        state=state,
        capacity=1,
        taken=0,
        reason=reason,
        cause=cause,
        **where,  # type: ignore[arg-type]
        **times,  # type: ignore[arg-type]
    )


class Explaining(SynchronousTestCase):
    def test_losses(self) -> None:
        for cause, reason, words in (
            (LossCause.ENDED, "ended: killed by SIGKILL", "was killed (SIGKILL)"),
            (LossCause.ENDED, "ended: exited with 3", "ended by itself (exited with 3)"),
            (LossCause.ENDED, "ended", "ended by itself"),
            (
                LossCause.SILENT,
                "silent for more than 10 s",
                "gave no sign of life for more than 10 s",
            ),
            (LossCause.SILENT, "", "gave no sign of life"),
            (LossCause.LEFT, "it has said that it stops", "said that it stops"),
            (None, "something newer", "is lost"),
        ):
            self.assertEqual(explain(row(State.LOST, cause, reason)), words)
            ended = explain(row(State.GONE, cause, reason))
            self.assertEqual(ended, f"has ended: it {words}" if cause else "has ended")

    def test_every_cause_has_its_words(self) -> None:
        losses = {explain(row(State.LOST, cause, "x")) for cause in LossCause}
        self.assertEqual(len(losses), len(LossCause))
        self.assertNotIn("is lost", losses)
        for state, beginning in (
            (State.DRAINING, "drains (takes nobody new): "),
            (State.LOST, "is being ended: "),
            (State.GONE, "has ended: "),
        ):
            told = [explain(row(state, cause, "taken back at 12:00")) for cause in DrainCause]
            # A warning and a recommendation are both quoted.
            self.assertEqual(len({*told}), len(DrainCause) - 1)
            self.assertTrue(all(each.startswith(beginning) for each in told), told)

    def test_a_warning_is_quoted(self) -> None:
        told = explain(row(State.DRAINING, DrainCause.WARNED, "spot: taken back at 12:00"))
        self.assertEqual(told, "drains (takes nobody new): spot: taken back at 12:00")

    def test_what_a_provider_says_of_a_launch_is_not(self) -> None:
        for cause in (LossCause.FAILED, LossCause.REFUSED, LossCause.UNSTARTABLE):
            told = explain(row(State.GONE, cause, f"{cause}: {PROVIDERS_OWN}"))
            self.assertNotIn(PROVIDERS_OWN, told)

    def test_others_need_no_explanation(self) -> None:
        for state in (State.LAUNCHING, State.WARM, State.READY):
            self.assertEqual(explain(row(state, None)), "")
