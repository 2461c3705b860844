"""Which app servers serve at an address that nobody knows, and have for long."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.logger import Logger

from bbs.rules.servers import ServerRow
from bbs.scaling.plan import Seen
from bbs.values import State

_log = Logger()


class Nowhere:
    """Says once of each such server that it is one. It lives on, as it beats; but neither is a list
    of the provider's asked for at once because of it, nor waited for.

    :param patience: seconds after which it has been long.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._known: frozenset[str] = frozenset()

    def note(self, servers: Iterable[Seen]) -> None:
        """These are all servers, as they are now."""
        known = frozenset(
            server.id
            for server in servers
            if server.state is State.LAUNCHING
            and server.reported
            and not server.addressed
            and server.age > self._patience
        )
        for id in known - self._known:
            _log.error("server {server} serves, and nobody knows at which address", server=id)
        self._known = known

    def next_may_tell(self, row: ServerRow) -> bool:
        """Whether all that a server lacks is an address, which the next list may tell."""
        lacks = row.state is State.LAUNCHING and row.port is not None and row.host is None
        return lacks and row.id not in self._known
