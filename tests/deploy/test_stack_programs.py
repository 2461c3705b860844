"""What the machines of the stack run from their image, as far as no stack is needed for it: the
names of brokers and what brokers admit."""

from __future__ import annotations

import socket
import threading
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.stack_template import program

A, B = "a.bbs.internal", "b.bbs.internal"
NOBODY = "192.0.2.1"


class Broker(SynchronousTestCase):
    """ActiveMQ's configuration."""

    def users(self, *urls: str) -> tuple[dict[str, str], str]:
        root = ElementTree.fromstring(program("broker").document(urls))
        found = root.iterfind(".//{*}authenticationUser")
        (connector,) = root.iterfind(".//{*}transportConnector")
        return {each.attrib["username"]: each.attrib["password"] for each in found}, (
            connector.attrib["uri"]
        )

    def test_users(self) -> None:
        """Of the present URL, and of the one before; characters mean themselves."""
        users, uri = self.users("stomp://b2:new%20%3C%22%26@a:61613", "stomp://b1:old@a:61613")
        self.assertEqual(users, {"b2": 'new <"&', "b1": "old"})
        self.assertEqual(uri, "stomp://0.0.0.0:61613")

    def test_one_user(self) -> None:
        """Whose password is the present one."""
        self.assertEqual(self.users("stomp://b:new@a", "stomp://b:old@a")[0], {"b": "new"})


class Names(SynchronousTestCase):
    """Which names a login server takes."""

    def given(self, own: str, one: str | None, other: str | None, *silent: str) -> dict[str, str]:
        found: dict[str, str] = program("broker_names").changes(own, {A: one, B: other}, {*silent})
        return found

    def test_the_first(self) -> None:
        """It takes one, and lets the other lead nowhere until there is a second."""
        self.assertEqual(self.given("1", None, None), {A: "1", B: NOBODY})
        self.assertEqual(self.given("1", "1", NOBODY), {})
        self.assertEqual(self.given("2", "1", NOBODY), {B: "2"})

    def test_at_rest(self) -> None:
        for own in "123":
            self.assertEqual(self.given(own, "1", "2"), {})

    def test_silent(self) -> None:
        """One without a name takes it. One that has a name leaves it: its broker would be there
        twice."""
        self.assertEqual(self.given("3", "1", "2", A), {A: "3"})
        self.assertEqual(self.given("3", "1", "2", B), {B: "3"})
        self.assertEqual(self.given("2", "1", "2", A), {})

    def test_new_passwords(self) -> None:
        """Both old brokers refuse new servers: the first takes a name, the next the other."""
        self.assertEqual(self.given("3", "1", "2", A, B), {A: "3"})
        self.assertEqual(self.given("4", "3", "2", B), {B: "4"})

    def test_at_once(self) -> None:
        """Two that take names at once are at rest after another look of each."""
        holders: dict[str, str | None] = {A: None, B: None}
        for own in ("1", "2"):
            # Both decide before either has written.
            holders |= self.given(own, None, None)
        for own in ("1", "2"):
            holders |= self.given(own, holders[A], holders[B])
        self.assertEqual(holders, {A: "2", B: "1"})

    def test_its_own_broker_is_away(self) -> None:
        """Then it takes nothing and asks nobody."""
        route53 = mock.Mock()
        program("broker_names").Looks(route53, "Z", [A, B], "1", lambda address: False).look()
        self.assertEqual(route53.mock_calls, [])


class Answers(SynchronousTestCase):
    """What a broker has to say to have its name."""

    def answered(self, reply: bytes) -> tuple[bool, bytes]:
        heard: list[bytes] = []
        with socket.create_server(("127.0.0.1", 0)) as port:

            def serve() -> None:
                connection, _ = port.accept()
                with connection:
                    heard.append(connection.recv(1000))
                    connection.sendall(reply)

            thread = threading.Thread(target=serve)
            thread.start()
            names: Any = program("broker_names")
            with mock.patch.object(names, "PORT", port.getsockname()[1]):
                found = names.answers("127.0.0.1", "bbs1", "word")
            thread.join()
        return found, heard[0]

    def test_connected(self) -> None:
        found, asked = self.answered(b"CONNECTED\nversion:1.2\n\n\0")
        self.assertTrue(found)
        self.assertIn(b"\nlogin:bbs1\npasscode:word\n\n\0", asked)

    def test_refused(self) -> None:
        """As with a password that it does not know: its name is taken by one that does."""
        self.assertFalse(self.answered(b"ERROR\nmessage:no\n\n\0")[0])
        self.assertFalse(self.answered(b"")[0])

    def test_nobody(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as port:
            number = port.getsockname()[1]
        names: Any = program("broker_names")
        with mock.patch.object(names, "PORT", number):
            self.assertFalse(names.answers("127.0.0.1", "bbs1", "word"))


class Users(SynchronousTestCase):
    """Which user the servers get. `tests/integration/test_stack_database.py` has a database."""

    def test_in_turns(self) -> None:
        users: Any = program("database_users")
        self.assertEqual(users.next_user(""), "bbs_a")
        self.assertEqual(users.next_user("mysql://bbs_a:x@host:3306/bbs"), "bbs_b")
        self.assertEqual(users.next_user("mysql://bbs_b:x@host:3306/bbs"), "bbs_a")
        self.assertEqual(users.next_user("mysql://somebody:x@host:3306/bbs"), "bbs_a")

    def test_version(self) -> None:
        """Secrets Manager takes ids of 32 to 64 characters."""
        made = program("database_users").version_of(100_000)
        self.assertTrue(32 <= len(made) <= 64, made)
