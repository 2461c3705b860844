"""How people, and the servers, come to hear of what operators did: by notices in the database, as
it is done by who may know no broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.core.errors import Unavailable
from bbs.rules import fleet_transitions, user_admin
from bbs.rules.background import tell_soon
from bbs.rules.fleet_admin import By
from bbs.rules.membership import Member
from bbs.rules.page_history import EventKind
from bbs.scaling.events import LOOK_INTERVAL, FleetContext, FleetEvents, Outbox
from bbs.scaling.interfaces import IFleetController
from bbs.storage.models import News, OutboxEntry
from bbs.testing import MemoryService, Peer
from bbs.testing.provider import MemoryProvider
from tests.database_case import DatabaseCase
from tests.memory_service import POLICY, memory_service
from tests.scaling.test_events import RecordingBus

LOGOUT = {"event": "logout"}

ME = Member("1" * 32, "host:here:1")


class Heard(SynchronousTestCase):
    """From the operator to the person."""

    def setUp(self) -> None:
        self.memory = MemoryService(board)
        self.addCleanup(self.memory.close)
        self.memory.start()
        self.tokens = self.memory.people("ann", "bob")
        self.ann, self.bob = (self.memory.listening(self.tokens[name]) for name in ("ann", "bob"))

    def act(self, deed: Any, *arguments: object) -> None:
        by = By("liz", "bbs user", self.memory.wall())
        self.memory.database.run(deed, by, *arguments)

    def out(self, peer: Peer) -> None:
        """Check that the person is told, within the time there is for it, and once."""
        self.memory.advance(LOOK_INTERVAL + 0.1)
        self.assertEqual(peer.events(), [LOGOUT])
        self.memory.advance(LOOK_INTERVAL + 0.1)
        self.assertEqual((peer.events(), self.bob.events()), ([], []))

    def test_a_kick(self) -> None:
        self.act(user_admin.kick, "ann")
        self.out(self.ann)
        self.assertEqual(OutboxEntry.select().count(), 0)

    def test_another_password(self) -> None:
        self.act(user_admin.set_password, "ann", "hash")
        self.out(self.ann)

    def test_a_suspension(self) -> None:
        self.act(user_admin.suspend, "ann")
        self.out(self.ann)

    def test_a_deletion(self) -> None:
        self.act(user_admin.delete, "ann", board.on_delete)
        self.out(self.ann)

    def test_a_round_takes_them_too(self) -> None:
        """So what is done by the page is heard at once: it has the controller look."""
        self.act(user_admin.kick, "ann")
        self.memory.login.news.wanted()
        self.memory.settle()
        self.assertEqual(self.ann.events(), [LOGOUT])

    def test_with_the_broker_away(self) -> None:
        self.memory.broker.away()
        self.act(user_admin.kick, "ann")
        self.memory.advance(self.memory.config.messages.poll_interval + 0.1)
        self.assertEqual((self.ann.events(), self.bob.events()), ([LOGOUT], []))

    def test_a_place_is_free_at_once(self) -> None:
        """Who waits for one has it."""
        capacity = self.memory.config.app.capacity
        self.memory.boots = False
        self.memory.people(*(f"p{number}" for number in range(capacity - 2)))
        waiting = self.memory.peer()
        waiting.ask("register carol pw")
        waiting.say("login carol pw")
        self.memory.settle()
        self.assertEqual(waiting.heard(), [])
        self.act(user_admin.kick, "ann")
        self.memory.advance(LOOK_INTERVAL + 0.1)
        self.assertEqual([reply["status"] for reply in waiting.heard()], [0])


class Front:
    """The database, or what a test has in place of it."""

    def __init__(self, run: Callable[..., Deferred[Any]]) -> None:
        self.run = run


class Taking(DatabaseCase):
    """Every second, whatever fails."""

    service = board

    def setUp(self) -> None:
        super().setUp()
        self.bus = RecordingBus()
        self.is_leader = True
        self.watch: Clock = self.clock
        self.front = Front(self.database.run)
        database: Any = self.front
        context = FleetContext(
            me=ME,
            database=database,
            provider=MemoryProvider(),
            policy=POLICY,
            news=FleetEvents(self.bus),
            reactor=self.clock,
            wall=self.clock.seconds,
        )
        self.notices = Outbox(context, cast("IFleetController", self))
        self.notices.startService()
        self.addCleanup(self.notices.stopService)

    def leave(self, *channels: str) -> None:
        for channel in channels:
            OutboxEntry.insert(channel=channel).execute()

    def told(self) -> list[str]:
        told, self.bus.to_users = [channel for channel, *_ in self.bus.to_users], []
        return told

    def test_each_is_told_once(self) -> None:
        self.leave("a", "b", "a")
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual((self.told(), self.bus.told), (["a", "b"], ["free"]))
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual((self.told(), self.bus.told), ([], ["free"]))

    def test_more_than_one_look_has(self) -> None:
        channels = [f"c{number}" for number in range(fleet_transitions.NOTICES_AT_ONCE + 1)]
        self.leave(*channels)
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), channels)

    def test_only_the_controller_takes_them(self) -> None:
        self.is_leader = False
        self.leave("a")
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual((self.told(), OutboxEntry.select().count()), ([], 1))

    def test_one_that_dies_before_it_has_removed_them(self) -> None:
        """Tells again, as its successor would."""
        run = self.front.run

        def half(rule: Any, *arguments: Any) -> Deferred[Any]:
            return (
                fail(Unavailable())
                if rule is fleet_transitions.forget_notices
                else run(rule, *arguments)
            )

        self.front.run = half
        self.leave("a")
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), ["a"])
        self.front.run = run
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual((self.told(), OutboxEntry.select().count()), (["a"], 0))

    def test_an_event_is_told_once_even_if_it_cannot_be_removed(self) -> None:
        run = self.front.run
        self.front.run = lambda rule, *arguments: (
            fail(Unavailable())
            if rule is fleet_transitions.forget_notices
            else run(rule, *arguments)
        )
        self.call(tell_soon, "lobby.chess", {"event": "closed", "text": "closed"})
        self.clock.advance(LOOK_INTERVAL)
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), [])
        self.front.run = run
        self.clock.advance(LOOK_INTERVAL)
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), ["lobby.chess"])

    def test_an_event_that_nobody_can_be_told(self) -> None:
        """A row that somebody has written by hand keeps no other from being told."""
        self.call(lambda: OutboxEntry.insert(channel="none", event="[1").execute())
        self.call(tell_soon, "lobby.chess", {"event": "closed", "text": "closed"})
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), ["lobby.chess"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_goes_wrong_is_logged_and_tried_again(self) -> None:
        self.front.run = lambda rule, *_: fail(ZeroDivisionError())
        self.leave("a")
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.front.run = self.database.run
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(self.told(), ["a"])

    def test_a_slow_database_is_asked_once_at_a_time(self) -> None:
        asked: list[Deferred[Any]] = []

        def hang(rule: Any, *arguments: Any) -> Deferred[Any]:
            asked.append(Deferred())
            return asked[-1]

        self.front.run = hang
        self.clock.pump([LOOK_INTERVAL] * 3)
        self.notices.look_now()
        self.clock.advance(0)
        self.assertEqual(len(asked), 1)
        asked[0].callback([])
        self.clock.advance(LOOK_INTERVAL)
        self.assertEqual(len(asked), 2)
        asked[1].callback([])

    def test_nothing_after_the_end(self) -> None:
        self.notices.stopService()
        self.notices.look_now()
        self.leave("a")
        self.clock.advance(5 * LOOK_INTERVAL)
        self.assertEqual(self.told(), [])
        self.notices.startService()


class Waiting(SynchronousTestCase):
    """That people wait is stored in the round that sees to it, and that nobody does soon after."""

    def setUp(self) -> None:
        self.memory = memory_service()
        self.addCleanup(self.memory.close)
        self.memory.start()
        self.memory.people("ann", "bob")
        self.memory.boots = False

    def told(self) -> list[tuple[str, float]]:
        """What is stored of people who wait, and when that was."""
        kinds = EventKind.PEOPLE_WAIT, EventKind.NOBODY_WAITS
        rows = News.select().where(News.kind.in_(kinds)).order_by(News.id)
        return [(row.text, row.at) for row in rows]

    def wait(self, name: str) -> Peer:
        """Somebody waits for a place."""
        peer = self.memory.peer()
        peer.ask(f"register {name} pw")
        peer.say(f"login {name} pw")
        self.memory.settle()
        return peer

    def test_from_when_until_when(self) -> None:
        began = self.memory.wall()
        peer = self.wait("eva")
        self.wait("liz")
        self.memory.advance(7.0)
        self.assertEqual(self.told(), [("1 person waits for a place.", began)])
        self.memory.boots = True
        for server in [*self.memory.provider.launched]:
            self.memory.boot(server)
        self.memory.settle()
        ended = self.memory.wall()
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])
        self.memory.advance(LOOK_INTERVAL + 0.1)
        (_, (text, at)) = self.told()
        self.assertEqual(text, "Nobody waits for a place any more.")
        self.assertLess(at - ended, LOOK_INTERVAL + 0.1)
        self.memory.advance(30.0)
        self.assertEqual(len(self.told()), 2)
