"""What is lost if two nodes of a Galera are written to, and what prevents it.

Each of two processes writes to a node of its own: mails between the same eight people, four at a
time. First with bbs as it is, which refuses the second one; then with the refusal taken out, and
with each way to keep a request of several statements from outliving its transaction.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from unittest import mock

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from bbs.board.messages import messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import friendships
from bbs.board.service import board
from bbs.commands.extensions import extended
from bbs.commands.service import new_account_rule
from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.threads import Workers
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.storage import migrations, models
from bbs.storage.database import Database, rows
from bbs.storage.engines import IN_C, connect_to
from bbs.storage.models import User
from bbs.storage.mysql import MySQLDatabase
from bbs.storage.mysql_servers import Servers
from bbs.storage.transaction_guard import TransactionGuard
from tests.database_case import by_driver
from tests.services import running_galera
from tests.services.galera import ADMIN

PEOPLE = 8
IN_FLIGHT = 4  # Mails of each process.
START = 1e9  # When all of them came: seconds since the epoch.


def _nothing(*_: object) -> None:
    pass


def _begin_apart(database: Any, cursor: Any, sql: str, values: Sequence[Any]) -> None:
    database.state.begins = False
    cursor.execute("BEGIN")
    cursor.execute(sql, values)


BEGIN = mock.patch.object(MySQLDatabase, "_execute_first", _begin_apart)
UNGUARDED = mock.patch.object(MySQLDatabase, "_guard", _nothing)
ONE_BY_ONE = mock.patch.object(
    MySQLDatabase, "carry_out_together", TransactionGuard.carry_out_together
)

WAYS: Mapping[str, Sequence[Any]] = {
    "as it was": (UNGUARDED,),
    "BEGIN apart": (UNGUARDED, BEGIN),
    "statements one by one": (UNGUARDED, BEGIN, ONE_BY_ONE),
    "savepoint, without autocommit": (),
}
"""Each way to send what belongs together, and what is taken out of bbs for it."""


def _callers() -> list[Caller]:
    return [Caller(user.id, user.name, user.channel, START) for user in User.select()]


def fill(url: str) -> None:
    """Make people who are all friends."""
    database: Any = connect_to(url)
    models.database.initialize(database)
    database.connect()
    service = extended(board)
    migrations.upgrade(database, service.schema)
    add = new_account_rule(service, lambda section: section())
    for number in range(PEOPLE):
        accounts.register(f"user{number}", "hash", START, add)
    everybody = _callers()
    for one in everybody:
        for other in everybody:
            if one.id < other.id:
                friendships.invite(one, other.name)
                friendships.accept(other, one.name)
    database.close()


async def write(url: str, number: int, seconds: float) -> Mapping[str, Any]:
    """Write mails for so many `seconds`; returns those that were acknowledged, and how many were
    refused."""
    workers = Workers(cast("IReactor", reactor), "database", 1)
    workers.startService()
    database = Database(url, workers, reactor)
    people = await database.run(_callers)
    acknowledged: list[str] = []
    refused: Counter[str] = Counter()
    until = reactor.seconds() + seconds

    async def one(lane: int) -> None:
        sent = 0
        while reactor.seconds() < until:
            sent += 1
            sender = people[(number * IN_FLIGHT + lane) % PEOPLE]
            reader = people[(number * IN_FLIGHT + lane + 1 + sent) % PEOPLE]
            if sender.id == reader.id:
                continue
            text = f"{number}.{lane}.{sent}"
            try:
                await database.run(messages.mail, sender, reader.name, text)
                acknowledged.append(text)
            except Unavailable as error:
                refused[str(error.__cause__)[:120]] += 1

    await gatherResults([Deferred.fromCoroutine(one(lane)) for lane in range(IN_FLIGHT)])
    await workers.stopService()
    return {"acknowledged": acknowledged, "refused": refused.total()}


def check(url: str, acknowledged: Sequence[str]) -> Mapping[str, int]:
    """What is wrong in the end, by what it is."""
    database: Any = connect_to(url)
    models.database.initialize(database)
    database.connect()
    database.execute_sql("SET SESSION wsrep_sync_wait = 15")
    stored = rows(MessageRow.select(MessageRow.id, MessageRow.text))
    delivered = {number for (number,) in rows(Delivery.select(Delivery.message))}
    times = Counter(text for _, text in stored)
    waiting: Counter[int] = Counter()
    sizes = {number: len(text) for number, text in stored}
    for user, number in rows(Delivery.select(Delivery.user, Delivery.message)):
        waiting[user] += sizes.get(number, 0)
    found = {
        "lost": sum(text not in times for text in acknowledged),
        "doubled": sum(times[text] > 1 for text in acknowledged),
        "without delivery": sum(number not in delivered for number, _ in stored),
        "torn inboxes": sum(
            counted != waiting[user]
            for user, counted in rows(Inbox.select(Inbox.user, Inbox.waiting))
        ),
    }
    database.close()
    return found


def _process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "lab.two_writers", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def compare(seconds: float, tell: Callable[[str], None]) -> None:
    with running_galera() as galera:
        first, second = urls = [by_driver(node.url, IN_C) for node in galera.nodes[:2]]
        _process("--fill", first).communicate()
        said = _process("--fill", second).communicate()[1].splitlines()
        tell(f"the second one, as bbs is: {said[-1] if said else 'NOT REFUSED'}")
        for way in WAYS:
            galera.nodes[0].ask("DROP DATABASE bbs; CREATE DATABASE bbs", ADMIN)
            _process("--fill", first).communicate()
            writers = [
                _process("--write", url, "--number", number, "--way", way, "--seconds", seconds)
                for number, url in enumerate(urls)
            ]
            outcomes = [json.loads(each.communicate()[0].splitlines()[-1]) for each in writers]
            acknowledged = [text for each in outcomes for text in each["acknowledged"]]
            wrong = ", ".join(f"{n} {what}" for what, n in check(first, acknowledged).items())
            refused = sum(each["refused"] for each in outcomes)
            tell(f"{way}: {len(acknowledged)} acknowledged, {refused} refused, {wrong}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.two_writers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each way (%(default)s)")
    for hidden in ("--fill", "--write", "--number", "--way"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(options.fill)
    elif options.write:
        for patch in WAYS[options.way]:
            patch.start()
        mock.patch.object(Servers, "_claim", _nothing).start()

        async def go(_: Any) -> None:
            print(json.dumps(await write(options.write, int(options.number), options.seconds)))

        task.react(lambda found: Deferred.fromCoroutine(go(found)))
    else:
        compare(options.seconds, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
