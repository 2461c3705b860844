"""How each database finds what each command asks for.

    python -m tests.integration.explain docs/queries.md

writes the plans down, of SQLite and, where `tests/services/start` has started one, of MariaDB. They
are of a service with some thousands of people, as a planner treats small tables differently.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import SkipTest

import peewee

from bbs import migrations
from bbs.commands import app
from bbs.database import Database, rows
from bbs.models import (
    Delivery,
    Group,
    Inbox,
    LoginServer,
    Membership,
    Message,
    Place,
    Post,
    Relationship,
    Server,
    Session,
    User,
    Waiter,
)
from bbs.rules import accounts, fleet, friends, groups, messages, places, posts
from bbs.scaling.plan import State
from tests.contestants import patient
from tests.database_case import fresh_mysql_url

NOW = 1_000_000.0
PEOPLE = 3000
SESSIONS = accounts.Sessions(ttl=1000.0)
KEEPER = fleet.Member("keeper", "")
TOKEN = "token of user0"

GROWING = {
    model._meta.table_name
    for model in (
        User,
        Session,
        Place,
        Relationship,
        Post,
        Group,
        Membership,
        Message,
        Inbox,
        Delivery,
    )
}
"""Tables that grow with the service. The others have some rows for each server at the most."""

ALL_OF_IT = {("list-group", "chat_group")}
"""Commands that want a whole table."""


@dataclass(frozen=True)
class Step:
    """One access to a table: in words, and whether it reads all of it."""

    table: str
    text: str
    full: bool


@dataclass(frozen=True)
class Plan:
    """One statement and how it is carried out."""

    sql: str
    steps: tuple[Step, ...]


Plans = Mapping[str, list[Plan]]
"""By command."""


def commands() -> dict[str, list[Callable[[], object]]]:
    """What each command runs; those that want no database are not in it."""
    look = places.Look(new=True, waiter="waiter")

    def guarded(rule: Callable[..., object], *arguments: object) -> list[Callable[[], object]]:
        return [lambda: rule(ann(), *arguments)]

    def again() -> places.Search:
        return accounts.log_in("user0", "hash", "2" * 64, "new hash", NOW, look)

    def first() -> places.Search:
        return accounts.log_in(f"user{PEOPLE - 1}", "hash", "1" * 64, None, NOW, look)

    def locate() -> places.Search:
        caller = ann()
        Place.update(server=None).where(Place.user == caller.user).execute()
        return places.take(caller.user, look)

    def listening() -> object:
        cursor = messages.Cursor(ann().user, 0)
        messages.note_delivered([messages.Cursor(ann().user, 10)])
        return messages.fetch([cursor]), places.whereabouts([cursor.user])

    return {
        "register": [lambda: accounts.register("somebody new", "hash", NOW)],
        "login": [lambda: accounts.password_hash("user0"), first, again],
        "logout": guarded(accounts.log_out),
        "delete": guarded(accounts.delete),
        "locate": [locate],
        "invite": guarded(friends.invite, "user1000"),
        "list-invite": guarded(friends.invitations),
        "accept-invite": guarded(friends.accept, "user20"),
        "list-friend": guarded(friends.friends),
        "post": guarded(posts.post, "hello"),
        "receive-post": guarded(posts.friends_posts),
        "send": guarded(messages.send, "user5", "hello"),
        "create-group": guarded(groups.create, "a new group"),
        "list-group": guarded(groups.all_groups),
        "list-joined": guarded(groups.joined),
        "join-group": guarded(groups.join, "group1000"),
        "send-group": guarded(messages.send_group, "group0", "hello"),
        "listen": [*guarded(app.open_mailbox), *guarded(app.open_mailbox, "100"), listening],
    }


def background() -> dict[str, list[Callable[[], object]]]:
    """What servers ask by themselves."""
    return {
        "any command with a token": [
            lambda: accounts.identify(TOKEN, SESSIONS, NOW),
            lambda: accounts.touch(accounts.digest(TOKEN), NOW),
        ],
        "a login that is given up": [lambda: accounts.undo_log_in(accounts.digest(TOKEN))],
        "people who wait": [
            lambda: fleet.wait(KEEPER, "another", "user0"),
            lambda: fleet.launches_under_way(NOW),
            lambda: fleet.stop_waiting("waiter"),
        ],
        "an app server": [
            lambda: fleet.report("launching", 1),
            lambda: fleet.beat("server0"),
            lambda: fleet.leave("server0"),
        ],
        "the keeper of the fleet": [
            lambda: fleet.observe(KEEPER),
            lambda: fleet.add_launches(KEEPER, 1, "", 10, 1000, NOW),
            lambda: fleet.mark_ready(KEEPER, "launching", "host", NOW),
            lambda: [fleet.ask_drain("server2"), fleet.drain(KEEPER, "server2", "")],
            lambda: fleet.move_off(KEEPER, "server3"),
            lambda: fleet.lose(KEEPER, "server0", ""),
            lambda: fleet.close(KEEPER, "server1", "", NOW),
            lambda: fleet.settle(KEEPER),
        ],
        "housekeeping": [
            lambda: accounts.end_stale_sessions(SESSIONS, NOW),
            lambda: messages.expire(NOW - 2900),
            lambda: fleet.forget_gone(NOW),
        ],
    }


def ann() -> accounts.Caller:
    """Somebody with ten friends, five groups and some messages."""
    return accounts.identify(TOKEN, SESSIONS, NOW)


def plans(url: str) -> tuple[Plans, Plans]:
    """The plans of commands and of what goes on in the background, on the database at `url`."""
    database = patient(url)
    database.peewee.connect()
    try:
        migrations.upgrade(database.peewee)
        fill(database)
        return explain(database, commands()), explain(database, background())
    finally:
        database.peewee.close()


def explain(database: Database, work: Mapping[str, list[Callable[[], object]]]) -> Plans:
    """Carry everything out, undo it, and ask for the plans of its statements."""
    found: dict[str, list[Plan]] = {}
    for name, rules in work.items():
        statements: dict[str, object] = {}
        with database.peewee.atomic() as transaction:
            for rule in rules:
                for sql, params in captured(database.peewee, rule):
                    statements.setdefault(sql, params)
                transaction.rollback()
        how = _mysql_steps if url_is_mysql(database) else _sqlite_steps
        found[name] = [
            Plan(sql, tuple(how(database.peewee, sql, params)))
            for sql, params in statements.items()
            if not sql.startswith("INSERT")
        ]
    return found


def url_is_mysql(database: Database) -> bool:
    return database.url.startswith("mysql:")


def captured(database: Any, rule: Callable[[], object]) -> list[tuple[str, object]]:
    """The statements that `rule` runs."""
    statements: list[tuple[str, object]] = []

    def note(event: Any) -> None:
        statements.append((event.sql, event.params))

    database.query_hooks.append(note)
    try:
        rule()
    finally:
        database.query_hooks.remove(note)
    return statements


def _sqlite_steps(database: Any, sql: str, params: object) -> Iterable[Step]:
    names = _aliases(sql)
    for _, _, _, text in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", params):
        read = re.match(r"(SCAN|SEARCH) (\w+)", text)
        table = names.get(read[2], read[2]) if read else ""
        yield Step(table, text, full=bool(read) and read[1] == "SCAN")


def _mysql_steps(database: Any, sql: str, params: object) -> Iterable[Step]:
    names = _aliases(sql)
    cursor = database.execute_sql(f"EXPLAIN {sql}", params)
    columns = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        step = dict(zip(columns, row, strict=True))
        text = f"{step['table'] or '-'} {step['type'] or '-'}"
        if step["key"]:
            text += f" {step['key']}, {step['rows']} rows"
        if step["Extra"]:
            text += f" ({step['Extra']})"
        table = names.get(step["table"], step["table"] or "")
        yield Step(table, text, full=step["type"] in ("ALL", "index"))


def _aliases(sql: str) -> dict[str, str]:
    """The tables' names by their aliases."""
    return {alias: table for table, alias in re.findall(r'[`"](\w+)[`"] AS [`"](\w+)[`"]', sql)}


# --- a service that has been used for a while ---


def fill(database: Database) -> None:
    """People, friends, posts, groups and messages; `user0` is the busiest."""
    with database.peewee.atomic():
        for state, name in ((State.LAUNCHING, "launching"), (State.READY, "empty")):
            _insert(Server, [_server(name, state, 0)])
        _insert(Server, [_server(f"server{n}", State.READY, 10) for n in range(20)])
        _insert(Server, [_server(f"gone{n}", State.GONE, 0) for n in range(50)])
        _insert(User, [_user(number) for number in range(PEOPLE)])
        users = [user for (user,) in rows(User.select(User.id).order_by(User.id))]
        _insert(Inbox, [{"user": user} for user in users])
        _insert(Session, [_session(number, user) for number, user in enumerate(users[:-100])])
        _insert(Place, [_place(number, user) for number, user in enumerate(users[:-100])])
        for number in range(1, 11):
            _relate(users, 0, number, Relationship.FRIEND, Relationship.FRIEND)
            _relate(users, 0, number + 10, Relationship.INVITED_BY, Relationship.INVITED)
        for number in range(21, PEOPLE - 1):
            _relate(users, number, number + 1, Relationship.FRIEND, Relationship.FRIEND)
        _insert(Post, [{"author": user, "text": "hello"} for user in users for _ in range(3)])
        _insert(Group, [{"name": f"group{n}", "channel": ""} for n in range(PEOPLE // 2)])
        _insert(Membership, _memberships(users))
        _insert(Message, [_message(number) for number in range(2 * PEOPLE)])
        _insert(Delivery, _deliveries(users))
        fleet.enroll(KEEPER)
        fleet.observe(KEEPER)
        fleet.wait(KEEPER, "waiter", f"user{PEOPLE - 1}")
        LoginServer.insert(id="other", identity="").execute()
        Waiter.insert(id="elsewhere", login_server="other", name="somebody").execute()
    if url_is_mysql(database):
        for model in (User, Session, Place, Relationship, Post, Group, Membership, Message):
            database.peewee.execute_sql(f"ANALYZE TABLE {model._meta.table_name}").fetchall()
        for model in (Delivery, Inbox, Server):
            database.peewee.execute_sql(f"ANALYZE TABLE {model._meta.table_name}").fetchall()


def _insert(model: type[peewee.Model], values: list[dict[str, object]]) -> None:
    for batch in peewee.chunked(values, 500):
        model.insert_many(batch).execute()


def _server(name: str, state: State, taken: int) -> dict[str, object]:
    values: dict[str, object] = {"id": name, "state": state, "scope": "", "capacity": 200}
    values |= {"taken": taken, "created": NOW, "ready": NOW, "host": "host", "port": 1}
    return values | {"ended": NOW if state is State.GONE else None}


def _user(number: int) -> dict[str, object]:
    return {"name": f"user{number}", "password_hash": "hash", "channel": "", "created": NOW}


def _session(number: int, user: int) -> dict[str, object]:
    token = accounts.digest(f"token of user{number}")
    used = NOW - number / 3 - (1000.0 if number % 100 == 99 else 0.0)
    return {"digest": token, "user": user, "used": used}


def _place(number: int, user: int) -> dict[str, object]:
    return {"user": user, "server": None if number % 600 == 7 else f"server{number % 20}"}


def _relate(users: list[int], one: int, other: int, kind: str, others_kind: str) -> None:
    _insert(
        Relationship,
        [
            {"user": users[one], "other": users[other], "kind": kind},
            {"user": users[other], "other": users[one], "kind": others_kind},
        ],
    )


def _memberships(users: list[int]) -> list[dict[str, object]]:
    [first] = [group for (group,) in rows(Group.select(Group.id).order_by(Group.id).limit(1))]
    members = [{"group": first, "user": user} for user in users[:20]]
    members += [{"group": first + number, "user": users[0]} for number in range(1, 5)]
    return members + [
        {"group": first + 5 + number % 1000, "user": user}
        for number, user in enumerate(users[1:], 1)
        if number % 1000 != 995
    ]


def _message(number: int) -> dict[str, object]:
    values: dict[str, object] = {"sender": "user1", "target": "user2", "to_group": False}
    return values | {"text": "hello", "stored": NOW - 3000 + number / 2}


def _deliveries(users: list[int]) -> list[dict[str, object]]:
    numbers = [number for (number,) in rows(Message.select(Message.id).order_by(Message.id))]
    return [
        {"user": users[0] if place < 50 else users[place % len(users)], "message": number}
        for place, number in enumerate(numbers)
    ]


# --- for people ---


def report(found: Mapping[str, tuple[Plans, Plans]]) -> str:
    """The plans of several databases, by name, as Markdown."""
    lines = [
        "# Queries",
        "",
        "Every statement that a command runs, and how each database finds its rows, with some",
        f"thousands of rows in each table ({PEOPLE} people). `python -m tests.integration.explain"
        " docs/queries.md`",
        "writes this file anew; `tests/integration/test_explain.py` fails when a statement reads"
        " the whole",
        "of a table that grows. Insertions, which read nothing, are left out. Every command that"
        " takes",
        "`<user>` begins with the first statement of *any command with a token*.",
    ]
    for part, title in ((0, "Commands"), (1, "In the background")):
        lines += ["", f"## {title}"]
        [any_of_them, *_] = found.values()
        guard = any_of_them[1]["any command with a token"][0].sql
        for name, listed in any_of_them[part].items():
            lines += ["", f"### {name}", "", "```"]
            for number, plan in enumerate(listed):
                if part == 0 and plan.sql == guard:
                    continue
                lines.append(_readable(plan.sql))
                for database, parts in found.items():
                    steps = "; ".join(step.text for step in parts[part][name][number].steps)
                    lines.append(f"    {database:9}{steps}")
            lines.append("```")
    return "\n".join(lines) + "\n"


def _readable(sql: str) -> str:
    return re.sub(r'["`]', "", sql).replace("%s", "?")


def main(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {"SQLite": plans(f"sqlite:///{folder}/bbs.sqlite3")}
    try:
        found["MariaDB"] = plans(fresh_mysql_url())
    except SkipTest as reason:
        print(f"SQLite alone: {reason}", file=sys.stderr)
    Path(path).write_text(report(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
