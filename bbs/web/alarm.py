"""The alarm, above everything on the page: people wait, and nothing is launched for them.

Pure: it is told what is known, and reads no clock. A delay that ends by itself is none: while
enough is being launched for everybody who waits, nobody needs to do anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from bbs.core.values import Policy, State
from bbs.rules.overview import Overview
from bbs.rules.servers import NOT_RUNNING


class Cause(StrEnum):
    """Why nothing is launched."""

    NO_KEEPER = "no-keeper"
    REFUSED = "refused"
    FAILED = "failed"
    MAXIMUM = "maximum"
    BY_HAND = "by-hand"


@dataclass(frozen=True)
class Alarm:
    """What is wrong, in words that stay the same while it lasts, as they are read out whenever they
    change; and what is `todo` for operators."""

    cause: Cause
    text: str
    todo: str

    def as_json(self) -> dict[str, str]:
        """As the page gets it."""
        return {"cause": str(self.cause), "text": self.text, "todo": self.todo}


FAILURES = 2
"""Launches that failed in a row after which the next one is not believed in: the first may have
failed by chance."""


def no_keeper_after(policy: Policy) -> float:
    """Seconds without a sign of the fleet's keeper after which there is none: another login server
    takes over after `lost_after`, and has then as long again to show itself."""
    return 2 * policy.lost_after


def alarms(
    seen: Overview, policy: Policy, keeper_silence: float, operator: bool
) -> Iterator[Alarm]:
    """What is to be cried out, the worst first.

    :param keeper_silence: seconds for which the fleet's keeper has given no sign.
    :param operator: whether what a provider says may be said.
    """
    if keeper_silence > no_keeper_after(policy):
        yield Alarm(
            Cause.NO_KEEPER,
            "Nobody keeps the fleet: no server is launched, and none is ended",
            "Look at the logs of the login servers, and restart them one by one.",
        )
    if seen.waiting and seen.failures >= FAILURES and seen.refusal is None:
        # Also while the next one is under way: else this would come and go with each.
        yield Alarm(
            Cause.FAILED,
            "People wait for a place, and one launch after the other fails",
            "Look below the servers for why, and in their logs, or run an app server by hand."
            " It is tried again by itself."
            if operator
            else "Log in as an operator to see why.",
        )
        return
    coming = sum(each.capacity for each in seen.servers if each.state is State.LAUNCHING)
    if seen.waiting <= coming:
        return
    if seen.refusal is not None:
        why = f": {seen.refusal.reason}" if operator else ""
        yield Alarm(
            Cause.REFUSED,
            f"People wait for a place, and the provider launches nothing{why}",
            "Put right what it says, or run an app server by hand. It is asked again by itself."
            if operator
            else "Log in as an operator to see why.",
        )
    living = sum(each.state not in NOT_RUNNING for each in seen.servers)
    if not policy.maximum:
        yield Alarm(
            Cause.BY_HAND,
            "People wait for a place, and nothing launches servers: they are run by hand",
            "Run another app server.",
        )
    elif living >= policy.maximum:
        yield Alarm(
            Cause.MAXIMUM,
            f"People wait for a place, and the fleet is at its maximum of {policy.maximum} servers",
            "Raise fleet.maximum and restart the login servers, or run an app server by hand.",
        )
