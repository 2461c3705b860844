"""What becomes known of strangers: security events, in numbers that a log can hold."""

from __future__ import annotations

from collections.abc import Callable

from bbs import security
from bbs.limits.buckets import Buckets
from bbs.limits.connections import counted_as
from bbs.values import NAME_LENGTH, Rate

REFUSED, REFUSALS = "refused", Rate(1, 1.0)
"""Of each kind of refusal one is told a second for each address. Measured: 200 connections are
refused 9,000 times a second, and that many lines would push out of the log what it is for."""


class Telling:
    """Tells of security events (`bbs.security.tell`) of a login server.

    :param seconds: a clock that nobody sets.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._refusals = Buckets(REFUSALS, seconds)

    def __call__(self, what: str, outcome: str, host: str, name: str = "", *, by: str = "") -> None:
        """`what` was tried from `host` in the name `name`, as somebody gave it, and came to
        `outcome`; `by` is an operator."""
        if outcome == REFUSED:
            key = (what, counted_as(host))
            if self._refusals.wait(key):
                return
            self._refusals.take(key)
        security.tell(what, outcome, address=host, name=name[:NAME_LENGTH], by=by)
