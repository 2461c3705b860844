"""A board on which one person, `hero`, has all that the limits allow, and what each command of
theirs takes there.

`FullBoard` makes it, or a smaller one: with a `share` of a half everything is half as many.
`ask_everything` asks for each command once, or more often. `scenarios/test_prices.py` compares what
it takes with what it is charged; `lab/bench/dearest.py` measures the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any
from unittest import mock

import peewee

from bbs.board import board
from bbs.board.announcements.tables import Announcement
from bbs.board.groups.groups import MOST_JOINED
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people.blocks import MOST_BLOCKED
from bbs.board.people.friendships import MOST_INVITATIONS
from bbs.board.people.tables import Block, Relationship, Status
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost, ThreadReader
from bbs.board.posts.threads import MOST_FOLLOWED
from bbs.board.quotas import Quotas
from bbs.config import App, Configuration, Fleet, Limits
from bbs.core.values import NAME_LENGTH
from bbs.limits.rate_limits import Buckets
from bbs.rules.accounts import new_channel
from bbs.storage.database import rows
from bbs.storage.models import Place, Server, User
from bbs.testing import MemoryService, Peer
from bbs.testing.service import ALL_AT_ONCE, IN_MEMORY
from tests.database_case import analyze

HERO = "hero"
SECRET = "0123456789abcdef0123456789abcdef"  # Of a telnet gateway.

QUOTAS = Quotas()

CHUNK = 400  # Rows of one statement.

LETTER = "\U00010400"  # A letter with four bytes.

TEXT = "what a nice day, and how are you? " * 6  # 200 bytes.
LONG = "x" * 1600  # As long as ten thousand posts may be, all together.
KIB = "x" * 1000

POSTS_OF_FRIEND = 10
GROUP_POSTS = 20  # Unread posts in each group of the hero's but the large one.


@dataclass
class Taken:
    """What a request took: the bytes that the caller was sent, and the `units` that the user was
    charged, commands and deliveries; `work` is what else was counted meanwhile."""

    bytes: int
    units: float
    work: Mapping[str, float]


Work = Callable[[], object]
Count = Callable[[Work], Mapping[str, float]]
"""Does a piece of work, and counts something meanwhile, by names."""

Note = Callable[[str, Taken], object]


def _is_users(key: object) -> bool:
    """Whether a bucket is a user's: its key is a number, or a pair of them where the user has no
    place; strangers have texts."""
    several = key if isinstance(key, tuple) else (key,)
    return all(isinstance(each, int) for each in several)


@contextmanager
def charged() -> Iterator[list[float]]:
    """What users are charged meanwhile, in units of any kind."""
    found: list[float] = []
    take, give_back = Buckets.take, Buckets.give_back

    def taking(self: Buckets, key: Any, cost: float = 1.0) -> float:
        if _is_users(key):
            found.append(cost)
        return take(self, key, cost)

    def giving(self: Buckets, key: Any, cost: float = 1.0) -> None:
        if _is_users(key):
            found.append(-cost)
        give_back(self, key, cost)

    with mock.patch.multiple(Buckets, take=taking, give_back=giving):
        yield found


class FullBoard:
    """The board in memory, or at `url`, and its hero; of everything there is this `share`. A `mark`
    begins all names, so that no process has seen them before."""

    def __init__(self, share: float = 1.0, url: str = IN_MEMORY, mark: str = "") -> None:
        self._share, self._mark = share, mark
        config = Configuration(
            app=App(capacity=10_000),
            fleet=Fleet(spare=0),
            limits=Limits(
                logins=ALL_AT_ONCE,
                commands=ALL_AT_ONCE,
                deliveries=ALL_AT_ONCE,
                registrations=ALL_AT_ONCE,
                invitations=ALL_AT_ONCE,
            ),
        )
        self.service = MemoryService(board, config=config, url=url)
        self.login_server = self.service.peer()
        self.database: Any = self.service.database.peewee
        # Those who act themselves; of each kind there is one for each time that a command is asked.
        acting = [HERO, "friend", "owner", "neighbour"]
        self.tokens = dict(self.service.people(*acting))
        self.ids: dict[str, int] = {}
        self.posts: dict[str, int] = {}
        [(self.server,)] = rows(Server.select(Server.id))
        with self.database.atomic():
            self._fill()
        analyze(self.database)

    def close(self) -> None:
        self.service.close()

    def some(self, count: int) -> int:
        """So many, of a full board."""
        return max(1, int(count * self._share))

    def long_name(self, kind: str, number: int) -> str:
        """A name of as many bytes as a name can have."""
        return f"{self._mark}{kind}{number}".ljust(NAME_LENGTH, LETTER)

    # Filling

    def _fill(self) -> None:
        self.ids = dict(rows(User.select(User.name, User.id)))
        self.hero = self.ids[HERO]
        self._people()
        self._groups()
        self._posts()
        self._messages()
        add(
            Announcement,
            [(KIB, 0.0, None)] * self.some(10),
            Announcement.text,
            Announcement.stored,
            Announcement.until,
        )

    def crowd(self, kind: str, size: int, *, online: bool = False) -> Sequence[int]:
        """So many more people, with long names."""
        names = [self.long_name(kind, number) for number in range(size)]
        people = [(name, "", new_channel(), 0.0, 1.0) for name in names]
        add(User, people, User.name, User.password_hash, User.channel, User.created, User.seen)
        last = User.select(peewee.fn.MAX(User.id)).scalar()
        made = list(range(last - size + 1, last + 1))
        self.ids |= dict(zip(names, made, strict=True))
        add(Inbox, [(user,) for user in made], Inbox.user)
        if online:
            add(Place, [(user, self.server) for user in made], Place.user, Place.server)
        return made

    def _relate(self, others: Iterable[int], own: str, theirs: str) -> None:
        pairs = [
            row for other in others for row in ((self.hero, other, own), (other, self.hero, theirs))
        ]
        add(Relationship, pairs, Relationship.user, Relationship.other, Relationship.kind)

    def _people(self) -> None:
        kinds = Relationship
        self.friends = self.crowd("friend", self.some(QUOTAS.friends - 10), online=True)
        known = [self.ids["friend"], self.ids["owner"], *self.friends]
        self._relate(known, kinds.FRIEND, kinds.FRIEND)
        add(
            Status,
            [(user, LETTER * 100) for user in self.friends],
            Status.user,
            Status.text,
        )
        inviters = self.crowd("inviter", self.some(MOST_INVITATIONS))
        self._relate(inviters, kinds.INVITED_BY, kinds.INVITED)
        self._relate(
            self.crowd("asked", self.some(MOST_INVITATIONS - 20)), kinds.INVITED, kinds.INVITED_BY
        )
        blocked = self.crowd("blocked", self.some(MOST_BLOCKED - 10))
        add(Block, [(self.hero, user) for user in blocked], Block.user, Block.other)
        self.strangers = self.crowd("stranger", 20)

    def _groups(self) -> None:
        """The large group has the friends in it, and posts; the hero is in many others as well."""
        made = self.some(QUOTAS.groups - 10)
        joined = self.some(MOST_JOINED - 20)
        names = [
            "crowd",
            "other",
            *(self.long_name("group", number) for number in range(joined + made)),
        ]
        owner = self.ids["owner"]
        groups = [
            (name, new_channel(), self.hero if name == "crowd" else owner, GROUP_POSTS)
            for name in names[: joined + 2]
        ]
        fields = (Group.name, Group.channel, Group.creator, Group.posts)
        add(Group, groups, *fields)
        own = [(name, new_channel(), self.hero, 0) for name in names[joined + 2 :]]
        add(Group, own, *fields)
        self.groups = dict(rows(Group.select(Group.name, Group.id)))
        crowd, other = self.groups["crowd"], self.groups["other"]
        members = [(crowd, self.hero, 0)]
        members += [(group, self.hero, 0) for group in self._others(joined)]
        several = self.friends[: self.some(QUOTAS.members - 20)]
        members += [(group, user, 0) for group in (crowd, other) for user in several]
        add(Membership, members, Membership.group, Membership.user, Membership.after)
        add(
            RemovedPost,
            [(group, number) for group in self._others(joined) for number in range(1, 20, 2)],
            RemovedPost.group,
            RemovedPost.number,
        )
        invited = self.crowd("invited", self.some(QUOTAS.members - 20))
        add(
            GroupInvitation,
            [(crowd, user, self.hero) for user in invited],
            GroupInvitation.group,
            GroupInvitation.user,
            GroupInvitation.by,
        )

    def _others(self, joined: int) -> Iterator[int]:
        return (self.groups[self.long_name("group", number)] for number in range(joined))

    def _add_posts(self, values: Sequence[tuple[int | None, str]]) -> Sequence[int]:
        before = PostRow.select(peewee.fn.MAX(PostRow.id)).scalar() or 0
        fields = (PostRow.author, PostRow.text, PostRow.stored)
        add(PostRow, [(*each, 1.0) for each in values], *fields)
        return [
            number
            for (number,) in rows(
                PostRow.select(PostRow.id).where(PostRow.id > before).order_by(PostRow.id)
            )
        ]

    def _posts(self) -> None:
        count = self.some(QUOTAS.posts - 20)
        own = self._add_posts([(self.hero, LONG)] * count)
        self.posts["own"] = own[-1]
        Inbox.update(posts=count, post_bytes=count * len(LONG)).where(
            Inbox.user == self.hero
        ).execute()
        of_friends = self._add_posts(
            [(friend, TEXT) for _ in range(POSTS_OF_FRIEND) for friend in self.friends]
        )
        contributed = (
            Contribution.post,
            Contribution.writer,
            Contribution.group,
            Contribution.number,
            Contribution.thread,
            Contribution.owner,
        )
        # Threads in feeds of friends, in which the hero takes part, with a reply of somebody.
        followed = of_friends[: self.some(MOST_FOLLOWED - 20)]
        owners = [self.friends[index % len(self.friends)] for index in range(len(followed))]
        replies = self._add_posts([(None, TEXT)] * len(followed))
        add(
            Contribution,
            [
                (reply, owner, None, None, first, owner)
                for reply, owner, first in zip(replies, owners, followed, strict=True)
            ],
            *contributed,
        )
        add(
            ThreadReader,
            [(self.hero, first, owner) for first, owner in zip(followed, owners, strict=True)],
            ThreadReader.user,
            ThreadReader.thread,
            ThreadReader.owner,
        )
        # A long thread, which a friend began.
        owner = self.ids["friend"]
        [first] = self._add_posts([(owner, TEXT)])
        replies = self._add_posts([(None, TEXT)] * self.some(2000))
        add(
            Contribution,
            [(each, owner, None, None, first, owner) for each in replies],
            *contributed,
        )
        readers = [(user, first, owner) for user in (owner, *self.friends)]
        add(ThreadReader, readers, ThreadReader.user, ThreadReader.thread, ThreadReader.owner)
        self.posts["thread"] = first
        # The large group.
        group = self.groups["crowd"]
        count = self.some(QUOTAS.posts - 20)
        in_group = self._add_posts([(None, TEXT)] * count)
        writers = self.friends
        add(
            Contribution,
            [
                (post, writers[index % len(writers)], group, index + 1, None, None)
                for index, post in enumerate(in_group)
            ],
            *contributed,
        )
        Group.update(posts=count).where(Group.id == group).execute()

    def _messages(self) -> None:
        """A conversation, messages that wait, and a group's."""
        now = self.service.wall()
        fields = (
            MessageRow.sender,
            MessageRow.target,
            MessageRow.to_group,
            MessageRow.text,
            MessageRow.stored,
            MessageRow.sent_by,
            MessageRow.sent_to,
            MessageRow.in_group,
            MessageRow.size,
        )
        friend = self.ids["friend"]
        many = self.some(10_000)
        # What a message counts stands for several, so that few fill the quota.
        size = int(QUOTAS.stored * 0.999) // 10_000
        sent = (HERO, "friend", False, KIB, now, self.hero, friend, None, size)
        add(MessageRow, [sent] * many, *fields)
        Inbox.update(sent=many * size).where(Inbox.user == self.hero).execute()
        last = MessageRow.select(peewee.fn.MAX(MessageRow.id)).scalar()
        waiting = self.some(QUOTAS.inbox // len(KIB) - 2000)
        received = ("friend", HERO, False, KIB, now, friend, self.hero, None, None)
        add(MessageRow, [received] * waiting, *fields)
        ids = [
            number
            for (number,) in rows(
                MessageRow.select(MessageRow.id).where(MessageRow.id > last).order_by(MessageRow.id)
            )
        ]
        add(Delivery, [(self.hero, number) for number in ids], Delivery.user, Delivery.message)
        Inbox.update(waiting=waiting * len(KIB), delivered=last).where(
            Inbox.user == self.hero
        ).execute()
        group = self.groups["crowd"]
        in_group = ("friend", "crowd", True, KIB, now, friend, None, group, None)
        add(MessageRow, [in_group] * self.some(2000), *fields)

    # Asking

    def ask_everything(self, count: Count, note: Note) -> None:
        """Ask for each command, and note what it took."""
        hero = Asker(self, count, note)
        at_login = self.login_server
        hero.ask("register newcomer pw", at_login)
        hero.ask(f"login {HERO} pw", at_login)
        hero.ask("locate <user>", at_login)
        hero.ask("change-password <user> pw pw", at_login)
        hero.ask(f"forwarded-for 192.0.2.1 {SECRET}", at_login, refused=True)
        hero.ask("device x", at_login)
        for command in ("help", "commands", "ping", "events"):
            hero.ask(command)
        friend, crowd = self.long_name("friend", 1), "crowd"
        lists = [
            "list-invite <user>",
            "list-friend <user>",
            "who <user>",
            "list-block <user>",
            "list-group <user>",
            "list-joined <user>",
            f"list-member <user> {crowd}",
            "groups <user>",
            "receive-post <user>",
            "my-posts <user>",
            f"thread <user> {self.posts['thread']}",
            "history <user> friend",
            f"history-group <user> {crowd}",
            "new <user>",
            "posts <user>",
            f"group-posts <user> {crowd}",
        ]
        for line in lists:
            reply = hero.ask(line)
            if "more" in reply:
                hero.ask(f"more <user> {reply['more']}", name=f"more, {line.split()[0]}")
        hero.ask("listen <user> 0", self.at_home(), settles=True)
        hero.ask(f"invite <user> {self.long_name('stranger', 1)}")
        hero.ask(f"accept-invite <user> {self.long_name('inviter', 1)}")
        hero.ask(f"decline-invite <user> {self.long_name('inviter', 2)}")
        hero.ask("decline-all <user>")
        hero.ask(f"block <user> {friend}")
        hero.ask(f"unblock <user> {friend}")
        hero.ask(f"unfriend <user> {self.long_name('friend', 2)}")
        hero.ask(f"post <user> {TEXT}")
        hero.ask(f"post <user> {'x' * 60_000}", name="post, 60 KB")
        hero.ask(f"send <user> friend {TEXT}")
        hero.ask(f"mail <user> friend {TEXT}")
        hero.ask(f"send <user> friend {'x' * 60_000}", name="send, 60 KB")
        hero.ask(f"send-group <user> {crowd} {TEXT}")
        hero.ask(f"reply <user> {self.posts['thread']} {TEXT}")
        hero.ask(f"post-group <user> {crowd} {TEXT}")
        hero.ask(f"delete-post <user> {self.posts['own']}")
        hero.ask("set-status <user> at the beach")
        hero.ask("create-group <user> another")
        hero.ask("join-group <user> other")
        hero.ask("leave-group <user> other")
        hero.ask(f"set-topic <user> {crowd} the weather")
        hero.ask(f"close-group <user> {crowd}")
        hero.ask(f"open-group <user> {crowd}")
        hero.ask(f"invite-group <user> {crowd} neighbour")
        hero.ask(f"kick <user> {crowd} {self.long_name('friend', 3)}")
        hero.ask(f"give-group <user> another {HERO}", refused=True)
        hero.ask(f"delete-group <user> {crowd}")
        second = at_login.ask(f"login {HERO} pw")["token"]
        hero.ask(f"logout {second}", at_login)
        self.tokens[HERO] = at_login.ask(f"login {HERO} pw")["token"]
        hero.ask("delete <user>", at_login)

    def at_home(self) -> Peer:
        return self.service.at_home(self.tokens[HERO])


class Asker:
    """Asks as the hero, and notes what each request took."""

    def __init__(self, full: FullBoard, count: Count, note: Note) -> None:
        self._full, self._count, self._note = full, count, note
        self._own = full.at_home()

    def ask(
        self,
        line: str,
        peer: Peer | None = None,
        *,
        name: str = "",
        settles: bool = False,
        refused: bool = False,
    ) -> Mapping[str, Any]:
        peer = peer or self._own
        self._full.service.clock.advance(0.01)  # All is paid then.
        line = line.replace("<user>", self._full.tokens[HERO])
        before = len(peer.transport.value())

        def work() -> None:
            peer.say(line)
            if settles:
                self._full.service.settle()

        with charged() as units:
            counted = self._count(work)
        size = len(peer.transport.value()) - before
        [reply] = [each for each in peer.heard() if "status" in each]
        assert (reply["status"] == 1) == refused, (line[:80], reply)
        # Whoever asks without a token is charged as an address.
        self._note(name or line.split()[0], Taken(size, max(1.0, sum(units)), counted))
        return reply


def add(model: Any, values: Iterable[tuple[Any, ...]], *fields: Any) -> None:
    """Add rows with these values of the fields, and the defaults of the others."""
    meta = model._meta
    names = [field.column_name for field in fields]
    others = {
        field.column_name: value() if callable(value) else value
        for field, value in meta.defaults.items()
        if field.column_name not in names
    }
    quote: str = meta.database.obj.quote
    columns = ", ".join(f"{quote[0]}{name}{quote[1]}" for name in (*names, *others))
    places = ", ".join([meta.database.param] * (len(names) + len(others)))
    sql = f"INSERT INTO {meta.table_name} ({columns}) VALUES ({places})"
    rest = iter(values)
    while some := [(*each, *others.values()) for each in islice(rest, CHUNK)]:
        meta.database.obj.cursor().executemany(sql, some)
