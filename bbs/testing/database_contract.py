"""The contract of `bbs.storage.database.Database`: one suite, which every back-end passes.

A case mixes `DatabaseContract` into `twisted.trial.unittest.SynchronousTestCase`, and says where a
database is and what its driver raises:

    class OnMyDatabase(DatabaseContract, SynchronousTestCase):
        def database_url(self): …

        def lost(self):
            return raised(driver.OperationalError("server closed the connection"))

A database that may end one transaction for the sake of another passes `ContendedDatabaseContract`,
too, which asks for one method more. `raised` (`database_suite.py`) makes of a driver's error what
peewee makes of it. Nothing here takes time, and no threads are needed: the clock is the test's.

This module has the promises to one call, `together_contract.py` those to calls that wait at the
same time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial

import peewee
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bbs.core.errors import Unavailable
from bbs.storage.database import COMMIT_GRACE, DEADLINE, for_update, read_only, rows
from bbs.storage.engines import DatabaseRefused
from bbs.storage.transactions import ATTEMPTS
from bbs.testing.database_suite import ContractEntry, EntryRefused
from bbs.testing.together_contract import TogetherContract


class DatabaseContract(TogetherContract):
    """The promises of the framework's database on every back-end: mix it into a
    `twisted.trial.unittest.SynchronousTestCase` that has the first two methods of
    `DatabaseSuite`."""

    # One transaction

    def test_what_the_rule_returns(self) -> None:
        """The answer is what the rule returned, and what it stored is there for others."""
        self.assertEqual(self._call(self._add, "go"), "go")
        self.assertEqual(self._stored(), ["go"])
        self._at_rest()

    def test_one_hop_for_a_whole_rule(self) -> None:
        """A rule goes to a thread once, however much it does."""
        workers = self._work_later()
        answer = self.database.run(lambda: [self._add("go"), self._add("chess")])
        self.assertNoResult(answer)
        self.assertEqual(len(workers.waiting), 1)
        workers.work_one()
        self.assertEqual(self.successResultOf(answer), ["go", "chess"])

    def test_one_transaction(self) -> None:
        """Others see nothing of a rule before its end, and then all of it."""
        seen: list[list[str]] = []

        def rule() -> None:
            for name in ("go", "chess"):
                self._add(name)
                seen.append(self._stored())

        self._call(rule)
        self.assertEqual(seen, [[], []])
        self.assertEqual(self._stored(), ["go", "chess"])

    def test_a_failed_rule_leaves_nothing(self) -> None:
        """Nothing is kept of a rule that raised, and the next one finds no trace of it."""
        for error in (EntryRefused, ZeroDivisionError):

            def rule(error: type[Exception] = error) -> None:
                self._add("go")
                raise error()

            self.failureResultOf(self.database.run(rule), error)
            self.assertEqual(self._stored(), [])
            self.assertTrue(self.database.available)
        self._call(self._add, "go")
        self.assertEqual(self._stored(), ["go"])
        self._at_rest()

    def test_transactions_within_it(self) -> None:
        """A transaction that peewee begins within a rule is a part of the whole, and may fail
        alone."""

        def rule(refuses: bool) -> None:
            ContractEntry.get_or_create(name="one")
            with contextlib.suppress(ZeroDivisionError), self.database.peewee.atomic():
                self._add("two")
                raise ZeroDivisionError
            if refuses:
                raise EntryRefused()

        self.failureResultOf(self.database.run(rule, True), EntryRefused)
        self.assertEqual(self._stored(), [])
        self._call(rule, False)
        self.assertEqual(self._stored(), ["one"])
        self._at_rest()

    def test_a_caller_who_cancels(self) -> None:
        """Nobody waits then, and nothing else follows from it."""
        workers = self._work_later()
        answer = self.database.run(self._add, "go")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.clock.advance(DEADLINE)
        workers.work()
        self.assertTrue(self.database.available)
        self._at_rest()

    def test_a_mistake_in_a_statement_is_no_outage(self) -> None:
        """The author of the statement has to mend it, and is told the error as it is."""
        for statement in (
            "SELECT",
            "SELECT no_column FROM contract_entry",
            "SELECT * FROM no_table",
            "SELECT id FROM contract_entry AS a, contract_entry AS b",
            "INSERT INTO contract_entry VALUES (1)",
        ):
            answer = self.database.run(self.database.peewee.execute_sql, statement)
            self.failureResultOf(answer, peewee.OperationalError, peewee.ProgrammingError)
            self.assertTrue(self.database.available)
        self._call(self._add, "go")
        self.assertEqual(self.told, [])

    def test_rows_and_locks(self) -> None:
        """`rows` are tuples; `for_update` changes nothing of what is found."""
        self._call(self._add, "go")
        query = ContractEntry.select(ContractEntry.name)
        self.assertEqual(self._call(rows, query), [("go",)])
        [entry] = self._call(lambda: [*for_update(query)])
        self.assertEqual(entry.name, "go")

    def test_who_only_reads_waits_for_nobody(self) -> None:
        """A rule that is marked `read_only` sees what is stored while somebody else writes."""
        self._call(self._add, "go")
        other = self._other()
        other.begin()
        other.execute_sql("INSERT INTO contract_entry (name) VALUES ('chess')")
        self.assertEqual(self._call(read_only(lambda: ContractEntry.select().count())), 1)
        other.commit()
        self.assertEqual(self._call(read_only(lambda: ContractEntry.select().count())), 2)

    # Races

    def _failing(self, *errors: Exception) -> Callable[[], int]:
        """A rule that fails so often, and then returns how often it was tried."""
        waiting, tried = list(errors), [0]

        def rule() -> int:
            tried[0] += 1
            self._add("go")
            if waiting:
                raise waiting.pop(0)
            return tried[0]

        return rule

    def test_who_lost_a_race_runs_again(self) -> None:
        """A unique key decides; the loser finds what the winner stored."""

        def insert_after_another() -> str:
            if ContractEntry.get_or_none(ContractEntry.name == "go"):
                return "there already"
            if not lost:
                lost.append(True)
                raise peewee.IntegrityError("somebody was quicker")
            return self._add("go")

        lost: list[bool] = []
        self.assertEqual(self._call(insert_after_another), "go")
        self.assertEqual(self._call(insert_after_another), "there already")

    def test_what_fails_every_time_is_no_race(self) -> None:
        """The rule is wrong then, and no database is away."""

        def rule() -> None:
            tried.append(None)
            ContractEntry.insert(name=None).execute()

        tried: list[None] = []
        self.failureResultOf(self.database.run(rule), peewee.IntegrityError)
        self.assertEqual(len(tried), ATTEMPTS)
        self.assertTrue(self.database.available)
        self._at_rest()

    # Deadlines

    def test_given_up_before_it_began(self) -> None:
        """At the deadline a call that waits is refused, and is never carried out afterwards."""
        workers = self._work_later()
        answer = self.database.run(self._add, "go")
        self.clock.advance(DEADLINE - 0.001)
        self.assertNoResult(answer)
        self.clock.advance(0.001)
        self._unavailable(answer)
        workers.work()
        self.assertEqual(self._stored(), [])
        self._at_rest()

    def test_waiting_for_a_thread_is_no_outage(self) -> None:
        """While the database answers others, only this process is busy."""
        workers = self._work_later()
        first, last = self.database.run(self._add, "first"), self.database.run(self._add, "last")
        self.clock.advance(DEADLINE - 0.1)
        workers.work_one()
        self.assertEqual(self.successResultOf(first), "first")
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(last)
        workers.work()
        self.assertEqual(self.successResultOf(last), "last")
        self._at_rest()

    def test_until_it_answers_nobody(self) -> None:
        """Calls that wait are refused `DEADLINE` after the last answer to any call."""
        workers = self._work_later()
        first, last = self.database.run(self._add, "first"), self.database.run(self._add, "last")
        self.clock.advance(DEADLINE - 0.1)
        workers.work_one()
        self.assertEqual(self.successResultOf(first), "first")
        self.clock.advance(0.1)
        self.clock.advance(DEADLINE - 0.1)
        self._unavailable(last)

    def test_who_asks_again_delays_nobody(self) -> None:
        """Each is refused at its own deadline, whatever those do that were refused before it."""
        self._work_later()
        first = self.database.run(self._add, "first")
        first.addErrback(lambda _: self.database.run(self._add, "again"))
        self.clock.advance(0.1)
        second = self.database.run(self._add, "second")
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(second)
        self.clock.advance(0.1)
        self._unavailable(second)
        self.clock.advance(DEADLINE - 0.1)
        self._unavailable(first)
        self._at_rest()

    def test_given_up_in_the_middle(self) -> None:
        """Who was refused learns nothing later: the transaction is abandoned."""

        def rule() -> None:
            self._add("go")
            self.clock.advance(DEADLINE)
            given_up.append(answers[0].called)

        answers: list[Deferred[None]] = []
        given_up: list[bool] = []
        workers = self._work_later()
        answers.append(self.database.run(rule))
        workers.work()
        self._unavailable(answers[0])
        self.assertEqual(given_up, [True])
        self.assertEqual(self._stored(), [])

    def _commit_in(self, seconds: float) -> Deferred[str]:
        """Let the deadline pass while the commit is under way, `seconds` behind it."""
        self._pass_deadline_at_commit(seconds)
        return self.database.run(self._add, "go")

    def test_a_commit_under_way_is_waited_for(self) -> None:
        """For `COMMIT_GRACE`."""
        self.assertEqual(self.successResultOf(self._commit_in(COMMIT_GRACE - 0.001)), "go")
        self.assertEqual(self._stored(), ["go"])
        self._at_rest()

    def test_no_longer_than_that(self) -> None:
        """Nobody knows then whether it was carried out."""
        self._unavailable(self._commit_in(COMMIT_GRACE))
        self._at_rest()

    def test_a_commit_that_failed_is_not_tried_again(self) -> None:
        """The commit may have been carried out all the same."""
        self.assertEqual(self._tried_when_commits_raise(self.lost()), 1)

    def _tried_when_commits_raise(self, error: Exception) -> int:
        def rule() -> None:
            tried.append(None)

        def broken() -> None:
            raise error

        tried: list[None] = []
        self.at_commit(broken)
        self._unavailable(self.database.run(rule))
        return len(tried)

    # Outages

    def test_away_and_back(self) -> None:
        """Every call is refused while it is away, and served as soon as it is back; each is told
        once, in one line."""
        self.away()
        for _ in range(3):
            self._unavailable(self.database.run(self._add, "go"))
            self.assertFalse(self.database.available)
        self.back()
        for name in ("go", "chess"):
            self._call(self._add, name)
            self.assertTrue(self.database.available)
        self.assertEqual(self.told, ["database is away: nobody there", "database is back"])
        self._at_rest()

    def test_a_refusal_shows_that_the_database_is_there(self) -> None:
        """As does every other end that a rule comes to."""

        def refuse() -> None:
            raise EntryRefused()

        self.away()
        self._unavailable(self.database.run(refuse))
        self.assertFalse(self.database.available)
        self.back()
        self.failureResultOf(self.database.run(refuse), EntryRefused)
        self.assertTrue(self.database.available)

    def test_one_that_can_only_be_read_is_away(self) -> None:
        """As with a full disk: who reads does not show that writing is possible again."""

        def write() -> None:
            if full:
                raise self.lost()

        @read_only
        def read() -> None: ...

        full = True
        self._unavailable(self.database.run(write))
        self._call(read)
        self.assertFalse(self.database.available)
        full = False
        self._call(write)
        self.assertTrue(self.database.available)

    def test_what_writes_can_be_read(self) -> None:
        """A call that wrote shows that the database is there for those who read, too."""

        @read_only
        def read() -> None:
            raise self.lost()

        self._unavailable(self.database.run(read))
        self.assertFalse(self.database.available)
        self._call(self._add, "go")
        self.assertTrue(self.database.available)

    def test_a_connection_that_broke_is_replaced(self) -> None:
        """By the next call, if not at once."""

        def rule() -> str:
            if not tried:
                tried.append(None)
                raise self.lost()
            return self._add("go")

        tried: list[None] = []
        outcome: list[object] = []
        self.database.run(rule).addBoth(outcome.append)
        if outcome != ["go"]:
            [failure] = outcome
            assert isinstance(failure, Failure)
            failure.trap(Unavailable)
            self._call(rule)
        self.assertEqual(self._stored(), ["go"])
        self.assertTrue(self.database.available)

    def test_how_long_calls_took(self) -> None:
        """`on_answer` is told of each that the database answered, and of no other."""

        def rule(seconds: float) -> None:
            self.clock.advance(seconds)
            if seconds > 0.2:
                raise EntryRefused()

        took: list[float] = []
        self.database.on_answer = took.append
        self._call(rule, 0.125)
        self.failureResultOf(self.database.run(rule, 0.25), EntryRefused)
        self.away()
        self._unavailable(self.database.run(rule, 0.0))
        self.assertEqual(took, [0.125, 0.25])

    # Work of many transactions

    def test_unhurried_work(self) -> None:
        """Unhurried work has no deadline, and its errors come as they are."""

        def work() -> str:
            self.clock.advance(10 * DEADLINE)
            return self._add("go")

        self.assertEqual(self.successResultOf(self.database.run_untimed(work)), "go")
        self.assertEqual(self._stored(), ["go"])
        self.failureResultOf(self.database.run_untimed(lambda: 1 / 0), ZeroDivisionError)

    def test_unhurried_work_that_fails_is_told_in_one_line(self) -> None:
        """The line has no secret in it."""

        def work() -> None:
            raise self.lost()

        error = self.failureResultOf(self.database.run_untimed(work), DatabaseRefused).value
        self.assertTrue(str(error).startswith("database "))
        self.assertNotIn("\n", str(error))
        self.away()
        error = self.failureResultOf(self.database.run_untimed(work), DatabaseRefused).value
        self.assertIn(": nobody there", str(error))


class ContendedDatabaseContract(DatabaseContract):
    """The promises of a back-end that may end one transaction for the sake of another."""

    def passing(self) -> Sequence[Exception]:
        """Errors of a statement whose transaction is to be tried again: a deadlock, a lock that
        was waited for too long. One at least."""
        raise NotImplementedError

    def test_passing_trouble_is_tried_again(self) -> None:
        """Nothing is left of the attempts before the one that succeeds."""
        errors = [error for _ in range(ATTEMPTS) for error in self.passing()][: ATTEMPTS - 1]
        self.assertEqual(self._call(self._failing(*errors)), ATTEMPTS)
        self.assertEqual(self._stored(), ["go"])
        self.assertEqual(self.told, [])

    def test_one_of_several_that_met_it(self) -> None:
        """All of them are carried out again, and nothing twice."""
        for number, error in enumerate(self.passing()):
            first, last = f"first {number}", f"last {number}"
            answers = self._together(
                partial(self._add, first), self._failing(error), partial(self._add, last)
            )
            self.assertEqual([self.successResultOf(each) for each in answers], [first, 2, last])
            self.assertEqual(self._stored()[-3:], [first, "go", last])
            self._other().execute_sql("DELETE FROM contract_entry WHERE name = 'go'")
        self.assertEqual(self.told, [])

    def test_but_not_for_ever(self) -> None:
        """After `ATTEMPTS` it is `Unavailable`."""
        errors = [self.passing()[0] for _ in range(ATTEMPTS)]
        self._unavailable(self.database.run(self._failing(*errors)))
        self.assertEqual(self._stored(), [])
        [told] = self.told
        self.assertIn("database is away: ", told)

    def test_nor_when_nobody_waits_any_more(self) -> None:
        """A call that was given up is not tried again."""

        def rule() -> None:
            tried.append(None)
            self.clock.advance(0.6 * DEADLINE)
            raise self.passing()[0]

        tried: list[None] = []
        self._unavailable(self.database.run(rule))
        self.assertEqual(len(tried), 2)

    def test_nor_what_was_to_commit(self) -> None:
        """Whether it was carried out is not known then."""
        self.assertEqual(self._tried_when_commits_raise(self.passing()[0]), 1)
