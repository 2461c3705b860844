"""A service that has been used for a while: some thousands of people, and what they did."""

from __future__ import annotations

import peewee

from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.migrations import MODELS as BOARD_MODELS
from bbs.board.names import Skeleton, skeleton_digests
from bbs.board.people.tables import Block, Relationship, Told
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost, ThreadReader
from bbs.core.values import State, Tally
from bbs.rules import accounts, auth, membership
from bbs.storage.database import Database, rows
from bbs.storage.models import (
    MODELS,
    HeartbeatRow,
    KnownNetwork,
    LoginServer,
    Place,
    Server,
    Session,
    User,
    Waiter,
)

NOW = 1_000_000.0
PEOPLE = 3000
CONTROLLER = membership.Member("controller", "")


def fill(database: Database) -> None:
    """People, friends, posts, groups and messages; `user0` is the busiest."""
    with database.peewee.atomic():
        for state, name in ((State.LAUNCHING, "launching"), (State.READY, "empty")):
            _insert(Server, [_server(name, state, 0)])
        _insert(Server, [_server(f"server{n}", State.READY, 10) for n in range(20)])
        _insert(Server, [_server(f"gone{n}", State.GONE, 0) for n in range(50)])
        _insert(HeartbeatRow, [{"server": f"server{n}"} for n in range(20)])
        _insert(User, [_user(number) for number in range(PEOPLE)])
        users = [user for (user,) in rows(User.select(User.id).order_by(User.id))]
        _insert(Inbox, [_inbox(number, user) for number, user in enumerate(users)])
        looks = [(user, skeleton_digests(f"user{number}")) for number, user in enumerate(users)]
        _insert(Skeleton, [{"digest": each, "user": user} for user, some in looks for each in some])
        _insert(Session, [_session(number, user) for number, user in enumerate(users[:-100])])
        _insert(Place, [_place(number, user) for number, user in enumerate(users[:-100])])
        # Some are at home in three networks, and the last one in as many as are kept.
        counts = [3] * (PEOPLE - 1) + [accounts.MOST_NETWORKS]
        known = [
            (user, number)
            for user, most in zip(users, counts, strict=True)
            for number in range(most)
        ]
        _insert(KnownNetwork, [_known(user, number) for user, number in known])
        for number in range(1, 11):
            _relate(users, 0, number, Relationship.FRIEND, Relationship.FRIEND)
            _relate(users, 0, number + 10, Relationship.INVITED_BY, Relationship.INVITED)
        for number in range(21, PEOPLE - 1):
            _relate(users, number, number + 1, Relationship.FRIEND, Relationship.FRIEND)
        blocked = [{"user": users[0], "other": users[2000 + number]} for number in range(50)]
        told = [{"user": users[0], "other": user} for user in users]
        _insert(Told, [{**each, "at": NOW - 3600 - 60 * n} for n, each in enumerate(told)])
        _insert(Block, blocked + [_block(users, number) for number in range(21, PEOPLE)])
        _insert(PostRow, [{"author": user, "text": "hello"} for user in users for _ in range(3)])
        _insert(Group, [{"name": f"group{n}", "channel": ""} for n in range(PEOPLE // 2)])
        _insert(Membership, _memberships(users))
        [(first,)] = rows(Group.select(Group.id).order_by(Group.id).limit(1))
        Group.update(creator=users[0]).where(Group.id < first + 5).execute()
        _insert(GroupInvitation, [_invitation(first, n, user) for n, user in enumerate(users)])
        _post_in(first + 2, users[:100])
        Group.update(posts=101).where(Group.id == first + 2).execute()
        _reply(users)
        _insert(MessageRow, [_message(number, users, first) for number in range(2 * PEOPLE)])
        _insert(Delivery, _deliveries(users))
        membership.enroll(CONTROLLER)
        membership.observe(CONTROLLER, Tally())
        membership.wait(CONTROLLER, "waiter", f"user{PEOPLE - 1}", NOW)
        LoginServer.insert(id="other", identity="").execute()  # An older one.
        Waiter.insert(id="elsewhere", login_server="other", name="somebody").execute()
    if isinstance(database.peewee, peewee.MySQLDatabase):
        # It would do so by itself a while later; until then plans are those of empty tables.
        for table in (*MODELS, *BOARD_MODELS):
            database.peewee.execute_sql(f"ANALYZE TABLE {table._meta.table_name}").fetchall()


def _insert(model: type[peewee.Model], values: list[dict[str, object]]) -> None:
    for batch in peewee.chunked(values, 500):
        model.insert_many(batch).execute()


def _server(name: str, state: State, taken: int) -> dict[str, object]:
    values: dict[str, object] = {"id": name, "state": state, "scope": "", "capacity": 200}
    values |= {"taken": taken, "created": NOW, "ready": NOW, "host": "host", "port": 1}
    return values | {"ended": NOW if state is State.GONE else None}


def _user(number: int) -> dict[str, object]:
    return {"name": f"user{number}", "password_hash": "hash", "channel": "", "created": NOW}


def _known(user: int, number: int) -> dict[str, object]:
    return {"user": user, "network": f"10.0.{number}.0/24", "used": NOW - number}


def _session(number: int, user: int) -> dict[str, object]:
    token = auth.digest(f"token of user{number}")
    used = NOW - number / 3 - (1000.0 if number % 100 == 99 else 0.0)
    return {"digest": token, "user": user, "used": used}


def _place(number: int, user: int) -> dict[str, object]:
    away = number % 2 == 1 and number > PEOPLE / 3
    homeless = away or number % 600 == 7
    return {"user": user, "server": None if homeless else f"server{number % 20}", "away": away}


def _inbox(number: int, user: int) -> dict[str, object]:
    last = 2 * PEOPLE if number and number % 3 == 0 else 0
    return {"user": user, "delivered": last, "sent": 10**6}


def _relate(users: list[int], one: int, other: int, kind: str, others_kind: str) -> None:
    _insert(
        Relationship,
        [
            {"user": users[one], "other": users[other], "kind": kind},
            {"user": users[other], "other": users[one], "kind": others_kind},
        ],
    )


def _block(users: list[int], number: int) -> dict[str, object]:
    return {"user": users[number], "other": users[number // 2]}


def _memberships(users: list[int]) -> list[dict[str, object]]:
    [first] = [group for (group,) in rows(Group.select(Group.id).order_by(Group.id).limit(1))]
    members = [{"group": first, "user": user, "after": 0} for user in users[:20]]
    # The last of these user0 joined through a server of before there was `after`.
    members += [
        {"group": first + number, "user": users[0], "after": None if number == 4 else 0}
        for number in range(1, 5)
    ]
    return members + [
        {"group": first + 5 + number % 1000, "user": user, "after": 0}
        for number, user in enumerate(users[1:], 1)
        if number % 1000 != 995
    ]


def _invitation(first: int, number: int, user: int) -> dict[str, object]:
    return {"group": first + number % 500, "user": user}


def _post_in(group: int, users: list[int]) -> None:
    """A post of each of `users` in a group, and one that was removed."""
    [(last,)] = rows(PostRow.select(peewee.fn.MAX(PostRow.id)))
    numbers = [*enumerate(users, 1)]
    _insert(PostRow, [{"id": last + number, "text": "hello"} for number, _ in numbers])
    _insert(
        Contribution,
        [
            {"post": last + number, "writer": user, "group": group, "number": number}
            for number, user in numbers
        ],
    )
    _insert(RemovedPost, [{"group": group, "number": len(users) + 1}])


def _reply(users: list[int]) -> None:
    """A reply of each of `users` to the first post of another, which both follow."""
    [(last,)] = rows(PostRow.select(peewee.fn.MAX(PostRow.id)))
    first = dict(
        rows(PostRow.select(PostRow.author, peewee.fn.MIN(PostRow.id)).group_by(PostRow.author))
    )
    replies = [(last + n, user, users[n // 10]) for n, user in enumerate(users, 1) if n < PEOPLE]
    _insert(PostRow, [{"id": number, "text": "hi"} for number, _, _ in replies])
    _insert(
        Contribution,
        [
            {"post": number, "writer": user, "thread": first[owner], "owner": owner}
            for number, user, owner in replies
        ],
    )
    followed = {(user, owner) for _, user, owner in replies} | {(each, each) for each in users}
    _insert(
        ThreadReader,
        [{"user": user, "thread": first[owner], "owner": owner} for user, owner in followed],
    )


def _message(number: int, users: list[int], first_group: int) -> dict[str, object]:
    """From user0 to user1 and back, from others to others, and in groups of user0's."""
    to_group, one = number % 4 == 0, number // 4 % (PEOPLE - 1)
    sender, reader = ((0, 1), (1, 0), (one, one + 1))[number % 3]
    group = number // 4 % 5
    values: dict[str, object] = {
        "sender": f"user{sender}",
        "target": f"group{group}" if to_group else f"user{reader}",
        "to_group": to_group,
        "sent_by": users[sender],
        "sent_to": None if to_group else users[reader],
        "in_group": first_group + group if to_group else None,
    }
    return values | {"text": "hello", "stored": NOW - 3000 + number / 2, "size": 325}


def _deliveries(users: list[int]) -> list[dict[str, object]]:
    numbers = [
        number for (number,) in rows(MessageRow.select(MessageRow.id).order_by(MessageRow.id))
    ]
    return [
        {"user": users[0] if place < 50 else users[place % len(users)], "message": number}
        for place, number in enumerate(numbers)
    ]
