"""Who connects and who has gone: a service is told by turns, whatever its servers do."""

from __future__ import annotations

from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import Unavailable
from bbs.delivery.attendance import GRACE, RENEWAL_INTERVAL
from bbs.framework import Extension, RisingIdField, Service, Table, User
from bbs.rules.attendance import LEASE
from bbs.storage.models import ConnectedUser
from bbs.testing import MemoryService, Peer


class Passage(Table):
    id = RisingIdField()
    user = peewee.ForeignKeyField(User, on_delete="CASCADE")
    word = peewee.CharField(10)
    at = peewee.DoubleField()


broken: list[str] = []


def come(user: int, now: float) -> None:
    note(user, "comes", now)


def go(user: int, now: float) -> None:
    note(user, "goes", now)


def note(user: int, word: str, now: float) -> None:
    Passage.insert(user=user, word=word, at=now).execute()
    if word in broken:
        raise ArithmeticError(word)


town = Service("town", models=(Passage,), on_connect=come, on_disconnect=go)


class Attending(SynchronousTestCase):
    def setUp(self) -> None:
        broken.clear()
        self.start()

    def start(self, service: Service = town, **members: Any) -> None:
        self.service = MemoryService(service, **members)
        self.addCleanup(self.service.close)
        self.ann = self.service.people("ann")["ann"]
        self.began = self.service.now()

    def listen(self) -> Peer:
        peer = self.service.listening(self.ann)
        self.service.settle()
        return peer

    def passages(self) -> list[str]:
        return [each.word for each in Passage.select().order_by(Passage.id)]

    def test_comes_and_goes(self) -> None:
        self.assertEqual(self.passages(), [])  # Who only logs in is not connected.
        peer = self.listen()
        self.assertEqual(self.passages(), ["comes"])
        peer.protocol.connectionLost(None)
        self.service.advance(GRACE - 1.0)
        self.assertEqual(self.passages(), ["comes"])
        self.service.advance(3.0)
        self.assertEqual(self.passages(), ["comes", "goes"])
        self.assertEqual(ConnectedUser.select().count(), 0)
        self.listen()
        self.assertEqual(self.passages(), ["comes", "goes", "comes"])

    def test_several_connections(self) -> None:
        first, second = self.listen(), self.listen()
        first.protocol.connectionLost(None)
        self.service.advance(20.0)
        self.assertEqual(self.passages(), ["comes"])
        second.protocol.connectionLost(None)
        self.service.advance(20.0)
        self.assertEqual(self.passages(), ["comes", "goes"])

    def test_who_is_back_soon_has_not_gone(self) -> None:
        self.listen().protocol.connectionLost(None)
        self.service.advance(GRACE - 2.0)
        self.listen()
        self.service.advance(30.0)
        self.assertEqual(self.passages(), ["comes"])

    def test_the_lease_is_kept(self) -> None:
        self.listen()
        self.service.advance(5 * LEASE)
        self.assertEqual(self.passages(), ["comes"])
        left = ConnectedUser.get().until - self.service.now()
        self.assertGreaterEqual(left, LEASE - RENEWAL_INTERVAL - 2.0)

    def test_a_server_is_killed(self) -> None:
        self.listen()
        self.service.kill(self.service.serving(self.ann).port)
        self.service.advance(LEASE - RENEWAL_INTERVAL - 5.0)
        self.assertEqual(self.passages(), ["comes"])
        self.service.advance(RENEWAL_INTERVAL + 20.0)  # The login server leaves it 10 s.
        self.assertEqual(self.passages(), ["comes", "goes"])

    def test_a_server_is_killed_and_they_are_back_elsewhere(self) -> None:
        self.listen()
        self.service.kill(self.service.serving(self.ann).port)
        self.service.advance(20.0)
        self.listen()
        self.service.advance(2 * LEASE)
        self.assertEqual(self.passages(), ["comes"])

    def test_one_that_counted_as_gone_is_still_there(self) -> None:
        """As after a server was frozen."""
        self.listen()
        ConnectedUser.update(until=0.0).execute()
        self.service.advance(2.0)
        self.assertEqual(self.passages(), ["comes", "goes"])
        self.service.advance(RENEWAL_INTERVAL + 2.0)
        self.assertEqual(self.passages(), ["comes", "goes", "comes"])

    def test_a_rule_that_fails_is_called_again(self) -> None:
        broken.append("comes")
        peer = self.listen()
        self.assertEqual((self.passages(), ConnectedUser.select().count()), ([], 0))
        broken[:] = ["goes"]
        self.service.advance(RENEWAL_INTERVAL + 2.0)
        self.assertEqual(self.passages(), ["comes"])
        peer.protocol.connectionLost(None)
        self.service.advance(LEASE + 5.0)
        self.assertEqual(self.passages(), ["comes"])
        broken.clear()
        self.service.advance(2 * LEASE)
        self.assertEqual(self.passages(), ["comes", "goes"])
        self.assertEqual(len(self.flushLoggedErrors(ArithmeticError)), 3)

    def test_the_database_is_away(self) -> None:
        run, away = self.service.database.run, True

        def refuse(rule: Any, *arguments: Any, **keywords: Any) -> Any:
            if away and getattr(rule, "stands_for", None) is come:
                raise Unavailable
            return run(rule, *arguments, **keywords)

        self.patch(self.service.database, "run", refuse)
        self.listen()
        self.assertEqual(self.passages(), [])
        away = False
        self.service.advance(2.0)
        self.assertEqual(self.passages(), ["comes"])

    def test_an_account_that_is_deleted(self) -> None:
        self.listen()
        self.assertEqual(self.service.peer().ask(f"delete {self.ann}")["status"], 0)
        self.service.advance(2 * LEASE)
        self.assertEqual((self.passages(), ConnectedUser.select().count()), ([], 0))


class Declared(SynchronousTestCase):
    def test_of_a_service_and_its_extensions(self) -> None:
        def also(user: int, now: float) -> None: ...

        walk = Extension("walk", on_connect=also)
        hooks = Service("town", on_connect=come, extensions=(walk,)).hooks
        self.assertEqual(hooks, ((come, also), ()))

    def test_without_them_nothing_looks(self) -> None:
        service = MemoryService(Service("quiet"))
        self.addCleanup(service.close)
        ann = service.people("ann")["ann"]
        service.listening(ann)
        self.assertEqual([*service.serving(ann).serving.others], [])
        self.assertIsNone(service.serving(ann).serving.scheduler._next)
        self.assertEqual(ConnectedUser.select().count(), 0)
