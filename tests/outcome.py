"""What the tests of a run showed, as JSON: `tests.run` writes it, and `tests.stages` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What the tests of a run showed.

    :ivar passed: how many passed, those of `flaky` too.
    :ivar skipped: how many were not run, as what they need is not here.
    :ivar failed: what each test said that failed, by its name.
    :ivar flaky: both logs of each test that failed, and passed when it was run again, by its name.
    :ivar over_budget: a line for each room whose tests took too much processor time.
    """

    passed: int = 0
    skipped: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    flaky: Mapping[str, str] = field(default_factory=dict)
    over_budget: Sequence[str] = ()

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, path: Path) -> Outcome | None:
        """What was written; None if the run ended before it could write."""
        return cls(**json.loads(path.read_text())) if path.exists() else None
