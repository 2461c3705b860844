"""Work that is done once for several callers, or in batches."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

GATHER = 0.02  # Seconds to gather a batch.
LARGEST = 100  # Keys in a batch.


class SingleFlight:
    """Work under a key, shared by all callers that ask for it while it runs."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def join(self, key: str, work: Callable[[], Coroutine[Any, Any, None]]) -> Deferred[None]:
        """Begin `work`, unless some runs under `key`; the Deferred fires with its outcome. The
        work goes on if the Deferred is cancelled."""
        begins = not self.runs(key)
        waiter = self._wait(key)
        if begins:
            Deferred.fromCoroutine(work()).addBoth(self._ended, key)
        return waiter

    def runs(self, key: str) -> bool:
        """Whether there is work under `key`."""
        return key in self._waiting

    def settled(self, key: str) -> Deferred[None]:
        """Return a Deferred that fires when no work under `key` runs, however it ended."""
        return self._wait(key).addErrback(lambda _: None) if self.runs(key) else succeed(None)

    def _wait(self, key: str) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiting.setdefault(key, []).append(waiter)
        return waiter

    def _ended(self, result: Any, key: str) -> None:
        for waiter in self._waiting.pop(key):
            waiter.callback(result)


@dataclass(eq=False)
class Batch:
    """Gathers keys for a moment, and then calls `act` with at most `LARGEST` of them, which returns
    an error for each key that failed."""

    reactor: IReactorTime
    act: Callable[[list[str]], Coroutine[Any, Any, Mapping[str, Exception]]]

    def __post_init__(self) -> None:
        self._gathered: dict[str, list[Deferred[None]]] = {}

    def add(self, key: str) -> Deferred[None]:
        """Add `key` to the batch; the Deferred fires when `act` is done with it."""
        if not self._gathered:
            self.reactor.callLater(GATHER, self._begin)
        waiter: Deferred[None] = Deferred()
        self._gathered.setdefault(key, []).append(waiter)
        if len(self._gathered) >= LARGEST:
            self._begin()
        return waiter

    def _begin(self) -> None:
        gathered, self._gathered = self._gathered, {}
        if gathered:
            Deferred.fromCoroutine(self.act(list(gathered))).addBoth(self._ended, gathered)

    def _ended(self, result: Any, gathered: Mapping[str, list[Deferred[None]]]) -> None:
        for key, waiters in gathered.items():
            error = result if isinstance(result, Failure) else result.get(key)
            for waiter in waiters:
                if error:
                    waiter.errback(error)
                else:
                    waiter.callback(None)
