"""Requests of many connections at the same moment are answered as if they had come one after the
other: whoever asks among others, and whatever is wrong with some of the requests."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.posts.tables import PostRow
from bbs.config import App, Configuration, Fleet, Limits
from bbs.storage.database import rows
from bbs.storage.models import Place, Server, User
from bbs.testing import MemoryService, Peer
from bbs.testing.service import ALL_AT_ONCE
from tests.board.costs import CountedLanes
from tests.database_case import fresh_mysql_url, sqlite_url

ROUNDS = int(os.environ.get("BBS_TEST_ROUNDS", "1"))
"""How often what is drawn at random is drawn. `make soak` takes more."""

NAMES = [f"user{number:02}" for number in range(16)]
GROUPS = ["chess", "go"]
UNKNOWN = "0" * 32  # A token.

WRONG_USAGE, SILENT, NOT_LOGGED_IN = 3, 5, (0, 4, 6, 9)
"""Who does something wrong among people who do it right."""

Round = Sequence[str]
"""A request of each of `NAMES`, or "". `<user>` is the own token, and `<user00>` that of a certain
one. A request that begins with `>` is made to the server of the one eight places behind. Before one
that begins with `~`, its user has lost the place, as somebody does who is away for long."""


def config(capacity: int = len(NAMES)) -> Configuration:
    """Little is allowed, so that quotas are reached."""
    limits = Limits(
        logins=ALL_AT_ONCE,
        commands=ALL_AT_ONCE,
        deliveries=ALL_AT_ONCE,
        inbox=120,
        posts=3,
    )
    return Configuration(app=App(capacity=capacity), fleet=Fleet(spare=0), limits=limits)


@dataclass
class Played:
    """What everybody heard in each round, what listeners heard, and what is stored in the end."""

    replies: list[list[Any]]
    events: Mapping[str, Any]
    stored: Sequence[Any]


class AtOnceCase(SynchronousTestCase):
    def url(self) -> str:
        return sqlite_url(self.mktemp())

    def same(self, *rounds: Round, capacity: int = len(NAMES)) -> list[list[Any]]:
        """The replies in each round; fails unless they, the events, and what is stored are the same
        if all requests of a round are carried out together."""
        alone = self.play(rounds, capacity, together=False)
        among = self.play(rounds, capacity, together=True)
        for number, (one, other) in enumerate(zip(alone.replies, among.replies, strict=True)):
            for line, first, second in zip(rounds[number], one, other, strict=True):
                self.assertEqual(first, second, (number, line))
        self.assertEqual(alone.events, among.events)
        self.assertEqual(alone.stored, among.stored)
        return alone.replies

    def play(self, rounds: Sequence[Round], capacity: int, *, together: bool) -> Played:
        """Let all requests be made, in a new service with people of whom each is a friend of the
        four behind, and in one of two groups."""
        lanes = CountedLanes()
        service = MemoryService(board, config=config(capacity), url=self.url(), workers=lanes)
        try:
            tokens = {**service.people(*NAMES)}
            peers = {name: service.at_home(tokens[name]) for name in NAMES}
            listening = {name: service.listening(tokens[name]) for name in NAMES[::2]}
            self.meet(tokens, peers)
            dead = service.people("leaver")["leaver"]
            service.peer().ask(f"logout {dead}")
            heard = []
            for lines in rounds:
                asked = []
                for number, (name, line) in enumerate(zip(NAMES, lines, strict=True)):
                    tokens["user"], tokens["logged out"] = tokens[name], dead
                    for known, token in tokens.items():
                        line = line.replace(f"<{known}>", token)
                    peer = peers[name]
                    if line.startswith(">"):
                        peer = service.at_home(tokens[NAMES[(number + 8) % 16]])
                    elif line.startswith("~"):
                        leave(name)
                    asked.append((peer, line.lstrip(">~")))
                with lanes.together() if together else nullcontext():
                    for peer, line in asked:
                        if line:
                            peer.say(line)
                heard.append([without_ids(peer.heard()) for peer, _ in asked])
                service.settle()
            events = {name: without_ids(peer.events()) for name, peer in listening.items()}
            return Played(heard, events, stored())
        finally:
            service.close()

    def meet(self, tokens: Mapping[str, str], peers: Mapping[str, Peer]) -> None:
        for number, name in enumerate(NAMES):
            for other in (NAMES[(number + each) % len(NAMES)] for each in range(1, 5)):
                peers[name].ask(f"invite {tokens[name]} {other}")
                peers[other].ask(f"accept-invite {tokens[other]} {name}")
            group = GROUPS[number % 2]
            command = "create-group" if number < 2 else "join-group"
            peers[name].ask(f"{command} {tokens[name]} {group}")


def leave(name: str) -> None:
    user = User.get(User.name == name)
    place = Place.get(Place.user == user)
    Place.update(server=None, away=True).where(Place.user == user).execute()
    Server.update(taken=Server.taken - 1).where(Server.id == place.server_id).execute()


def without_ids(heard: Any) -> Any:
    """Without numbers that a database gives out: it may skip some where it undoes something."""
    if isinstance(heard, list):
        return [without_ids(each) for each in heard]
    if isinstance(heard, dict):
        return {
            key: without_ids(value)
            for key, value in heard.items()
            if not (key in ("id", "post") and isinstance(value, int))
        }
    return heard


def stored() -> list[Any]:
    """What is stored for everybody, in its order."""
    people = dict(rows(User.select(User.id, User.name)))
    deliveries = (
        Delivery.select(Delivery.user, MessageRow.sender, MessageRow.target, MessageRow.text)
        .join(MessageRow)
        .order_by(Delivery.user, Delivery.message)
    )
    counts = Inbox.select(Inbox.user, Inbox.waiting, Inbox.posts, Inbox.post_bytes)
    posts = PostRow.select(PostRow.author, PostRow.text).order_by(PostRow.author, PostRow.id)
    found = [
        (people[user], *values)
        for query in (deliveries, counts.order_by(Inbox.user), posts)
        for user, *values in rows(query)
    ]
    return [*found, MessageRow.select().count()]


class OnSQLite(AtOnceCase):
    def test_wrong_requests_among_right_ones(self) -> None:
        """Each is refused by its own reason, and the others are carried out."""
        commands = (
            "list-friend <user>",
            "post <user> hello",
            "send <user> {friend} hello",
            "send-group <user> {group} hello",
            "receive-post <user>",
            "who <user>",
            "list-joined <user>",
        )
        rounds = [self.with_wrong_ones(line) for line in commands]
        for lines, replies in zip(rounds, self.same(*rounds), strict=True):
            told = [
                [(reply["status"], reply.get("message")) for reply in heard if "status" in reply]
                for heard in replies
            ]
            for number in NOT_LOGGED_IN:
                self.assertEqual(told[number], [(1, "Not login yet")], lines[number])
            [(status, usage)] = told[WRONG_USAGE]
            command = lines[0].partition(" ")[0]
            self.assertEqual((status, str(usage).partition("<")[0]), (1, f"Usage: {command} "))
            self.assertEqual(told[SILENT], [])
            right = {*range(16)} - {WRONG_USAGE, SILENT, *NOT_LOGGED_IN}
            self.assertEqual([told[number][0][0] for number in right], [0] * 10, lines[0])

    def with_wrong_ones(self, line: str) -> Round:
        """A round of one command, in which some do it wrong."""
        lines = [
            line.format(friend=NAMES[(number + 1) % 16], group=GROUPS[number % 2])
            for number in range(16)
        ]
        command = line.partition(" ")[0]
        lines[WRONG_USAGE] = f"{command} <user>" + " and more" * ("hello" not in line)
        logged_out, both, unknown, malformed = NOT_LOGGED_IN
        lines[logged_out] = lines[logged_out].replace("<user>", "<logged out>")
        lines[both] = lines[WRONG_USAGE].replace("<user>", UNKNOWN)
        lines[unknown] = lines[unknown].replace("<user>", UNKNOWN)
        lines[malformed] = f"{command} {UNKNOWN[1:]}"
        lines[SILENT] = ""
        return lines

    def test_nobody_is_right(self) -> None:
        commands = ("list-friend", "send {} user01 hello", "post {} hello")
        wrong = [[line.format(UNKNOWN)] * 16 for line in commands]
        for replies in self.same(*wrong):
            self.assertEqual({reply["message"] for [reply] in replies}, {"Not login yet"})

    def test_all_kinds_of_commands(self) -> None:
        """Of which none concerns another."""
        commands = (
            "list-friend <user>",
            "send <user> nobody hello",
            "create-group <user> own-{name}",
            "who <user>",
            "list-block <user>",
            "post <user> of {name}",
            "send-group <user> nothing hello",
            "help",
            "list-friend {unknown}",
            "post <user>",
            "list-joined <user>",
            "more <user> nothing",
            "ping",
            "nonsense",
            "history <user> user01",
            "list-invite <user>",
        )
        rounds = [
            [
                commands[(number + turn) % 16].format(name=name, unknown=UNKNOWN)
                for number, name in enumerate(NAMES)
            ]
            for turn in range(16)
        ]
        self.same(*rounds)

    def test_people_whom_another_server_serves(self) -> None:
        """Each of them is told where to go, and nothing is carried out."""
        commands = ("list-friend <user>", "post <user> hello", "send <user> {} hello", "ping")
        readers = [*NAMES[1:], NAMES[0]]  # Two servers carry these out in no certain order.
        rounds = [
            [
                (line if number % 3 else f">{line}").format(reader)
                for number, reader in enumerate(readers)
            ]
            for line in commands
        ]
        for line, replies in zip(rounds, self.same(*rounds, capacity=8), strict=True):
            moved = [reply.get("code") for [reply, *_] in replies[::3]]
            self.assertEqual(moved, [None if "ping" in line[1] else "moved"] * 6)

    def test_people_who_were_away(self) -> None:
        """Each gets a place, and what was asked for is carried out."""
        commands = ("list-friend <user>", "post <user> hello", "send <user> {} hello")
        readers = [*NAMES[1:], NAMES[0]]
        rounds = [
            [
                (f"~{line}" if number % 5 == 0 else line).format(reader)
                for number, reader in enumerate(readers)
            ]
            for line in commands
        ]
        for replies in self.same(*rounds):
            self.assertEqual([reply["status"] for [reply, *_] in replies], [0] * 16)

    def test_one_user_on_all_connections(self) -> None:
        """The requests are carried out in their order."""
        text = "x" * 30  # There is room for four of these.
        commands = ("post <user00> {}", "list-friend <user00>", "send <user00> user01 {}" + text)
        rounds = [[line.format(number) for number in range(16)] for line in commands]
        posts, lists, sent = self.same(*rounds)
        self.assertEqual([reply["status"] for [reply] in [*posts, *lists]], [0] * 32)
        told = [reply.get("code") for [reply, *_] in sent]
        self.assertEqual(told, [None] * 3 + ["inbox-full"] * 13)

    def test_at_random(self) -> None:
        seeds = range(4 * ROUNDS)
        replies = self.same(*[each for seed in seeds for each in drawn(random.Random(seed))])
        codes = {reply.get("code") for some in replies for heard in some for reply in heard}
        self.assertLessEqual({"inbox-full", "not-friends", "not-member", "not-logged-in"}, codes)


def drawn(chance: random.Random) -> Iterator[Round]:
    """Rounds of one command each, as what other commands do in the same round has no order; between
    them something changes."""
    for _ in range(8):
        command = chance.choice(["send", "send", "send-group", "send-group", "post", "list-friend"])
        yield [_line(command, number, chance) for number in range(16)]
        change = [""] * 16
        number = chance.randrange(16)
        other = NAMES[(number + chance.randrange(1, 6)) % 16]
        change[number] = chance.choice(
            [
                f"block <user> {other}",
                f"unblock <user> {other}",
                f"unfriend <user> {other}",
                f"invite <user> {other}",
                "leave-group <user> chess",
                "join-group <user> go",
                "",
            ]
        )
        yield change


def _line(command: str, number: int, chance: random.Random) -> str:
    drawn = chance.random()
    token = UNKNOWN if drawn < 0.05 else "<logged out>" if drawn < 0.1 else "<user>"
    if drawn > 0.95:
        return f"{command} {token} " + "a b c d" * (command == "list-friend")
    if drawn > 0.9:
        return ""
    text = f"{number} " + "ü" * chance.choice([0, 1, 5, 20, 50, 70])
    # Few readers, so that their inboxes are full sometimes.
    reader = NAMES[(number + chance.choice([1, 1, 2, 3, -1, 7])) % 4]
    return {
        "send": f"send {token} {reader} {text}",
        "send-group": f"send-group {token} {chance.choice([*GROUPS, GROUPS[number % 2]])} {text}",
        "post": f"post {token} {text}",
        "list-friend": f"list-friend {token}",
    }[command]


class OnMySQL(OnSQLite):
    def url(self) -> str:
        return fresh_mysql_url()
