"""The contract of a database for calls that wait at the same time and are carried out together:
each is served as if it were alone. `DatabaseContract` includes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import peewee
from twisted.internet.defer import Deferred

from bbs.storage import transactions
from bbs.storage.database import COMMIT_GRACE, DEADLINE, read_only
from bbs.storage.transaction_guard import EndsTransaction, WritesWhileReading
from bbs.testing.database_suite import ContractEntry, DatabaseSuite, EntryRefused, Later

MANY = 40

Rule = Callable[[], Any]

Asked = Rule | tuple[Any, ...]
"""A rule without arguments, or a rule and its arguments."""


class TogetherContract(DatabaseSuite):
    """The promises to calls that are carried out together."""

    _tried = 0

    def _together(
        self, *rules: Asked, prepare: Callable[[], object] = lambda: None
    ) -> list[Deferred[Any]]:
        """Ask for all of these calls before any is carried out; returns their answers. `prepare` is
        called once the database is open."""
        workers = self._workers()
        prepare()
        answers = [self._ask(rule) for rule in rules]
        workers.work_together()
        return answers

    def _ask(self, asked: Asked) -> Deferred[Any]:
        rule, *arguments = asked if isinstance(asked, tuple) else (asked,)
        answer: Deferred[Any] = self.database.run(rule, *arguments)
        return answer

    def _workers(self, connections: int = 8) -> Later:
        # However slow the machine is, all that wait are taken up together.
        self.patch(transactions, "LONGEST_TOGETHER", 60.0)
        return self._work_later(connections)

    def _adding(self, count: int = MANY) -> list[Rule]:
        return [partial(self._add, str(number)) for number in range(count)]

    def _added(self, answers: Sequence[Deferred[Any]]) -> None:
        """Check that each answer is what the call stored, and that nothing else is stored."""
        self.assertEqual([self.successResultOf(answer) for answer in answers], self._stored())

    def _count_commits(self) -> list[None]:
        commits: list[None] = []
        self.at_commit(lambda: commits.append(None))
        return commits

    def _failing_commits(self, *errors: Exception, late: bool = False) -> None:
        """Let the first commits raise these errors, before or after (`late`) they happen."""
        commit, waiting = self.database.peewee.commit, list(errors)

        def fail() -> None:
            if late or not waiting:
                commit()
            if waiting:
                raise waiting.pop(0)

        self.patch(self.database.peewee, "commit", fail)

    def _forget_all(self) -> None:
        self._other().execute_sql("DELETE FROM contract_entry")

    def _refuse(self) -> None:
        raise EntryRefused()

    def _add_and_fail(self, error: BaseException) -> None:
        self._add("failed")
        raise error

    def _count(self) -> int:
        self._tried += 1
        return self._tried

    # One commit for all

    def test_many_are_one_commit(self) -> None:
        """Each caller gets its own result, and none before the commit."""
        workers = self._workers()
        answers = [self.database.run(rule) for rule in self._adding()]
        answered: list[bool] = []
        self.at_commit(lambda: answered.extend(answer.called for answer in answers))
        workers.work_together()
        self._added(answers)
        self.assertEqual(answered, [False] * MANY)
        self._at_rest()

    def test_they_are_carried_out_in_their_order(self) -> None:
        """Each call finds what those before it stored."""
        count, add = ContractEntry.select().count, self._add
        answers = self._together(count, partial(add, "go"), count, partial(add, "chess"), count)
        found = [self.successResultOf(answer) for answer in answers]
        self.assertEqual(found, [0, "go", 1, "chess", 2])

    def test_readers_writers_and_unhurried_work_on_one_connection(self) -> None:
        """All are carried out in order, and each sees what is stored then."""
        seen: list[Any] = []

        def look() -> None:
            seen.append(self._stored())

        read = read_only(look)
        workers = self._workers(connections=1)
        run, unhurried = self.database.run, self.database.run_untimed
        answers: list[Any] = [run(self._add, "1"), run(self._add, "2"), run(read), run(read)]
        answers += [unhurried(look), unhurried(self._add, "3"), run(self._add, "4")]
        answers.append(unhurried(look))
        workers.work_together()
        for answer in answers:
            self.successResultOf(answer)
        self.assertEqual(seen, [["1", "2"], ["1", "2"], ["1", "2"], ["1", "2", "3", "4"]])
        self._at_rest()

    # One that fails

    @contextmanager
    def _one_among_others(self, rule: Rule) -> Iterator[Deferred[Any]]:
        """The answer to `rule`, which is carried out between others and must not affect them."""
        others = self._adding()
        half = MANY // 2
        answers = self._together(*others[:half], rule, *others[half:])
        yield answers.pop(half)
        self._added(answers)
        self.assertEqual(self.told, [])
        self.assertTrue(self.database.available)
        self._at_rest()

    def _fails_alone(self, rule: Rule, *errors: type[Exception]) -> None:
        with self._one_among_others(rule) as answer:
            self.failureResultOf(answer, *errors)

    def test_a_refusal(self) -> None:
        self._fails_alone(self._refuse, EntryRefused)

    def test_a_bug(self) -> None:
        self._fails_alone(lambda: 1 / 0, ZeroDivisionError)

    def test_one_that_fails_after_it_wrote(self) -> None:
        """Nothing of what the call wrote is stored."""
        for error in (EntryRefused(), ZeroDivisionError(), KeyboardInterrupt()):
            with self._one_among_others(partial(self._add_and_fail, error)) as answer:
                self.failureResultOf(answer, type(error))
            self._forget_all()

    def test_one_that_breaks_a_constraint_every_time(self) -> None:
        def rule() -> None:
            self._add("before")
            ContractEntry.insert(name=None).execute()

        self._fails_alone(rule, peewee.IntegrityError)

    def test_one_that_stores_what_is_there(self) -> None:
        """What another of the calls stored counts."""
        self._fails_alone(partial(self._add, "3"), peewee.IntegrityError)

    def test_one_that_lost_a_race(self) -> None:
        """The loser runs again, and finds what the winner stored. Its first attempt leaves
        nothing."""

        def rule() -> int:
            if self._count() == 1:
                self._add_and_fail(peewee.IntegrityError("somebody was quicker"))
            return self._tried

        with self._one_among_others(rule) as answer:
            self.assertEqual(self.successResultOf(answer), 2)

    def test_a_mistake_in_a_statement(self) -> None:
        statement = "SELECT no_column FROM contract_entry"

        def rule() -> None:
            self._add("before")
            self.database.peewee.execute_sql(statement)

        self._fails_alone(rule, peewee.OperationalError, peewee.ProgrammingError)

    def test_a_transaction_within_one(self) -> None:
        """An inner transaction may fail alone."""

        def rule() -> str:
            with suppress(ZeroDivisionError), self.database.peewee.atomic():
                self._add_and_fail(ZeroDivisionError())
            with self.database.peewee.atomic():
                ContractEntry.get_or_create(name="kept")
            ContractEntry.delete().where(ContractEntry.name == "kept").execute()
            return "done"

        with self._one_among_others(rule) as answer:
            self.assertEqual(self.successResultOf(answer), "done")

    def test_several_that_fail(self) -> None:
        errors = [EntryRefused(), ZeroDivisionError(), peewee.IntegrityError(), EntryRefused()]
        rules: list[Rule] = []
        for add, error in zip(self._adding(len(errors)), errors, strict=True):
            rules += [partial(self._add_and_fail, error), add]
        answers = self._together(*rules)
        for answer, error in zip(answers[::2], errors, strict=True):
            self.failureResultOf(answer, type(error))
        self._added(answers[1::2])

    def test_a_reader_that_writes(self) -> None:
        """Only this call fails, and nothing is stored."""
        writers = (
            partial(self._add, "go"),
            ContractEntry.delete().execute,
            lambda: self.database.peewee.execute_sql("UPDATE contract_entry SET name = 'x'"),
        )
        self._call(self._add, "there")
        readers = [read_only(lambda: self._stored()) for _ in range(3)]
        for writer in writers:
            bad = read_only(lambda writer=writer: writer())
            answers = self._together(readers[0], bad, *readers[1:])
            self.failureResultOf(answers.pop(1), WritesWhileReading)
            for answer in answers:
                self.assertEqual(self.successResultOf(answer), ["there"])
            self.assertEqual(self._call_later(bad), WritesWhileReading)
            self.assertEqual(self._stored(), ["there"])
        self.assertTrue(self.database.available)

    def _call_later(self, rule: Rule) -> type[BaseException]:
        """The error of `rule` when it is carried out alone."""
        workers = self._workers()
        answer = self.database.run(rule)
        workers.work()
        return type(self.failureResultOf(answer).value)

    # One that is given up

    def _victim_and_others(
        self, victim: Asked, *others: Asked
    ) -> tuple[Later, Deferred[Any], list[Deferred[Any]]]:
        """Ask for a call and, half a deadline later, for others."""
        workers = self._workers()
        given_up = self._ask(victim)
        self.clock.advance(DEADLINE / 2)
        return workers, given_up, [self._ask(rule) for rule in others]

    def test_given_up_before_they_begin(self) -> None:
        """A call that was given up is not carried out. The others are still one commit."""
        workers, given_up, answers = self._victim_and_others(self._count, *self._adding())
        self.clock.advance(DEADLINE / 2)
        self._unavailable(given_up)
        commits = self._count_commits()
        workers.work_together()
        self._added(answers)
        self.assertEqual((self._tried, len(commits)), (0, 1))
        self._at_rest()

    def test_nobody_waits_any_more(self) -> None:
        """If all calls were given up, none is carried out."""
        workers = self._workers()
        answers = [self.database.run(self._count) for _ in range(MANY)]
        self.clock.advance(DEADLINE)
        for answer in answers:
            self._unavailable(answer)
        workers.work_together()
        self.assertEqual(self._tried, 0)
        self._call_next()

    def _call_next(self) -> None:
        """Check that the next call is served."""
        [answer] = self._together(partial(self._add, "next"))
        self.assertEqual(self.successResultOf(answer), "next")
        self._at_rest()

    def _pass_half(self, name: str) -> str:
        """A rule that takes half a deadline, and stores `name`."""
        if not self._tried:
            self._count()
            self.clock.advance(DEADLINE / 2)
        return self._add(name)

    def test_given_up_in_its_own_part(self) -> None:
        """Nothing of the call is stored; the others are."""
        workers, given_up, answers = self._victim_and_others(
            partial(self._pass_half, "late"), *self._adding()
        )
        workers.work_together()
        self._unavailable(given_up)
        self._added(answers)
        self._at_rest()

    def test_given_up_in_the_part_of_another(self) -> None:
        """Also after its own part is done, nothing of the call is stored."""
        add, *others = self._adding()
        workers, given_up, answers = self._victim_and_others(
            partial(self._add, "late"), add, partial(self._pass_half, "slow"), *others
        )
        workers.work_together()
        self._unavailable(given_up)
        self._added(answers)
        self._at_rest()

    def test_a_deadline_while_all_are_being_committed(self) -> None:
        """The commit is waited for a moment more, and all succeed."""
        self._added(self._commit_all_in(COMMIT_GRACE - 0.001))
        self._at_rest()

    def test_a_commit_that_takes_longer(self) -> None:
        """Nobody knows the outcome of any call, and each caller is told so, once."""
        for answer in self._commit_all_in(COMMIT_GRACE):
            self._unavailable(answer)
        self.assertEqual(self._stored(), [str(number) for number in range(MANY)])
        self._at_rest()

    def _commit_all_in(self, seconds: float) -> list[Deferred[Any]]:
        """Let the deadline of many calls pass during their commit, and `seconds` more."""
        take_time = partial(self._pass_deadline_at_commit, seconds)
        return self._together(*self._adding(), prepare=take_time)

    # A commit that fails

    def _counted(self, rule: Rule) -> Rule:
        def counted() -> Any:
            self._count()
            return rule()

        return counted

    def test_a_commit_of_which_nobody_knows(self) -> None:
        """All calls are `Unavailable`, also those to be refused, and none is tried again."""
        for late in (False, True):
            self._tried = 0
            self.told.clear()
            self._forget_all()
            rules = [self._counted(rule) for rule in [*self._adding(), self._refuse]]
            stored = [str(number) for number in range(MANY)] if late else []
            fail = partial(self._failing_commits, self.lost(), late=late)
            for answer in self._together(*rules, prepare=fail):
                self._unavailable(answer)
            self.assertEqual(self._tried, MANY + 1)
            self.assertEqual(self._stored(), stored)
            [line] = self.told
            self.assertIn("database is away: ", line)
            self._call_next()

    def not_committed(self) -> Sequence[Exception]:
        """Errors of a commit that has certainly not happened; a back-end may have more."""
        return [peewee.IntegrityError("a constraint that was deferred")]

    def test_a_commit_that_did_not_happen(self) -> None:
        """Each call is tried alone, and succeeds."""
        for error in self.not_committed():
            fail = partial(self._failing_commits, error)
            self._added(self._together(*self._adding(), prepare=fail))
            self.assertEqual(self.told, [])
            self._at_rest()
            self._forget_all()

    def test_a_refusal_that_rests_on_what_is_not_kept(self) -> None:
        """A refusal counts only if what it is based on is committed."""

        def first() -> str:
            if self._count() == 2:
                raise EntryRefused()
            return self._add("go")

        def second() -> str:
            if ContractEntry.get_or_none(ContractEntry.name == "go"):
                raise EntryRefused()
            return self._add("chess")

        fail = partial(self._failing_commits, self.not_committed()[0])
        answers = self._together(first, second, prepare=fail)
        self.failureResultOf(answers[0], EntryRefused)
        self.assertEqual(self.successResultOf(answers[1]), "chess")
        self.assertEqual(self._stored(), ["chess"])

    def test_given_up_after_such_a_commit(self) -> None:
        """Nothing is stored of a call that was given up while it was tried again."""

        def rule() -> None:
            self._add("late")
            if self._count() == 2:
                self.clock.advance(DEADLINE / 2)

        for work in (Later.work, Later.work_together):
            self._tried = 0
            workers = self._workers()
            self._failing_commits(peewee.IntegrityError())
            given_up = self.database.run(rule)
            self.clock.advance(DEADLINE / 2)
            answers = [self.database.run(rule) for rule in self._adding(2)]
            work(workers)
            self._unavailable(given_up)
            self.assertEqual(self._tried, 2)
            self._added(answers)
            self._forget_all()

    def test_the_connection_is_lost_between_them(self) -> None:
        """A statement that finds the connection lost fails only its own call."""

        def rule() -> None:
            self._add("lost")
            raise self.lost()

        others = self._adding()
        answers = self._together(*others[:3], rule, *others[3:])
        self._unavailable(answers.pop(3))
        self._added(answers)
        self._at_rest()

    def test_who_comes_later_sees_what_was_committed_meanwhile(self) -> None:
        """A reader that is asked for after a commit finds what that stored, though others have read
        since before."""
        other = self._other()
        later: list[Deferred[int]] = []

        @read_only
        def count() -> int:
            return ContractEntry.select().count()

        @read_only
        def read_and_wait() -> int:
            found = count()
            other.execute_sql("INSERT INTO contract_entry (name) VALUES ('chess')")
            later.append(self.database.run(count))
            return found

        workers = self._workers()
        first, beside = self.database.run(read_and_wait), self.database.run(count)
        workers.work_together()
        self.assertEqual(self.successResultOf(first), 0)
        self.successResultOf(beside)
        self.assertEqual(self.successResultOf(later[0]), 1)

    def test_one_that_ends_the_transaction(self) -> None:
        """Such a call is refused as a bug; the others are carried out, once."""
        for end in ("commit", "rollback", "begin"):

            def rule(end: str = end) -> None:
                self._add(f"of {end}")
                getattr(self.database.peewee, end)()

            before = self._stored()
            first, bad, last = self._together(
                partial(self._add, f"before {end}"), rule, partial(self._add, f"behind {end}")
            )
            self.failureResultOf(bad, EndsTransaction)
            added = [self.successResultOf(first), self.successResultOf(last)]
            self.assertEqual(self._stored(), [*before, *added])
