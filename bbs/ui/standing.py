"""How it stands with the servers, and the words for what changes of that unasked."""

from __future__ import annotations

from dataclasses import dataclass

from bbs.client.values import Waiting
from bbs.core.addresses import Address
from bbs.ui.screen import IScreen
from bbs.ui.text import visible


@dataclass(frozen=True)
class Status:
    """How it stands with the current user.

    `server` serves them; None while none is known, and then `lost` says that there was one.
    `waiting` is where a login stands that waits for an app server, whoever's it is.
    """

    server: Address | None = None
    lost: bool = False
    waiting: Waiting | None = None


class Standing:
    """What is known of the servers of all users here; `screen` shows when that changes."""

    __slots__ = ("_screen", "_servers", "searching", "waiting")

    def __init__(self, screen: IScreen) -> None:
        self.waiting: Waiting | None = None
        self.searching = False
        """Whether the login server is away."""
        self._screen = screen
        self._servers: dict[str, Address | None] = {}

    def of(self, user: str | None) -> Status:
        server = self._servers.get(user or "")
        return Status(server, server is None and (user or "") in self._servers, self.waiting)

    def forget(self, user: str) -> None:
        self._servers.pop(user, None)

    def waits(self, waiting: Waiting | None) -> None:
        if waiting != self.waiting:
            self.waiting = waiting
            self._screen.changed()

    def searches(self, login_server: Address | None) -> None:
        self.searching = login_server is not None
        if login_server is None:
            self._screen.notice("The login server is there again.")
        else:
            self._screen.problem(f"The login server {login_server} is away. Looking for it…")

    def serves(self, user: str, address: Address | None) -> None:
        before = self._servers.get(user, address)
        unheard_of = user not in self._servers
        self._servers[user] = address
        if address is None:
            self._screen.problem(f"The server {before} is lost. Looking for another…")
        else:
            self.waiting = None
            if not unheard_of and before != address:
                self._screen.notice(f"{visible(user)} is served at {address} now.")
        self._screen.changed()
