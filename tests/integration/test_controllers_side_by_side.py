"""A login server of 0.4.0, as it was released, and one of today control the fleet by turns."""

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
from bbs.storage import migrations
from bbs.storage.models import Server
from lab.rolling.versions import environ, unpack
from tests.database_case import on_both_databases
from tests.storage.test_migrations import MigrationCase

OLDER = "0.4.0"

ME = Member("today's", "here")

PROGRAM = Path(__file__).with_name("older_controller.py")

DRAINS: dict[str, DrainCause] = {
    "consolidated: 1 people fit elsewhere": DrainCause.CONSOLIDATION,
    "replaced: 1 person goes over": DrainCause.REPLACEMENT,
    "idle for 120 s": DrainCause.IDLE,
    "asked for": DrainCause.OPERATOR,
    "spot: it is taken back at 12:00": DrainCause.WARNED,
}
LOSSES: dict[str, DrainCause | LossCause] = {
    "failed: exited with 1": LossCause.FAILED,
    "failed: not ready in 180 s": LossCause.LATE,
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
"""Why servers drain or are lost, in today's words (`bbs.scaling.executor`), and as values."""


class Older:
    """A process that controls the fleet by the rules of 0.4.0: `older_controller.py`."""

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
        """A server that 0.4.0 has launched, and that is ready, with so many people."""
        [server] = self.older.does("add_launches", 1, "test", 9, 99, 1.0)
        assert isinstance(server, str)
        self.older.does("report", server, 4711)
        self.older.does("mark_ready", [[server, "host", 2.0]])
        Server.update(taken=taken).where(Server.id == server).execute()
        return server

    def upgrade_to_today(self) -> None:
        before, after = migrations.upgrade(self.db, board.schema)
        self.assertEqual((before.framework, after.framework), (10, migrations.VERSION))

    def take_the_lease(self) -> None:
        """Today's controller takes it from 0.4.0's."""
        lease = self.call(membership.seen_lease, membership.FLEET_LEASE)
        assert lease
        self.assertIs(self.call(membership.take_lease, ME, lease), True)
        self.assertEqual(self.call(membership.observe, ME, Tally()).lease.holder, ME.id)

    def causes(self) -> dict[str, DrainCause | LossCause | None]:
        """By server, as every rule reads them."""
        return {row.id: row.cause for row in self.call(servers.read, Server.select())}

    def drain_some(self) -> dict[str, DrainCause | LossCause | None]:
        """Servers that today's controller drains, and such as it loses, with the causes."""
        causes: dict[str, DrainCause | LossCause | None] = {}
        for reason, cause in DRAINS.items():
            server = self.start(taken=0 if cause is DrainCause.IDLE else 1)
            row = {
                "drain_asked": cause is DrainCause.OPERATOR,
                "replace_asked": cause is DrainCause.REPLACEMENT,
                "warned": reason if cause is DrainCause.WARNED else None,
            }
            Server.update(row).where(Server.id == server).execute()
            causes[server] = cause
        for loss in LOSSES.values():
            causes[self.start()] = loss
        self.take_the_lease()
        for server, (reason, drains) in zip(causes, DRAINS.items(), strict=False):
            self.call(fleet_transitions.drain, ME, server, drains, reason, 9, 1e6)
        for server, (reason, loss) in zip([*causes][len(DRAINS) :], LOSSES.items(), strict=True):
            self.call(fleet_transitions.lose, ME, server, loss, reason, 1e6)
        return causes

    def test_each_takes_the_lease_from_the_other(self) -> None:
        """0.4.0 derives causes from the words anew, and they come to the same."""
        self.upgrade_to_today()
        known = self.drain_some()
        self.assertEqual(self.causes(), known)
        self.assertIs(self.older.does("seize"), True)
        self.assertEqual(self.causes(), known)
        kept = next(id for id, cause in known.items() if cause is DrainCause.CONSOLIDATION)
        self.older.does("keep", kept, 2e6)
        self.take_the_lease()
        self.assertEqual(self.causes(), {**known, kept: None})
        self.assertEqual(Server.get(Server.id == kept).state, State.READY)

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
        self.older.does("close", server, "replacement", "replaced", 9.0)
        self.assertIs(self.call(membership.beat, server, {}), False)

    def test_each_reads_the_events_of_the_other(self) -> None:
        self.upgrade_to_today()
        ready = self.start()
        self.older.does("close", ready, None, "drained", 3.0)
        self.take_the_lease()
        self.call(fleet_transitions.begin, ME, 50.0)
        [launched] = self.call(fleet_transitions.add_launches, ME, 1, "test", 9, 99, 60.0)
        news = self.call(page_history.news_behind, 0)
        found = [[each.event.kind, each.event.server] for each in news if each.event]
        kinds = ("launching", "ready", "gone", "launching")
        self.assertEqual(found, [*map(list, zip(kinds, [ready] * 3 + [launched], strict=True))])
        self.assertEqual(self.older.does("read"), found)
