"""The credentials that calls are signed with, from botocore's chain: the environment, files, an
instance's profile by IMDSv2, and what else there is.

Finding and renewing them blocks, and so happens in a thread: once, again before they expire, and
again when EC2 has refused them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger
from twisted.python.failure import Failure

from bbs.gathering import Shared
from bbs.workers import IWorkers

EARLY = 15 * 60
"""Seconds before they expire from which on new ones are fetched, beside the calls that go on with
the old ones: what botocore does."""

LATE = 60
"""Seconds before they expire from which on calls wait for new ones."""

_KEYS = "keys"

_log = Logger()


class Credentials:
    """What calls are signed with now.

    :param find: asks botocore's chain for its credentials. It blocks, and raises what botocore
        does.
    """

    def __init__(self, workers: IWorkers, find: Callable[[], Any]) -> None:
        self._workers = workers
        self._find = find
        self._shared = Shared()
        self._source: Any = None
        self._keys: Any = None

    async def current(self) -> Any:
        """The keys: `access_key`, `secret_key` and `token`."""
        if self._keys is None or self._expires(LATE):
            await self._shared.join(_KEYS, self._fetch)
        elif self._expires(EARLY) and not self._shared.runs(_KEYS):
            self._shared.join(_KEYS, self._fetch).addErrback(_log_later)
        return self._keys

    async def anew(self, refused: Any) -> Any:
        """The keys, after EC2 has refused `refused`; the same, if the chain has no others."""
        if self._keys == refused:
            self._source = None
            await self._shared.join(_KEYS, self._fetch)
        return await self.current()

    def _expires(self, within: float) -> bool:
        """Only those that expire know when."""
        needed = getattr(self._source, "refresh_needed", None)
        return needed is not None and bool(needed(within))

    async def _fetch(self) -> None:
        try:
            self._source, self._keys = await self._workers.run(_frozen, self._source, self._find)
        except Exception:
            if self._source is None or self._expires(LATE):
                # The next call asks the whole chain.
                self._source = self._keys = None
            raise


def _frozen(source: Any, find: Callable[[], Any]) -> tuple[Any, Any]:
    source = source or find()
    return source, source.get_frozen_credentials()


def _log_later(failure: Failure) -> None:
    failure.trap(Exception)
    if not failure.check(CancelledError):
        kind = failure.value.__class__.__name__
        _log.warn("credentials were not renewed yet: {kind}", kind=kind)
