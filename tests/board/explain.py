"""How each database finds the rows of each command.

    python -m tests.board.explain [FILE]

writes `queries.md` beside this module: every statement with its plan on SQLite and, where
`tests/services/start` has started one, on MariaDB. The plans are of a service with some thousands
of people, as a planner treats small tables differently.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import SkipTest

from bbs.board import board, inbox_shares, names
from bbs.board.announcements import operators as of_announcements
from bbs.board.announcements import rules as announcements
from bbs.board.groups import empty_groups, groups, ownership
from bbs.board.groups import operators as of_groups
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages import expiry, history, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.names import Skeleton
from bbs.board.people import blocks, friendships
from bbs.board.people.tables import Block, Relationship, Status, Told
from bbs.board.posts import operators as of_posts
from bbs.board.posts import post_shares, posts, threads, unread, user_stats
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost, ThreadReader
from bbs.board.quotas import Quotas
from bbs.board.walks import Walk
from bbs.core.errors import Refusal
from bbs.core.values import DrainCause, Instance, LossCause, State, Tally
from bbs.delivery.feed import Cursor
from bbs.rules import (
    accounts,
    auth,
    fleet_admin,
    fleet_transitions,
    fleets,
    membership,
    page_history,
    placement,
    presence,
    restores,
    service_clock,
    user_admin,
)
from bbs.rules.auth import Caller, asked_by
from bbs.rules.overview import overview
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.pagination import Page
from bbs.storage import clock, migrations
from bbs.storage.database import Database, rows
from bbs.storage.engines import IN_PYTHON
from bbs.storage.models import KnownNetwork, Place, Server, Session, User
from tests.board.costs import drawn_alike
from tests.board.populated import CONTROLLER, NOW, PEOPLE, fill
from tests.database_case import fresh_mysql_url
from tests.integration.contestants import patient

SESSIONS = auth.Sessions(ttl=1000.0)
TOKEN = "token of user0"
QUERIES = Path(__file__).with_name("queries.md")
BY = fleet_admin.By("operator", "127.0.0.1", NOW)

GROWING = {
    model._meta.table_name
    for model in (
        User,
        Session,
        Place,
        Relationship,
        PostRow,
        Group,
        Membership,
        MessageRow,
        Inbox,
        Delivery,
        Block,
        KnownNetwork,
        Told,
        Status,
        GroupInvitation,
        Contribution,
        RemovedPost,
        ThreadReader,
        Skeleton,
    )
}
"""Tables that grow with the service. The others have some rows for each server at the most."""

no_lookalikes = partial(names.on_register, settings=names.Board(lookalikes="refuse"))

LISTS = (
    friendships.invitations,
    friendships.friends,
    groups.all_groups,
    groups.joined,
    posts.friends_posts,
    blocks.blocks,
)
"""What may have more parts than one."""

PAGE = "the operators' page"

SEARCH = "operators who look for people"

ALL_OF_IT = {(PAGE, "place"), (PAGE, "user"), (SEARCH, "user"), (SEARCH, "place")}
"""Who wants a whole table: the page, no more than `NAMES_SHOWN` rows of it; and who looks for a
part of a name, or has everybody listed, a hundred at a time."""


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


Plans = Mapping[str, Mapping[str, list[Plan]]]
"""By section (`COMMANDS` or `BACKGROUND`) and command."""

COMMANDS, MANY = "Commands", "Commands of many at the same moment"

BACKGROUND, GUARD = "In the background", "any command with a token"


def commands() -> dict[str, list[Callable[[], object]]]:
    """What each command runs; those that want no database are not in it."""
    look = placement.Look(new=True, waiter="waiter", origin="192.0.2.1", most=1000)

    def guarded(rule: Callable[..., object], *arguments: object) -> list[Callable[[], object]]:
        return [lambda: rule(ann(rule, arguments), *arguments)]

    def again() -> placement.Search:
        return accounts.log_in("user0", "hash", "2" * 64, "new hash", NOW, look)

    def first() -> placement.Search:
        session = (f"user{PEOPLE - 1}", "hash", "1" * 64, None, NOW)
        return accounts.log_in(*session, look, network="10.0.99.0/24")

    def locate() -> placement.Search:
        caller = ann()
        Place.update(server=None).where(Place.user == caller.id).execute()
        return placement.take(caller.id, look)

    def remove(name: str) -> None:
        while not groups.remove(Group.get(Group.name == name).id):
            pass

    def own_post() -> str:
        [(number,)] = rows(PostRow.select(PostRow.id).where(PostRow.author == ann().id).limit(1))
        return str(number)

    def post_in_group() -> int:
        return threads.post_in_group(ann(threads.post_in_group, ("group0",)), "group0", "x").number

    def listening() -> object:
        cursor = Cursor(ann().id, 0)
        messages.note_delivered([Cursor(ann().id, 10)])
        presence.renew([auth.digest(TOKEN)], NOW)
        presence.note_seen({1: NOW})
        return messages.fetch([cursor]), presence.standings([auth.digest(TOKEN)])

    return {
        "register": [
            lambda: accounts.register("somebody-new", "hash", NOW, no_lookalikes),
        ],
        "login": [
            lambda: accounts.credentials("user0"),
            first,
            again,
            lambda: user_stats.on_login(ann().id, NOW - 100),
        ],
        "logout": guarded(accounts.log_out),
        "delete": [*guarded(accounts.delete), *guarded(accounts.delete, board.on_delete)],
        "locate": [locate, lambda: placement.ask(ann().id)],
        "invite": guarded(friendships.invite, "user1000"),
        "list-invite": guarded(friendships.invitations),
        "accept-invite": guarded(friendships.accept, "user20"),
        "list-friend": guarded(friendships.friends),
        "post": guarded(posts.post, "hello"),
        "receive-post": guarded(posts.friends_posts),
        "send": [
            *guarded(messages.send, "user5", "hello"),
            lambda: messages.send(replace(ann(), quotas=Quotas(stored=10**6)), "user5", "hello"),
            lambda: inbox_shares._size(2, 1),
            lambda: inbox_shares._set(2, 1, 100, 10),
        ],
        "create-group": guarded(groups.create, "a-new-group"),
        "list-group": guarded(groups.all_groups),
        "list-joined": guarded(groups.joined),
        "join-group": guarded(groups.join, "group1000"),
        "send-group": guarded(messages.send_group, "group0", "hello"),
        "history": [
            *guarded(history.history, "user1"),
            *guarded(history.history, "user3"),
            *guarded(history.history, "group1"),
        ],
        "history-group": [
            *guarded(history.of_group, "group1"),
            *guarded(history.of_group, "group4"),
        ],
        "who": guarded(friendships.who),
        "more": [
            lambda: [rule.part(ann(), Page(2**40)) for rule in LISTS],
            lambda: history.history.part(ann(), Page([history.WITH, 3000]), "user1"),
            lambda: history.of_group.part(ann(), Page([history.IN_GROUP, 3000]), "group1"),
            lambda: friendships.who.part(ann(), Page([friendships.OFFLINE, 5])),
            lambda: groups.members.part(ann(), Page(2**40), "group0"),
            lambda: groups.described.part(ann(), Page([groups.OTHERS, 5])),
        ],
        "listen": [
            *guarded(messages.open_mailbox, None),
            *guarded(messages.open_mailbox, 100),
            listening,
        ],
        "unfriend": guarded(friendships.unfriend, "user5"),
        "decline-invite": guarded(friendships.decline, "user15"),
        "decline-all": guarded(friendships.decline_all),
        "block": guarded(blocks.block, "user6"),
        "unblock": guarded(blocks.unblock, "user2000"),
        "list-block": guarded(blocks.blocks),
        "leave-group": guarded(groups.leave, "group0"),
        "list-member": guarded(groups.members, "group0"),
        "new": [
            *guarded(user_stats.summary),
            lambda: user_stats._seen_in_groups(1, [2], [3], 4, 5),
        ],
        "posts": [
            *guarded(unread.of_friends),
            lambda: unread.note(unread.Marks({1: 1}, {(1, 1): 1}, {1: 1})),
        ],
        "my-posts": guarded(threads.own_posts),
        "thread": [
            lambda: threads.thread(ann(), own_post()),
            lambda: threads._find_reply(10**6, ann().id),
        ],
        "reply": [
            lambda: threads.reply(ann(threads.reply), own_post(), "hello"),
            lambda: threads.reply(ann(threads.reply), str(post_in_group()), "hello"),
        ],
        "delete-post": [
            lambda: threads.delete_post(ann(), own_post()),
            lambda: threads.delete_post(ann(), str(post_in_group())),
        ],
        "post-group": [
            *guarded(threads.post_in_group, "group0", "hello"),
            lambda: post_shares.make_room(1, 10**6, 1),
        ],
        "group-posts": guarded(unread.of_group, "group0"),
        "mail": guarded(messages.mail, "user5", "hello"),
        "set-status": [
            *guarded(friendships.set_status, "at the beach"),
            *guarded(friendships.set_status),
        ],
        "groups": guarded(groups.described),
        "set-topic": guarded(ownership.set_topic, "group0", "Openings"),
        "close-group": guarded(ownership.close_group, "group0"),
        "open-group": guarded(ownership.open_group, "group0"),
        "invite-group": guarded(ownership.invite, "group0", "user2501"),
        "kick": guarded(ownership.kick, "group0", "user5"),
        "give-group": guarded(ownership.give, "group0", "user5"),
        "delete-group": [*guarded(ownership.delete, "group2"), lambda: remove("group2")],
        "change-password": [
            *guarded(accounts.own_credentials),
            *guarded(accounts.change_password, "hash", "new hash"),
        ],
    }


def many() -> dict[str, list[Callable[[], object]]]:
    """What commands run for sixteen callers who wait together, where that is something else."""

    def together(
        rule: Any, calls: Sequence[tuple[object, ...]], users: int = 0
    ) -> list[Callable[[], object]]:
        """Calls of as many users, from the number `users` on."""
        first = asked_by(rule)
        length = first.length if first else 0

        def run() -> object:
            asked = [
                auth.Asked(f"token of user{number}", NOW, call[:length])
                for number, call in enumerate(calls, users)
            ]
            callers = auth.identify_each(asked, SESSIONS, first)
            results = rule.each([(who, *call) for who, call in zip(callers, calls, strict=True)])
            assert not any(isinstance(each, Refusal) for each in results), results
            return results

        return [run]

    letters = [(f"user{number + 1}", "hello") for number in range(21, 37)]
    return {
        GUARD: [lambda: auth.identify_each([auth.Asked(TOKEN, NOW)] * 16, SESSIONS)],
        "list-friend": together(friendships.friends, [()] * 16),
        "post": together(posts.post, [("hello",)] * 16),
        "send": together(messages.send, letters, 21),
        "send-group": together(messages.send_group, [("group0", "hello")] * 16),
    }


def background() -> dict[str, list[Callable[[], object]]]:
    """What servers ask by themselves."""

    def come_back() -> object:
        user = ann().id
        Place.update(server=None, away=True).where(Place.user == user).execute()
        return placement.come_back(user, "server0")

    def instead() -> object:
        Server.update(taken=Server.capacity).execute()
        place = Place.get(Place.server == "server0")
        unused = placement.UnusedPlace(place.user_id, "server0", place.asked, "", NOW)
        look = placement.Look(new=True, instead=unused)
        return accounts.log_in(f"user{PEOPLE - 1}", "hash", "1" * 64, None, NOW, look)

    def take_over() -> object:
        lapsed = membership.seen_lease(membership.FLEET_LEASE)
        assert lapsed is not None
        return membership.take_lease(CONTROLLER, lapsed)

    def drain(server: str, cause: DrainCause) -> object:
        return fleet_transitions.drain(CONTROLLER, server, cause, "", 10, NOW)

    return {
        GUARD: [
            lambda: auth.identify(TOKEN, SESSIONS, NOW),
            lambda: auth.touch(ann().id, auth.digest(TOKEN), NOW),
        ],
        "a login that is given up": [lambda: accounts.undo_log_in(auth.digest(TOKEN))],
        "people who wait": [
            lambda: membership.wait(CONTROLLER, "another", "user0", NOW),
            lambda: fleet_admin.launches_under_way(NOW),
            lambda: [
                Server.update(state=State.GONE).where(Server.state == State.LAUNCHING).execute(),
                fleet_admin.outlook(NOW, 0),
            ],
            lambda: presence.crowd(NOW),
            instead,
            membership.oldest_waiter_trace,
            lambda: membership.stop_waiting("waiter"),
        ],
        "an app server": [
            lambda: membership.report("launching", 1),
            lambda: restores.beat_and_look("server0", membership.beat, "server0", {"messages": 7}),
            lambda: restores.end_some(NOW),
            lambda: membership.leave("server0"),
            lambda: groups.channels_of([ann().id]),
            lambda: placement.leave_unused("server0", presence.held_at("server0")),
            come_back,
            lambda: announcements.BROADCAST.current(NOW),
            lambda: announcements.BROADCAST.fetch([1, 2]),
        ],
        "a login server that starts": [
            fleets.is_elsewhere,
            fleets.beats,
            clock.read,
            lambda: fleets.settle(NOW, beating=False),
            lambda: fleets.take_over("ec2:here:bbs", "ec2:here:1", ["server0"], NOW),
        ],
        "the controller of the fleet": [
            take_over,
            lambda: membership.observe(CONTROLLER, Tally()),
            lambda: fleet_transitions.add_launches(CONTROLLER, 1, "", 10, 1000, NOW),
            lambda: fleet_transitions.note_strategy(
                CONTROLLER, "launching", None, "t3.micro in subnet-1"
            ),
            lambda: fleet_transitions.mark_ready(CONTROLLER, [("launching", "host", NOW)]),
            lambda: [fleet_admin.ask_drain("server2"), drain("server2", DrainCause.OPERATOR)],
            lambda: fleet_transitions.move_off(CONTROLLER, "server3"),
            lambda: [
                drain("server5", DrainCause.CONSOLIDATION),
                fleet_transitions.move_some_off(CONTROLLER, "server5", 2, NOW),
                fleet_transitions.keep(CONTROLLER, "server5", NOW),
            ],
            lambda: [
                Server.update(replace_asked=True).where(Server.id == "server6").execute(),
                drain("server6", DrainCause.REPLACEMENT),
                fleet_transitions.move_some_off(CONTROLLER, "server6", 2, NOW, again=True),
            ],
            lambda: fleet_transitions.lose(CONTROLLER, "server0", LossCause.SILENT, "", NOW),
            lambda: fleet_transitions.give_up(CONTROLLER, "launching", "", NOW),
            lambda: fleet_transitions.close(CONTROLLER, "server1", LossCause.ENDED, "", NOW),
            lambda: fleet_transitions.settle(CONTROLLER),
            lambda: fleet_transitions.refuse(CONTROLLER, "over quota", 1.0, NOW),
            lambda: fleet_transitions.note_instances(
                CONTROLLER, [Instance("server0", "host", True, "", "i-1")]
            ),
            lambda: fleet_transitions.ownership("server0"),
            lambda: fleet_transitions.park(CONTROLLER, "launching", NOW),
            lambda: fleet_transitions.forget_host(CONTROLLER, "launching"),
            lambda: fleet_transitions.put_back(CONTROLLER, "launching", NOW),
            lambda: [
                Server.update(shelved=True).where(Server.id == "launching").execute(),
                fleet_transitions.resume(CONTROLLER, "launching", 1000, NOW),
            ],
            lambda: [user_admin.kick(BY, "user0"), fleet_transitions.notices()],
            lambda: fleet_transitions.forget_notices([1, 2]),
            lambda: fleet_transitions.begin(CONTROLLER, NOW),
            lambda: fleet_transitions.note_waiting(CONTROLLER, NOW),
            page_history.forget_old_news,
        ],
        PAGE: [
            lambda: overview(NOW, names=True, behind=7),
            lambda: page_history.recall(CONTROLLER.id, NOW),
            lambda: page_history.write_points(CONTROLLER.id, 7, NOW, {}, {}),
            lambda: page_history.add_seen([FleetEvent(EventKind.BROKER_AWAY, NOW)], 7),
            lambda: user_admin.search(NOW, "user1"),
            lambda: user_admin.show(NOW, "user1", board.person),
            lambda: fleet_admin.actions(200),
            lambda: fleet_admin.launch(BY, 10, 1000),
            lambda: fleet_admin.drain(BY, "server4"),
            lambda: [fleet_admin.replace(BY, 1000, "0.3.0", 1), fleet_admin.cancel(BY)],
        ],
        SEARCH: [
            lambda: user_admin.search(NOW),
            lambda: user_admin.search(NOW, behind="user1"),
            lambda: user_admin.search(NOW, "ser1"),
            lambda: user_admin.search(NOW, online=True, behind="user1"),
        ],
        "what operators see of somebody, and do": [
            lambda: user_admin.show(NOW, "user0", board.person),
            lambda: user_admin.set_password(BY, "user0", "hash"),
            lambda: [user_admin.suspend(BY, "user0"), user_admin.resume(BY, "user0")],
            lambda: user_admin.delete(BY, "user0", board.on_delete),
            lambda: user_admin.go_on_deleting(ann().id, board.on_delete),
        ],
        "what operators do to the board": [
            lambda: announcements.add("hello", NOW, NOW + 10),
            lambda: announcements.listed(NOW),
            lambda: announcements.remove(announcements.add("hello", NOW)),
            lambda: of_groups.groups_behind(0),
            lambda: of_groups.find_group("group0"),
            lambda: of_groups.GROUPS.rows(NOW, "", "", 21),
            lambda: of_groups.GROUPS.rows(NOW, "oup1", "900", 21),
            lambda: of_announcements.ANNOUNCEMENTS.rows(NOW, "", "", 21),
            lambda: of_groups.rename_group(1, "another-name"),
            lambda: of_groups.give_group(1, "group0", "user0"),
            lambda: of_posts.remove_post(1),
        ],
        "housekeeping": [
            lambda: accounts.end_stale_sessions(SESSIONS, NOW),
            lambda: expiry.PARTITIONS.next_change(NOW - 2900),
            lambda: expiry.release_readers(10**6, 0),
            lambda: expiry.release_senders(10**6, 0),
            lambda: expiry.expire(NOW - 2900),
            lambda: inbox_shares.forget_messages([1], [2]),
            lambda: friendships.forget_told(NOW),
            lambda: posts.forget_unwritten(Walk(PostRow)),
            lambda: empty_groups.forget_empty(NOW, Walk(Group)),
            lambda: fleet_transitions.forget_gone(NOW, 100.0),
            lambda: clock.note_check(NOW, 0.0),
            service_clock.report,
        ],
    }


def ann(rule: Callable[..., object] | None = None, arguments: Sequence[object] = ()) -> Caller:
    """Somebody with ten friends, five groups and some messages, who is about to run `rule`."""
    first = asked_by(rule)
    length = first.length if first else 0
    return auth.identify(TOKEN, SESSIONS, NOW, first, tuple(arguments[:length]))


def plans(url: str) -> Plans:
    """The plans of everything, on the database at `url`, which is filled for it."""
    database = patient(url)
    database.peewee.connect()
    try:
        migrations.upgrade(database.peewee, board.schema)
        fill(database)
        work = {COMMANDS: commands(), MANY: many(), BACKGROUND: background()}
        with drawn_alike():
            return {section: explain(database, rules) for section, rules in work.items()}
    finally:
        database.peewee.close()


def explain(
    database: Database, work: Mapping[str, list[Callable[[], object]]]
) -> dict[str, list[Plan]]:
    """Carry everything out, undo it, and ask for the plans of its statements."""
    found: dict[str, list[Plan]] = {}
    for name, rules in work.items():
        statements: dict[str, tuple[str, object]] = {}
        with database.peewee.atomic() as transaction:
            for rule in rules:
                for sql, params in captured(database.peewee, rule):
                    # One that locks what another only reads is the same on SQLite.
                    statements.setdefault(sql.removesuffix(" FOR UPDATE"), (sql, params))
                transaction.rollback()
        how = _mysql_steps if database.url.startswith("mysql") else _sqlite_steps
        found[name] = [
            Plan(sql, tuple(how(database.peewee, sql, params)))
            for sql, params in statements.values()
            if not sql.startswith(("INSERT", "REPLACE", "SHOW"))
        ]
    return found


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
        yield Step(table, text, full=read is not None and read[1] == "SCAN")


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


HEAD = f"""\
# Queries

This list has every statement that a command runs, and how each database finds its rows, in a
service of {PEOPLE} people. `python -m tests.board.explain` writes it anew. A test fails when a
statement reads the whole of a table that grows: `tests/board/scenarios/test_explain.py`.

Insertions are left out: they look only for their own key. Every command that takes `<user>` begins
with the first statement of *{GUARD}*, or with that statement joined to the command's first
question. Where commands wait together, the arguments of each are a row of `asked`. On MySQL and
MariaDB some statements end in `FOR UPDATE`, and the statement that identifies the caller gives one
column of JSON.
"""


def report(found: Mapping[str, Plans]) -> str:
    """The plans of several databases, by their names, as Markdown."""
    lines = [HEAD]
    first = next(iter(found.values()))
    guards = {first[section][GUARD][0].sql for section in (MANY, BACKGROUND)}
    for section, listed in first.items():
        lines.append(f"## {section}\n")
        for name, own in listed.items():
            numbers = [n for n, plan in enumerate(own) if name == GUARD or plan.sql not in guards]
            if numbers:
                lines += [f"### {name}\n", "```"]
            for number in numbers:
                lines.append(_readable(own[number].sql, own[number].sql))
                for database, parts in found.items():
                    plan = parts[section][name][number]
                    steps = _readable("; ".join(step.text for step in plan.steps), plan.sql)
                    lines.append(f"    {database:9}{steps}")
            if numbers:
                lines.append("```\n")
    return "\n".join(lines)


def _readable(text: str, sql: str) -> str:
    """`text` without quotes, with the tables of `sql` by their names, and long lists cut."""
    text = re.sub(r'["`]', "", text)
    seen: list[str] = []
    for alias, table in _aliases(sql).items():
        seen.append(table)
        often = seen.count(table)
        name = table if often == 1 else f"{table}_{often}"
        introduced = table if often == 1 else f"{table} AS {name}"
        text = re.sub(rf"\b{table} AS {alias}\b", introduced, text)
        text = re.sub(rf"\b{alias}\b", name, text)
    for long, short in _SHORTER:
        text = long.sub(short, text)
    return text


_SHORTER = (
    (re.compile(r"\((\?, ){2,}\?\)"), "(?, …)"),
    (re.compile(r"( UNION ALL SELECT \d+(, \?)*)+\)"), " UNION ALL …)"),
    (re.compile(r"( WHEN \? THEN \?){2,}"), " WHEN ? THEN ? …"),
    (re.compile(r"(; UNION ALL; SCAN CONSTANT ROW)+"), "; …"),
    (re.compile(r"(; - - \(No tables used\)){2,}"), "; …"),
)
"""What is long in statements and plans, and how it is shown."""


def main(path: Path = QUERIES) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {"SQLite": plans(f"sqlite:///{folder}/bbs.sqlite3")}
    try:
        found["MariaDB"] = plans(fresh_mysql_url(IN_PYTHON))
    except SkipTest as reason:
        print(f"SQLite alone: {reason}", file=sys.stderr)
    path.write_text(report(found))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
