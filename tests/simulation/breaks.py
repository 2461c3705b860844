"""What can be taken out on purpose, to see that the rounds notice: each protection once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

from bbs.scaling import sight


@dataclass(frozen=True)
class Break:
    """One protection: what is so without it, and how the code is broken, where it is the code that
    is; else the cloud or the world is different by its name.

    :param seeds: rounds of which one fails at least without it.
    """

    what: str
    code: Callable[[], AbstractContextManager[object]] = nullcontext
    seeds: range = range(1, 16)


def _grace() -> AbstractContextManager[object]:
    return mock.patch.object(sight, "CONSISTENCY_GRACE", 0.0)


BREAKS: Mapping[str, Break] = {
    "token": Break("asking again under a token launches again"),
    "tags": Break("instances are not tagged, so no list has them"),
    "grace": Break("absence from one list counts at once", _grace),
    "fleet-id": Break("fleets go by their name, which another one has too"),
}


class Breaks(frozenset[str]):
    """Those that are taken out, by their names."""

    @contextmanager
    def taken_out(self) -> Iterator[None]:
        """Meanwhile the code is broken so."""
        with ExitStack() as broken:
            for name in sorted(self):
                broken.enter_context(BREAKS[name].code())
            yield
