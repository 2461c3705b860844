"""The session with which a person goes on at the next start, without a password."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool

from bbs.client.replies import is_device_token
from bbs.core.clock import IReactor
from bbs.ui.conversation import Conversation
from bbs.ui.interfaces import BuiltinCommand, UsageError
from bbs.ui.output import visible
from bbs.ui.process import PrivateEntries, daemon_pool
from bbs.ui.wording import FAILURES

REMEMBER = "Type remember to be logged in without a password at the next start."

NOT_FORGOTTEN = "The session may still be kept here. Type logout to end it."

KEYRING = "bbs client"
"""The name of the system's keyring for entries of this client."""

KEYRING_PATIENCE = 30.0  # s for the keyring, which may ask the person to unlock it


class NotKept(Exception):
    """A session is not remembered; the text is the reason, for the person."""


class RememberedSession:
    """The session with which a person wants to go on at the next start, of one login server.

    A file of all servers' has the names of its user and its service. The token is there, too, or in
    the system's keyring, if Python's package `keyring` is installed and has one that encrypts.
    `ask_keyring` makes calls to it one after the other, as it may ask the person: so the last call
    counts, whenever the person answers. Unless the way to the server `is_secure`, nothing is kept,
    and what was kept is not sent: it is asked each time, as a server may be away, and somebody else
    at its port.
    """

    def __init__(
        self,
        path: Path,
        server: str,
        ask_keyring: Callable[..., Deferred[Any]] = maybeDeferred,
        *,
        is_secure: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_secure = is_secure
        self._file = PrivateEntries(path, 1)
        self._server = server
        self._ask_keyring = ask_keyring
        self._entry = self._read()
        self._may_be_in_keyring = self._entry.get("keyring") is True
        self._changes = 0

    @property
    def is_secure(self) -> bool:
        """Whether the session may be sent to who answers now, and kept."""
        return self._is_secure()

    @property
    def user(self) -> str:
        """The user of the session; empty without one."""
        user = self._entry.get("user")
        return user if isinstance(user, str) and user.split() == [user] else ""

    @property
    def service(self) -> object:
        """The name of the service that gave the session: no other one is to see the token."""
        return self._entry.get("service")

    @property
    def is_kept(self) -> bool:
        """Whether there is a session to go on with."""
        has_token = not {"token", "keyring"}.isdisjoint(self._entry)
        return self.is_secure and bool(self.user) and has_token

    @property
    def is_new(self) -> bool:
        """Whether the person has neither been told of this nor used it."""
        return not self._entry

    async def load(self) -> str:
        """The token; empty if there is none, or the way is not secure now."""
        if not self.is_secure:
            return ""
        token: object = self._entry.get("token")
        if self._may_be_in_keyring:
            try:
                token = await self._ask_keyring(_load, self._server)
            except CancelledError:
                raise
            except Exception:  # A keyring may raise anything.
                return ""
        return token if is_device_token(token) else ""

    async def keep(self, user: str, token: str, service: str) -> str:
        """Remember a session, and give the place where it is, in words. Raises `NotKept`. Cancelled
        by the person, or by a later change, it keeps nothing."""
        if not self.is_secure:
            raise NotKept("without --tls, others on the way could take the session")
        self._changes += 1
        change, before, self._may_be_in_keyring = self._changes, self.user, True
        try:
            in_keyring = await self._ask_keyring(_store, self._server, token)
        except Exception as problem:
            if change == self._changes:
                # The person may unlock it yet.
                self._ask_keyring(_delete, self._server).addErrback(lambda _: None)
                self._write({"user": before})
            if isinstance(problem, CancelledError):
                raise
            raise NotKept("the system's keyring failed") from problem
        if change != self._changes:
            raise CancelledError()
        self._may_be_in_keyring = in_keyring
        where = {"keyring": True} if in_keyring else {"token": token}
        if not self._write({"user": user, "service": service, **where}):
            await self.forget(before)
            raise NotKept(f"{self._file.path} cannot be written")
        return (
            "the system's keyring" if in_keyring else f"{self._file.path}, which only you can read"
        )

    async def forget(self, user: str = "") -> bool:
        """Forget the session; False if it may be kept still. With `user`, the next one of theirs is
        remembered again."""
        self._changes += 1
        is_gone = self._write({"user": user})
        if self._may_be_in_keyring:
            try:
                await self._ask_keyring(_delete, self._server)
                self._may_be_in_keyring = False
            except CancelledError:
                raise
            except Exception:
                is_gone = False
        return is_gone

    def _write(self, entry: dict[str, object]) -> bool:
        """Change the entry. If the file cannot be written, it must go: False if it stays."""
        self._entry = entry
        if self._file.put(self._server, entry):
            return True
        with suppress(OSError):
            self._file.path.unlink()
        return "token" not in entry and "token" not in self._read()

    def _read(self) -> dict[str, object]:
        mine = [each[1:] for each in self._file.read() if each[0] == self._server]
        return mine[-1][0] if mine and mine[-1] and isinstance(mine[-1][0], dict) else {}


def keyring_caller(reactor: IReactor) -> Callable[..., Deferred[Any]]:
    """A function that makes calls in one thread, one after the other. A call fails after
    `KEYRING_PATIENCE`, or if it is cancelled; it is made all the same."""
    pool = daemon_pool("keyring")

    def ask(call: Callable[..., Any], *arguments: str) -> Deferred[Any]:
        asked = deferToThreadPool(reactor, pool, call, *arguments)
        return asked.addTimeout(KEYRING_PATIENCE, reactor)

    return ask


def _keyring() -> Any:
    """Python's package `keyring`; None if it is not installed, or has no safe place."""
    try:
        keyring = import_module("keyring")
        return keyring if keyring.get_keyring().priority >= 1 else None
    except Exception:  # Its backends may raise anything.
        return None


def _load(server: str) -> str | None:
    keyring = _keyring()
    return None if keyring is None else keyring.get_password(KEYRING, server)


def _store(server: str, token: str) -> bool:
    """Whether there is a keyring, which has stored the token."""
    keyring = _keyring()
    if keyring is not None:
        keyring.set_password(KEYRING, server, token)
    return keyring is not None


def _delete(server: str) -> None:
    keyring = import_module("keyring")  # It was there before.
    if keyring.get_password(KEYRING, server) is not None:
        keyring.delete_password(KEYRING, server)


async def keep_session(remembered: RememberedSession, speaker: Conversation, user: str) -> None:
    """Remember the session of a user who is logged in, and say where. Raises UsageError."""
    client = speaker.client
    await client.learn()
    try:
        place = await remembered.keep(user, client.token(user), client.vocabulary.service)
    except NotKept as problem:
        raise UsageError(f"Nothing is remembered: {visible(str(problem))}.") from None
    until = "until you log out or type forget"
    speaker.screen.notice(
        f"{visible(user)} stays logged in here, {until}. Kept in {visible(place)}."
    )


def session_commands(
    remembered: RememberedSession | None, conversation: Callable[[], Conversation]
) -> Mapping[str, BuiltinCommand]:
    """The commands by which a person chooses; none without a place for sessions."""
    if remembered is None:
        return {}

    async def remember(words: Sequence[str]) -> None:
        speaker = conversation()
        if words:
            raise UsageError()
        if speaker.current is None:
            raise UsageError(FAILURES["not-logged-in"])
        await keep_session(remembered, speaker, speaker.current)

    async def forget(words: Sequence[str]) -> None:
        if words:
            raise UsageError()
        if not await remembered.forget():
            raise UsageError(NOT_FORGOTTEN)
        conversation().screen.notice("The next start asks for a password.")

    commands = (
        BuiltinCommand("remember", "Logs you in at the next start; forget ends it.", remember),
        BuiltinCommand("forget", "Ends remember; you stay logged in.", forget, listed=False),
    )
    return {each.name: each for each in commands}
