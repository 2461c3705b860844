"""Waiting until TLS is agreed on, and in words why it is not."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from bbs.client.strangers import NotSecure
from bbs.core.addresses import Address

HANDSHAKE_DEADLINE = 8.0
"""Seconds until TLS must have been agreed on with a server."""

_OF_NO_TLS = {"wrong version number", "packet length too long", "record layer failure"}
"""OpenSSL's words for what is no record of TLS."""


class Handshake:
    """That of one connection, to `address`."""

    def __init__(self, clock: IReactorTime, address: Address) -> None:
        self._clock = clock
        self._address = address
        self._over: Deferred[None] = Deferred()

    def completed(self) -> None:
        """TLS is agreed on."""
        if not self._over.called:
            self._over.callback(None)

    def lost(self, reason: Failure) -> None:
        """The connection has ended."""
        if not self._over.called:
            self._over.errback(reason)

    async def wait(self) -> None:
        """Until it is agreed on; or `NotSecure`."""
        try:
            await self._over.addTimeout(HANDSHAKE_DEADLINE, self._clock)
        except TimeoutError:
            raise NotSecure(f"{self._address} does not answer to TLS") from None
        except CancelledError:
            raise
        except ConnectionClosed:
            told = f"{self._address} ended the connection, and may speak no TLS"
            raise NotSecure(told) from None
        except Exception as problem:
            raise NotSecure(f"{self._address}: {_in_words(problem)}") from problem


def _in_words(problem: Exception) -> str:
    if not problem.args or not isinstance(problem.args[0], list):
        return str(problem)
    # OpenSSL's: a list of (library, function, reason), which is empty where it knows none.
    reasons = {str(each[-1]) for each in problem.args[0]}
    if not reasons or reasons & _OF_NO_TLS:
        return "it speaks no TLS"
    return f"TLS was not agreed on: {', '.join(sorted(reasons))}"
