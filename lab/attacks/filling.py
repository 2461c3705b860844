"""The people and the data that attacks need, put straight into a database."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import peewee

from bbs.board import board
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people.tables import Relationship
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost
from bbs.core.values import NAME_LENGTH
from bbs.limits.password_hashing import OWASP
from bbs.rules.accounts import new_channel
from bbs.storage import migrations, models
from bbs.storage.database import rows
from bbs.storage.engines import connect_to
from bbs.storage.models import Place, User

PASSWORD = "a-secret"

HONEST = "honest"
"""Who asks for the friends; `honest0` and so on log in."""

LOGGING_IN = 40
"""So many of these, as a name may not log in too often."""

NEWCOMER = "newcomer"
"""`newcomer0` and so on log in, as many, when nobody has seen them before."""

ATTACKER = "mallory"
"""Who is a friend of `author`, and in the group `crowd`; `mallory0` and so on are many."""

ATTACKERS = 200

VICTIM = "victim"
"""Whom attackers invite, who is a friend of `author`, too, and in the group `club` with `mallory`;
the posts there up to the number `OLD` are theirs."""

OLD = 10

POSTS, LENGTH = 2_000, 5_000
"""Posts of `author`, and characters of each."""

CROWD = 1_000
"""Members of the group, all of them online."""

RICHES, NEWS, OWN_GROUPS = 999, 40, 100
"""Friends and groups of an attacker with riches; posts in a group; and groups with own posts."""

MESSAGES, LONG_TEXT = 300, 60_000
"""Long messages, and characters of each."""

LETTER = "\U00010400"  # A letter with four bytes.

CHUNK = 200
"""Rows in one statement: some are long."""


class Template:
    """A database that is made once in `folder` and copied for each attack."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, path: Path, *, posts: bool, crowd: bool, riches: bool = False) -> None:
        """Make the database `path`, with the long posts, the crowd and the riches of the attacker
        where they are wanted."""
        made = self._folder / f"template-{posts:d}{crowd:d}{riches:d}.sqlite3"
        if not made.exists():
            with _opened(f"sqlite:///{made}") as database, database.atomic():
                _fill(posts, crowd)
                if riches:
                    _enrich()
        shutil.copy(made, path)


@contextlib.contextmanager
def _opened(url: str) -> Iterator[peewee.Database]:
    database = connect_to(url)
    models.database.initialize(database)
    database.connect()
    try:
        migrations.upgrade(database, board.schema)
        yield database
        if isinstance(database, peewee.SqliteDatabase):
            database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        database.close()


def _fill(posts: bool, crowd: bool) -> None:
    names = [HONEST, ATTACKER, VICTIM, "author", *(f"friend{number}" for number in range(10))]
    names += [f"{HONEST}{number}" for number in range(LOGGING_IN)]
    names += [f"{NEWCOMER}{number}" for number in range(LOGGING_IN)]
    names += [f"{ATTACKER}{number}" for number in range(ATTACKERS)]
    members = [f"member{number}" for number in range(CROWD - 1)] if crowd else []
    stored = OWASP.hash(PASSWORD)
    _insert(
        User,
        (
            {"name": name, "password_hash": stored, "channel": new_channel(), "created": 0.0}
            for name in [*names, *members]
        ),
    )
    ids: dict[str, int] = dict(rows(User.select(User.name, User.id)))
    _insert(Inbox, ({"user": user} for user in ids.values()))
    pairs = [(ids[HONEST], ids[f"friend{number}"]) for number in range(10)]
    pairs += [(ids[name], ids["author"]) for name in (ATTACKER, VICTIM)]
    _insert(
        Relationship,
        (
            {"user": one, "other": other, "kind": Relationship.FRIEND}
            for pair in pairs
            for one, other in (pair, pair[::-1])
        ),
    )
    club = Group.insert(name="club", channel=new_channel(), posts=OLD).execute()
    _insert(Membership, ({"group": club, "user": ids[name]} for name in (VICTIM, ATTACKER)))
    numbers = range(1, OLD + 1)
    _insert(PostRow, ({"id": number, "text": "mine"} for number in numbers))
    place = {"writer": ids[VICTIM], "group": club}
    _insert(Contribution, ({**place, "post": number, "number": number} for number in numbers))
    Inbox.update(posts=OLD, post_bytes=4 * OLD).where(Inbox.user == ids[VICTIM]).execute()
    if posts:
        _insert(PostRow, ({"author": ids["author"], "text": "x" * LENGTH} for _ in range(POSTS)))
    if crowd:
        group = Group.insert(name="crowd", channel=new_channel()).execute()
        of_it = [ids[name] for name in [*members, ATTACKER]]
        _insert(Membership, ({"group": group, "user": user} for user in of_it))
        _insert(Place, ({"user": ids[name], "server": None} for name in members))


def _enrich() -> None:
    """Let `ATTACKER` have much of what a board has: friends with long names, groups with news and
    with posts that are gone, own posts, and long messages, which were received."""
    [(attacker,)] = rows(User.select(User.id).where(User.name == ATTACKER))
    [(author,)] = rows(User.select(User.id).where(User.name == "author"))
    names = [f"rich{number}".ljust(NAME_LENGTH, LETTER) for number in range(RICHES)]
    _insert(
        User,
        (
            {"name": name, "password_hash": "", "channel": new_channel(), "created": 0.0}
            for name in names
        ),
    )
    friends = [each for (each,) in rows(User.select(User.id).where(User.name.startswith("rich")))]
    pairs = [(attacker, each) for each in friends]
    _insert(
        Relationship,
        (
            {"user": one, "other": other, "kind": Relationship.FRIEND}
            for pair in pairs
            for one, other in (pair, pair[::-1])
        ),
    )
    groups = [
        Group.insert(name=f"g{number}", channel=new_channel(), posts=NEWS).execute()
        for number in range(RICHES - 1)
    ]
    _insert(Membership, ({"group": group, "user": attacker} for group in groups))
    for writer, some in ((author, groups), (attacker, groups[:OWN_GROUPS])):
        _insert_posts(writer, some, NEWS // 2 if writer == author else NEWS)
    last, text = 0, "y" * LONG_TEXT
    about = {"sender": "author", "target": ATTACKER, "to_group": False}
    for _ in range(MESSAGES):
        last = MessageRow.insert(**about, text=text, stored=time.time()).execute()
        Delivery.insert(user=attacker, message=last).execute()
    Inbox.update(delivered=last).where(Inbox.user == attacker).execute()


def _insert_posts(writer: int, groups: Sequence[int], count: int) -> None:
    """Posts of `writer` in each of `groups`; as many more are gone."""
    last = PostRow.insert(text="first").execute()
    numbers = [(group, number) for group in groups for number in range(1, count + 1)]
    _insert(PostRow, ({"text": "hello"} for _ in numbers))
    shift = 0 if count < NEWS else NEWS
    _insert(
        Contribution,
        (
            {"post": last + at, "writer": writer, "group": group, "number": shift + number}
            for at, (group, number) in enumerate(numbers, 1)
        ),
    )
    _insert(
        RemovedPost,
        ({"group": group, "number": 2 * NEWS + shift + number} for group, number in numbers),
    )
    Group.update(posts=4 * NEWS).where(Group.id.in_(groups)).execute()


def _insert(model: type[peewee.Model], values: Iterable[dict[str, object]]) -> None:
    rest = iter(values)
    while chunk := [*islice(rest, CHUNK)]:
        model.insert_many(chunk).execute()
