"""Databases of many sizes, filled through the models, and who asks what of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import peewee

from bbs.board import board
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages.tables import Inbox, MessageRow
from bbs.board.people.tables import Relationship
from bbs.board.posts.tables import PostRow
from bbs.limits.password_hashing import OWASP
from bbs.rules.accounts import new_channel
from bbs.storage import migrations, models
from bbs.storage.database import rows
from bbs.storage.engines import connect_to
from bbs.storage.models import Place, User
from lab.bench.people import PASSWORD, TEXT
from lab.bench.processes import Failed
from tests.database_case import analyze

AUTHORS = 1000
"""Who writes the posts, at most; each has ten posts, and where there are more than 10,000 in all
the others than the first ten have more."""

CHUNK = 500
"""Rows in one statement."""

PATIENCE = 120.0
"""Seconds until everybody who is online has a place."""


@dataclass(frozen=True)
class Asked:
    """The line that `user` sends, whose `{user}` becomes the token, and the `size` of what it is
    about."""

    what: str
    size: int
    user: str
    line: str


@dataclass(frozen=True)
class Content:
    """What a database has, beside those who ask: people called `person0` and so on, of whom the
    first `online` are online; `friends`: how many of the first are friends of whom; `groups`: so
    many members, of whom the last is `caller`; `posts` posts, of which the first ten people have
    ten each; `messages`: so many between `caller` and the first of the people, as many in a group
    of theirs, and as many of others."""

    name: str
    people: int
    asked: tuple[Asked, ...]
    friends: dict[str, int] = field(default_factory=dict)
    online: int = 0
    groups: tuple[int, ...] = ()
    posts: int = 0
    messages: int = 0
    readers: dict[str, int] = field(default_factory=dict)
    """Who has read all but so many of the posts, and is in `JOINED` groups with a post each."""


JOINED = 1000  # groups of each of the `readers`


def friends_and_groups(*sizes: int) -> Content:
    """`list-friend` of somebody with so many friends, and `send-group` to so many online."""
    return Content(
        "friends and groups",
        max(sizes),
        (
            *(Asked("ping, beside them", n, f"reader{n}", "ping") for n in sizes[-1:]),
            *(Asked("list-friend: friends", n, f"reader{n}", "list-friend {user}") for n in sizes),
            *(Asked("who: friends", n, f"reader{n}", "who {user}") for n in sizes),
            *(
                Asked("send-group: members online", n, "caller", f"send-group {{user}} g{n} {TEXT}")
                for n in sizes
            ),
        ),
        {"caller": 0, **{f"reader{n}": n for n in sizes}},
        online=max(sizes),
        groups=sizes,
    )


_NEW = "new {user}"


def posts(size: int) -> Content:
    """`receive-post` where so many are stored, of which the reader sees a hundred, or all; and
    `new`."""
    authors = min(size // 10, AUTHORS)
    return Content(
        f"{size} posts",
        authors,
        (
            Asked("receive-post: posts, 100 of them friends'", size, "some", "receive-post {user}"),
            Asked("receive-post: posts, all friends'", size, "all", "receive-post {user}"),
            Asked("new: posts, all friends' and read, 1,000 groups", size, "up-to-date", _NEW),
            Asked("new: posts, the last 50 unread, 1,000 groups", size, "regular", _NEW),
            Asked("new: posts, all unread, 1,000 groups", size, "newcomer", _NEW),
        ),
        {
            "some": 10,
            "all": authors,
            "up-to-date": authors,
            "regular": authors,
            "newcomer": authors,
        },
        posts=size,
        readers={"up-to-date": 0, "regular": 50, "newcomer": size},
    )


def conversations(size: int) -> Content:
    """`history` where so many are stored."""
    return Content(
        f"{size} messages",
        10,
        (
            Asked("history: messages with a friend", size, "caller", "history {user} person0"),
            Asked("history: messages in a group", size, "caller", "history {user} chess"),
            Asked("list-friend, beside them", size, "caller", "list-friend {user}"),
        ),
        {"caller": 10},
        messages=size,
    )


def users(size: int) -> Content:
    """`send` where so many have an account."""
    return Content(
        f"{size} users",
        size - 1,
        (Asked("send: users", size, "caller", f"send {{user}} person0 {TEXT}"),),
        {"caller": 1},
        online=1,
    )


CONTENTS = (
    friends_and_groups(10, 100, 1000),
    *map(posts, (100, 1000, 10_000, 100_000)),
    *map(conversations, (100, 100_000)),
    *map(users, (10, 1000, 100_000)),
)

QUICK = (
    friends_and_groups(10, 100),
    *map(posts, (100, 1000)),
    conversations(100),
    *map(users, (10, 1000)),
)


@contextlib.contextmanager
def filled(url: str, fill: Callable[[], object]) -> Iterator[None]:
    """Make the tables at `url`, and `fill` them; they stay within reach in the context."""
    database = connect_to(url)
    models.database.initialize(database)
    database.connect()
    try:
        migrations.upgrade(database, board.schema)
        with database.atomic():
            fill()
        analyze(database)
        yield
    finally:
        database.close()


def await_places() -> None:
    """Wait until everybody who is online has a place.

    :raises Failed: that takes too long.
    """
    deadline = time.monotonic() + PATIENCE
    while Place.select().where(Place.server.is_null()).count():
        if time.monotonic() > deadline:
            raise Failed("not everybody online was given a place")
        time.sleep(0.1)


def insert_people(names: Iterable[str], stored: str = "") -> dict[str, int]:
    """Make accounts with this `stored` password and their inboxes; returns the ids of all."""
    insert(
        User,
        (
            {"name": name, "password_hash": stored, "channel": new_channel(), "created": 0.0}
            for name in names
        ),
    )
    ids: dict[str, int] = dict(rows(User.select(User.name, User.id)))
    insert(Inbox, ({"user": user} for user in ids.values()))
    return ids


def fill(content: Content) -> None:
    """Make the rows."""
    names = [*(f"person{number}" for number in range(content.people)), *content.friends]
    ids = insert_people(names, OWASP.hash(PASSWORD))
    people = [ids[name] for name in names[: content.people]]
    insert(Place, ({"user": user, "server": None} for user in people[: content.online]))
    for name, number in content.friends.items():
        pairs = [(ids[name], other) for other in people[:number]]
        insert(
            Relationship,
            (
                {"user": one, "other": other, "kind": Relationship.FRIEND}
                for pair in pairs
                for one, other in (pair, pair[::-1])
            ),
        )
    for size in content.groups:
        group = Group.insert(name=f"g{size}", channel=new_channel()).execute()
        members = [*people[: size - 1], ids["caller"]]
        insert(Membership, ({"group": group, "user": user} for user in members))
    insert(PostRow, ({"author": author, "text": TEXT} for author in _authors(content, people)))
    if content.readers:
        _read([ids[name] for name in content.readers], [*content.readers.values()])
    if content.messages:
        both = [("caller", ids["caller"]), ("person0", ids["person0"])]
        group = Group.insert(name="chess", channel=new_channel()).execute()
        insert(Membership, ({"group": group, "user": user, "after": 0} for _, user in both))
        insert(MessageRow, _messages(content.messages, both, group))


def _read(users: list[int], unread: list[int]) -> None:
    """Let users have read all but the last posts, and be in groups with one unread post each."""
    groups = [{"name": f"board{n}", "channel": new_channel(), "posts": 1} for n in range(JOINED)]
    insert(Group, groups)
    named = Group.select(Group.id).where(Group.name.startswith("board"))
    joined = [group for (group,) in rows(named)]
    [(last,)] = rows(PostRow.select(peewee.fn.MAX(PostRow.id)))
    for user, number in zip(users, unread, strict=True):
        insert(Membership, ({"group": group, "user": user} for group in joined))
        Relationship.update(read=last - number).where(Relationship.user == user).execute()


def _messages(number: int, both: list[tuple[str, int]], group: int) -> Iterator[dict[str, object]]:
    """So many between two people, in a group, and of others, all mixed."""
    now = time.time()
    for turn in range(number):
        (sender, sent_by), (target, sent_to) = both if turn % 2 else both[::-1]
        stored = {"text": TEXT, "stored": now, "sender": sender, "sent_by": sent_by}
        yield {**stored, "target": target, "to_group": False, "sent_to": sent_to, "in_group": None}
        yield {**stored, "target": "chess", "to_group": True, "sent_to": None, "in_group": group}
        other = {"sender": "person1", "target": "person2", "sent_by": sent_by + 1000}
        yield {**stored, **other, "to_group": False, "sent_to": 10**6, "in_group": None}


def _authors(content: Content, people: list[int]) -> Iterator[int]:
    """Who wrote each post: those of the first ten are spread over all of them."""
    others = people[10:]
    apart = content.posts // 100
    for number in range(content.posts):
        turn, rest = divmod(number, apart)
        yield people[turn % 10] if rest == 0 else others[number % len(others)]


def insert(model: type[peewee.Model], values: Iterable[dict[str, object]]) -> None:
    """Make many rows."""
    rest = iter(values)
    while chunk := [*islice(rest, CHUNK)]:
        model.insert_many(chunk).execute()
