"""People who come, wait, are turned away and come again, are not there for a while, and go."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from bbs.core.errors import Refusal
from bbs.rules import accounts, auth, placement
from bbs.rules.placement import Look, Search
from bbs.storage.database import Database
from bbs.storage.models import Place, Session, User


def go_offline(name: str) -> None:
    """Whatever `name` had, it is given back."""
    user = User.get(User.name == name)
    Session.delete().where(Session.user == user.id).execute()
    placement.give_back(user.id)


def leave_place(name: str) -> bool:
    """Give the place of `name` back, as the app server does whose user neither asks nor listens;
    whether there was one."""
    place = Place.get_or_none(Place.user == User.get(User.name == name).id)
    if place is None or place.server_id is None:
        return False
    return bool(placement.leave_unused(place.server_id, {place.user_id: place.asked}))


def find_place(name: str, here: str) -> placement.Seat | None:
    """What the next command does that `name` asks of the app server `here`."""
    return placement.come_back(User.get(User.name == name).id, here)


class Person:
    """One, with an account.

    :param login_server: somebody to ask, or None while nobody lives.
    :param tell: told of what happens.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        chance: Random,
        database: Database,
        login_server: Callable[[], Any],
        tell: Callable[..., None],
    ) -> None:
        self.name = name
        self.wants = False
        self.away = False
        """Whether this one is logged in, and wants no place before the next command."""
        self.asked: Any = None
        """The login server that looks for a place."""
        self._clock = clock
        self._chance = chance
        self._database = database
        self._login_server = login_server
        self._tell = tell
        self._answer: Deferred[Any] | None = None
        self._last = ""
        database.run(accounts.register, name, "hash", clock.seconds())

    def come(self) -> None:
        """Log in, and wait if need be."""
        self.wants = True
        self._ask()

    def go(self) -> None:
        """Log out, or give up waiting."""
        self.give_up()
        self.away = False
        self._tell("goes", self.name)
        self._database.run(go_offline, self.name)

    def leave(self) -> None:
        """Neither ask nor listen for long."""
        if self.wants and self.asked is None:
            self._database.run(leave_place, self.name).addCallback(self._left)

    def _left(self, left: bool) -> None:
        if left:
            self.away = True
            self._tell("is away", self.name)

    def come_back(self) -> None:
        """Ask something again: the app server, which may know of no place, and then a login
        server."""
        self.away = False
        self._tell("comes back", self.name)
        self._database.run(find_place, self.name, self._last).addCallback(self._found)

    def _found(self, seat: placement.Seat | None) -> None:
        if seat is None:
            self._ask()
        else:
            self._seated(seat)

    def give_up(self) -> None:
        """Wait no longer."""
        self.wants = False
        answer, self._answer = self._answer, None
        if answer and self.asked and self.asked.mortal.alive:
            answer.cancel()
        self.asked = None

    def change(self, database: Database, login_server: Callable[[], Any]) -> None:
        """What this one was served by is lost: log in elsewhere."""
        self._database, self._login_server = database, login_server
        self.asked = self._answer = None
        self.away = False
        if self.wants:
            self._later()
        else:
            database.run(go_offline, self.name)

    def hang_up(self) -> None:
        """The login server has died: ask another."""
        self.asked = self._answer = None
        self._later()

    def _later(self) -> None:
        self._clock.callLater(self._chance.uniform(1.0, 5.0), self._ask)

    def _ask(self) -> None:
        if not self.wants or self.asked is not None:
            return
        server = self._login_server()
        if server is None:
            self._later()
            return
        # Who had an answer that was lost may have had a place, and have been away since.
        self.away = False
        digest = auth.digest(accounts.new_token())

        async def attempt(look: Look) -> Search:
            found: Search = await server.database.run(
                accounts.log_in, self.name, "hash", digest, None, server.wall(), look
            )
            return found

        async def undo() -> None:
            await server.database.run(accounts.undo_log_in, digest)

        self.asked = server
        self._tell("asks", self.name, server.id)
        self._answer = Deferred.fromCoroutine(server.room.seat(self.name, self, attempt, undo))
        self._answer.addCallbacks(self._seated, self._refused)

    def _seated(self, seat: Any) -> None:
        self.asked = self._answer = None
        self._last = seat.server
        self._tell("sits", self.name, seat.server)

    def _refused(self, failure: Any) -> None:
        self.asked = self._answer = None
        failure.trap(Refusal, CancelledError)
        self._tell("is refused", self.name, failure.type.__name__)
        if self.wants:
            self._later()
