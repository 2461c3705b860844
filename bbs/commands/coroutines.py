"""Coroutines that hardly ever wait."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


def begin(coroutine: Coroutine[Deferred[Any], Any, T]) -> T | Deferred[T]:
    """Run `coroutine` until it waits for something: what it returned, if it never does, else a
    Deferred of that.

    A Deferred for a coroutine that never waits takes 1.5 µs, and this 0.3; one for a coroutine that
    does takes 0.3 µs more than `Deferred.fromCoroutine` alone.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    return Deferred.fromCoroutine(_go_on(coroutine, awaited))


def _go_on(
    coroutine: Coroutine[Deferred[Any], Any, T], awaited: Deferred[Any]
) -> Generator[Deferred[Any], Any, T]:
    """The rest of `coroutine`, which waits for `awaited`."""
    while True:
        try:
            try:
                value = yield awaited
            except GeneratorExit:  # Nobody can end the wait, and both are thrown away.
                coroutine.close()
                raise
            except BaseException as error:
                awaited = coroutine.throw(error)
            else:
                awaited = coroutine.send(value)
        except StopIteration as done:
            result: T = done.value
            return result
