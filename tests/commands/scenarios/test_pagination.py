"""Bounded replies, and `more`: `docs/protocol.md`, section 3."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count as count_from
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from peewee import fn
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.people import friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.commands.common import all_commands
from bbs.commands.service import Service, ServiceUnusable
from bbs.framework import Caller, Command, CommandTable, Page, Part, Role, paged, read_only
from bbs.framework.limits import costs
from bbs.protocols.commands import CommandTable as Table
from bbs.rules.auth import Costs, costs_of, identify
from bbs.rules.pagination import LIFETIME, Continuation, CursorExpired, Cursors
from bbs.storage import clock
from bbs.storage.models import User
from bbs.testing import MemoryService
from tests.database_case import RulesCase, on_both_databases

EXPIRED = {"status": 1, "message": "Cursor expired, ask again", "code": "cursor-expired"}


def size(entries: object) -> int:
    """What a list has on the wire, in bytes."""
    return len(json.dumps(entries, ensure_ascii=False).encode())


class Parts(SynchronousTestCase):
    """What of a list fits into a reply."""

    def test_all_of_it(self) -> None:
        part = Page().part("friend", [(3, "ann"), (7, "bob")])
        self.assertEqual(part, {"friend": ["ann", "bob"]})
        self.assertEqual(part.last, None)
        self.assertEqual(Page().part("friend", []), {"friend": []})

    def test_a_thousand_entries(self) -> None:
        rows = [(number, "x") for number in range(1, 1002)]
        self.assertEqual(Page().limit, len(rows))
        whole, cut = Page().part("x", rows[:1000]), Page().part("x", rows)
        self.assertEqual((whole.last, cut.last), (None, 1000))
        self.assertEqual(whole, cut)

    def test_a_mebibyte(self) -> None:
        for entry in ("x" * 65_536, "ü" * 40_000, "\x07" * 20_000, {"a": "\N{GRINNING FACE}" * 9}):
            rows = [(number, entry) for number in range(1, 1002)]
            part = Page().part("x", rows)
            entries = part["x"]
            self.assertLessEqual(size(entries), 2**20)
            self.assertEqual(part.last, len(entries) if len(entries) < 1001 else None)
            if len(entries) < 1000:
                self.assertGreater(size([*entries, entry]), 2**20)

    def test_a_mebibyte_of_what_has_fewer_characters(self) -> None:
        for entry in ("ü" * 50_000, "\x07" * 50_000, "\N{GRINNING FACE}" * 30_000):
            rows = [(number, entry) for number in range(1, 21)]
            for part in (Page().part("x", rows), Page().part("x", rows, size=20 * 50_000)):
                self.assertLessEqual(size(part["x"]), 2**20)
                self.assertEqual(part.last, len(part["x"]))

    def test_one_entry_always(self) -> None:
        part = Page().part("x", [(1, "x" * 2**21), (2, "y")])
        self.assertEqual((part, part.last), ({"x": ["x" * 2**21]}, 1))

    def test_backwards(self) -> None:
        part = Page().part("x", [(9, "c"), (7, "b"), (5, "a")], backwards=True, most=2)
        self.assertEqual((part, part.last), ({"x": ["b", "c"]}, 7))

    def test_prices(self) -> None:
        """One command for each 16 KiB begun, or each 100 entries."""
        for length, price in ((0, 1), (1, 1), (16_384, 1), (16_385, 2), (2**20, 64)):
            self.assertEqual(Part("x", [], None, length).price(), price)
        for number, price in ((1, 1), (100, 1), (101, 2), (1000, 10)):
            part = Page().part("x", [(1, "")] * number)
            self.assertEqual(part.price(), price)
            self.assertEqual(Part("x", part["x"], None, 2**20).price(), 64)

    def test_what_is_priced(self) -> None:
        """All that comes in parts, whoever forgot to say so."""
        table = all_commands(board)
        for name in ("list-friend", "groups", "receive-post", "more"):
            self.assertEqual(costs_of(_command(table, name).rule).commands, Part.price)
        self.assertEqual(costs_of(costs(commands=3, deliveries=2)(letters)), Costs(3, 2))
        marked = paged(costs(deliveries=2)(letters.part))
        self.assertEqual(costs_of(marked), Costs(Part.price, 2))


def _command(table: Table, name: str) -> Command:
    return next(command for command in table if command.name == name)


class CursorsOfAService(SynchronousTestCase):
    WHERE = Continuation("list-friend", ("a", "b"), 7)

    def setUp(self) -> None:
        self.cursors = Cursors(b"secret")
        self.cursor = self.cursors.write(1, self.WHERE, 1000.0)

    @given(st.text(max_size=40), st.lists(st.text()), st.none() | st.integers() | st.text())
    def test_they_say_what_they_were_made_of(
        self, command: str, arguments: list[str], last: object
    ) -> None:
        where = Continuation(command, arguments, last)
        cursor = Cursors(b"secret").write(1, where, 5.5)
        self.assertRegex(cursor, re.compile("[A-Za-z0-9_-]+", re.ASCII))
        self.assertEqual(Cursors(b"secret").read(1, cursor, 5.5), where)

    def refused(self, user: int, cursor: str, now: float, secret: bytes = b"secret") -> None:
        self.assertRaises(CursorExpired, Cursors(secret).read, user, cursor, now)

    def test_an_hour(self) -> None:
        self.assertEqual(LIFETIME, 3600)
        self.assertEqual(self.cursors.read(1, self.cursor, 4600.0).last, 7)
        self.refused(1, self.cursor, 4600.1)

    def test_another_user_or_service(self) -> None:
        self.refused(2, self.cursor, 1000.0)
        self.refused(1, self.cursor, 1000.0, secret=b"another")

    def test_a_hint_of_the_same_secret_is_no_cursor(self) -> None:
        """Nothing else that is made with the secret proves one."""
        said = b'[5000,7,"list-friend"]'
        proof = hmac.digest(b"secret", b"1:" + said, hashlib.sha256)[:16]
        self.refused(1, urlsafe_b64encode(proof + said).rstrip(b"=").decode(), 1000.0)

    @given(st.integers(0, 10**6), st.integers(1, 255))
    def test_another_byte(self, where: int, change: int) -> None:
        cursor = Cursors(b"secret").write(1, self.WHERE, 1000.0)
        whole = bytearray(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        whole[where % len(whole)] ^= change
        self.refused(1, urlsafe_b64encode(whole).decode(), 1000.0)

    @given(st.text())
    def test_anything(self, cursor: str) -> None:
        self.refused(1, cursor, 1000.0)


@paged
@read_only
def letters(caller: Caller, page: Page, kind: str = "small", *others: str) -> Part:
    """The letters behind one."""
    all_of_them = "abcdefgh" if kind == "small" else "ABCDEFGH"
    behind = [each for each in all_of_them if page.last is None or each > page.last]
    return page.part("letter", [(each, each) for each in behind][: page.limit], most=5)


def declared(usage: str = "letters <user> [<kind>] [<other>]", rule: Any = letters) -> Service:
    return Service("spelling", commands=(CommandTable(Command(usage, Role.APP, rule=rule)),))


class ServedCase(SynchronousTestCase):
    """A service in memory."""

    served = board

    def setUp(self) -> None:
        self.service = MemoryService(self.served)
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob")
        self.ann, self.bob = self.tokens.values()
        self.peer = self.service.at_home(self.ann)


class Continued(ServedCase):
    """A list of eight entries, in parts of five."""

    served = declared()

    def setUp(self) -> None:
        super().setUp()
        first = self.peer.ask(f"letters {self.ann}")
        self.assertEqual(first["letter"], [*"abcde"])
        self.more = first["more"]

    def test_every_server_takes_it(self) -> None:
        crowd = self.service.people(*(f"p{n}" for n in range(10)))
        far = self.service.serving(crowd["p9"])
        self.assertIsNot(far, self.service.serving(self.ann))
        for peer in (far.peer(), self.service.peer(), self.peer, self.peer):
            reply = peer.ask(f"more {self.ann} {self.more}")
            self.assertEqual(reply, {"status": 0, "letter": [*"fgh"]})

    def test_a_cursor_of_somebody_else_and_none(self) -> None:
        for token, cursor in (
            (self.bob, self.more),
            (self.ann, self.more[:-1]),
            (self.ann, self.more.swapcase()),
            (self.ann, "x"),
            (self.ann, "\N{GRINNING FACE}" * 1000),
        ):
            self.assertEqual(self.peer.ask(f"more {token} {cursor}"), EXPIRED)
        self.assertEqual(self.peer.ask(f"more nobody {self.more}")["message"], "Not login yet")
        usage = "Usage: more <user> <cursor>"
        self.assertEqual(self.peer.ask(f"more {self.ann}")["message"], usage)

    def test_an_hour_later(self) -> None:
        """By the service's clock, as all servers have to agree."""
        self.set_clock(LIFETIME - 1.0)
        self.assertEqual(self.peer.ask(f"more {self.ann} {self.more}")["letter"], [*"fgh"])
        self.service.advance(2.0)
        self.assertEqual(self.peer.ask(f"more {self.ann} {self.more}"), EXPIRED)

    def set_clock(self, ahead: float) -> None:
        """Set the service's clock, by an operator's word."""
        self.service.set_ahead = ahead
        self.service.database.run(clock.note_check, self.service.wall(), 0.0)
        self.service.beat()

    def test_no_help_tells_of_it(self) -> None:
        for peer in (self.peer, self.service.peer()):
            self.assertNotIn("more", peer.ask("help")["message"])
            usages = [each["usage"] for each in peer.ask("commands")["commands"]]
            self.assertNotIn("more <user> <cursor>", usages)


class LongLists(ServedCase):
    """The board's lists, of more than a thousand entries each."""

    def setUp(self) -> None:
        super().setUp()
        self.ann_id = User.get(User.name == "ann").id

    def users(self, count: int) -> list[int]:
        """People who never log in."""
        rows = [(f"u{number}", "", "", 0.0) for number in range(count)]
        fields = [User.name, User.password_hash, User.channel, User.created]
        User.insert_many(rows, fields=fields).execute()
        theirs = User.select(User.id).where(User.name.startswith("u")).order_by(User.id)
        return [each.id for each in theirs]

    def relate(self, others: list[int], kind: str) -> None:
        rows = [(self.ann_id, other, kind) for other in others]
        fields = [Relationship.user, Relationship.other, Relationship.kind]
        Relationship.insert_many(rows, fields=fields).execute()

    def parts(self, line: str, member: str) -> Iterator[list[Any]]:
        """What is answered to `line`, part by part."""
        reply = self.peer.ask(f"{line} {self.ann}")
        while True:
            more = reply.pop("more", None)
            reply.pop("backwards", None)
            self.assertEqual(reply, {"status": 0, member: reply[member]})
            yield reply[member]
            if more is None:
                return
            reply = self.peer.ask(f"more {self.ann} {more}")

    def test_of_people(self) -> None:
        users = self.users(2003)
        names = [f"u{number}" for number in range(2003)]
        self.relate(users[:1002], Relationship.FRIEND)
        self.relate(users[1002:], Relationship.INVITED_BY)
        for line, member, expected in (
            ("list-friend", "friend", [names[:1000], names[1000:1002]]),
            ("list-invite", "invite", [names[1002:2002], names[2002:]]),
        ):
            self.assertEqual([*self.parts(line, member)], expected, line)

    def test_of_groups(self) -> None:
        names = [f"g{number}" for number in range(1003)]
        Group.insert_many(
            [(name, "") for name in names], fields=[Group.name, Group.channel]
        ).execute()
        for line, joined in (("list-group", names), ("list-joined", names[2:])):
            if line == "list-joined":
                groups = [(each.id, self.ann_id) for each in Group.select().offset(2).limit(2000)]
                fields = [Membership.group, Membership.user]
                Membership.insert_many(groups, fields=fields).execute()
            found = [*self.parts(line, "group")]
            self.assertEqual(found, [joined[:1000], joined[1000:]], line)

    def test_one_that_is_just_so_long_has_no_more(self) -> None:
        self.relate(self.users(1000), Relationship.FRIEND)
        names = [f"u{number}" for number in range(1000)]
        self.assertEqual([*self.parts("list-friend", "friend")], [names])

    def test_several_who_wait_get_what_one_gets(self) -> None:
        self.relate(self.users(1001), Relationship.FRIEND)
        home = self.service.serving(self.ann).serving.home
        caller = self.successResultOf(
            home.database.run(identify, self.ann, home.sessions, home.wall())
        )
        rule: Any = next(each.rule for each in home.table if each.name == "list-friend")
        alone = self.successResultOf(home.database.run(rule, caller))
        self.assertEqual((len(alone["friend"]), "more" in alone), (1000, True))
        several = self.successResultOf(home.database.run(read_only(rule.each), [(caller,)] * 16))
        self.assertEqual(several, [alone] * 16)

    def test_posts_latest_first_and_each_part_oldest_first(self) -> None:
        one, other, stranger = self.users(3)
        self.relate([one, other], Relationship.FRIEND)
        rows = [((one, other, stranger)[number % 3], str(number)) for number in range(1530)]
        PostRow.insert_many(rows, fields=[PostRow.author, PostRow.text]).execute()
        latest, rest = self.parts("receive-post", "post")
        friends_posts = [str(number) for number in range(1530) if number % 3 < 2]
        self.assertEqual([each["message"] for each in latest], friends_posts[20:])
        self.assertEqual([each["message"] for each in rest], friends_posts[:20])
        self.assertEqual(rest[1], {"id": "u1", "message": "1", "post": 2, "time": None})

    def test_what_changes_meanwhile_neither_repeats_nor_skips(self) -> None:
        users = self.users(1006)
        self.relate(users[:1004], Relationship.FRIEND)
        parts = self.parts("list-friend", "friend")
        first = next(parts)
        User.delete().where(User.name << ["u0", "u2", "u1001"]).execute()
        self.relate(users[1004:], Relationship.FRIEND)
        self.assertEqual(first, [f"u{number}" for number in range(1000)])
        self.assertEqual([*parts], [["u1000", "u1002", "u1003", "u1004", "u1005"]])


class OfAnotherService(SynchronousTestCase):
    """One mark on a rule is all that a service's own long list needs."""

    def test_arguments_go_with_it(self) -> None:
        service = MemoryService(declared())
        self.addCleanup(service.close)
        [ann] = service.people("ann").values()
        peer = service.at_home(ann)
        for kind, first, rest in (("small", "abcde", "fgh"), ("great", "ABCDE", "FGH")):
            reply = peer.ask(f"letters {ann} {kind} ünd")
            self.assertEqual(reply["letter"], [*first])
            reply = peer.ask(f"more {ann} {reply['more']}")
            self.assertEqual(reply, {"status": 0, "letter": [*rest]})

    def test_of_a_version_whose_command_takes_less_or_is_gone(self) -> None:
        caller = Caller(1, "ann", "", 0.0)
        old = _command(all_commands(declared(), b"secret"), "letters").rule
        assert old is not None
        first: Any = old(caller, "small", "x")
        for usage in ("letters <user> <kind>", "spell <user> [<kind>] [<other>]"):
            more = _command(all_commands(declared(usage), b"secret"), "more").rule
            assert more is not None
            self.assertRaises(CursorExpired, more, caller, first["more"])

    def test_it_only_reads(self) -> None:
        @paged
        def writes(caller: Caller, page: Page) -> Part:
            return page.part("x", [])

        error = self.assertRaises(ServiceUnusable, all_commands, declared("x <user>", writes))
        self.assertEqual(
            str(error),
            "the service spelling: the rule of x is paged, so it must be read_only too",
        )

    def test_a_rule_is_called_as_any(self) -> None:
        caller = Caller(1, "ann", "", 0.0)
        self.assertEqual(letters(caller, "small"), {"letter": [*"abcde"]})
        self.assertEqual(letters.part(caller, Page("f"), "small"), {"letter": ["g", "h"]})


@on_both_databases
class PostsOfMany(RulesCase):
    """The latest of many, whoever of how many wrote them, and when."""

    def setUp(self) -> None:
        super().setUp()
        (self.ann,) = self.people("ann")

    def authors(self, count: int) -> list[int]:
        names = [f"u{n}" for n in range(count)]
        values = [(name, "", "", 0.0) for name in names]
        fields = [User.name, User.password_hash, User.channel, User.created]
        for batch in (values[start : start + 500] for start in range(0, count, 500)):
            User.insert_many(batch, fields=fields).execute()
        return [each.id for each in User.select(User.id).where(User.name << names)]

    def befriends(self, others: list[int]) -> None:
        rows = [(self.ann.id, other, Relationship.FRIEND) for other in others]
        for batch in (rows[start : start + 500] for start in range(0, len(rows), 500)):
            Relationship.insert_many(
                batch, fields=[Relationship.user, Relationship.other, Relationship.kind]
            ).execute()

    def write(self, authors: list[int], count: int, text: str = "x", first: int = 1) -> None:
        """So many posts, by turns; their ids go on behind the last, or from `first` on."""
        last = PostRow.select(fn.MAX(PostRow.id)).scalar() or 0
        ids = count_from(max(first, last + 1))
        rows = [(next(ids), authors[number % len(authors)], text) for number in range(count)]
        for batch in (rows[start : start + 500] for start in range(0, count, 500)):
            PostRow.insert_many(batch, fields=[PostRow.id, PostRow.author, PostRow.text]).execute()

    def read(self) -> list[int]:
        """How many posts there are in each part."""
        parts, page = [], Page()
        while True:
            part = self.call(posts.friends_posts.part, self.ann, page)
            parts.append(part)
            if part.last is None:
                return [len(each["post"]) for each in parts]
            page = Page(part.last)

    def test_a_thousand_at_a_time(self) -> None:
        friend, stranger = self.authors(2)
        self.befriends([friend])
        self.write([friend, stranger], 4600)
        self.assertEqual(self.read(), [1000, 1000, 300])

    def test_rarely_and_long_ago(self) -> None:
        """Friends whose posts are far from each other, and from the newest; and a crowd before
        those, of more than one look brings."""
        one, other, stranger = self.authors(3)
        self.befriends([one, other])
        self.write([one, other], 5000)
        for first in range(100_000, 1_000_000, 100_000):
            self.write([one, other], 1, first=first)
            self.write([stranger], 1)
        self.write([stranger], 1, first=3_000_000)
        self.assertEqual(self.read(), [1000, 1000, 1000, 1000, 1000, 9])
        with self.statements() as said:
            self.call(posts.friends_posts, self.ann)
        looks = [each for each in said if ">=" in each.sql]
        self.assertGreater(len(looks), 3)
        self.assertLess(len(looks), 40)

    @contextmanager
    def statements(self, then: Callable[[Any], object] = lambda event: None) -> Iterator[list[Any]]:
        """What the database is asked, each with its values; `then` is called after each."""
        said: list[Any] = []
        hooks = self.database.peewee.query_hooks
        hooks += [said.append, then]
        try:
            yield said
        finally:
            hooks.clear()

    def test_a_mebibyte(self) -> None:
        friend, *_ = self.authors(1)
        self.befriends([friend])
        self.write([friend], 50, "\N{GRINNING FACE}" * 16_000)
        self.write([friend], 500, "short")
        sizes = self.read()
        self.assertEqual(sum(sizes), 550)
        self.assertEqual(sizes, [515, 16, 16, 3])

    def test_long_texts_are_not_read_for_nothing(self) -> None:
        (friend,) = self.authors(1)
        self.befriends([friend])
        self.write([friend], 200, "x" * 50_000)
        with self.statements() as said:
            self.assertEqual(len(self.call(posts.friends_posts, self.ann)["post"]), 20)
        read = [{*each.params} for each in said if reads_texts(each)]
        self.assertTrue(read)
        self.assertLessEqual(sum(map(len, read)), 48)

    def test_some_are_removed_between_the_looks(self) -> None:
        """As by others, where a database shows each statement what was committed before it."""
        friend, *_ = self.authors(1)
        self.befriends([friend])
        self.write([friend], 1500)
        lost = [1000, 1001]

        def remove(event: Any) -> None:
            if lost and reads_texts(event):
                gone, lost[:] = tuple(lost), []
                cursor = self.database.peewee.connection().cursor()
                cursor.execute(f"DELETE FROM post WHERE id IN {gone}")

        with self.statements(remove):
            self.assertEqual(self.read(), [999, 499])

    def test_a_thousand_friends(self) -> None:
        friends_of_ann = self.authors(1000)
        self.befriends(friends_of_ann)
        self.write(friends_of_ann, 2500)
        self.assertEqual(self.read(), [1000, 1000, 500])

    def test_nobody_and_nothing(self) -> None:
        self.assertEqual(self.read(), [0])
        friend, stranger = self.authors(2)
        self.write([stranger], 3)
        self.assertEqual(self.read(), [0])
        self.befriends([friend])
        self.assertEqual(self.read(), [0])

    def test_lists_read_no_more_than_they_need(self) -> None:
        """Whatever is there, a rule reads a row more than it answers with."""
        self.befriends(self.authors(20))
        self.call(groups.create, self.ann, "go")
        for rule in (
            friendships.friends,
            friendships.invitations,
            groups.all_groups,
            groups.joined,
        ):
            with self.statements() as said:
                self.call(rule, replace(self.ann))
            reads = [each for each in said if each.sql.startswith("SELECT")]
            self.assertEqual([each.params[-1] for each in reads if "LIMIT" in each.sql], [1001])
            self.assertEqual(len(reads), 1)


def reads_texts(event: Any) -> bool:
    """Whether a statement reads the texts of posts, by their ids."""
    return "text" in event.sql and " IN " in event.sql
