"""What it costs to read posts that are unread, beside `receive-post` for as many posts.

    python -m lab.bench.unread [--embedded] [--rounds N] [--connections N]

Each reader has ten friends, as `CIRCLES` have; each of these has ten posts in the feed and ten in a
group. In each round every reader asks once, and all is unread again before the next one. The
processor time of the service is the measure.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bbs.board.groups.tables import Group, Membership
from bbs.board.people.tables import Relationship
from bbs.board.posts.tables import Contribution, PostRow
from bbs.rules.accounts import new_channel
from bbs.rules.auth import digest
from bbs.storage.database import rows
from bbs.storage.models import Place, Server, Session, User
from lab.bench import filling, processes, report
from lab.bench.__main__ import SCHEMES
from lab.bench.figures import Round, summary
from lab.bench.goals import CONNECTIONS, IN_PYTHON, MARIADB, OVER_RECEIVE_POST, SQLITE
from lab.bench.many import NO_ECHO
from lab.bench.measure import Measured, database_process
from lab.bench.people import TEXT, job
from lab.bench.processes import Tool
from lab.bench.sizes import FORM, NOBODY
from tests.services import environment

READERS = 320
CIRCLES = 4  # of readers with the same friends
FRIENDS = 10  # of each reader
POSTS = 10  # of each friend, in the feed and in the group

BASE = "receive-post"
LINES = {BASE: "receive-post {0}", "posts": "posts {0}", "group-posts": "group-posts {0} go{1}"}

HEADING: report.Row = ("command", "service", "CPU µs", "worst", f"× {BASE}", "goal", "MariaDB's µs")


@dataclass(frozen=True)
class Taken:
    """The rounds of each command on one database."""

    service: str
    rounds: dict[str, list[Round]]

    def rows(self) -> Iterator[report.Row]:
        """Each round of a command is compared with that of `receive-post` beside it."""
        for command, rounds in self.rounds.items():
            shares = [
                each.cpu / base.cpu for each, base in zip(rounds, self.rounds[BASE], strict=True)
            ]
            yield (
                command,
                self.service,
                report.number(median(each.cpu for each in rounds)),
                report.number(max(each.cpu for each in rounds)),
                report.number(median(shares)),
                "" if command == BASE else f"≤ {OVER_RECEIVE_POST}",
                report.number(median(each.database for each in rounds)),
            )


def fill() -> list[str]:
    """Make the people and their posts; returns a token of each reader."""
    names = [f"friend{number}" for number in range(CIRCLES * FRIENDS)]
    names += [f"reader{number}" for number in range(READERS)]
    ids = filling.insert_people(names)
    everybody = [ids[name] for name in names]
    friends, readers = everybody[: CIRCLES * FRIENDS], everybody[CIRCLES * FRIENDS :]
    filling.insert(Place, ({"user": user, "server": None} for user in readers))
    filling.insert(
        Relationship,
        (
            {"user": one, "other": other, "kind": Relationship.FRIEND}
            for number, reader in enumerate(readers)
            for friend in friends[number % CIRCLES :: CIRCLES]
            for one, other in ((reader, friend), (friend, reader))
        ),
    )
    text = {"text": TEXT, "stored": 0.0}
    filling.insert(PostRow, ({"author": author, **text} for author in friends * POSTS))
    for circle in range(CIRCLES):
        written = friends[circle::CIRCLES] * POSTS
        new = {"name": f"go{circle}", "channel": new_channel(), "posts": len(written)}
        group = Group.insert(**new).execute()
        members = [*friends[circle::CIRCLES], *readers[circle::CIRCLES]]
        filling.insert(Membership, ({"group": group, "user": user} for user in members))
        for number, writer in enumerate(written, start=1):
            post = PostRow.insert(**text).execute()
            Contribution.insert(post=post, writer=writer, group=group, number=number).execute()
    tokens = [secrets.token_hex(16) for _ in readers]
    now = time.time()
    filling.insert(
        Session,
        (
            {"digest": digest(token), "user": reader, "used": now}
            for token, reader in zip(tokens, readers, strict=True)
        ),
    )
    User.update(seen=now).execute()
    return tokens


def measure(folder: Path, load: Tool, name: str, rounds: int, connections: int) -> Taken:
    """All commands on the database of that name."""
    own = folder / name.replace(" ", "-")
    own.mkdir()
    taken: dict[str, list[Round]] = {command: [] for command in LINES}
    with contextlib.ExitStack() as stack:
        url = processes.sqlite(own)
        if name != SQLITE:
            server = environment()["BBS_TEST_MYSQL_URL"]
            url = stack.enter_context(processes.own_database(server, SCHEMES[name]))
        tokens: list[str] = []
        stack.enter_context(filling.filled(url, lambda: tokens.extend(fill())))
        if name == SQLITE:
            login = stack.enter_context(processes.embedded(own, FORM))
        else:
            broker = environment()["BBS_TEST_ACTIVEMQ_URL"]
            login = stack.enter_context(processes.external(own, url, broker, FORM))
        filling.await_places()
        [(port,)] = rows(Server.select(Server.port))
        service = Measured(login, NOBODY, database_process(name != SQLITE))
        for number in range(rounds + 1):
            for command, line in LINES.items():
                Relationship.update(read=0).execute()
                Membership.update(read=0).execute()
                asked = [line.format(token, n % CIRCLES) for n, token in enumerate(tokens)]
                # Neighbours ask at the same time, as people of all circles do.
                lines = [asked[first::connections] for first in range(connections)]
                work = job([port] * connections, lines, seconds=None)
                done, cpu, database = service.ask(load, work)
                short = [
                    reply for replies in done["replies"] for reply in replies if len(reply) < 5000
                ]
                if short:
                    raise processes.Failed(f"{command}: {short[0]}")
                done["replies"] = []
                if number:  # The first one is to warm up.
                    taken[command].append(summary(done, cpu, database, NO_ECHO))
    return Taken(name, taken)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.unread",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--embedded", action="store_true", help="SQLite and the own broker alone")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--connections", type=int, default=CONNECTIONS, metavar="N")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(report.machine(), flush=True)
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder,
        processes.tool(Path(folder), "load") as load,
    ):
        there = (SQLITE,) if options.embedded else (SQLITE, MARIADB, IN_PYTHON)
        for name in there:
            found.append(measure(Path(folder), load, name, options.rounds, options.connections))
    print(report.markdown(HEADING, [row for each in found for row in each.rows()]))
    return 0


if __name__ == "__main__":
    processes.run_program(main)
