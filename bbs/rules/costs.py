"""What a rule costs its caller, who has so much of each kind of work in a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Price = float | Callable[[Any], float]
"""So much, or so much as follows from what the rule returned."""


@dataclass(frozen=True)
class Costs:
    """What one call costs: in `commands`, of `[limits] commands`, and in `deliveries`."""

    commands: Price = 1.0
    deliveries: Price = 0.0

    @property
    def known(self) -> bool:
        """Whether all is known beforehand."""
        return not (callable(self.commands) or callable(self.deliveries))


ONE_COMMAND = Costs()


def costs(
    *, commands: Price = 1.0, deliveries: Price = 0.0
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a rule with what a call of it costs, where that is more than one command.

        @costs(deliveries=lambda sent: len(sent.readers))
        def send_group(caller, name, text): ...

    A price that follows from what the rule returned is known only when the work is done. So calls
    of such a rule are carried out one after the other for each user, and the next begins when what
    the one before it cost is there.
    """

    def mark(rule: Callable[P, T]) -> Callable[P, T]:
        rule.__bbs_costs__ = Costs(commands, deliveries)  # type: ignore[attr-defined]
        return rule

    return mark


def costs_of(rule: Callable[..., object] | None) -> Costs:
    """What `rule` is marked with."""
    found: Costs = getattr(rule, "__bbs_costs__", ONE_COMMAND)
    return found
