"""What came of the attacks, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from lab.attacks.values import GOALS, KINDS, MEBIBYTE, YARDSTICK, Bounds, Outcome

HEAD = (
    "attack                  list-friend p50/p99 ms    login p50/p99 ms        attackers'"
    "              server  MiB before/\n"
    "                        before   → during         before   → during       answers/s  share"
    "   CPU    most/after"
)


def row(outcome: Outcome) -> str:
    """One line of the table."""

    def waits(kind: str) -> str:
        before, during = outcome.before[kind], outcome.during[kind]
        return f"{before.p50:.1f}/{before.p99:.1f} → {during.p50:.1f}/{during.p99:.1f}"

    answered = outcome.answered
    memory = outcome.largest
    sizes = "/".join(
        f"{size / MEBIBYTE:.0f}" for size in (memory.before, memory.most, memory.after)
    )
    rate, cpu = answered / outcome.plan.during, outcome.cpu / outcome.seconds
    return (
        f"{outcome.attack.name:22}  {waits('list-friend'):24}  {waits('login'):22}"
        f"  {rate:9.0f}  {outcome.share:5.0%}  {cpu:4.0%}  {sizes}"
    )


def table(outcomes: Iterable[Outcome], bounds: Bounds = GOALS) -> str:
    """All of it, each fault under its attack."""
    lines = [HEAD]
    for outcome in outcomes:
        lines.append(row(outcome))
        lines += [f"    ✗ {fault}" for fault in outcome.faults(bounds)]
    return "\n".join(lines)


def as_json(outcome: Outcome, bounds: Bounds = GOALS) -> dict[str, Any]:
    """Everything that was found."""
    return {
        "attack": outcome.attack.name,
        "plan": asdict(outcome.plan),
        "before": {kind: asdict(outcome.before[kind]) for kind in (*KINDS, YARDSTICK)},
        "during": {kind: asdict(outcome.during[kind]) for kind in (*KINDS, YARDSTICK)},
        "refused": [*outcome.refused],
        "floods": [*outcome.floods],
        "memory": [asdict(each) for each in outcome.memory],
        "seconds": outcome.seconds,
        "cpu": outcome.cpu,
        "share": outcome.share,
        "ended": outcome.ended,
        "launched": outcome.launched,
        "trouble": [*outcome.trouble[:20]],
        "faults": outcome.faults(bounds),
    }
