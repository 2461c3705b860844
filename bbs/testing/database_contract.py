"""The contract of `bbs.storage.database.Database`, for every back-end.

A test case mixes `DatabaseContract` into `twisted.trial.unittest.SynchronousTestCase`, and says
where a database is and what its driver raises:

    class OnMyDatabase(DatabaseContract, SynchronousTestCase):
        def database_url(self): …

        def lost(self):
            return raised(driver.OperationalError("server closed the connection"))

A back-end that may end one transaction for the sake of another passes `ContendedDatabaseContract`,
which asks for one method more. `raised` (`database_suite.py`) makes of a driver's error what peewee
makes of it. The tests take no time and need no threads: the clock is the test's.

This module has the promises to one call; `together_contract.py` has those to calls at the same
time, and `bulk_contract.py` those to calls of rules that take many.
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
from bbs.testing.bulk_contract import BAD, SIXTEEN, BulkContract
from bbs.testing.database_suite import ContractEntry, EntryRefused, Later


class DatabaseContract(BulkContract):
    """The promises of the database on every back-end: mix it into a
    `twisted.trial.unittest.SynchronousTestCase` with the first two methods of `DatabaseSuite`."""

    # One transaction

    def test_what_the_rule_returns(self) -> None:
        """The answer is the result of the rule, and others see what it stored."""
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
        """Nothing of a rule that raised is stored, and the next rule runs as usual."""
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
        """A transaction of peewee inside a rule is part of the whole, and may fail alone."""

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
        workers = self._work_later()
        answer = self.database.run(self._add, "go")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.clock.advance(DEADLINE)
        workers.work()
        self.assertTrue(self.database.available)
        self._at_rest()

    def test_a_mistake_in_a_statement_is_no_outage(self) -> None:
        """The author of the statement gets the driver's error."""
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
        """`rows` are tuples; `for_update` does not change the result."""
        self._call(self._add, "go")
        query = ContractEntry.select(ContractEntry.name)
        self.assertEqual(self._call(rows, query), [("go",)])
        [entry] = self._call(lambda: [*for_update(query)])
        self.assertEqual(entry.name, "go")

    def test_who_only_reads_waits_for_nobody(self) -> None:
        """A `read_only` rule sees what is stored while somebody else writes."""
        self._call(self._add, "go")
        other = self._other()
        other.begin()
        other.execute_sql("INSERT INTO contract_entry (name) VALUES ('chess')")
        self.assertEqual(self._call(read_only(lambda: ContractEntry.select().count())), 1)
        other.commit()
        self.assertEqual(self._call(read_only(lambda: ContractEntry.select().count())), 2)

    # Races

    def _failing(self, *errors: Exception) -> Callable[[], int]:
        """A rule that raises these errors in turn, and then returns the number of attempts."""
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
        """The error is the rule's; the database is not away."""

        def rule() -> None:
            self._count()
            ContractEntry.insert(name=None).execute()

        self.failureResultOf(self.database.run(rule), peewee.IntegrityError)
        self.assertEqual(self._tried, ATTEMPTS)
        self.assertTrue(self.database.available)
        self._at_rest()

    # Deadlines

    def test_given_up_before_it_began(self) -> None:
        """A call that waits is refused at the deadline, and never carried out."""
        workers = self._work_later()
        answer = self.database.run(self._add, "go")
        self.clock.advance(DEADLINE - 0.001)
        self.assertNoResult(answer)
        self.clock.advance(0.001)
        self._unavailable(answer)
        workers.work()
        self.assertEqual(self._stored(), [])
        self._at_rest()

    def _answer_first_of_two(self) -> tuple[Later, Deferred[str]]:
        """Answer the first of two calls just before the deadline; returns the answer to the
        other."""
        workers = self._work_later()
        first, last = self.database.run(self._add, "first"), self.database.run(self._add, "last")
        self.clock.advance(DEADLINE - 0.1)
        workers.work_one()
        self.assertEqual(self.successResultOf(first), "first")
        return workers, last

    def test_waiting_for_a_thread_is_no_outage(self) -> None:
        """While the database answers others, only this process is busy."""
        workers, last = self._answer_first_of_two()
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(last)
        workers.work()
        self.assertEqual(self.successResultOf(last), "last")
        self._at_rest()

    def test_until_it_answers_nobody(self) -> None:
        """Calls that wait are refused `DEADLINE` after the last answer to any call."""
        _, last = self._answer_first_of_two()
        self.clock.advance(0.1)
        self.clock.advance(DEADLINE - 0.1)
        self._unavailable(last)

    def test_who_asks_again_delays_nobody(self) -> None:
        """Each call has its own deadline, whatever refused callers do."""
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
        """The transaction of a refused call is abandoned."""

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
        """Let the deadline pass during the commit, and `seconds` more."""
        self._pass_deadline_at_commit(seconds)
        return self.database.run(self._add, "go")

    def test_a_commit_under_way_is_waited_for(self) -> None:
        """The wait is `COMMIT_GRACE`."""
        self.assertEqual(self.successResultOf(self._commit_in(COMMIT_GRACE - 0.001)), "go")
        self.assertEqual(self._stored(), ["go"])
        self._at_rest()

    def test_no_longer_than_that(self) -> None:
        """Then nobody knows whether the commit was carried out."""
        self._unavailable(self._commit_in(COMMIT_GRACE))
        self._at_rest()

    def test_a_commit_that_failed_is_not_tried_again(self) -> None:
        """The commit may have been carried out."""
        self.assertEqual(self._tried_when_commits_raise(self.lost()), 1)

    def _tried_when_commits_raise(self, error: Exception) -> int:
        def broken() -> None:
            raise error

        self.at_commit(broken)
        self._unavailable(self.database.run(self._count))
        return self._tried

    # Outages

    def test_away_and_back(self) -> None:
        """Calls are refused while the database is away, and served as soon as it is back. Each
        change is logged once."""
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
        def refuse() -> None:
            raise EntryRefused()

        self.away()
        self._unavailable(self.database.run(refuse))
        self.assertFalse(self.database.available)
        self.back()
        self.failureResultOf(self.database.run(refuse), EntryRefused)
        self.assertTrue(self.database.available)

    def test_one_that_can_only_be_read_is_away(self) -> None:
        """For instance with a full disk: a read does not show that writes succeed again."""

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
        """A write shows that the database is there for reads, too."""

        @read_only
        def read() -> None:
            raise self.lost()

        self._unavailable(self.database.run(read))
        self.assertFalse(self.database.available)
        self._call(self._add, "go")
        self.assertTrue(self.database.available)

    def test_a_connection_that_broke_is_replaced(self) -> None:
        """The next call succeeds, if this one does not."""

        def rule() -> str:
            if self._count() == 1:
                raise self.lost()
            return self._add("go")

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
        """`on_answer` is called for each call that the database answered, and for no other."""

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
        """Unhurried work has no deadline, and its errors are passed on."""

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
        """Errors of a statement whose transaction is to be tried again, at least one: a deadlock,
        or a lock that was waited for too long."""
        raise NotImplementedError

    def test_passing_trouble_is_tried_again(self) -> None:
        """Failed attempts leave nothing behind."""
        errors = [error for _ in range(ATTEMPTS) for error in self.passing()][: ATTEMPTS - 1]
        self.assertEqual(self._call(self._failing(*errors)), ATTEMPTS)
        self.assertEqual(self._stored(), ["go"])
        self.assertEqual(self.told, [])

    def test_one_of_several_that_met_it(self) -> None:
        """All calls are carried out again, and nothing twice."""
        for number, error in enumerate(self.passing()):
            first, last = f"first {number}", f"last {number}"
            answers = self._together(
                partial(self._add, first), self._failing(error), partial(self._add, last)
            )
            self.assertEqual([self.successResultOf(each) for each in answers], [first, 2, last])
            self.assertEqual(self._stored()[-3:], [first, "go", last])
            self._other().execute_sql("DELETE FROM contract_entry WHERE name = 'go'")
        self.assertEqual(self.told, [])

    def test_one_call_for_many_that_met_it(self) -> None:
        """All are carried out again, and nothing twice; also if one of them meets it again."""
        for error in self.passing():
            for again in (0, 1):
                self.batches.clear()
                errors = [error] * (1 + again)

                def fail(names: Sequence[str], errors: list[Exception] = errors) -> None:
                    if errors and BAD in names:
                        raise errors.pop()

                answers = self._call_all(self._bulk_rule(after=fail))
                self._added([answers[name] for name in SIXTEEN])
                self.assertEqual(len(self.batches), 1 + len(SIXTEEN) + again)
                self._forget_all()
        self.assertEqual(self.told, [])

    def test_but_not_for_ever(self) -> None:
        """After `ATTEMPTS` the call fails with `Unavailable`."""
        errors = [self.passing()[0] for _ in range(ATTEMPTS)]
        self._unavailable(self.database.run(self._failing(*errors)))
        self.assertEqual(self._stored(), [])
        [line] = self.told
        self.assertIn("database is away: ", line)

    def test_nor_when_nobody_waits_any_more(self) -> None:
        """A call that was given up is not tried again."""

        def rule() -> None:
            self._count()
            self.clock.advance(0.6 * DEADLINE)
            raise self.passing()[0]

        self._unavailable(self.database.run(rule))
        self.assertEqual(self._tried, 2)

    def test_nor_what_was_to_commit(self) -> None:
        """A failed commit may have been carried out."""
        self.assertEqual(self._tried_when_commits_raise(self.passing()[-1]), 1)
