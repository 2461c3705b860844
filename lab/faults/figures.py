"""What a run counts and measures: each fault, and how long after it requests were served again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass
class Fault:
    """One fault. Times are in seconds; `began` counts from the beginning of the run."""

    number: int
    kind: str
    target: str
    began: float
    lasted: float | None = None
    """How long it was held: a freeze until SIGCONT, a restart until the new process; None yet."""
    alone: bool = True
    """Whether nothing else went wrong before all was served again."""
    served: dict[str, float] = field(default_factory=dict)
    """For each stream of requests, from `began` until the first one begun later succeeded."""

    def __str__(self) -> str:
        return f"#{self.number} {self.kind} of {self.target}"


class Watch:
    """Which faults are open: some stream of requests has not been served since."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._zero = seconds()
        self.faults: list[Fault] = []
        self.open: list[Fault] = []
        self.streams: dict[str, str] = {}
        """The kind of request of each stream."""

    def now(self) -> float:
        return self._seconds() - self._zero

    def begin(self, kind: str, target: str) -> Fault:
        fault = Fault(len(self.faults) + 1, kind, target, self.now())
        for other in self.open:
            fault.alone = other.alone = False
        self.faults.append(fault)
        self.open.append(fault)
        return fault

    def served(self, stream: str, begun: float) -> None:
        """A request of a stream, which began at `begun`, has succeeded now."""
        now = self.now()
        for fault in self.open:
            if fault.began <= begun:
                fault.served.setdefault(stream, now - fault.began)
        self.open = [fault for fault in self.open if self.waits_for(fault)]

    def waits_for(self, fault: Fault) -> Sequence[str]:
        """What is not served yet since a fault; empty when it is over."""
        waiting = [name for name in self.streams if name not in fault.served]
        return waiting or ([] if fault.lasted is not None else ["its end"])

    def over(self, fault: Fault) -> None:
        """The fault itself is over."""
        fault.lasted = self.now() - fault.began
        self.open = [fault for fault in self.open if self.waits_for(fault)]

    def give_up(self, fault: Fault) -> None:
        if fault in self.open:
            self.open.remove(fault)

    def by_request(self, fault: Fault) -> dict[str, float]:
        """For each kind of request, the slowest of its streams."""
        found: dict[str, float] = {}
        for name, seconds in fault.served.items():
            kind = self.streams[name]
            found[kind] = max(seconds, found.get(kind, 0.0))
        return found


@dataclass
class Figures:
    """All that a run found out."""

    database: str
    seed: int
    watch: Watch
    skipped: list[str] = field(default_factory=list)
    """What could not be done on this machine, and why."""
    complaints: list[str] = field(default_factory=list)
    """What must not be."""
    refused_starts: Counter[str] = field(default_factory=Counter)
    """Why servers said that they cannot start; they were started again."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """For each stream, how many of its writes were acknowledged, lost, and so on."""
    seconds: float = 0.0

    def complain(self, text: str) -> None:
        self.complaints.append(text)

    def total(self, what: str) -> int:
        return sum(each.get(what, 0) for each in self.counts.values())

    def text(self) -> str:
        """The summary, for people."""
        faults = self.watch.faults
        lines = [
            f"{len(faults)} faults on {self.database}, seed {self.seed}, {self.seconds:.0f} s:"
            f" {self.total('acknowledged')} writes acknowledged, {self.total('lost')} lost,"
            f" {self.total('doubled')} doubled, {self.total('out of order')} out of order",
            f"{self.total('unsure')} without an answer, {self.total('unavailable')} refused as"
            f" unavailable ({self.total('unavailable, and there')} of them carried out"
            f" all the same), {self.total('unreached')} that no server took",
            "",
            "seconds from a fault until served again, by what was asked",
            *_table(self._times(lambda fault: self.watch.by_request(fault).items())),
            "",
            "the same of all requests, by what went wrong",
            *_table(self._times(self._all)),
            "",
            "the same, from the end of the fault, where nothing else went wrong meanwhile",
            *_table(self._times(self._after)),
        ]
        for title, said in (
            ("not done", self.skipped),
            ("starts refused", [f"{n} x {why}" for why, n in self.refused_starts.most_common()]),
            ("COMPLAINTS", self.complaints),
        ):
            if said:
                lines += ["", f"{title}:", *(f"  {each}" for each in said)]
        return "\n".join(lines)

    def _times(self, of: Callable[[Fault], Iterable[tuple[str, float]]]) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for fault in self.watch.faults:
            for name, seconds in of(fault):
                found.setdefault(name, []).append(seconds)
        return found

    def _all(self, fault: Fault) -> list[tuple[str, float]]:
        return [(fault.kind, max(fault.served.values()))] if fault.served else []

    def _after(self, fault: Fault) -> list[tuple[str, float]]:
        seconds = max(fault.served.values(), default=0.0) - (fault.lasted or 0.0)
        return [(fault.kind, max(0.0, seconds))] if fault.alone else []

    def write(self, path: Path) -> None:
        """Write all of it as JSON."""
        found = {
            "database": self.database,
            "seed": self.seed,
            "seconds": self.seconds,
            "acknowledged": self.total("acknowledged"),
            "lost": self.total("lost"),
            "doubled": self.total("doubled"),
            "out_of_order": self.total("out of order"),
            "counts": self.counts,
            "complaints": self.complaints,
            "refused_starts": self.refused_starts,
            "skipped": self.skipped,
            "faults": [asdict(fault) for fault in self.watch.faults],
        }
        path.write_text(json.dumps(found, indent=1) + "\n")


def _table(times: dict[str, list[float]]) -> list[str]:
    width = max(map(len, times), default=0)
    return [
        f"  {name:{width}}  {len(each):4} times, median {median(each):6.2f},"
        f" longest {max(each):6.2f}"
        for name, each in sorted(times.items())
    ]
