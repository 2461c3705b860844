"""Queries that are compiled once: they find what peewee finds with the same query."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.storage import models
from bbs.storage.database import for_update
from bbs.storage.engines import IN_C, IN_PYTHON, connect_to
from bbs.storage.models import Table
from bbs.storage.schema import create_table
from bbs.storage.statements import MOST_LENGTHS, Statement, statement
from tests.database_case import fresh_mysql_url, on_both_databases, sqlite_url
from tests.storage.statements_case import BIRTH, SEEN, TEXTS, Being, StatementsCase


@on_both_databases
class Selecting(StatementsCase):
    def test_every_kind_of_column(self) -> None:
        self.beings()
        found = self.same(lambda: Being.select().order_by(Being.id))
        self.assertEqual(len(found), 4)
        self.assertEqual(found[0][1:8], ("ann", 1, 0.5, True, BIRTH, SEEN, "a note"))
        self.assertIs(found[1][4], False)

    def test_arguments_of_every_kind(self) -> None:
        ann, bob, *_ = self.beings()

        def by(field: Any) -> Callable[[Any], Any]:
            return lambda value: Being.select(Being.name).where(field == value).order_by(Being.id)

        for field, value, names in (
            (Being.name, "ann", ["ann"]),
            (Being.size, 2**62, ["bob"]),
            (Being.ratio, -1e300, ["bob"]),
            (Being.flag, False, ["bob"]),
            (Being.flag, True, ["ann", "cat", "Ann"]),
            (Being.born, BIRTH, ["ann"]),
            (Being.seen, SEEN, ["ann", "cat"]),
            (Being.parent, ann, ["bob", "cat"]),
            (Being.parent, ann.id, ["bob", "cat"]),
            (Being.id, bob.id, ["bob"]),
            (Being.note, "", ["bob"]),
        ):
            self.assertEqual([name for (name,) in self.same(by(field), value)], names)

    def test_texts(self) -> None:
        """Whatever they are, they are a value and nothing else."""
        for text in TEXTS:
            Being.create(name=f"{len(text)} {hash(text)}"[:40], note=text)
        find = statement(lambda text: Being.select(Being.note).where(Being.note == text))
        for text in TEXTS:
            self.assertEqual(find(text), [(text,)])

    def test_none_is_equal_to_nothing(self) -> None:
        self.beings()
        find = statement(lambda note: Being.select(Being.id).where(Being.note == note))
        self.assertEqual(find(None), [])
        self.assertEqual(len(self.same(lambda: Being.select().where(Being.note.is_null()))), 2)

    def test_lists(self) -> None:
        """Of all lengths, and in any order of these; sets as well."""
        ids = [being.id for being in self.beings()]

        def build(first: Any, second: Any) -> Any:
            chosen = Being.id.in_(first) & Being.name.not_in(second)
            return Being.select(Being.name).where(chosen).order_by(Being.id)

        for length in (2, 4, 1, 0, 3, 2):
            for others in ([], ["ann"], ["ann", "bob"]):
                self.same(build, ids[:length], others)
        find = statement(build)
        self.assertEqual(find({ids[0], ids[2]}, frozenset(["cat"])), [("ann",)])
        self.assertEqual(find(tuple(ids), ["ann"]), [("bob",), ("cat",), ("Ann",)])

    def test_lists_of_models_and_dates(self) -> None:
        """What the column makes of a value it makes of each in a list."""
        ann, bob, *_ = self.beings()
        found = self.same(
            lambda parents, seen: Being.select(Being.name).where(
                Being.parent.in_(parents) & Being.seen.in_(seen)
            ),
            [ann, bob],
            [SEEN, SEEN + datetime.timedelta(1)],
        )
        self.assertEqual(found, [("cat",)])

    def test_keywords_and_defaults(self) -> None:
        self.beings()

        @statement
        def find(name: str, size: int = 1, flag: bool = True) -> peewee.Select:
            return Being.select(Being.name).where(
                (Being.name == name) & (Being.size == size) & (Being.flag == flag)
            )

        self.assertEqual(find("ann"), [("ann",)])
        self.assertEqual(find(size=1, name="ann"), [("ann",)])
        self.assertEqual(find("bob", 2**62, flag=False), [("bob",)])
        self.assertEqual(find("bob", 2**62), [])
        self.assertRaises(TypeError, find, "ann", colour="red")
        self.assertRaises(TypeError, find)

    def test_limits(self) -> None:
        self.beings()

        def build(most: int, skipped: int) -> Any:
            return Being.select(Being.name).order_by(Being.id).limit(most).offset(skipped)

        self.assertEqual(self.same(build, 2, 1), [("bob",), ("cat",)])
        find = statement(build)
        self.assertEqual(find(1, 0), [("ann",)])
        self.assertEqual(find(0, 0), [])
        self.assertEqual(len(find(100, 0)), 4)

    def test_aliases(self) -> None:
        """Their columns are converted as those of the table are."""
        self.beings()
        parent: Any = Being.alias()

        def build(name: str, flag: bool) -> Any:
            return (
                Being.select(Being.name, parent.name, parent.seen, parent.flag, parent.born)
                .join(parent, on=(Being.parent == parent.id))
                .where((parent.name == name) & (parent.flag == flag))
                .order_by(Being.id)
            )

        found = self.same(build, "ann", True)
        self.assertEqual(found[0], ("bob", "ann", SEEN, True, BIRTH))
        self.assertIs(found[0][3], True)
        self.assertEqual(self.same(build, "ann", False), [])

    def test_no_partner(self) -> None:
        self.beings()
        parent: Any = Being.alias()
        found = self.same(
            lambda: (
                Being.select(Being.name, parent.flag, parent.seen)
                .join(parent, peewee.JOIN.LEFT_OUTER, on=(Being.parent == parent.id))
                .order_by(Being.id)
            )
        )
        self.assertEqual(found[0], ("ann", None, None))

    def test_compound(self) -> None:
        self.beings()

        def build(name: str, size: int) -> Any:
            first = Being.select(Being.name, Being.flag).where(Being.name == name)
            return first | Being.select(Being.name, Being.flag).where(Being.size == size)

        self.assertEqual(sorted(self.same(build, "ann", -5)), [("ann", True), ("cat", True)])

    def test_functions_and_expressions(self) -> None:
        self.beings()

        def build(least: int, plus: int, text: str) -> Any:
            return (
                Being.select(
                    Being.flag,
                    peewee.fn.COUNT(Being.id).alias("number"),
                    peewee.fn.MAX(Being.seen),
                    peewee.fn.MAX(Being.flag),
                    (peewee.fn.COUNT(Being.id) + plus).alias("more"),
                    peewee.fn.COALESCE(peewee.fn.MAX(Being.note), text),
                    peewee.Value("100%"),
                )
                .group_by(Being.flag)
                .having(peewee.fn.COUNT(Being.id) >= least)
                .order_by(Being.flag)
            )

        found = self.same(build, 1, 10, "50% of %s")
        self.assertEqual([row[1] for row in found], [1, 3])
        self.assertEqual(found[0][5:], ("", "100%"))
        lower = self.same(
            lambda name: (
                Being.select(Being.id).where(peewee.fn.LOWER(Being.name) == name).order_by(Being.id)
            ),
            "ann",
        )
        self.assertEqual(len(lower), 2)

    def test_patterns(self) -> None:
        """A percent sign in the query itself, which is the driver's mark for a value on MySQL."""
        self.beings()
        found = self.same(
            lambda: Being.select(Being.name).where(Being.name ** "a%").order_by(Being.id)
        )
        self.assertIn(("ann",), found)
        found = self.same(lambda start: Being.select(Being.name).where(Being.name**start), "b%")
        self.assertEqual(found, [("bob",)])

    def test_locks(self) -> None:
        self.beings()
        lock = statement(lambda name: for_update(Being.select(Being.id).where(Being.name == name)))
        self.assertEqual(len(self.call(lock, "ann")), 1)

    def test_it_is_written_in_the_callers_transaction(self) -> None:
        """A rule that failed leaves nothing of it."""
        add = statement(lambda name: Being.insert(name=name))

        def rule() -> None:
            add("go")
            raise ZeroDivisionError

        self.failureResultOf(self.database.run(rule), ZeroDivisionError)
        self.assertEqual(Being.select().count(), 0)


class Compiled(SynchronousTestCase):
    """What is kept of a statement."""

    def database(self, url: str) -> Any:
        database = connect_to(url)
        models.database.initialize(database)
        database.connect()
        self.addCleanup(database.close)
        create_table(database, Being)
        return database

    def test_on_one_database_and_then_on_another(self) -> None:
        """And again on the first: each has its own SQL."""
        add = statement(lambda name: Being.insert(name=name, seen=SEEN).on_conflict_replace())
        find = statement(
            lambda names: (
                Being.select(Being.name, Being.flag, Being.seen)
                .where(Being.name.in_(names))
                .order_by(Being.id)
            )
        )
        sqlite = self.database(sqlite_url(self.mktemp()))
        mysql = self.database(fresh_mysql_url(IN_PYTHON))
        for round, database in enumerate((sqlite, mysql, sqlite, mysql)):
            models.database.initialize(database)
            add(f"{round}")
            names = [str(number) for number in range(4)]
            expected = {0: ["0"], 1: ["1"], 2: ["0", "2"], 3: ["1", "3"]}[round]
            self.assertEqual(find(names), [(name, True, SEEN) for name in expected])

    def counting(self) -> tuple[Statement[[Any], Any], list[int]]:
        """A statement, and how long the lists were for which it was compiled."""
        compiled: list[int] = []

        def build(names: Any) -> Any:
            compiled.append(len(names))
            return Being.select(Being.name).where(Being.name.in_(names))

        return Statement(build), compiled

    def test_once_for_each_length_and_no_more_than_so_many(self) -> None:
        self.database(sqlite_url(self.mktemp()))
        find, compiled = self.counting()
        lengths = [*range(MOST_LENGTHS + 1)]
        for _ in range(2):
            for length in lengths[1:]:
                find(["x"] * length)
        self.assertEqual(compiled, lengths[1:])
        find([])  # The oldest goes.
        find(["x"] * MOST_LENGTHS)
        self.assertEqual(compiled, [*lengths[1:], 0])
        find(["x"])
        self.assertEqual(compiled, [*lengths[1:], 0, 1])

    def test_threads_that_compile_at_the_same_time(self) -> None:
        """Each gets what it asked for, however many lengths of lists there are."""
        database = self.database(sqlite_url(self.mktemp()))
        for number in range(10):
            Being.create(name=str(number))
        find, _ = self.counting()
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        sys.setswitchinterval(1e-6)
        threads = 6
        barrier = threading.Barrier(threads)

        def ask(first: int) -> int:
            database.connect()
            barrier.wait(20)
            wrong = 0
            for length in range(first, first + 3 * MOST_LENGTHS):
                names = [str(number) for number in range(length)]
                wrong += len(find(names)) != min(length, 10)
            database.close()
            return wrong

        with ThreadPoolExecutor(threads) as executor:
            self.assertEqual([*executor.map(ask, range(threads))], [0] * threads)


class Odd(Table):
    """What JSON has no words for."""

    amount = peewee.DecimalField(20, 2)
    data = peewee.BlobField()


class PackedOnMySQL(SynchronousTestCase):
    """Rows that come as a text in JSON are the same rows."""

    driver = IN_PYTHON

    def setUp(self) -> None:
        database = connect_to(fresh_mysql_url(self.driver))
        models.database.initialize(database)
        database.connect()
        self.addCleanup(database.close)
        create_table(database, Being)

    def same(self, columns: Sequence[Any]) -> list[Any]:
        def build(least: int) -> Any:
            return Being.select(*columns).where(Being.id >= least).order_by(Being.id)

        found: list[Any] = Statement(build)(0)
        self.assertEqual(Statement(build, packed=True)(0), found)
        self.assertEqual(found, [*build(0).tuples()])
        return found

    def test_what_is_not_the_same_in_json_is_not_packed(self) -> None:
        create_table(models.database.obj, Odd)
        amount, data = Decimal("12345678901234567.89"), b'\xff\0"\\'
        Odd.create(amount=amount, data=data)

        def build(least: int) -> Any:
            return Odd.select(Odd.amount, Odd.data).where(Odd.amount > least)

        found: list[Any] = Statement(build, packed=True)(0)
        self.assertEqual([(one, bytes(other)) for one, other in found], [(amount, data)])

    def test_texts(self) -> None:
        every = "".join(map(chr, [*range(0x250), 0x2028, 0xFFFD, 0x1F600]))
        for number, text in enumerate([*TEXTS, every]):
            Being.create(name=str(number), note=text)
        found = self.same([Being.name, Being.note])
        self.assertEqual([note for _, note in found], [*TEXTS, every])

    def test_numbers(self) -> None:
        for number, size in enumerate([0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63), None]):
            Being.create(name=str(number), size=size, flag=number % 2)
        ratios = [0.0, 0.1, -1.5, 1e15 + 0.3, 1 / 3, 1.7976931348623157e308, 5e-324, 1e22, 1e-7]
        ratios += [1764130531.123456, 123456789.12345678]
        for number, ratio in enumerate(ratios):
            Being.create(name=f"ratio {number}", ratio=ratio)
        found = self.same([Being.name, Being.size, Being.ratio, Being.flag, Being.id])
        self.assertEqual([row[2] for row in found][-len(ratios) :], ratios)
        self.assertEqual({type(row[3]) for row in found}, {bool})

    def test_dates_and_nothing(self) -> None:
        Being.create(name="ann", born=BIRTH, seen=SEEN)
        Being.create(name="bob")
        found: list[Any] = self.same([Being.name, Being.born, Being.seen, Being.note, Being.parent])
        self.assertEqual(found, [("ann", BIRTH, SEEN, None, None), ("bob", *[None] * 4)])

    def test_no_rows(self) -> None:
        self.assertEqual(self.same([Being.name]), [])


class PackedOnMySQLInC(PackedOnMySQL):
    """And where they come as they are, as by the driver in C."""

    driver = IN_C
