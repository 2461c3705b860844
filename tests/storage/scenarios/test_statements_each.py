"""Statements for several tuples of arguments at once: each gets what a call of its own gets."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import peewee

from bbs.storage.database import for_update, last_key, read_only
from bbs.storage.models import Table
from bbs.storage.schema import create_table
from bbs.storage.statements import MOST_AT_ONCE, Statement, by_index, statement, together
from bbs.storage.transaction_guard import WritesWhileReading
from tests.database_case import on_both_databases, on_every_driver
from tests.storage.statements_case import BIRTH, MADE, SEEN, TEXTS, Being, StatementsCase

LATER = SEEN + datetime.timedelta(seconds=1)

RATIOS = (0.0, 0.1, -1.5, 1e15 + 0.3, 1 / 3, 1.7976931348623157e308, 5e-324, 1764130531.123456)


class EachCase(StatementsCase):
    def setUp(self) -> None:
        super().setUp()
        self.peewee.fewest_in_bulk = 2  # So few have a statement for all on each database.

    def count(self, work: Callable[[], object]) -> int:
        """The number of statements that `work` executes."""
        executed: list[object] = []
        self.peewee.query_hooks.append(executed.append)
        try:
            work()
        finally:
            self.peewee.query_hooks.clear()
        return len(executed)

    def same(
        self, build: Callable[..., Any], *rows: Any, ordered: bool = False, together: bool = True
    ) -> list[Any]:
        """What the statement finds for each of `rows`: what so many calls find. With `together`,
        by one statement of the database, also if its rows may come in JSON."""
        one: Statement[Any, Any] = Statement(build)
        single = [one(*row) for row in rows]
        if not ordered:
            single = [sorted(each, key=repr) for each in single]
        for packed in (False, True) if together else (False,):
            each: Statement[Any, Any] = Statement(build, packed=packed)
            for _ in range(2):
                found = each.each(rows)
                if not ordered:
                    found, single = (
                        [sorted(x, key=repr) for x in some] for some in (found, single)
                    )
                self.assertEqual(found, single)
                self.assertEqual(*([[*map(type, x)] for x in some] for some in (found, single)))
            if together and len(rows) < MOST_AT_ONCE:
                self.assertEqual(self.count(partial(each.each, rows)), 1)
        return single


@on_every_driver
class Selecting(EachCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat, self.none = self.beings()

    def by(self, field: Any, *columns: Any) -> Callable[[Any], Any]:
        """A query for the beings with a value."""
        return lambda value: Being.select(*(columns or (Being.name,))).where(field == value)

    def test_arguments_of_every_kind(self) -> None:
        for field, values, names in (
            (Being.name, ["ann", "nobody", "bob"], [["ann"], [], ["bob"]]),
            (Being.size, [2**62, -5, 7], [["bob"], ["cat"], []]),
            (Being.size, ["1", "-5"], [["ann"], ["cat"]]),
            (Being.ratio, [-1e300, 0.5, 0.25], [["bob"], ["ann"], []]),
            (Being.flag, [False, True], [["bob"], ["Ann", "ann", "cat"]]),
            (Being.flag, [0, 1], [["bob"], ["Ann", "ann", "cat"]]),
            (Being.born, [LATER.date(), BIRTH], [[], ["ann"]]),
            (Being.seen, [SEEN, LATER], [["ann", "cat"], []]),
            (Being.parent, [self.bob, self.ann], [[], ["bob", "cat"]]),
            (Being.parent, [self.bob.id, self.ann.id], [[], ["bob", "cat"]]),
            (Being.id, [self.cat.id, 0], [["cat"], []]),
            (Being.note, ["", "a note"], [["bob"], ["ann"]]),
        ):
            found = self.same(self.by(field), *[(value,) for value in values])
            self.assertEqual([[name for (name,) in each] for each in found], names, field)

    def test_every_kind_of_column(self) -> None:
        found = self.same(self.by(Being.name, Being), ("bob",), ("ann",), ("nobody",))
        self.assertEqual(found[1][0][1:8], ("ann", 1, 0.5, True, BIRTH, SEEN, "a note"))
        self.assertIs(found[0][0][4], False)

    def test_numbers_are_exact(self) -> None:
        sizes = (2**63 - 1, -(2**63), 2**53 + 1, 0)
        for number, size in enumerate(sizes):
            Being.create(name=f"size {number}", size=size)
        for number, ratio in enumerate(RATIOS):
            Being.create(name=f"ratio {number}", ratio=ratio)
        for field, values in ((Being.size, sizes), (Being.ratio, RATIOS)):
            found = self.same(self.by(field, field), *[(value,) for value in values])
            self.assertEqual(found, [[(value,)] for value in values])

    def test_texts(self) -> None:
        """Whatever they are, long ones beside short ones."""
        texts = (*TEXTS, "x" * 70_000, "\N{GRINNING FACE}" * 20_000)
        for number, text in enumerate(texts):
            Being.create(name=str(number), note=text)
        build = self.by(Being.note, Being.name, Being.note)
        self.assertEqual(
            self.same(build, *[(text,) for text in texts if text]),
            [[(str(number), text)] for number, text in enumerate(texts) if text],
        )

    def test_names_are_compared_byte_for_byte(self) -> None:
        """No name is another one's because both are asked for."""
        names = ("ann", "Ann", "änn", "ANN", "a\N{COMBINING DIAERESIS}nn", "ann\0", "\N{OHM SIGN}")
        for name in names[2:]:
            Being.create(name=name)
        # A database may ignore spaces at the end: then it does so for one and for many.
        others = ("ann ", " ann", "ann\t", "\N{GREEK CAPITAL LETTER OMEGA}", "aNN", "an", "")
        found = self.same(self.by(Being.name), *[(name,) for name in (*names, *others)])
        self.assertEqual(found[: len(names)], [[(name,)] for name in names])
        self.assertEqual(found[len(names) + 1 :], [[]] * (len(others) - 1))

    def test_none_is_equal_to_nothing(self) -> None:
        self.assertEqual(self.same(self.by(Being.note), (None,), (None,)), [[], []])
        mixed = self.same(self.by(Being.size), (1,), (None,), (-5,), together=False)
        self.assertEqual(mixed, [[("ann",)], [], [("cat",)]])

    def test_mixed_types(self) -> None:
        """Nothing becomes of another type because of its neighbours."""
        for rows in (
            [(1,), ("1",), (1.0,), (True,), (None,)],
            [("ann",), (b"ann",)],
            [(SEEN,), (BIRTH,), (str(SEEN),)],
        ):
            for field in (Being.size, Being.name, Being.seen):
                if field is not Being.seen or rows[0] == (SEEN,):
                    self.same(self.by(field), *rows, together=False)

    def test_the_same_twice(self) -> None:
        rows = [("ann", 1), ("bob", 2**62), ("ann", 1), ("ann", 2), ("ann", 1)]
        found = self.same(
            lambda name, size: Being.select(Being.id).where(
                (Being.name == name) & (Being.size == size)
            ),
            *rows,
        )
        ann, bob = [(self.ann.id,)], [(self.bob.id,)]
        self.assertEqual(found, [ann, bob, ann, [], ann])

    def test_one_argument_in_several_places(self) -> None:
        """Each place has its own conversion."""
        self.same(
            lambda value: Being.select(Being.name).where(
                (Being.size == value) | (Being.flag == value) | (Being.note == value)
            ),
            (1,),
            (-5,),
            (0,),
        )
        self.same(
            lambda text: Being.select(Being.name).where(
                (Being.name == text) | (Being.note == text)
            ),
            ("ann",),
            ("a note",),
        )

    def test_without_arguments_and_with_one_that_is_not_used(self) -> None:
        self.assertEqual(len(self.same(lambda: Being.select(Being.name, Being.seen), (), ())[1]), 4)
        self.same(lambda unused: Being.select(Being.name), (1,), (2,))

    def test_constants_before_and_behind(self) -> None:
        parent: Any = Being.alias()

        def build(name: str, flag: bool, least: int) -> Any:
            known = parent.select(parent.size).where((parent.note == "a note") & parent.flag)
            return (
                Being.select(Being.name, known, parent.name)
                .join(parent, on=((Being.parent == parent.id) & (parent.name == "ann")))
                .where(
                    Being.size.in_([2**62, -5])
                    & (parent.name == name)
                    & (Being.flag == flag)
                    & (Being.size > least)
                    & (Being.made > 0)
                    & (Being.note != "100% %s")
                )
            )

        found = self.same(build, ("ann", False, 0), ("ann", True, -6), ("ann", False, 2**63 - 1))
        self.assertEqual(found, [[("bob", 1, "ann")], [], []])

    def test_joins(self) -> None:
        parent: Any = Being.alias()
        child: Any = Being.alias()

        def inner(name: str, flag: bool) -> Any:
            columns = (Being.name, parent.name, parent.seen, parent.flag, parent.born)
            joined = Being.select(*columns).join(parent, on=(Being.parent == parent.id))
            return joined.where((parent.name == name) & (Being.flag == flag))

        def outer(name: str) -> Any:
            columns = (Being.name, child.name, child.flag, child.seen, child.parent)
            mine = (child.parent == Being.id) & (child.name == name)
            return Being.select(*columns).left_outer_join(child, on=mine)

        found = self.same(inner, ("ann", True), ("ann", False), ("bob", True))
        self.assertEqual(found[0], [("cat", "ann", SEEN, True, BIRTH)])
        self.assertEqual(found[1:], [[("bob", "ann", SEEN, True, BIRTH)], []])
        found = self.same(outer, ("bob",), ("nobody",), ("cat",))
        self.assertEqual([len(each) for each in found], [4, 4, 4])
        self.assertIn(("ann", "cat", True, SEEN, self.ann.id), found[2])
        self.same(
            lambda name: parent.select(parent.name).where(parent.name == name), ("a",), ("b",)
        )
        some = Being.select(Being.id.alias("number")).where(Being.size > 0).alias("some")
        self.same(
            lambda name, flag: (
                Being.select(Being.name)
                .join(some, on=((Being.parent == some.c.number) & (Being.flag == flag)))
                .where(Being.name == name)
            ),
            ("bob", False),
            ("cat", True),
            ("ann", True),
        )
        both = Being.name == "ann"
        self.same(
            lambda name: (
                Being.select(Being.name, parent.name)
                .join(parent, peewee.JOIN.CROSS)
                .where(both & (parent.name == name))
            ),
            ("bob",),
            ("cat",),
        )

    def test_subqueries(self) -> None:
        parent: Any = Being.alias()

        def column(name: str) -> Any:
            own = (parent.id == Being.parent) & (parent.name == name)
            return Being.select(Being.name, parent.select(parent.seen).where(own))

        def last(size: int) -> Any:
            """A part of it is cut, and not the whole."""
            children = parent.select(parent.name).where(parent.parent == Being.id)
            latest = children.order_by(parent.id.desc()).limit(1)
            return Being.select(Being.name, latest).where(Being.size == size)

        def condition(name: str) -> Any:
            some = parent.select(parent.id).where(parent.name == name)
            return Being.select(Being.name).where(Being.parent.in_(some))

        def either(one: str, other: str) -> Any:
            some = parent.select(parent.id).where(parent.name == one)
            more = parent.select(parent.id).where(parent.name == other)
            return Being.select(Being.name).where(Being.id.in_(some | more))

        def exists(name: str) -> Any:
            own = (parent.parent == Being.id) & (parent.name == name)
            return Being.select(Being.name).where(peewee.fn.EXISTS(parent.select().where(own)))

        self.same(column, ("ann",), ("bob",))
        self.assertEqual(self.same(last, (1,), (-5,)), [[("ann", "cat")], [("cat", None)]])
        self.assertEqual(self.same(condition, ("ann",), ("bob",))[1], [])
        self.same(either, ("ann", "bob"), ("cat", "ann"))
        self.assertEqual(self.same(exists, ("ann",), ("bob",)), [[], [("ann",)]])

    def test_patterns(self) -> None:
        def build(part: str) -> Any:
            return Being.select(Being.name).where(Being.name.contains(part) & (Being.name ** "%n%"))

        self.same(build, ("a",), ("%",), ("nn",), ("\\",))

    def test_lists_of_arguments(self) -> None:
        def build(one: str, other: str) -> Any:
            return Being.select(Being.name).where(Being.name.in_([one, "cat", other]))

        self.same(build, ("ann", "bob"), ("bob", "bob"), ("", "Ann"))

    def test_in_the_order_of_the_query(self) -> None:
        found = self.same(
            lambda least: (
                Being.select(Being.name).where(Being.id >= least).order_by(Being.name.desc())
            ),
            (self.cat.id,),
            (0,),
            ordered=True,
        )
        self.assertEqual(found, [[("cat",), ("Ann",)], [("cat",), ("bob",), ("ann",), ("Ann",)]])

    def test_any_number_of_tuples(self) -> None:
        """None, a few, and more than SQLite takes in one statement."""
        for count in (0, 1, 2, 3, 64, 256, 257, 300, 1200):
            rows = [(number,) for number in range(count)]
            self.same(self.by(Being.id), *rows, together=count > 0)

    def test_what_has_no_form_for_many(self) -> None:
        """Is executed for one after the other."""
        parent: Any = Being.alias()
        count = peewee.fn.COUNT(Being.id)

        def derived(name: str) -> Any:
            some = Being.select(Being.id.alias("number")).where(Being.name == name).alias("some")
            return Being.select(Being.name).join(some, on=(Being.parent == some.c.number))

        def from_derived(name: str) -> Any:
            some = Being.select(Being.name).where(Being.name == name).alias("some")
            return Being.select(some.c.name).from_(some)

        def nested(name: str) -> Any:
            some = Being.select(Being.id.alias("number")).where(Being.name == name).alias("some")
            children = parent.select(parent.id).join(some, on=(parent.parent == some.c.number))
            return Being.select(Being.name).where(Being.id.in_(children))

        def right(name: str) -> Any:
            own = (Being.parent == parent.id) & (Being.name == name)
            return Being.select(Being.name).join(parent, peewee.JOIN.RIGHT_OUTER, on=own)

        def compound(name: str) -> Any:
            own = Being.select(Being.name).where(Being.name == name)
            return own | Being.select(Being.name).where(Being.note == name)

        rows: Sequence[Any] = [("ann",), ("nobody",), ("bob",)]
        for build in (
            lambda name: Being.select(Being.name).where(Being.name >= name).order_by(+Being.id),
            lambda name: Being.select(Being.name).where(Being.name >= name).limit(1),
            lambda name: Being.select(Being.name).where(Being.name > name).limit(9).offset(1),
            lambda name: Being.select(Being.flag).where(Being.name >= name).group_by(Being.flag),
            lambda name: Being.select(Being.flag).where(Being.name >= name).distinct(),
            lambda name: Being.select(count).where(Being.name >= name),
            lambda name: Being.select(peewee.fn.MAX(Being.seen)).where(Being.name >= name),
            lambda name: (
                Being.select(Being.flag, count)
                .where(Being.name >= name)
                .group_by(Being.flag)
                .having(count > 1)
            ),
            lambda name: for_update(Being.select(Being.name).where(Being.name == name)),
            lambda name: by_index(
                Being.select(Being.name).where(Being.name >= name).order_by(Being.name).limit(2),
                Being.name,
            ),
            lambda name: (
                Being.select(Being.name, parent.name).from_(Being, parent).where(Being.name == name)
            ),
            derived,
            from_derived,
            nested,
            right,
            compound,
        ):
            self.same(build, *rows, together=False)
        children = parent.select(parent.name).where(parent.parent == Being.id).order_by(parent.id)
        for build in (
            lambda most: Being.select(Being.name, children.limit(most)),
            lambda skipped: Being.select(Being.name, children.limit(1).offset(skipped)),
        ):
            self.same(build, (1,), (1,), together=False)
        lists: Any = (["ann", "bob"],), ([],), (("cat",),), ({"Ann"},)
        self.same(
            lambda names: Being.select(Being.name).where(Being.name.in_(names)),
            *lists,
            together=False,
        )

    def test_beside_others(self) -> None:
        """`together` gives each statement its own result."""
        find: Any = Statement(self.by(Being.name))
        change: Any = Statement(lambda note: Being.update(note=note))
        add: Any = Statement(lambda name: Being.insert(name=name))

        def rule() -> Any:
            return together(
                find.of("ann"),
                find.of_each([("bob",), ("nobody",), ("ann",)]),
                add.of("dan"),
                find.of_each([]),
                change.of("100% %s"),
                find.of_each([("dan",)]),
                find.of_each([("dan",), (b"ann",)]),
            )

        first, several, key, none, changed, one, mixed = self.call(rule)
        self.assertEqual((first, several), ([("ann",)], [[("bob",)], [], [("ann",)]]))
        self.assertEqual((none, changed, one), ([], 5, [[("dan",)]]))
        self.assertEqual((key, mixed[0]), (Being.get(name="dan").id, [("dan",)]))

    def test_who_only_reads_may_ask_for_many(self) -> None:
        find: Any = Statement(self.by(Being.name))
        self.assertEqual(
            self.call(read_only(lambda: find.each([("ann",), ("a",)]))), [[("ann",)], []]
        )


@on_both_databases
class Compiled(EachCase):
    def test_once_whatever_the_number(self) -> None:
        """A query is built once for each combination of types."""
        self.beings()
        built: list[object] = []

        def build(name: Any) -> Any:
            built.append(name)
            return Being.select(Being.id).where(Being.name == name)

        find: Any = Statement(build)
        find.each([("ann",), ("bob",)])
        several = len(built)
        for count in (2, 5, 64, 600, 2):
            find.each([("ann",)] * count)
        self.assertEqual(len(built), several)
        find.each([(b"ann",), (b"bob",)])
        self.assertEqual(len(built), 2 * several)

    def test_once_where_there_is_no_form_for_many(self) -> None:
        self.beings()
        built: list[object] = []

        def build(name: Any) -> Any:
            built.append(name)
            return Being.select(Being.id).where(Being.name == name).limit(1)

        find: Any = Statement(build)
        find.each([("ann",), ("bob",)])
        several = len(built)
        find.each([("ann",)] * 9)
        self.assertEqual(len(built), several)

    def test_threads_that_compile_at_the_same_time(self) -> None:
        ids = {being.name: being.id for being in self.beings()}
        interval = sys.getswitchinterval()
        self.addCleanup(sys.setswitchinterval, interval)
        sys.setswitchinterval(1e-6)
        threads, rounds = 4, 20
        finds = [
            statement(lambda name: Being.select(Being.id).where(Being.name == name))
            for _ in range(rounds)
        ]
        barrier = threading.Barrier(threads)

        def ask(number: int) -> int:
            self.peewee.connect()
            wrong = 0
            for find in finds:
                barrier.wait(20)
                found = find.each([("ann",), ("cat",), ("nobody",)][: 2 + number % 2])
                wrong += found[:2] != [[(ids["ann"],)], [(ids["cat"],)]]
            self.peewee.close()
            return wrong

        with ThreadPoolExecutor(threads) as executor:
            self.assertEqual([*executor.map(ask, range(threads))], [0] * threads)


class Pair(Table):
    """A table whose key the database does not make."""

    one = peewee.IntegerField()
    other = peewee.IntegerField()

    class Meta:
        table_name = "statement_pair"
        primary_key = peewee.CompositeKey("one", "other")


@on_every_driver
class Inserting(EachCase):
    add: Any = Statement(lambda name, note="": Being.insert(name=name, note=note))

    def added(self, keys: Sequence[int], *columns: Any) -> list[Any]:
        """What is stored with these keys, in their order."""
        found: Any = Being.select(Being.id, *columns).where(Being.id.in_(keys)).tuples()
        stored = {key: rest for key, *rest in found}
        self.assertEqual(len(stored), len(keys), "a key twice, or of nothing")
        return [stored[key] for key in keys]

    def check(self, add: Any = None) -> None:
        """The keys are those of the rows, in their order."""
        for count in (0, 1, 2, 16, 300):
            names = [f"{count} {number}" for number in range(count)][::-1]
            keys = self.call((add or self.add).each, [(name,) for name in names])
            self.assertEqual(self.added(keys, Being.name), [[name] for name in names])

    def test_keys(self) -> None:
        self.beings()
        Being.delete().where(Being.name == "Ann").execute()
        self.check()

    def test_keys_in_steps(self) -> None:
        if self.on_mysql:
            self.peewee.execute_sql("SET SESSION auto_increment_increment = 3")
        self.check()

    def test_keys_as_on_mysql_8(self) -> None:
        """It has no RETURNING: the keys are found from the first one, in whatever steps."""
        if not self.on_mysql:
            return
        for step, offset in ((1, 1), (3, 2), (10, 7)):
            self.peewee.execute_sql(f"SET SESSION auto_increment_increment = {step}")
            self.peewee.execute_sql(f"SET SESSION auto_increment_offset = {offset}")
            self.peewee.server_version = (8, 4, 0)
            self.check()
            said: list[str] = []
            self.peewee.query_hooks.append(lambda event, said=said: said.append(event.sql))
            self.call(self.add.each, [("one",), ("two",)])
            self.peewee.query_hooks.clear()
            self.assertNotIn("RETURNING", " ".join(said))
            Being.delete().execute()

    def test_one_statement_where_rows_are_written_together(self) -> None:
        rows = [(str(number),) for number in range(16)]
        self.assertEqual(self.count(lambda: self.add.each(rows)), 1 if self.on_mysql else 16)

    def test_what_each_column_makes_of_a_value(self) -> None:
        ann, *_ = self.beings()
        add = statement(
            lambda name, flag, born, seen, parent, size: Being.insert(
                {"name": name, Being.flag: flag, "born": born, "seen": seen}
                | {Being.parent: parent, Being.size: size, "note": " VALUES (%s) '"}
            )
        )
        rows: list[Any] = [
            ("1", 1, BIRTH, SEEN, ann, "7"),
            ("2", 0, BIRTH, LATER, ann, "8"),
            ("3", None, None, None, None, None),
        ]
        rows[2] = ("3", True, None, None, None, 9)
        columns = (Being.name, Being.flag, Being.born, Being.seen, Being.parent, Being.size)
        expected = [
            ["1", True, BIRTH, SEEN, ann.id, 7, " VALUES (%s) '"],
            ["2", False, BIRTH, LATER, ann.id, 8, " VALUES (%s) '"],
            ["3", True, None, None, None, 9, " VALUES (%s) '"],
        ]
        for some in (rows[:2], rows):
            Being.delete().where(Being.name.in_([*"123"])).execute()
            keys = self.call(add.each, some)
            self.assertEqual(self.added(keys, *columns, Being.note), expected[: len(some)])

    def test_texts(self) -> None:
        keys = self.call(self.add.each, [(str(n), text) for n, text in enumerate(TEXTS)])
        self.assertEqual(self.added(keys, Being.note), [[text] for text in TEXTS])

    def test_defaults_are_made_anew(self) -> None:
        before = MADE[0]
        keys = self.call(self.add.each, [("1",), ("2",), ("3",)])
        made = [number for (number,) in self.added(keys, Being.made)]
        self.assertEqual(made, [before + 1, before + 2, before + 3])

    def test_one_of_which_is_there(self) -> None:
        """Nothing is kept of the others, in a rule."""
        Being.create(name="b")
        answer = self.database.run(self.add.each, [("a",), ("b",), ("c",)])
        self.failureResultOf(answer, peewee.IntegrityError)
        self.assertEqual([each.name for each in Being.select()], ["b"])
        self.assertEqual(len(self.call(self.add.each, [("a",), ("c",)])), 2)

    def test_a_reader_cannot(self) -> None:
        answer = self.database.run(read_only(lambda: self.add.each([("a",), ("b",)])))
        self.failureResultOf(answer, WritesWhileReading)
        self.assertEqual(Being.select().count(), 0)

    def test_keys_that_are_given(self) -> None:
        """In whatever order, also if the database does not return them."""
        add = statement(lambda key, name: Being.insert(id=key, name=name))
        for version in {getattr(self.peewee, "server_version", None), (8, 4, 0)}:
            self.peewee.server_version = version
            keys = self.call(add.each, [(70, "a"), (90, "c"), (80, "b")])
            self.assertEqual(keys, [70, 90, 80])
            Being.delete().execute()

    def test_several_rows_at_a_time(self) -> None:
        """Each tuple has one result, whatever it is for one call."""
        add = statement(
            lambda one, other: Being.insert_many([{"name": one}, {"name": other}]),
        )
        keys = self.call(add.each, [("a", "b"), ("c", "d"), ("e", "f")])
        self.assertEqual(len(keys), 3)
        self.assertEqual(len({*keys}), 3)
        names = [each.name for each in Being.select().order_by(Being.id)]
        self.assertEqual(names, [*"abcdef"])

    def test_what_has_no_form_for_many(self) -> None:
        """Changes, conflicts, what another query selects, and keys that nobody makes."""
        create_table(self.peewee, Pair)
        ann, *_ = self.beings()
        change = statement(
            lambda size, name: Being.update(size=Being.size + size).where(Being.name == name)
        )
        found = self.call(change.each, [(1, "ann"), (2, "nobody"), (3, "ann")])
        self.assertEqual((found, Being.get_by_id(ann.id).size), ([1, 0, 1], 5))
        delete = statement(lambda name: Being.delete().where(Being.name == name))
        found = self.call(delete.each, [("bob",), ("bob",), ("cat",)])
        self.assertEqual(found, [1, 0, 1])
        ignore = statement(lambda name: Being.insert(name=name).on_conflict_ignore())
        self.assertEqual(len(self.call(ignore.each, [("ann",), ("new",), ("ann",)])), 3)
        self.assertEqual(Being.select().count(), 3)
        copy = statement(
            lambda name, made: (
                Being.insert_from(
                    Being.select(peewee.fn.CONCAT(name, "!"), Being.made, Being.flag).where(
                        Being.name == name
                    ),
                    [Being.name, Being.made, Being.flag],
                )
                if self.on_mysql
                else Being.insert_from(
                    Being.select(Being.name.concat("!"), Being.made, Being.flag).where(
                        Being.name == name
                    ),
                    [Being.name, Being.made, Being.flag],
                )
            )
        )
        self.call(copy.each, [("ann", 1), ("new", 1)])
        self.assertEqual(Being.select().where(Being.name.in_(["ann!", "new!"])).count(), 2)
        pair = statement(lambda one, other: Pair.insert(one=one, other=other))
        self.call(pair.each, [(1, 2), (1, 3), (2, 3)])
        self.assertEqual([*Pair.select().tuples()], [(1, 2), (1, 3), (2, 3)])
        lists = statement(lambda size, names: Being.update(size=size).where(Being.name.in_(names)))
        self.assertEqual(
            self.call(lists.each, [(1, ["new", "ann!"]), (2, []), (3, ["x"])]), [2, 0, 0]
        )

    def test_the_key_that_was_made_last(self) -> None:
        """A statement behind one insertion may name its key."""
        child = statement(lambda name: Being.insert(name=name, parent=last_key()))
        key, *_ = self.call(together, self.add.of("ann"), child.of("bob"))
        self.assertEqual(Being.get(name="bob").parent_id, key)
