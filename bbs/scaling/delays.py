"""What is said of a replacement that waits."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

LASTING = 10.0
"""Seconds after which a reason is told of. In a service in which people come, some wait for a
moment now and then."""

_log = Logger()


class Delays:
    """Tells the log why nothing is replaced, once of each reason that lasts."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._reason = ""
        self._since = 0.0
        self._told = False

    def lasting(self, reason: str) -> str:
        """`reason` says why nothing is replaced now; "" where something is, or nothing is to be.
        Returns it once it has lasted."""
        now = self._reactor.seconds()
        if reason != self._reason:
            self._reason, self._since, self._told = reason, now, False
        if not reason or now - self._since < LASTING:
            return ""
        if not self._told:
            self._told = True
            _log.warn("replacing servers waits: {reason}", reason=reason)
        return reason
