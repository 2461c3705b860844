"""The session with which a person goes on at the next start, without a password."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from bbs.client.replies import is_device_token
from bbs.core.clock import IReactor
from bbs.ui.conversation import Conversation
from bbs.ui.interfaces import BuiltinCommand, UsageError
from bbs.ui.output import visible
from bbs.ui.process import MOST_DEVICES, MOST_READ, DaemonThread, write_private
from bbs.ui.wording import FAILURES

T = TypeVar("T")

REMEMBER = "Type remember to be logged in without a password at the next start."

KEYRING = "bbs client"
"""The name of the system's keyring for entries of this client."""

KEYRING_PATIENCE = 30.0  # s for the keyring, which may ask the person to unlock it


class RememberedSession:
    """The session with which a person wants to go on at the next start, of one login server.

    A file of all servers' has its user's name. The token is there, too, or in the system's keyring,
    if Python's package `keyring` is installed and has one that encrypts. `aside` calls what may
    wait (`in_thread`), as a keyring may ask the person. A session that cannot be written is
    forgotten.
    """

    def __init__(
        self, path: Path, server: str, aside: Callable[..., Deferred[Any]] = maybeDeferred
    ) -> None:
        self._path = path
        self._server = server
        self._aside = aside
        self._entry = self._read().get(server, {})

    @property
    def user(self) -> str:
        """The user of the session; empty without one."""
        user = self._entry.get("user")
        return user if isinstance(user, str) and user.split() == [user] else ""

    @property
    def is_kept(self) -> bool:
        """Whether there is a session to go on with."""
        return bool(self.user) and not {"token", "keyring"}.isdisjoint(self._entry)

    @property
    def is_decided(self) -> bool:
        """Whether the person has been told of this, or has chosen."""
        return bool(self._entry)

    def load(self) -> Deferred[str]:
        """The token; empty if there is none."""
        return self._aside(self._load).addErrback(lambda _: "")

    def keep(self, user: str, token: str) -> Deferred[str]:
        """Remember a session; gives the place where it is, in words, empty if it is nowhere."""
        self._entry = {"user": user}
        return self._aside(self._keep, user, token).addErrback(
            lambda _: self._aside(self._keep_in_file, user, token)
        )

    def forget(self, user: str = "") -> Deferred[None]:
        """Forget the session. With `user`, the next one of theirs is remembered again."""
        in_keyring = self._entry.get("keyring") is True
        self._entry = {"user": user}
        forgotten = self._aside(self._forget, in_keyring, self._entry)
        return forgotten.addErrback(lambda _: None)

    def _load(self) -> str:
        token: object = self._entry.get("token")
        if self._entry.get("keyring") is True and (keyring := _keyring()) is not None:
            token = keyring.get_password(KEYRING, self._server)
        return token if is_device_token(token) else ""

    def _keep(self, user: str, token: str) -> str:
        keyring = _keyring()
        if keyring is None:
            return self._keep_in_file(user, token)
        keyring.set_password(KEYRING, self._server, token)
        self._write({"user": user, "keyring": True})
        return "the system's keyring"

    def _keep_in_file(self, user: str, token: str) -> str:
        self._write({"user": user, "token": token})
        is_kept = self._read().get(self._server, {}).get("token") == token
        return f"{self._path}, which only you can read" if is_kept else ""

    def _forget(self, in_keyring: bool, entry: dict[str, object]) -> None:
        self._write(entry)
        if in_keyring and (keyring := _keyring()) is not None:
            keyring.delete_password(KEYRING, self._server)

    def _write(self, entry: dict[str, object]) -> None:
        self._entry = entry
        others = {server: each for server, each in self._read().items() if server != self._server}
        kept = dict([*others.items(), (self._server, entry)][-MOST_DEVICES:])
        write_private(self._path, json.dumps(kept))

    def _read(self) -> dict[str, dict[str, object]]:
        try:
            entries = json.loads(self._path.read_bytes()[:MOST_READ])
        except (OSError, ValueError, RecursionError):
            return {}
        entries = entries if isinstance(entries, dict) else {}
        return {server: each for server, each in entries.items() if isinstance(each, dict)}


def in_thread(reactor: IReactor, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
    """Call `work` in a thread, which does not keep the process alive; fails after
    `KEYRING_PATIENCE`."""
    done: Deferred[T] = Deferred()

    def fire(result: Any) -> None:
        if not done.called:
            done.callback(result)

    def run() -> None:
        try:
            result: Any = work(*arguments)
        except Exception:  # A keyring may raise anything.
            result = Failure()
        with suppress(RuntimeError):  # The reactor has ended.
            reactor.callFromThread(fire, result)

    DaemonThread(target=run, name="keyring").start()
    return done.addTimeout(KEYRING_PATIENCE, reactor)


def _keyring() -> Any:
    """Python's package `keyring`; None if it is not installed, or has no safe place."""
    try:
        keyring = import_module("keyring")
        return keyring if keyring.get_keyring().priority >= 1 else None
    except Exception:  # Its backends may raise anything.
        return None


def session_commands(
    remembered: RememberedSession | None, conversation: Callable[[], Conversation]
) -> Mapping[str, BuiltinCommand]:
    """The commands by which a person chooses; none without a place for sessions."""
    if remembered is None:
        return {}

    async def remember(words: Sequence[str]) -> None:
        speaker = conversation()
        user = speaker.current
        if words:
            raise UsageError()
        if user is None:
            raise UsageError(FAILURES["not-logged-in"])
        place = await remembered.keep(user, speaker.client.token(user))
        if not place:
            raise UsageError("Nothing is remembered: the file cannot be written.")
        until = "until you log out or type forget"
        speaker.screen.notice(
            f"{visible(user)} stays logged in here, {until}. Kept in {visible(place)}."
        )

    async def forget(words: Sequence[str]) -> None:
        if words:
            raise UsageError()
        await remembered.forget()
        conversation().screen.notice("The next start asks for a password.")

    commands = (
        BuiltinCommand("remember", "Logs you in at the next start; forget ends it.", remember),
        BuiltinCommand("forget", "Ends remember; you stay logged in.", forget, listed=False),
    )
    return {each.name: each for each in commands}
