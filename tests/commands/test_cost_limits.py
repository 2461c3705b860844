"""How much each user may ask for: what is over waits, and nobody else notices."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.cost_limits import COMMANDS_AT_ONCE, DELIVERIES_AT_ONCE, ELSEWHERE
from bbs.commands.dispatch import costs_of_command
from bbs.config import App, Configuration, Limits
from bbs.core.errors import DiskFull
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Page,
    Part,
    Refusal,
    Reply,
    Role,
    Service,
    paged,
    read_only,
    success,
)
from bbs.framework.limits import costs, stores_text
from bbs.testing import Peer
from tests.slow_service import SlowService


@read_only
def look(caller: Caller) -> dict[str, object]:
    """Costs what every command does."""
    return {"name": caller.name}


@read_only
@costs(deliveries=10)
def tell(caller: Caller) -> None:
    """Costs what is known beforehand."""


@read_only
@costs(deliveries=lambda found: found["readers"])
def shout(caller: Caller, readers: str) -> dict[str, int]:
    """Costs what shows when it is done."""
    return {"readers": int(readers)}


@read_only
@costs(commands=lambda found: found["parts"])
def read(caller: Caller, parts: str) -> dict[str, int]:
    """The same in commands."""
    return {"parts": int(parts)}


@stores_text
@costs(deliveries=1)
def say(caller: Caller, text: str) -> None:
    """Costs more for a long text."""


@stores_text
@costs(deliveries=lambda found: found["readers"])
def say_to(caller: Caller, readers: str, text: str) -> dict[str, int]:
    """The same of what shows when it is done."""
    return {"readers": int(readers)}


@read_only
def recite(caller: Caller, length: str) -> dict[str, str]:
    """Costs what every command does, and answers as much as its caller likes."""
    return {"text": "x" * int(length)}


class NoList(Refusal):
    text = "There is no list."


@paged
@read_only
def names(caller: Caller, page: Page, length: str) -> Part:
    """A list, of one name that is so long."""
    if length == "none":
        raise NoList()
    return page.part("name", [(0, "x" * int(length))])


async def repeat(ask: Ask, length: str) -> Reply:
    """The same for anybody."""
    return success("x" * int(length))


async def repeat_for(ask: Ask, found: dict[str, str]) -> Reply:
    """The same behind a rule."""
    return success(**found)


@costs(commands=100)
async def ponder(ask: Ask) -> Reply:
    """Costs what is known beforehand, without a rule."""
    return success()


SERVICE = Service(
    "shouts",
    commands=(
        CommandTable(
            Command("recite <user> <length>", Role.APP, rule=recite),
            Command("recite-again <user> <length>", Role.APP, repeat_for, rule=recite),
            Command("repeat <length>", Role.EITHER, repeat),
            Command("look <user>", Role.APP, rule=look),
            Command("tell <user>", Role.APP, rule=tell),
            Command("shout <user> <readers>", Role.APP, rule=shout),
            Command("read <user> <parts>", Role.APP, rule=read),
            Command("names <user> <length>", Role.APP, rule=names),
            Command("say <user> <text>", Role.APP, rest=True, rule=say),
            Command("ponder <user>", Role.APP, ponder),
            Command("say-to <user> <readers> <text>", Role.APP, rest=True, rule=say_to),
        ),
    ),
)


class ChargingCase(SynchronousTestCase):
    trusted: tuple[Any, ...] = ()

    def setUp(self) -> None:
        self.service = SlowService(
            SERVICE, config=Configuration(limits=Limits(trusted=self.trusted))
        )
        self.addCleanup(self.service.close)
        self.ann, self.bob = self.service.people("ann", "bob").values()
        self.server = self.service.serving(self.ann)
        self.peer = self.come()

    def come(self, host: str = "192.0.2.1") -> Peer:
        return Peer(self.server.serving.factory, host=host)

    def ask(self, line: str, times: int = 1, peer: Peer | None = None) -> int:
        """Ask so many times; how many answers are there."""
        peer = peer or self.peer
        for _ in range(times):
            peer.say(line)
            # Of many that are answered at once only so many are in one turn of the reactor.
            self.service.clock.advance(0)
        return len(peer.heard())

    def spend(self) -> None:
        """Have ann ask for all that she may ask for at once."""
        self.assertEqual(self.ask(f"read {self.ann} {COMMANDS_AT_ONCE}"), 1)

    def later(self, seconds: float, peer: Peer | None = None) -> int:
        for _ in range(100):
            self.service.clock.advance(seconds / 100)
        return len((peer or self.peer).heard())


class UsersPay(ChargingCase):
    """What is asked for in a user's name."""

    def test_what_is_over_waits(self) -> None:
        self.assertEqual(self.ask(f"look {self.ann}", COMMANDS_AT_ONCE), COMMANDS_AT_ONCE)
        self.assertEqual(self.ask(f"look {self.ann}", 50), 0)
        self.assertAlmostEqual(self.later(0.1), 20, delta=2)
        self.assertAlmostEqual(self.later(1), 30, delta=2)

    def test_deliveries_known_beforehand(self) -> None:
        at_once = DELIVERIES_AT_ONCE // 10
        self.assertEqual(self.ask(f"tell {self.ann}", at_once), at_once)
        self.assertEqual(self.ask(f"tell {self.ann}", 60), 0)
        self.assertAlmostEqual(self.later(1), 50, delta=2)

    def test_deliveries_that_show_later(self) -> None:
        many = f"shout {self.ann} 1000"
        self.assertEqual(self.ask(many, 10), 6)
        self.assertEqual(self.later(1.9), 0)
        self.assertEqual(self.later(0.2), 1)
        self.assertEqual(self.ask(f"look {self.ann}", 1), 0)  # Behind those, in order.
        other = self.come("192.0.2.2")
        self.assertEqual(self.ask(f"look {self.ann}", 100, other), 100)
        self.assertEqual(self.ask(f"shout {self.bob} 1000", 5, self.come()), 5)

    def test_commands_that_show_later(self) -> None:
        self.assertEqual(self.ask(f"read {self.ann} 100", 20), 10)
        self.assertEqual(self.ask(f"look {self.ann}", 1, self.come()), 0)

    def test_a_handler_without_a_rule(self) -> None:
        self.ask(f"look {self.ann}")
        self.assertEqual(self.ask(f"ponder {self.ann}", 20), COMMANDS_AT_ONCE // 100 - 1)
        self.assertAlmostEqual(self.later(1), 2, delta=1)

    def test_a_handler_without_a_rule_cannot_say_it_later(self) -> None:
        @costs(commands=lambda reply: 1)
        async def say_later(ask: Ask) -> Reply:
            return success()

        with self.assertRaisesRegex(ValueError, "the handler of muse needs a price"):
            costs_of_command(Command("muse <user>", Role.APP, say_later))

    def test_long_texts(self) -> None:
        """Each full KiB costs one delivery more, in bytes and not in characters."""
        most = DELIVERIES_AT_ONCE // 50
        for writer, text in ((self.ann, "x" * 49 * 1024), (self.bob, "ü" * 49 * 512)):
            peer = self.come()
            self.ask(f"look {writer}", peer=peer)
            self.assertEqual(self.ask(f"say {writer} {text}", most + 10, peer), most)
            self.assertAlmostEqual(self.later(0.5, peer), 5, delta=1)

    def test_short_texts(self) -> None:
        short = f"say {self.ann} {'x' * 1023}"
        self.assertEqual(self.ask(short, COMMANDS_AT_ONCE), COMMANDS_AT_ONCE)

    def test_long_texts_whose_readers_show_later(self) -> None:
        self.ask(f"look {self.ann}")
        line = f"say-to {self.ann} 1 {'x' * 60 * 1024}"
        most = DELIVERIES_AT_ONCE // 61
        self.assertIn(self.ask(line, most + 10), (most, most + 1))

    def test_who_hangs_up_pays_too(self) -> None:
        """What has begun is carried out, and the next one waits for it."""

        def come_and_go() -> None:
            peer = self.come()
            peer.say(f"shout {self.ann} 1000")
            peer.protocol.connectionLost(Failure(ConnectionDone()))

        self.ask(f"look {self.ann}")
        slow = self.service.slow
        slow.hold()
        for _ in range(20):
            come_and_go()
        self.assertEqual(len(slow.waiting), 1)
        done = 0
        while slow.waiting:
            slow.waiting.pop().go_on()
            done += 1
            come_and_go()
        self.assertEqual(done, 6)


class InTurnCase(ChargingCase):
    """Calls take as long as they like."""

    def setUp(self) -> None:
        super().setUp()
        self.ask(f"look {self.ann}")
        self.ask(f"look {self.bob}")
        self.slow = self.service.slow
        self.slow.hold()

    def begin(self, line: str) -> Peer:
        """Ask on a new connection."""
        peer = self.come()
        peer.say(line)
        return peer

    def leave(self, peer: Peer) -> None:
        peer.protocol.connectionLost(Failure(ConnectionDone()))

    def under_way(self) -> list[str]:
        """What is carried out now: the first argument of each call."""
        return [call.arguments[0].arguments[0] for call in self.slow.waiting]


class InTurn(InTurnCase):
    """Calls whose cost shows later are carried out one after the other, for each user."""

    def test_whatever_the_connection(self) -> None:
        peers = [self.begin(f"shout {self.ann} {number}") for number in range(1, 6)]
        self.begin(f"shout {self.bob} 99")
        self.assertEqual(self.under_way(), ["1", "99"])
        self.slow.waiting.pop().go_on()
        for number, peer in enumerate(peers, 1):
            self.assertEqual(self.under_way(), [str(number)])
            self.assertEqual(peer.heard(), [])
            self.slow.go_on()
            self.assertEqual([each["readers"] for each in peer.heard()], [number])
        self.begin(f"read {self.ann} 7")
        self.assertEqual(self.under_way(), ["7"])

    def test_other_commands_do_not_wait(self) -> None:
        self.begin(f"shout {self.ann} 1")
        self.slow.hold_no_more()
        self.assertEqual(self.ask(f"look {self.ann}", 10), 10)
        self.assertEqual(self.ask(f"read {self.ann} 1"), 0)

    def test_who_leaves_while_waiting_gives_way(self) -> None:
        peers = [self.begin(f"shout {self.ann} {number}") for number in (1, 2, 3)]
        self.leave(peers[1])
        self.slow.go_on()
        self.assertEqual(self.under_way(), ["3"])

    def test_who_leaves_while_the_one_before_is_paid_gives_way(self) -> None:
        self.slow.hold_no_more()
        self.ask(f"shout {self.ann} {DELIVERIES_AT_ONCE + 500}")
        first, second = (self.begin(f"shout {self.ann} {number}") for number in (1, 2))
        self.leave(first)
        self.assertEqual(self.later(0.9, second), 0)
        self.assertEqual(self.later(0.2, second), 1)

    def test_one_that_fails_gives_way(self) -> None:
        first, second, third = (self.begin(f"shout {self.ann} {number}") for number in (1, 2, 3))
        self.slow.waiting.pop().fail(ZeroDivisionError())
        self.assertEqual([each["code"] for each in first.heard()], ["internal-error"])
        self.leave(second)
        self.slow.waiting.pop().fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.slow.go_on()
        self.assertEqual(len(third.heard()), 1)

    def test_when_several_end_at_once(self) -> None:
        """Each peer asks again as soon as it is answered."""
        peers = [self.begin(f"shout {self.ann} {readers}") for readers in (1000, 4500)]
        for peer in peers:
            peer.say(f"shout {self.ann} 1000")
        self.slow.hold_no_more()
        self.slow.go_on()
        self.assertEqual([len(peer.heard()) for peer in peers], [1, 1])
        self.later(1.1)
        self.assertEqual(sum(len(peer.heard()) for peer in peers), 1)
        self.later(2)
        self.assertEqual(sum(len(peer.heard()) for peer in peers), 1)

    def test_what_costs_less_is_given_back(self) -> None:
        self.slow.hold_no_more()
        many = 2 * COMMANDS_AT_ONCE
        self.assertEqual(self.ask(f"read {self.ann} 0", many), many)


class Lists(InTurnCase):
    """Calls of lists run beside each other, while their user has what the longest list costs."""

    def left(self) -> int:
        """What ann may still ask for at once."""
        return self.ask(f"look {self.ann}", COMMANDS_AT_ONCE + 10)

    def test_beside_each_other(self) -> None:
        peers = [self.begin(f"names {self.ann} {length}") for length in (1, 2)]
        self.assertEqual(self.under_way(), ["1", "2"])
        self.slow.go_on()
        self.slow.go_on()
        self.assertEqual([len(peer.heard()) for peer in peers], [1, 1])

    def test_what_is_left_of_the_most_is_given_back(self) -> None:
        self.slow.hold_no_more()
        self.later(6)
        self.assertEqual(self.ask(f"names {self.ann} 1"), 1)
        self.assertEqual(self.ask(f"names {self.ann} 40000"), 1)
        self.assertEqual(self.left(), COMMANDS_AT_ONCE - 1 - 3)

    def test_a_refusal_costs_one_command(self) -> None:
        self.slow.hold_no_more()
        self.later(6)
        for line in (f"names {self.ann} none", f"names {self.ann} 1 2 3"):
            self.assertEqual(self.ask(line), 1)
        self.assertEqual(self.left(), COMMANDS_AT_ONCE - 2)

    def test_in_turn_where_the_most_is_not_there(self) -> None:
        self.slow.hold_no_more()
        self.ask(f"read {self.ann} {COMMANDS_AT_ONCE - 70}")
        self.slow.hold()
        for length in range(1, 5):
            self.begin(f"names {self.ann} {length}")
        # The first is paid for; the second has its turn.
        self.assertEqual(self.under_way(), ["1", "2"])
        self.slow.waiting[1].go_on()
        self.assertEqual(self.under_way()[-1], "3")

    def test_who_hangs_up_pays_the_most(self) -> None:
        self.later(6)
        peer = self.begin(f"names {self.ann} 1")
        self.leave(peer)
        self.slow.hold_no_more()
        self.assertEqual(self.left(), COMMANDS_AT_ONCE - 64)


class LongReplies(ChargingCase):
    """What a reply costs that is long, whatever the command says."""

    def price(self, line: str) -> int:
        """How many commands less than always can be asked for at once after this one."""
        self.ask(f"look {self.ann}")
        self.service.advance(6)
        self.peer.heard()
        self.assertEqual(self.ask(line), 1)
        again = f"look {self.ann}" if self.ann in line else "ping"
        left = self.ask(again, COMMANDS_AT_ONCE)
        self.service.advance(1)
        return COMMANDS_AT_ONCE - left

    def test_short_ones_cost_one_command(self) -> None:
        for line in (f"recite {self.ann} 16000", "repeat 16000", "help", "nothing"):
            self.assertEqual(self.price(line), 1)

    def test_long_ones_by_their_bytes(self) -> None:
        for line in (f"recite {self.ann}", f"recite-again {self.ann}", "repeat"):
            self.assertEqual(self.price(f"{line} 20000"), 2)
            self.assertEqual(self.price(f"{line} {2**20}"), 65)

    def test_refusals_that_repeat_what_was_asked(self) -> None:
        long = "\x07" * 60_000  # Six bytes each in JSON.
        self.assertEqual(self.price(long), 22)
        self.assertEqual(self.price(f"look {self.ann} {long}"), 1)


class Trusted(UsersPay):
    """Who is trusted pays for nothing as an address, and the same as a user."""

    trusted = (Limits().trusted[0],)

    def come(self, host: str = "") -> Peer:
        return Peer(self.server.serving.factory)

    def test_what_is_asked_for_in_nobodys_name(self) -> None:
        self.assertEqual(self.ask("ping", 5000, self.come()), 5000)


class Others(ChargingCase):
    """Who else notices, and how those pay who are no users."""

    def test_it_is_the_users_whatever_the_connection(self) -> None:
        self.spend()
        other = self.come("192.0.2.2")
        self.assertEqual(self.ask(f"look {self.ann}", 1, other), 0)
        self.assertEqual(self.later(0.1, other), 1)

    def test_nobody_else_notices(self) -> None:
        self.spend()
        self.ask(f"look {self.ann}", 100)
        other = self.come("192.0.2.2")
        self.assertEqual(self.ask(f"look {self.bob}", COMMANDS_AT_ONCE, other), COMMANDS_AT_ONCE)

    def test_its_connection_is_not_read_meanwhile(self) -> None:
        self.spend()
        self.ask(f"look {self.ann}", 200)
        self.assertEqual(self.peer.transport.producerState, "paused")

    def test_the_order_stays(self) -> None:
        self.spend()
        self.peer.say(f"look {self.ann}")
        self.peer.say("ping")
        self.service.clock.advance(1)
        self.assertEqual([each.get("message") for each in self.peer.heard()], [None, "Pong!"])

    def test_one_who_goes_takes_nothing_along(self) -> None:
        self.spend()
        for _ in range(50):
            peer = self.come()
            peer.say(f"look {self.ann}")
            peer.protocol.connectionLost(None)
        self.assertEqual(self.ask(f"look {self.ann}", 1), 0)
        self.assertEqual(self.later(0.01), 1)

    def test_many_connections_do_not_get_round_it(self) -> None:
        peers = [self.come(f"192.0.2.{number}") for number in range(50)]
        self.ask(f"look {self.ann}")
        answers = [self.ask(f"shout {self.ann} 1000", 1, peer) for peer in peers]
        self.assertEqual(sum(answers), 6)
        self.later(4.1)
        self.assertEqual(sum(len(peer.heard()) for peer in peers), 2)

    def test_strangers_pay_by_address(self) -> None:
        for number, line in enumerate(("ping", "nothing at all", "look 0123", "help")):
            host = f"2001:db8:{number}::1"
            stranger, neighbour = self.come(host), self.come(host[:-1] + "2")
            asked = self.ask(line, COMMANDS_AT_ONCE, stranger)
            self.assertEqual(asked, COMMANDS_AT_ONCE)
            self.assertEqual(self.ask(line, 10, stranger), 0)
            self.assertEqual(self.ask(line, 1, neighbour), 0)
            self.assertEqual(self.ask(line, 1, self.come("192.0.2.77")), 1)
        self.assertEqual(self.ask(f"look {self.ann}", 1), 1)

    def test_what_is_no_request_is_paid_for(self) -> None:
        stranger = self.come("192.0.2.99")
        for _ in range(COMMANDS_AT_ONCE):
            stranger.protocol.dataReceived(b"\xff\n")
        self.assertEqual(len(stranger.heard()), COMMANDS_AT_ONCE)
        stranger.protocol.dataReceived(b"\xff\n")
        self.assertEqual(len(stranger.heard()), 0)
        self.assertEqual(self.later(0.1, stranger), 1)

    def test_who_went_wrong_pays_too(self) -> None:
        self.ask(f"look {self.ann}")
        self.assertEqual(self.ask(f"shout {self.ann}", 1500), COMMANDS_AT_ONCE - 1)


class Elsewhere(SynchronousTestCase):
    """What is asked for in a user's name at servers on which the user has no place."""

    def setUp(self) -> None:
        config = Configuration(limits=Limits(trusted=()), app=App(capacity=1))
        self.service = SlowService(SERVICE, config=config)
        self.addCleanup(self.service.close)
        self.tokens = [*self.service.people("ann", "bob", "cat", "dan", "eve").values()]
        self.ann = self.tokens[0]

    def answered(self, factory: Any, count: int) -> tuple[int, int]:
        """How many of so many requests of ann's are answered at once, and in the second after; each
        comes from an address of its own."""
        peers = [Peer(factory, host=f"192.0.{n // 200}.{n % 200 + 1}") for n in range(count)]
        for peer in peers:
            peer.say(f"look {self.ann}")
            self.service.clock.advance(0)
        at_once = sum(len(peer.heard()) for peer in peers)
        for _ in range(100):
            self.service.clock.advance(0.01)
        return at_once, sum(len(peer.heard()) for peer in peers)

    def test_little_at_each(self) -> None:
        """In all not much more than where the place is."""
        home = self.service.serving(self.ann).serving.factory
        app_servers = [each.serving.factory for each in self.service.servers.values()]
        elsewhere = [each for each in app_servers if each is not home]
        self.assertEqual(len(elsewhere), 4)
        for factory in [*elsewhere, self.service.login.factory]:
            at_once, later = self.answered(factory, 100)
            self.assertAlmostEqual(at_once, COMMANDS_AT_ONCE / 20, delta=2)
            self.assertAlmostEqual(later, 200 / ELSEWHERE, delta=2)
        self.assertEqual(self.answered(home, 500)[0], 500)


class WithoutRoom(ChargingCase):
    """While the disk is nearly full."""

    def said(self, line: str) -> object:
        self.peer.say(line)
        self.service.clock.advance(0)
        return self.peer.heard()[-1].get("code")

    def test_texts_are_refused_and_all_else_goes_on(self) -> None:
        database = self.server.serving.home.database
        database.disk_is_low = True
        self.assertEqual(self.said(f"say {self.ann} hello"), "disk-full")
        self.assertEqual(self.said(f"say-to {self.ann} 1 hello"), "disk-full")
        self.assertEqual(self.said("say nobody hello"), "not-logged-in")
        self.assertEqual(self.said(f"say {self.ann}"), "wrong-usage")
        self.assertIsNone(self.said(f"look {self.ann}"))
        self.assertIsNone(self.said(f"tell {self.ann}"))
        self.assertTrue(database.available)
        database.disk_is_low = False
        self.assertIsNone(self.said(f"say {self.ann} hello"))

    def test_a_database_that_cannot_write(self) -> None:
        """Everything but texts is refused as by one that is away."""
        self.service.slow.hold()
        peers = [self.come() for _ in range(2)]
        for peer, line in zip(peers, (f"say {self.ann} hello", f"look {self.ann}"), strict=True):
            peer.say(line)
        while self.service.slow.waiting:
            self.service.slow.waiting.pop().fail(DiskFull())
        codes = [each["code"] for peer in peers for each in peer.heard()]
        self.assertEqual(codes, ["disk-full", "unavailable"])
