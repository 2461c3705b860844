"""Where the session for the next start is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event
from typing import cast

from twisted.internet.defer import TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from bbs.core.clock import IReactor
from bbs.ui.terminal import remembered
from bbs.ui.terminal.remembered import RememberedSession


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

    def keep(self, name: str, token: str, server: str = "a:1") -> str:
        return self.successResultOf(self.session(server).keep(name, token))

    def kept(self, server: str = "a:1") -> tuple[str, str]:
        session = self.session(server)
        return session.user, self.successResultOf(session.load())

    def test_in_a_file(self) -> None:
        self.assertEqual(self.kept(), ("", ""))
        self.assertFalse(self.session().is_decided)
        self.assertEqual(self.keep("ann", "t1"), f"{self.path}, which only you can read")
        self.keep("bob", "t2", "b:1")
        self.keep("ann", "t3")
        self.assertEqual(
            [self.kept(each) for each in ("a:1", "b:1")], [("ann", "t3"), ("bob", "t2")]
        )
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual([each.name for each in self.path.parent.iterdir()], ["sessions"])
        self.successResultOf(self.session().forget("ann"))
        self.assertEqual(self.kept(), ("ann", ""))
        self.successResultOf(self.session().forget())
        self.assertEqual(self.kept(), ("", ""))
        self.assertTrue(self.session().is_decided)
        self.assertEqual(self.kept("b:1"), ("bob", "t2"))

    def test_in_the_keyring(self) -> None:
        keyring = Keyring()
        self.patch(sys, "modules", {**sys.modules, "keyring": keyring})
        self.assertEqual(self.keep("ann", "t1"), "the system's keyring")
        self.assertNotIn("t1", self.path.read_text())
        self.assertEqual(keyring.kept, {("bbs client", "a:1"): "t1"})
        self.assertEqual(self.kept(), ("ann", "t1"))
        self.successResultOf(self.session().forget())
        self.assertEqual((self.kept(), keyring.kept), (("", ""), {}))

    def test_a_keyring_that_is_no_use(self) -> None:
        def fail(*arguments: str) -> str:
            raise RuntimeError("locked")

        keyring = Keyring()
        self.patch(sys, "modules", {**sys.modules, "keyring": keyring})
        keyring.priority = 0.5  # it does not encrypt
        self.assertIn("sessions", self.keep("ann", "t1"))
        keyring.priority = 5
        self.patch(keyring, "set_password", fail)
        self.assertIn("sessions", self.keep("ann", "t2"))
        self.assertEqual(self.kept(), ("ann", "t2"))
        self.patch(keyring, "set_password", Keyring.set_password.__get__(keyring))
        self.keep("ann", "t3")
        self.patch(keyring, "get_password", fail)
        self.patch(keyring, "delete_password", fail)
        self.assertEqual(self.kept(), ("ann", ""))
        self.successResultOf(self.session().forget())
        self.assertEqual(self.kept(), ("", ""))

    def test_what_is_no_use(self) -> None:
        self.path.parent.mkdir(parents=True)
        for text in (
            *("", "{", "1", "[]", "[" * 100_000, "\x00", '{"a:1": 1}', '{"a:1": {"user": 1}}'),
            *('{"a:1": {"user": "a b", "token": "a b"}}', '{"a:1": {"token": 5}}'),
        ):
            self.path.write_text(text)
            self.assertEqual(self.kept(), ("", ""), text)


class ThreadTests(TestCase):
    """What may wait for the person, such as a keyring."""

    async def test_the_result_and_the_failure(self) -> None:
        from twisted.internet import reactor

        self.assertEqual(await remembered.in_thread(cast("IReactor", reactor), len, "three"), 5)
        with self.assertRaises(ValueError):
            await remembered.in_thread(cast("IReactor", reactor), int, "three")

    def test_not_for_ever(self) -> None:
        clock, over = Clock(), Event()
        self.addCleanup(over.set)
        waiting = remembered.in_thread(cast("IReactor", clock), over.wait)
        clock.advance(remembered.KEYRING_PATIENCE + 1)
        self.failureResultOf(waiting, TimeoutError)
