"""The contract of a database for rules that take many (`bbs.framework.fast.bulk`): the calls of
such a rule that wait at the same time are one call of it, and each is answered as if it were alone.
`DatabaseContract` includes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import peewee
from twisted.internet.defer import Deferred

from bbs.storage import transactions
from bbs.storage.database import DEADLINE, BulkRule, bulk, read_only
from bbs.storage.transaction_guard import WritesWhileReading
from bbs.storage.transactions import MOST_IN_BULK, EachAlone
from bbs.testing.database_suite import ContractEntry, EntryRefused
from bbs.testing.together_contract import TogetherContract

SIXTEEN = [f"name {number}" for number in range(16)]

BAD = SIXTEEN[7]  # One of them, with which something is wrong.
OTHERS = [name for name in SIXTEEN if name != BAD]

Adding = BulkRule[[str], str, str]


class BulkContract(TogetherContract):
    """The promises to calls of rules that take many."""

    def setUp(self) -> None:
        super().setUp()
        self.batches: list[list[str]] = []
        """The names of each call that the rule carried out."""

    def _bulk_rule(
        self,
        check: Callable[[str], object] = lambda name: None,
        before: Callable[[Sequence[str]], object] = lambda names: None,
        after: Callable[[Sequence[str]], object] = lambda names: None,
    ) -> Adding:
        """A rule that stores names, each for a caller, and calls `before` and `after` it writes."""

        def checked(name: str) -> str:
            check(name)
            return name

        @bulk(checked)
        def add_all(names: Sequence[str]) -> list[str]:
            self.batches.append([*names])
            before(names)
            added = [self._add(name) for name in names]
            after(names)
            return added

        return add_all

    def _call_all(
        self,
        rule: Callable[[str], Any],
        names: Sequence[str] = SIXTEEN,
        prepare: Callable[[], object] = lambda: None,
    ) -> dict[str, Deferred[Any]]:
        """Call `rule` for each name, together; returns the answers by name."""
        answers = self._together(*((rule, name) for name in names), prepare=prepare)
        return dict(zip(names, answers, strict=True))

    def _check_others(self, answers: dict[str, Deferred[Any]], *, calls: int | None = None) -> None:
        """Check that all but `BAD` are stored and answered, in `calls` calls of the rule."""
        for name in OTHERS:
            self.assertEqual(self.successResultOf(answers[name]), name)
        self.assertEqual(self._stored(), OTHERS)
        if calls is not None:
            self.assertEqual(len(self.batches), calls, self.batches)
        self.assertTrue(self.database.available)
        self._at_rest()

    def _raise_for_bad(self, error: BaseException) -> Callable[[str | Sequence[str]], None]:
        """A function that raises `error` for `BAD`, or for several with it."""

        def fail(names: str | Sequence[str]) -> None:
            if names == BAD or BAD in names:
                raise error

        return fail

    # One call for all

    def test_many_are_one_call(self) -> None:
        """Each caller gets its own result, after one commit."""
        commits: list[None] = []
        count = partial(self.at_commit, lambda: commits.append(None))
        answers = self._call_all(self._bulk_rule(), prepare=count)
        self.assertEqual(
            {name: self.successResultOf(answers[name]) for name in answers},
            {name: name for name in SIXTEEN},
        )
        self.assertEqual((self.batches, self._stored(), len(commits)), ([SIXTEEN], SIXTEEN, 1))
        self._at_rest()

    def test_one_is_one_call(self) -> None:
        self.assertEqual(self._call(self._bulk_rule(), BAD), BAD)
        answers = self._call_all(self._bulk_rule(), OTHERS[:1])
        self.assertEqual(self.successResultOf(answers[OTHERS[0]]), OTHERS[0])
        self.assertEqual(self.batches, [[BAD], OTHERS[:1]])

    def test_more_than_a_rule_takes(self) -> None:
        """More calls than a rule takes become several calls of it, in order, and one commit."""
        names = [str(number) for number in range(2 * MOST_IN_BULK + 3)]
        commits: list[None] = []
        count = partial(self.at_commit, lambda: commits.append(None))
        answers = self._call_all(self._bulk_rule(), names, prepare=count)
        self._added([*answers.values()])
        self.assertEqual([len(each) for each in self.batches], [MOST_IN_BULK, MOST_IN_BULK, 3])
        self.assertEqual([name for each in self.batches for name in each], names)
        self.assertEqual(len(commits), 1)

    def test_several_rules(self) -> None:
        """Each has its own calls, among them some of rules for one caller."""
        one, other = self._bulk_rule(), self._bulk_rule(after=lambda names: None)
        plain = [partial(self._add, f"plain {number}") for number in range(4)]
        rules: list[Any] = []
        for number, add in enumerate(plain):
            rules += [add, (one, f"one {number}"), (other, f"other {number}")]
        found = [self.successResultOf(answer) for answer in self._together(*rules)]
        expected = [[f"{kind} {n}" for kind in ("plain", "one", "other")] for n in range(4)]
        self.assertEqual(found, [name for each in expected for name in each])
        self.assertEqual(
            [each[::3] for each in self.batches], [["one 0", "one 3"], ["other 0", "other 3"]]
        )
        self.assertEqual(sorted(self._stored()), sorted(found))

    def test_what_only_one_of_them_says(self) -> None:
        """A call with keywords is made with these."""

        def check(name: str, suffix: str = "") -> str:
            return name + suffix

        @bulk(check)
        def rule(names: Sequence[str]) -> list[str]:
            return [self._add(name) for name in names]

        names = [("1", ""), ("2", "!"), ("3", ""), ("4", "?")]
        workers = self._workers()
        run = self.database.run
        answers = [
            run(rule, name, suffix=suffix) if suffix else run(rule, name) for name, suffix in names
        ]
        workers.work_together()
        found = [self.successResultOf(answer) for answer in answers]
        self.assertEqual(found, [name + suffix for name, suffix in names])
        self.assertEqual(sorted(self._stored()), sorted(found))

    def test_rules_that_no_dictionary_takes(self) -> None:
        """A rule may be any object that can be called."""

        class Rule:
            __hash__ = None  # type: ignore[assignment]

            def __init__(self, add: Callable[[], str]) -> None:
                self.add = add

            def __call__(self) -> str:
                return self.add()

        self._added(self._together(*[Rule(add) for add in self._adding(3)]))

    # One that fails

    def test_one_refused_before_anything_is_written(self) -> None:
        """The others are still one call and one commit, and all are answered after that."""
        workers = self._workers()
        rule = self._bulk_rule(check=self._raise_for_bad(EntryRefused()))
        answers = {name: self.database.run(rule, name) for name in SIXTEEN}
        answered: list[bool] = []
        self.at_commit(lambda: answered.append(any(each.called for each in answers.values())))
        workers.work_together()
        self.failureResultOf(answers[BAD], EntryRefused)
        self._check_others(answers, calls=1)
        self.assertEqual(answered, [False])

    def test_all_refused(self) -> None:
        """The rule is not called for nobody."""

        def refuse(name: str) -> None:
            raise EntryRefused()

        for answer in self._call_all(self._bulk_rule(check=refuse)).values():
            self.failureResultOf(answer, EntryRefused)
        self.assertEqual((self.batches, self._stored()), ([], []))

    def test_a_bug_before_anything_is_written(self) -> None:
        """Each call shows whether the bug is its own."""
        for check in (True, False):
            self.batches.clear()
            fail = self._raise_for_bad(ZeroDivisionError())
            rule = self._bulk_rule(check=fail) if check else self._bulk_rule(before=fail)
            answers = self._call_all(rule)
            self.failureResultOf(answers[BAD], ZeroDivisionError)
            self._check_others(answers)
            self._forget_all()

    def test_one_that_fails_after_all_wrote(self) -> None:
        """All is undone, and then only the one fails."""
        for error in (EntryRefused(), ZeroDivisionError(), KeyboardInterrupt()):
            self.batches.clear()
            answers = self._call_all(self._bulk_rule(after=self._raise_for_bad(error)))
            self.failureResultOf(answers[BAD], type(error))
            self._check_others(answers, calls=1 + len(SIXTEEN))
            self.assertEqual(self.batches, [SIXTEEN, *([name] for name in SIXTEEN)])
            self.assertEqual(self.told, [])
            self._forget_all()

    def test_an_interruption_before_anything_is_written(self) -> None:
        answers = self._call_all(self._bulk_rule(before=self._raise_for_bad(KeyboardInterrupt())))
        self.failureResultOf(answers[BAD], KeyboardInterrupt)
        self._check_others(answers)

    def test_what_breaks_a_constraint(self) -> None:
        """The names are stored already."""
        self._call(self._add, BAD)
        answers = self._call_all(self._bulk_rule())
        self.failureResultOf(answers[BAD], peewee.IntegrityError)
        self.assertEqual(self._stored(), [BAD, *OTHERS])
        self._at_rest()

    def test_what_another_of_the_calls_stores(self) -> None:
        """The first of the same names counts, and the later call fails."""
        rule = self._bulk_rule()
        first, second, third = self._together((rule, "twice"), (rule, "twice"), (rule, "once"))
        self.assertEqual(self.successResultOf(first), "twice")
        self.failureResultOf(second, peewee.IntegrityError)
        self.assertEqual(self.successResultOf(third), "once")
        self.assertEqual(self._stored(), ["twice", "once"])

    def test_calls_that_are_to_be_made_alone(self) -> None:
        """Whether the rule finds that out before it wrote or after."""

        def alone(names: Sequence[str]) -> None:
            if len(names) > 1:
                raise EachAlone()

        for rule in (self._bulk_rule(before=alone), self._bulk_rule(after=alone)):
            self.batches.clear()
            answers = self._call_all(rule)
            self._added([*answers.values()])
            self.assertEqual(self.batches, [SIXTEEN, *([name] for name in SIXTEEN)])
            self.assertEqual(self.told, [])
            self._at_rest()
            self._forget_all()

    def test_what_was_not_written_costs_no_commits(self) -> None:
        """Calls that are to be made alone share the transaction, if nothing of theirs is to be
        undone."""

        def alone(names: Sequence[str]) -> None:
            if len(names) > 1:
                raise EachAlone()

        commits: list[None] = []
        rule, add = self._bulk_rule(before=alone), partial(self._add, "before")
        count = partial(self.at_commit, lambda: commits.append(None))
        self._added(self._together(add, *[(rule, name) for name in SIXTEEN], prepare=count))
        self.assertEqual(len(commits), 1)

    def test_results_of_which_there_are_too_few_or_too_many(self) -> None:
        """That is a bug: nobody gets the result of another, and nothing is stored."""

        def check(name: str) -> str:
            return name

        for wrong in (lambda names: names[1:], lambda names: [*names, "one more"]):

            @bulk(check)
            def rule(names: Sequence[str], wrong: Any = wrong) -> list[str]:
                results: list[str] = wrong([self._add(name) for name in names])
                return results

            for answer in self._call_all(rule).values():
                self.failureResultOf(answer)
            self.assertEqual(self._stored(), [])
            self.assertTrue(self.database.available)
            self._at_rest()

    # Trouble with the database

    def test_the_connection_is_lost_in_one_call(self) -> None:
        """Only the one whose statements find that fails, and the others are stored once."""
        answers = self._call_all(self._bulk_rule(after=self._raise_for_bad(self.lost())))
        self._unavailable(answers[BAD])
        self._check_others(answers, calls=None)

    def test_the_connection_was_lost(self) -> None:
        """All are carried out again, and nothing twice."""

        def lose(names: Sequence[str]) -> None:
            if len(self.batches) == 1:
                raise self.lost()

        answers = self._call_all(self._bulk_rule(after=lose))
        self._added([*answers.values()])
        self._at_rest()

    def test_an_unknown_commit_of_many(self) -> None:
        """All calls are `Unavailable`, also those to be refused, and none is tried again."""
        for late in (False, True):
            self.batches.clear()
            self._forget_all()
            rule = self._bulk_rule(check=self._raise_for_bad(EntryRefused()))
            fail = partial(self._failing_commits, self.lost(), late=late)
            for answer in self._call_all(rule, prepare=fail).values():
                self._unavailable(answer)
            self.assertEqual(self.batches, [OTHERS])
            self.assertEqual(self._stored(), OTHERS if late else [])
            self._call_next()

    def test_a_commit_of_many_that_did_not_happen(self) -> None:
        """Each call is tried alone, and answered by what is true then."""
        for error in self.not_committed():
            self.batches.clear()
            rule = self._bulk_rule(check=self._raise_for_bad(EntryRefused()))
            answers = self._call_all(rule, prepare=partial(self._failing_commits, error))
            self.failureResultOf(answers[BAD], EntryRefused)
            self._check_others(answers, calls=1 + len(OTHERS))
            self._forget_all()

    def test_a_check_that_rests_on_what_is_not_kept(self) -> None:
        """A refusal counts only if what it is based on is committed."""

        def first() -> str:
            if self._count() == 2:
                raise EntryRefused()
            return self._add("go")

        def check(name: str) -> None:
            if ContractEntry.get_or_none(ContractEntry.name == "go"):
                raise EntryRefused()

        rule = self._bulk_rule(check=check)
        fail = partial(self._failing_commits, self.not_committed()[0])
        calls = [(rule, name) for name in SIXTEEN]
        refused, *answers = self._together(first, *calls, prepare=fail)
        self.failureResultOf(refused, EntryRefused)
        self._added(answers)

    # Deadlines

    def test_one_that_is_given_up_while_they_wait(self) -> None:
        """The call is not carried out, and the others are still one."""
        rule = self._bulk_rule()
        workers, given_up, answers = self._victim_and_others(
            (rule, BAD), *[(rule, name) for name in OTHERS]
        )
        self.clock.advance(DEADLINE / 2)
        self._unavailable(given_up)
        workers.work_together()
        self._added(answers)
        self.assertEqual(self.batches, [OTHERS])
        self._at_rest()

    def test_one_that_is_given_up_while_they_are_carried_out(self) -> None:
        """Nothing of the call is stored, and the others are stored once."""

        def pass_half(names: Sequence[str]) -> None:
            if len(self.batches) == 1:
                self.clock.advance(DEADLINE / 2)

        rule = self._bulk_rule(after=pass_half)
        workers, given_up, answers = self._victim_and_others(
            (rule, BAD), *[(rule, name) for name in OTHERS]
        )
        workers.work_together()
        self._unavailable(given_up)
        self._added(answers)
        self._at_rest()

    def test_calls_that_no_longer_fit_into_the_time(self) -> None:
        """Calls that are put back keep their order, and are carried out next."""
        one, other = self._bulk_rule(), self._bulk_rule()
        rules: list[Any] = []
        for number in range(MOST_IN_BULK + 4):
            rules += [(one, f"one {number}"), (other, f"other {number}")]
        rules.insert(9, partial(self._add, "plain"))
        commits: list[None] = []

        def prepare() -> None:
            self.patch(transactions, "LONGEST_TOGETHER", -1.0)  # No time is left after a call.
            self.at_commit(lambda: commits.append(None))

        answers = self._together(*rules, prepare=prepare)
        found = [self.successResultOf(answer) for answer in answers]
        self.assertEqual(sorted(self._stored()), sorted(found))
        for kind in ("one", "other", "plain"):
            asked = [name for name in found if name.startswith(kind)]
            self.assertEqual([name for name in self._stored() if name.startswith(kind)], asked)
        self.assertGreater(len(commits), 1)
        self._at_rest()

    # Readers

    def _reading(self) -> Any:
        """A rule that only reads, and takes many: what is stored, and how many asked."""

        def check(name: str) -> str:
            return name

        @read_only
        @bulk(check)
        def look(names: Sequence[str]) -> list[tuple[str, list[str], int]]:
            found: Any = ContractEntry.select(ContractEntry.name).order_by(ContractEntry.name)
            stored = [name for (name,) in found.tuples()]
            return [(name, stored, len(names)) for name in names]

        return look

    def test_readers_beside_writers(self) -> None:
        """Each reader gets its own result; none sees a part of what writers store."""
        self._call(self._add, "there")
        read, write = self._reading(), self._bulk_rule()
        calls = [(rule, name) for name in SIXTEEN for rule in (read, write)]
        answers = self._together(*calls)
        whole = sorted(["there", *SIXTEEN])
        for name, answer in zip(SIXTEEN, answers[::2], strict=True):
            own, stored, together = self.successResultOf(answer)
            self.assertEqual((own, together), (name, len(SIXTEEN)))
            self.assertIn(stored, (whole, ["there"]))
        self.assertEqual(sorted(self._stored()), whole)

    def test_readers_and_writers_on_one_connection(self) -> None:
        """All are carried out in order, and each sees what is stored then."""
        read, write = self._reading(), self._bulk_rule()
        workers = self._workers(connections=1)
        run = self.database.run
        answers = [run(write, "1"), run(write, "2"), run(read, "a"), run(read, "b")]
        answers += [run(write, "3"), run(read, "c")]
        workers.work_together()
        found = [self.successResultOf(answer) for answer in answers]
        self.assertEqual(found[2:4], [("a", ["1", "2"], 2), ("b", ["1", "2"], 2)])
        self.assertEqual((found[4], found[5]), ("3", ("c", ["1", "2", "3"], 1)))
        self.assertEqual(self.batches, [["1", "2"], ["3"]])

    def test_a_reader_of_many_that_writes(self) -> None:
        bad = read_only(self._bulk_rule())
        self._call(self._add, "there")
        answers = self._together(*[(bad, name) for name in SIXTEEN])
        for answer in answers:
            self.failureResultOf(answer, WritesWhileReading)
        self.assertEqual(self._stored(), ["there"])
        self.assertTrue(self.database.available)
