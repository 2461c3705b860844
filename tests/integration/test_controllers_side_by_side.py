"""Why servers go, where a login server of 0.3.0, which writes it in words alone, and one of today
keep the fleet by turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from bbs.board import board
from bbs.core.values import DrainCause, LossCause, State, Tally
from bbs.rules import fleet_transitions, membership, page_history, servers
from bbs.rules.membership import Member
from bbs.rules.page_history import EventKind, FleetEvent, sentence
from bbs.storage import migrations
from bbs.storage.models import Server
from lab.rolling.versions import environ, unpack
from tests.database_case import on_both_databases
from tests.storage.test_migrations import MigrationCase

OLDER = "0.3.0"
"""The last version that knows no causes."""

ME = Member("today's", "here")

PROGRAM = Path(__file__).with_name("older_controller.py")

WORDS = "spot: it is taken back at 12:00"
"""Why a provider takes a server away, in its own."""

LOST: dict[str, DrainCause | LossCause] = {
    "failed: exited with 1": LossCause.FAILED,
    "refused: over quota": LossCause.REFUSED,
    "ended: killed by SIGKILL": LossCause.ENDED,
    "it has said that it stops": LossCause.LEFT,
    "silent for more than 10 s": LossCause.SILENT,
    "cannot be started: it has no instance": LossCause.UNSTARTABLE,
    "beyond fleet.warm": DrainCause.SURPLUS,
    "of another version": DrainCause.OUTDATED,
    "runs on the shelf": DrainCause.UNSTOPPABLE,
    "replaced: it stood by": DrainCause.REPLACEMENT,
}
"""Why 0.3.0 says that one is lost, and what that comes to."""

CONSOLIDATED, REPLACED = "consolidated: 1 people fit elsewhere", "replaced: 1 person goes over"


class Older:
    """A process that keeps the fleet by the rules of 0.3.0: `older_controller.py`."""

    def __init__(self, tree: Path, url: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", PROGRAM, url, "older"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environ(tree)},
            text=True,
            bufsize=1,
        )
        self.code = self._answer()

    def does(self, rule: str, *arguments: object) -> Any:
        """What comes of a rule of its."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([rule, *arguments]) + "\n")
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        said = json.loads(self._process.stdout.readline())
        if "error" in said:
            raise AssertionError(said["error"])
        return said["result"]

    def end(self) -> None:
        """Let it end, and wait for it."""
        self._process.communicate(timeout=60)


@on_both_databases
class ByTurns(MigrationCase):
    def setUp(self) -> None:
        super().setUp()
        # The older one has the database as an empty one, and makes its tables.
        self.db.close()
        tree = unpack(Path(self.mktemp()).absolute(), OLDER)
        self.older = Older(tree, self.url)
        self.addCleanup(self.older.end)
        self.assertEqual(Path(self.older.code), tree / "bbs/__init__.py")
        self.db.connect()
        self.assertEqual(self.older.does("observe"), "older")

    def start(self, taken: int = 0) -> str:
        """A server that 0.3.0 has launched, and that is ready, with so many people."""
        [server] = self.older.does("add_launches", 1, "test", 9, 99, 1.0)
        assert isinstance(server, str)
        self.older.does("report", server, 4711)
        self.older.does("mark_ready", server, "host", 2.0)
        Server.update(taken=taken).where(Server.id == server).execute()
        return server

    def drained(self) -> dict[str, DrainCause]:
        """Servers that 0.3.0 drains for each reason, by their ids, with people who stay as they
        have no other place."""
        consolidated, replaced = self.start(taken=1), self.start(taken=1)
        idle, asked, warned = self.start(), self.start(taken=1), self.start(taken=1)
        does = self.older.does
        self.assertIs(does("consolidate", consolidated, CONSOLIDATED, 9, 1e6), True)
        Server.update(replace_asked=True).where(Server.id == replaced).execute()
        self.assertIs(does("replace", replaced, REPLACED, 9), True)
        self.assertEqual(does("drain", idle, "idle for 120 s"), [])
        self.older.does("ask_drain", asked)
        self.assertEqual(does("drain", asked, "asked for"), [])
        self.older.does("warn", warned, WORDS)
        self.assertEqual(does("drain", warned, WORDS), [])
        return {
            consolidated: DrainCause.CONSOLIDATION,
            replaced: DrainCause.REPLACEMENT,
            idle: DrainCause.IDLE,
            asked: DrainCause.OPERATOR,
            warned: DrainCause.WARNED,
        }

    def lost(self) -> dict[str, DrainCause | LossCause]:
        """Servers that 0.3.0 has lost, or is done with."""
        expected: dict[str, DrainCause | LossCause] = {}
        for reason, cause in LOST.items():
            expected[server := self.start()] = cause
            self.older.does("lose", server, reason)
        [late] = self.older.does("add_launches", 1, "test", 9, 99, 1.0)
        self.assertEqual(self.older.does("give_up", late, "failed: not ready in 180 s"), [])
        gone = self.start()
        self.older.does("close", gone, "replaced", 9.0)
        return {**expected, late: LossCause.LATE, gone: DrainCause.REPLACEMENT}

    def upgrade_to_today(self) -> None:
        before, after = migrations.upgrade(self.db, board.schema)
        self.assertEqual((before.framework, after.framework), (8, migrations.VERSION))

    def take_the_lease(self) -> None:
        """Today's controller takes it from 0.3.0's."""
        lease = self.call(membership.seen_lease, membership.FLEET_LEASE)
        assert lease
        self.assertIs(self.call(membership.take_lease, ME, lease), True)
        self.assertEqual(self.call(membership.observe, ME, Tally()).lease.holder, ME.id)

    def causes(self) -> dict[str, DrainCause | LossCause | None]:
        """By server, as every rule reads them."""
        return {row.id: row.cause for row in self.call(servers.read, Server.select())}

    def row(self, server: str) -> tuple[str, str, str]:
        found = Server.get(Server.id == server)
        return found.state, found.reason, found.cause

    def test_the_database_of_the_one_is_upgraded_beside_it(self) -> None:
        known: dict[str, Any] = {**self.drained(), **self.lost(), self.start(): None}
        self.upgrade_to_today()
        self.assertEqual(self.causes(), known)

        # The one that keeps the fleet goes on meanwhile, and writes no cause.
        known |= {**self.drained(), **self.lost()}
        self.take_the_lease()
        self.assertEqual(self.causes(), known)

    def test_each_takes_the_lease_from_the_other(self) -> None:
        consolidated, replaced, other, idle = (self.start(taken=1) for _ in range(4))
        Server.update(replace_asked=True).where(Server.id == replaced).execute()
        Server.update(taken=0).where(Server.id == idle).execute()
        self.upgrade_to_today()
        self.take_the_lease()
        for server, cause, reason in (
            (consolidated, DrainCause.CONSOLIDATION, CONSOLIDATED),
            (other, DrainCause.CONSOLIDATION, CONSOLIDATED),
            (replaced, DrainCause.REPLACEMENT, REPLACED),
            (idle, DrainCause.IDLE, "idle for 120 s"),
        ):
            self.assertEqual(
                self.call(fleet_transitions.drain, ME, server, cause, reason, 9, 1e6), []
            )

        # The older one takes over, and goes by the words that it knows.
        self.assertIs(self.older.does("seize"), True)
        for server in (consolidated, replaced, other, idle):
            self.older.does("keep", server)
        self.assertEqual(self.row(consolidated), (State.READY, "", "consolidation"))
        self.assertEqual(self.row(replaced), (State.READY, "", "replacement"))
        self.assertEqual(self.row(idle), (State.DRAINING, "idle for 120 s", "idle"))
        self.older.does("ask_drain", other)
        self.older.does("drain", other, "asked for")
        self.assertEqual(self.row(other), (State.DRAINING, "asked for", "consolidation"))
        self.older.does("lose", idle, "ended: exited with 0")

        # What it left is put right before anything is decided.
        self.take_the_lease()
        self.assertEqual(
            self.causes(),
            {
                consolidated: None,
                replaced: None,
                other: DrainCause.OPERATOR,
                idle: LossCause.ENDED,
            },
        )
        self.call(fleet_transitions.keep, ME, other, 3.0)
        self.assertEqual(self.row(other)[0], State.DRAINING)

    # Heartbeats

    def test_each_sees_the_beats_of_the_other(self) -> None:
        theirs = self.start()
        self.upgrade_to_today()
        ours = self.start()
        self.call(membership.enroll, ME)
        watched = self.older.does("beats")
        for _ in range(2):
            self.call(membership.beat, ours, {})
            self.call(membership.attend, ME, Tally())
            self.older.does("beat", theirs, {})
            before, watched = watched, self.older.does("beats")
            self.assertEqual(watched, {id: count + 1 for id, count in before.items()})
        self.assertEqual(watched.keys(), {theirs, ours, ME.id})

        self.take_the_lease()
        before = self.call(membership.observe, ME, Tally())
        self.call(membership.beat, ours, {})
        self.older.does("beat", theirs, {})
        self.assertEqual(self.older.does("observe"), ME.id)
        seen = self.call(membership.observe, ME, Tally())
        for id in (theirs, ours):
            self.assertGreater(seen.beats[id], before.beats[id])
        self.assertGreater(seen.peers[0].beats, before.peers[0].beats)

        # From the end of the older login server on, the row in which places are taken is at rest.
        self.older.does("resign")
        row = Server.get(Server.id == ours).beats
        self.assertIsNotNone(self.call(membership.beat, ours, {}))
        self.assertEqual(Server.get(Server.id == ours).beats, row)

    def test_an_older_controller_has_a_newer_server_end(self) -> None:
        self.upgrade_to_today()
        server = self.start()
        self.assertIsNotNone(self.call(membership.beat, server, {}))
        self.older.does("close", server, "replaced", 9.0)
        self.assertIs(self.call(membership.beat, server, {}), False)

    # The operators' pages

    def takes_over(self) -> None:
        """Today's controller takes the lease, and begins."""
        self.take_the_lease()
        self.call(fleet_transitions.begin, ME, 50.0)

    def texts(self) -> list[str]:
        """The news as today's pages have them."""
        return [
            sentence(each.event) if each.event else each.text
            for each in page_history.news_behind(0)
        ]

    def test_what_an_older_controller_does_is_told_by_its_successor(self) -> None:
        """It stores no events, and in this fleet only today's login servers have pages."""
        self.upgrade_to_today()
        self.call(page_history.add, FleetEvent(EventKind.BROKER_AWAY, 0.5))
        ready, gone = self.start(), self.start()
        self.older.does("close", gone, "drained", 3.0)
        self.assertEqual(len(self.texts()), 1)
        self.takes_over()
        told = [f"Server {ready[:8]} is ready after 1.0 s.", f"Server {gone[:8]} has ended."]
        self.assertEqual(self.texts()[1:], told)
        self.call(fleet_transitions.begin, ME, 51.0)
        self.assertEqual(self.texts()[1:], told)

    def test_what_an_older_page_tells_is_not_told_again(self) -> None:
        self.upgrade_to_today()
        self.older.does("look")
        server = self.start()
        self.older.does("tell")
        self.older.does("close", server, "drained", 3.0)
        self.older.does("tell")
        told = [
            f"Server {server[:8]} is ready after 1.0 s.",
            f"Server {server[:8]} is gone: drained.",
        ]
        self.assertEqual(self.texts(), told)
        self.takes_over()
        self.assertEqual(self.texts(), told)

    def test_an_older_page_beside_a_controller_of_today(self) -> None:
        """It tells once more what it sees, and has all that is stored in words."""
        self.upgrade_to_today()
        self.takes_over()
        self.older.does("look")
        [server] = self.call(fleet_transitions.add_launches, ME, 1, "test", 9, 99, 60.0)
        words = f"Server {server[:8]} is being launched."
        self.assertEqual(self.older.does("read"), [words])
        self.assertEqual(self.older.does("tell"), [words])
        self.call(fleet_transitions.mark_ready, ME, [(server, None, 62.0)])
        ready = f"Server {server[:8]} is ready after 2.0 s."
        self.assertEqual(self.older.does("read"), [words, words, ready])
        self.assertEqual(self.texts(), [words, words, ready])
