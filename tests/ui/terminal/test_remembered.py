"""Where the session for the next start is kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Event
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.clock import IReactor
from bbs.ui.terminal import remembered
from bbs.ui.terminal.remembered import NotKept, RememberedSession, keyring_caller

T = TypeVar("T")


class Keyring:
    """Python's package of this name, with a place of its own."""

    priority: float = 5

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_keyring(self) -> Keyring:
        return self

    def set_password(self, service: str, name: str, password: str) -> None:
        self.kept[service, name] = password

    def get_password(self, service: str, name: str) -> str | None:
        return self.kept.get((service, name))

    def delete_password(self, service: str, name: str) -> None:
        del self.kept[service, name]


class RememberedTests(SynchronousTestCase):
    """The session with which a person goes on at the next start."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "bbs" / "sessions"

    def session(self, server: str = "a:1") -> RememberedSession:
        return RememberedSession(self.path, server)

    def result(self, asked: Coroutine[Any, Any, T]) -> T:
        return self.successResultOf(Deferred.fromCoroutine(asked))

    def keep(self, name: str, token: str, server: str = "a:1") -> str:
        return self.result(self.session(server).keep(name, token, "bbs"))

    def not_kept(self, name: str, token: str) -> str:
        asked = Deferred.fromCoroutine(self.session().keep(name, token, "bbs"))
        return str(self.failureResultOf(asked, NotKept).value)

    def kept(self, server: str = "a:1") -> tuple[str, str]:
        session = self.session(server)
        return session.user, self.result(session.load())

    def put_keyring(self) -> Keyring:
        keyring = Keyring()
        self.patch(sys, "modules", {**sys.modules, "keyring": keyring})
        return keyring

    def test_in_a_file(self) -> None:
        self.assertEqual(self.kept(), ("", ""))
        self.assertTrue(self.session().is_new)
        self.assertEqual(self.keep("ann", "t1"), f"{self.path}, which only you can read")
        self.keep("bob", "t2", "b:1")
        self.keep("ann", "t3")
        self.assertEqual(
            [self.kept(each) for each in ("a:1", "b:1")], [("ann", "t3"), ("bob", "t2")]
        )
        self.assertEqual(self.session().service, "bbs")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["sessions"])
        self.assertTrue(self.result(self.session().forget("ann")))
        self.assertEqual(self.kept(), ("ann", ""))
        self.assertTrue(self.result(self.session().forget()))
        self.assertEqual(self.kept(), ("", ""))
        self.assertFalse(self.session().is_new)
        self.assertEqual(self.kept("b:1"), ("bob", "t2"))

    def test_in_the_keyring(self) -> None:
        keyring = self.put_keyring()
        self.assertEqual(self.keep("ann", "t1"), "the system's keyring")
        self.assertNotIn("t1", self.path.read_text())
        self.assertEqual(keyring.kept, {("bbs client", "a:1"): "t1"})
        self.assertEqual(self.kept(), ("ann", "t1"))
        self.assertTrue(self.result(self.session().forget()))
        self.assertEqual((self.kept(), keyring.kept), (("", ""), {}))

    def test_a_keyring_that_is_no_use(self) -> None:
        def fail(*arguments: str) -> str:
            raise RuntimeError("locked")

        keyring = self.put_keyring()
        keyring.priority = 0.5  # it does not encrypt
        self.assertIn("sessions", self.keep("ann", "t1"))
        keyring.priority = 5
        self.patch(keyring, "set_password", fail)
        self.assertEqual(self.not_kept("ann", "t2"), "the system's keyring failed")
        self.assertEqual(self.kept(), ("ann", ""))
        self.patch(keyring, "set_password", Keyring.set_password.__get__(keyring))
        self.keep("ann", "t3")
        self.patch(keyring, "get_password", fail)
        self.assertEqual(self.kept(), ("ann", ""))
        self.assertFalse(self.result(self.session().forget()))
        self.assertEqual(self.kept(), ("", ""))

    def test_a_file_that_cannot_be_replaced(self) -> None:
        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        self.keep("ann", "t1")
        self.patch(os, "replace", full)
        self.assertTrue(self.result(self.session().forget()))
        self.assertEqual((self.kept(), [*self.path.parent.iterdir()]), (("", ""), []))
        self.assertEqual(self.not_kept("ann", "t2"), f"{self.path} cannot be written")
        self.path.write_text('[["a:1", {"user": "ann", "token": "t1"}]]')
        self.patch(Path, "unlink", full)
        self.assertFalse(self.result(self.session().forget()))

    def test_what_is_no_use(self) -> None:
        self.path.parent.mkdir(parents=True)
        for text in (
            *("", "{", "1", "{}", "[" * 100_000, "\x00", '[["a:1"]]', '[["a:1", 1]]'),
            *('[["a:1", {"user": 1}]]', '[["a:1", {"token": 5}]]', '[[1, {"user": "ann"}]]'),
            '[["a:1", {"user": "a b", "token": "a b"}]]',
        ):
            self.path.write_text(text)
            self.assertEqual(self.kept(), ("", ""), text)


class Threads(Clock):
    """A reactor whose calls from threads are made when the test asks for them."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        self._calls.put(partial(call, *arguments))

    def take(self) -> None:
        """Make the next call."""
        self._calls.get(timeout=10)()


class KeyringThreadTests(SynchronousTestCase):
    """A keyring that asks the person, who answers later."""

    def setUp(self) -> None:
        self.keyring, self.answer = Keyring(), Event()
        self.addCleanup(self.answer.set)
        self.patch(sys, "modules", {**sys.modules, "keyring": self.keyring})
        self.patch(self.keyring, "set_password", self.set_password)
        self.path = Path(self.mktemp()) / "sessions"
        self.clock = Threads()
        ask = keyring_caller(cast("IReactor", self.clock))
        self.session = RememberedSession(self.path, "a:1", ask)

    def set_password(self, *arguments: str) -> None:
        self.answer.wait(10)
        Keyring.set_password(self.keyring, *arguments)

    def keep(self, token: str) -> Deferred[str]:
        return Deferred.fromCoroutine(self.session.keep("ann", token, "bbs"))

    def nothing_is_kept(self) -> None:
        self.assertEqual(self.keyring.kept, {})
        self.assertNotIn("t1", self.path.read_text())
        self.assertFalse(self.session.is_kept)

    def test_not_waited_for_for_ever(self) -> None:
        keeping = self.keep("t1")
        self.clock.advance(remembered.KEYRING_PATIENCE + 1)
        self.failureResultOf(keeping, NotKept)
        self.answer.set()
        for _ in range(2):
            self.clock.take()
        self.nothing_is_kept()

    def test_given_up(self) -> None:
        keeping = self.keep("t1")
        keeping.cancel()
        self.failureResultOf(keeping, CancelledError)
        self.answer.set()
        for _ in range(2):
            self.clock.take()
        self.nothing_is_kept()

    def test_forgotten_meanwhile(self) -> None:
        keeping = self.keep("t1")
        forgetting = Deferred.fromCoroutine(self.session.forget())
        self.answer.set()
        for _ in range(2):
            self.clock.take()
        self.failureResultOf(keeping, CancelledError)
        self.assertTrue(self.successResultOf(forgetting))
        self.nothing_is_kept()

    def test_kept_again_meanwhile(self) -> None:
        first, second = self.keep("t1"), self.keep("t2")
        self.answer.set()
        for _ in range(2):
            self.clock.take()
        self.failureResultOf(first, CancelledError)
        self.successResultOf(second)
        self.assertEqual([*self.keyring.kept.values()], ["t2"])
        self.assertTrue(self.session.is_kept)
