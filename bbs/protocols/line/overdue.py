"""What is to happen by a certain time, for thousands, with one timer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

K = TypeVar("K")

AT_ONCE = 200
"""How many are dealt with in one turn of the reactor: thousands may be due in the same moment, and
some 50 µs each would keep everybody else waiting."""


class Overdue(Generic[K]):
    """Those who wait, in the order in which their time is over, as all have the same `period`
    (seconds); `over` is called with each whose time is, who is forgotten."""

    def __init__(self, clock: IReactorTime, period: float, over: Callable[[K], None]) -> None:
        self._clock = clock
        self._period = period
        self._over = over
        self._due: OrderedDict[K, float] = OrderedDict()
        self._timer: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[K]:
        return iter(self._due)

    def __contains__(self, key: object) -> bool:
        return key in self._due

    def renew(self, key: K) -> None:
        """`key` has the whole period from now on."""
        self._due[key] = self._clock.seconds() + self._period
        self._due.move_to_end(key)
        if self._timer is None:
            self._timer = self._clock.callLater(self._period, self._sweep)

    def forget(self, key: K) -> None:
        """Nothing is to happen to `key`."""
        self._due.pop(key, None)
        if not self._due and self._timer is not None:
            if self._timer.active():  # Else it fires just now.
                self._timer.cancel()
            self._timer = None

    def _sweep(self) -> None:
        for _ in range(AT_ONCE):
            if not self._is_due(self._clock.seconds()):
                break
            key, _due = self._due.popitem(last=False)
            self._over(key)
        # This timer has fired; what `over` did may have set another.
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._due:
            first = next(iter(self._due.values()))
            left = max(0.0, first - self._clock.seconds())
            self._timer = self._clock.callLater(left, self._sweep)

    def _is_due(self, now: float) -> bool:
        return bool(self._due) and next(iter(self._due.values())) <= now
