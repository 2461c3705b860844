"""Why servers go, found from the words of versions that wrote nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from bbs.board import board
from bbs.core.values import REBALANCE, DrainCause, LossCause, State
from bbs.storage import migrations
from bbs.storage.framework_migrations import fill_causes
from bbs.storage.models import Server
from bbs.storage.schema import SchemaVersion
from tests.database_case import on_both_databases
from tests.storage.test_migrations import MigrationCase

Cause = DrainCause | LossCause | None

WORDS = "spot: it is taken back at 12:00"
"""A provider's own."""

DRAINS: dict[str, DrainCause] = {
    "consolidated: 3 people fit elsewhere": DrainCause.CONSOLIDATION,
    "replaced: 1 person goes over": DrainCause.REPLACEMENT,
    "replaced: it takes nobody": DrainCause.REPLACEMENT,
    "idle for 120 s": DrainCause.IDLE,
    "asked for": DrainCause.OPERATOR,
    WORDS: DrainCause.WARNED,
    "asked for by the cloud": DrainCause.WARNED,
}
"""What the reason of one that drains says."""

ENDS: dict[str, Cause] = {
    "failed: not ready in 180 s": LossCause.LATE,
    "failed: ended: exited with 1": LossCause.FAILED,
    "failed: cannot be stopped: no": LossCause.FAILED,
    "refused: over quota": LossCause.REFUSED,
    "ended": LossCause.ENDED,
    "ended: killed by SIGKILL": LossCause.ENDED,
    "it has said that it stops": LossCause.LEFT,
    "silent for more than 10 s": LossCause.SILENT,
    "cannot be started: it has no instance": LossCause.UNSTARTABLE,
    "beyond fleet.warm": DrainCause.SURPLUS,
    "of another version": DrainCause.OUTDATED,
    "runs on the shelf": DrainCause.UNSTOPPABLE,
    "replaced": DrainCause.REPLACEMENT,
    "replaced: it stood by": DrainCause.REPLACEMENT,
    "asked for": DrainCause.OPERATOR,
    "idle for 120 s": DrainCause.IDLE,
    "consolidated: 3 people fit elsewhere": DrainCause.CONSOLIDATION,
    "drained": None,
    "lost": None,
    "stopped": None,
    "": None,
    WORDS: None,
}
"""What that of one that is lost or gone says."""

LIVES = (State.LAUNCHING, State.WARM, State.READY)


@on_both_databases
class FromWords(MigrationCase):
    def setUp(self) -> None:
        super().setUp()
        migrations.upgrade(self.db, board.schema)

    def servers(self, rows: Iterable[tuple[State, str, Cause]], warned: str | None = None) -> None:
        """Servers in these states, for these reasons and causes."""
        self.count = 0
        for state, reason, cause in rows:
            self.count += 1
            row = {"id": f"{self.count:032}", "scope": "test", "capacity": 1, "created": 0.0}
            row |= {"state": state, "reason": reason, "cause": cause or "", "warned": warned}
            Server.insert(row).execute()

    def by_words(self, cause: Cause = None) -> dict[tuple[State, str], Cause]:
        """All states and reasons, each with what it is to come to. Servers are there for each, with
        this `cause` so far."""
        expected: dict[tuple[State, str], Cause] = {}
        expected |= {(State.DRAINING, reason): found for reason, found in DRAINS.items()}
        for state in (State.LOST, State.GONE):
            expected |= {(state, reason): found or cause for reason, found in ENDS.items()}
        expected |= {(state, reason): None for state in LIVES for reason in ("", *DRAINS, *ENDS)}
        self.servers((*each, cause) for each in expected)
        return expected

    def causes(self) -> dict[tuple[State, str], str]:
        rows = [*Server.select()]
        self.assertEqual(len(rows), self.count)
        return {(State(row.state), row.reason): row.cause for row in rows}

    def agree(self, expected: dict[tuple[State, str], Cause]) -> None:
        wanted = {key: cause.value if cause else "" for key, cause in expected.items()}
        self.assertEqual(self.causes(), wanted)

    def test_the_step(self) -> None:
        """A database of before knows no causes."""
        expected = self.by_words()
        self.db.execute_sql("ALTER TABLE server DROP COLUMN cause")
        SchemaVersion.update(version=7, reached=8).execute()
        before, after = migrations.upgrade(self.db, board.schema)
        self.assertEqual((before.framework, after.framework), (8, migrations.VERSION))
        self.agree(expected)

    def test_the_step_when_it_was_cut_off(self) -> None:
        """On MySQL the column can be there, and nothing in it."""
        expected = self.by_words()
        SchemaVersion.update(version=7, reached=8).execute()
        migrations.upgrade(self.db, board.schema)
        self.agree(expected)

    def test_what_an_older_version_left_is_put_right(self) -> None:
        """Where its words say nothing it stays."""
        for stale in (DrainCause.CONSOLIDATION, LossCause.LATE):
            Server.delete().execute()
            expected = self.by_words(stale)
            fill_causes()
            self.agree(expected)

    def test_once_is_enough(self) -> None:
        self.by_words()
        fill_causes()
        once = self.causes()
        fill_causes()
        self.assertEqual(self.causes(), once)

    def test_a_warning_can_be_any_words(self) -> None:
        for words in DRAINS:
            Server.delete().execute()
            self.servers([(State.DRAINING, words, None)], warned=words)
            fill_causes()
            self.assertEqual([*self.causes().values()], [DrainCause.WARNED])
        Server.delete().execute()
        self.servers([(State.DRAINING, "asked for", None)], warned=WORDS)
        fill_causes()
        self.assertEqual([*self.causes().values()], [DrainCause.OPERATOR])

    def test_what_this_version_wrote_stays(self) -> None:
        """Every cause, with the words that are written with it."""
        words: dict[DrainCause | LossCause, tuple[State, str]] = {
            cause: (State.LOST, reason) for reason, cause in ENDS.items() if cause
        }
        words |= {cause: (State.DRAINING, reason) for reason, cause in DRAINS.items()}
        words[DrainCause.WARNED] = State.DRAINING, WORDS
        words[DrainCause.RECOMMENDED] = State.DRAINING, REBALANCE
        self.assertEqual(words.keys(), {*DrainCause, *LossCause})
        wrote = [(*standing, cause) for cause, standing in words.items()]
        wrote += [(State.GONE, f"drained {cause}", cause) for cause in DrainCause]
        self.servers(wrote, warned=WORDS)
        before = self.causes()
        fill_causes()
        self.assertEqual(self.causes(), before)
