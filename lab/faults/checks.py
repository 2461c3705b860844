"""Whether all that was acknowledged is there in the end, once, and nothing that was refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from bbs.storage.engines import connect_to
from lab.faults.figures import Figures
from lab.faults.people import People
from lab.faults.world import World

SHOWN = 5
"""Complaints of a kind that are told in full."""

_POSTS = """\
SELECT post.text FROM post JOIN user ON user.id = post.author_id
WHERE user.name = 'pat' ORDER BY post.id"""
_MESSAGES = "SELECT sender, target, text FROM message ORDER BY id"
_GUESTS = "SELECT name FROM user WHERE name >= 'guest-' AND name < 'guest.' ORDER BY id"
_INVITATIONS = """\
SELECT host.name, guest.name, relationship.kind FROM relationship
JOIN user AS host ON host.id = relationship.user_id
JOIN user AS guest ON guest.id = relationship.other_id
WHERE guest.name >= 'guest-' AND guest.name < 'guest.' ORDER BY relationship.id"""

_COUNTED = """\
SELECT user.name, inbox.waiting, inbox.posts, inbox.post_bytes,
    (SELECT COALESCE(SUM(LENGTH(message.text)), 0) FROM delivery
     JOIN message ON message.id = delivery.message_id
     WHERE delivery.user_id = inbox.user_id AND delivery.message_id > inbox.delivered),
    (SELECT COUNT(*) FROM post WHERE post.author_id = inbox.user_id),
    (SELECT COALESCE(SUM(LENGTH(post.text)), 0) FROM post WHERE post.author_id = inbox.user_id)
FROM inbox JOIN user ON user.id = inbox.user_id ORDER BY user.id"""
"""What is counted of each user's, and what there is; all texts here are of ASCII."""


def check(world: World, people: People, url: str) -> None:
    """Look into the database, which nobody uses any more, and into what readers heard."""
    for ear in people.ears:
        ear.check()
    database: Any = connect_to(url)
    database.connect()
    try:
        _check_rows(people, lambda sql: list(database.execute_sql(sql)))
        _check_counts(database, world.figures)
        _check_database(database, url, world.figures)
    finally:
        database.close()
    _check_log(world)


def _check_rows(people: People, rows: Any) -> None:
    people.posts.check(_numbers(text for (text,) in rows(_POSTS)), "among the posts")
    messages = rows(_MESSAGES)
    for stream in people.messages:
        theirs = _numbers(
            text
            for sender, target, text in messages
            if (sender, target) == (stream.user, stream.target)
        )
        stream.check(theirs, "in the table of messages")
    guests = [name for (name,) in rows(_GUESTS)]
    people.guests.check((int(name.rpartition("-")[2]) for name in guests), "among the accounts")
    kinds: dict[tuple[str, str], list[str]] = {}
    for host, guest, kind in rows(_INVITATIONS):
        kinds.setdefault((host, guest), []).append(kind)
    invited = people.invitations.invited
    people.invitations.check(
        (
            number
            for number, pair in invited.items()
            for kind in kinds.get(pair, ())
            if kind == "invited"
        ),
        "among the invitations",
    )


def _check_counts(database: Any, figures: Figures) -> None:
    """Whether the board's counters of what it keeps say what it keeps."""
    rows = list(database.execute_sql(_COUNTED))
    wrong = [row for row in rows if list(map(int, row[1:4])) != list(map(int, row[4:7]))]
    if wrong:
        figures.complain(f"counters (waiting, posts, bytes) and truth of {len(wrong)}: {wrong[:3]}")


def _numbers(texts: Iterable[str]) -> list[int]:
    return [int(text.rpartition(" ")[2]) for text in texts]


def _check_database(database: Any, url: str, figures: Figures) -> None:
    """Whether the database itself is whole."""
    if url.startswith("mysql"):
        for table in database.get_tables():
            for row in database.execute_sql(f"CHECK TABLE `{table}`"):
                if row[2] == "error" or (row[2] == "status" and row[3] != "OK"):
                    figures.complain(f"CHECK TABLE {table}: {row}")
        return
    for sql in ("PRAGMA integrity_check", "PRAGMA foreign_key_check"):
        found = [row for row in database.execute_sql(sql) if row != ("ok",)]
        if found:
            figures.complain(f"{sql}: {found[:SHOWN]}")


def _check_log(world: World) -> None:
    """Whether there is a bug in the log."""
    found: Counter[str] = Counter()
    example: dict[str, str] = {}
    for traceback in re.findall(
        r"^[^\n]*\n?[^\n]*Traceback \(most recent call last\).*?^(?:\S*\t)?\S[^\n]*$",
        world.log(),
        re.MULTILINE | re.DOTALL,
    ):
        last = traceback.strip().splitlines()[-1]
        found[last] += 1
        example.setdefault(last, traceback)
    for last, times in found.most_common(SHOWN):
        world.figures.complain(f"{times} tracebacks in the log, such as\n{example[last][-3000:]}")
