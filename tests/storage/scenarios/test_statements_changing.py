"""Changes that are compiled once, several at once, and under a schema that changes."""

from __future__ import annotations

from typing import Any

import peewee

from bbs.storage.database import read_only
from bbs.storage.models import Table
from bbs.storage.statements import Statement, statement, together
from tests.database_case import on_both_databases
from tests.storage.statements_case import BIRTH, MADE, SEEN, TEXTS, Being, StatementsCase


@on_both_databases
class Changing(StatementsCase):
    def test_an_insertion_gives_the_key(self) -> None:
        add = statement(lambda name, parent: Being.insert(name=name, parent=parent))
        first = add("ann", None)
        second = add("bob", first)
        third = add("cat", Being.get_by_id(second))
        found = Being.select(Being.id, Being.name, Being.parent).order_by(Being.id)
        self.assertEqual(
            [*found.tuples()],
            [(first, "ann", None), (second, "bob", first), (third, "cat", second)],
        )

    def test_what_each_column_makes_of_a_value(self) -> None:
        @statement
        def add(name: Any, flag: Any, born: Any, seen: Any, note: Any, size: Any) -> peewee.Insert:
            return Being.insert(
                {
                    Being.name: name,
                    "flag": flag,
                    Being.born: born,
                    "seen": seen,
                    Being.note: note,
                    "size": size,
                }
            )

        add("ann", 1, BIRTH, SEEN, 5, "7")
        add("bob", False, None, None, None, None)
        ann, bob = Being.select().order_by(Being.id)
        self.assertEqual((ann.flag, ann.born, ann.seen), (True, BIRTH, SEEN))
        self.assertEqual((ann.note, ann.size), ("5", 7))
        self.assertEqual((bob.flag, bob.born, bob.note), (False, None, None))

    def test_defaults_are_made_anew(self) -> None:
        """However the rows are given."""
        for build in (
            lambda name: Being.insert(name=name),
            lambda name: (
                Being.insert_many([{"name": name}, {Being.name: name + "!"}])
                if isinstance(name, str)
                else Being.insert_many([{"name": name}])
            ),
            lambda name: Being.insert_many([(name,)], fields=[Being.name]),
            lambda name: Being.insert_many({"name": each} for each in [name]),
        ):
            add = statement(build)
            before = MADE[0]
            for number in range(3):
                add(f"{before} {number}")
            made = [each.made for each in Being.select().where(Being.made > before)]
            self.assertEqual(len(set(made)), 3)
            self.assertEqual({each.flag for each in Being.select()}, {True})
            Being.delete().execute()

    def test_several_rows(self) -> None:
        """What each column makes of a value, in each of them."""
        ann, *_ = self.beings()

        @statement
        def add(parent: Any, one: str, other: str) -> peewee.Insert:
            return Being.insert_many(
                [(one, parent, SEEN), (other, parent, None)],
                fields=[Being.name, Being.parent, Being.seen],
            )

        add(ann, "one", "other")
        query = Being.select(Being.name, Being.seen).where(Being.parent == ann).order_by(Being.id)
        self.assertEqual([*query.tuples()][2:], [("one", SEEN), ("other", None)])

    def test_what_a_query_selects(self) -> None:
        Being.create(name="ann")
        copy = statement(
            lambda letter, name: Being.insert_from(
                Being.select(
                    peewee.fn.REPLACE(Being.name, "a", letter), Being.made, Being.flag
                ).where(Being.name == name),
                [Being.name, Being.made, Being.flag],
            )
        )
        copy("A", "ann")
        self.assertEqual(Being.select().where(Being.name == "Ann").count(), 1)

    def test_conflicts(self) -> None:
        ignore = statement(lambda name: Being.insert(name=name).on_conflict_ignore())
        replace = statement(
            lambda name, size: Being.insert(name=name, size=size).on_conflict_replace()
        )
        ignore("go")
        ignore("go")
        replace("go", 3)
        self.assertEqual([each.size for each in Being.select()], [3])
        add = statement(lambda name: Being.insert(name=name))
        self.assertRaises(peewee.IntegrityError, add, "go")

    def test_what_is_there_is_changed_instead(self) -> None:
        """Each column makes of the value what it would if it were inserted."""
        _ann, bob, *_ = self.beings()
        target: Any = {} if self.on_mysql else {"conflict_target": [Being.name]}

        @statement
        def add(name: str, parent: Any, flag: Any) -> peewee.Insert:
            return Being.insert(name=name).on_conflict(
                update={Being.parent: parent, "flag": flag, Being.size: Being.made + 1}, **target
            )

        add("cat", bob, "")
        cat = Being.get(name="cat")
        self.assertEqual((cat.parent_id, cat.flag, cat.size), (bob.id, False, cat.made + 1))

    def test_updates_and_deletions_count(self) -> None:
        _ann, bob, *_ = self.beings()

        @statement
        def change(names: Any, parent: Any, flag: Any, plus: Any) -> peewee.Update:
            return Being.update(
                {Being.parent: parent, "flag": flag, Being.size: Being.size + plus}
            ).where(Being.name.in_(names))

        self.assertEqual(change(["ann", "cat", "nobody"], bob, False, 10), 2)
        self.assertEqual(change([], bob, False, 10), 0)
        query = Being.select(Being.size, Being.flag, Being.parent).where(Being.name == "cat")
        self.assertEqual([*query.tuples()], [(5, False, bob.id)])
        self.assertEqual(change(["cat"], None, True, 0), 1)
        delete = statement(lambda name: Being.delete().where(Being.name == name))
        self.assertEqual((delete("Ann"), delete("Ann")), (1, 0))

    def test_many(self) -> None:
        add = statement(lambda name, flag: Being.insert(name=name, flag=flag))
        add.many([])
        add.many([("1", True)])
        add.many((str(number), number % 2) for number in range(2, 100))
        found = Being.select(Being.name, Being.flag).order_by(Being.id)
        self.assertEqual([*found.tuples()], [(str(n), bool(n % 2)) for n in range(1, 100)])
        self.assertEqual(len({each.made for each in Being.select()}), 99)
        change = statement(lambda size, name: Being.update(size=size).where(Being.name == name))
        change.many([(1, "1"), (2, "2")])
        self.assertEqual(
            [each.size for each in Being.select().order_by(Being.id).limit(3)], [1, 2, None]
        )
        texts = [(text, f"{number + 1}") for number, text in enumerate(TEXTS)]
        statement(lambda note, name: Being.update(note=note).where(Being.name == name)).many(texts)
        notes = [each.note for each in Being.select().order_by(Being.id).limit(len(TEXTS))]
        self.assertEqual(notes, [*TEXTS])

    def test_many_with_lists(self) -> None:
        """Of different lengths: no row is taken for one like the first."""
        self.beings()
        change = statement(lambda size, names: Being.update(size=size).where(Being.name.in_(names)))
        change.many([(10, ["ann"]), (11, {"bob", "cat"}), (12, []), (13, ("Ann",))])
        self.assertEqual(
            [each.size for each in Being.select().order_by(Being.id)], [10, 11, 11, 13]
        )

    def test_many_that_are_there(self) -> None:
        target: Any = {} if self.on_mysql else {"conflict_target": [Being.name]}
        add = statement(
            lambda name, size: Being.insert(name=name, size=size).on_conflict(
                update={Being.size: size}, **target
            )
        )
        add.many([("a", 1), ("b", 2), ("a", 3)])
        found = Being.select(Being.name, Being.size).order_by(Being.name)
        self.assertEqual([*found.tuples()], [("a", 3), ("b", 2)])

    def test_many_of_which_one_fails(self) -> None:
        """Nothing is kept, in a rule."""
        add = statement(lambda name: Being.insert(name=name))
        answer = self.database.run(add.many, [("a",), ("b",), ("a",)])
        self.failureResultOf(answer, peewee.IntegrityError)
        self.assertEqual(Being.select().count(), 0)


@on_both_databases
class Together(StatementsCase):
    add: Any = Statement(lambda name, note="": Being.insert(name=name, note=note))
    find: Any = Statement(
        lambda names: Being.select(Being.name, Being.seen).where(Being.name.in_(names))
    )
    change: Any = Statement(lambda note: Being.update(note=note))

    def test_each_gives_its_own(self) -> None:
        self.beings()

        def rule() -> Any:
            return together(
                self.find.of(["ann"]),
                self.add.of("dan", "100% %s"),
                self.find.of([]),
                self.change.of("it's; SELECT 1"),
                self.find.of({"dan", "nobody"}),
            )

        first, key, none, changed, found = self.call(rule)
        self.assertEqual((first, none, found), ([("ann", SEEN)], [], [("dan", None)]))
        self.assertEqual(key, Being.get(name="dan").id)
        self.assertEqual(changed, 5)

    def test_one(self) -> None:
        self.beings()
        self.assertEqual(self.call(together, self.find.of(["ann"])), [[("ann", SEEN)]])

    def test_an_error_in_the_second_of_three(self) -> None:
        """Nothing is kept, and the connection is fit for what comes next."""
        self.beings()
        broken: Any = Statement(lambda: Being.select(peewee.SQL("no_column")))
        for second, error in (
            (lambda: self.add.of("ann"), peewee.IntegrityError),
            (broken.of, peewee.OperationalError),
        ):

            def rule(second: Any = second) -> Any:
                return together(self.add.of("one"), second(), self.add.of("three"))

            self.failureResultOf(self.database.run(rule), error)
            self.assertEqual(self.call(self.find, ["ann", "one", "three"]), [("ann", SEEN)])
        self.assertTrue(self.database.available)

    def test_a_result_that_cannot_be_read(self) -> None:
        """What the database has to say besides is not taken for an answer to the next question."""
        self.beings()

        reading: Any = Statement(lambda: Unreadable.select(Unreadable.seen))

        def rule() -> Any:
            return together(reading.of(), self.add.of("one"), self.add.of("two"))

        self.failureResultOf(self.database.run(rule), ZeroDivisionError)
        self.failureResultOf(self.database.run(read_only(reading)), ZeroDivisionError)
        count = Being.select().count
        self.assertEqual(self.call(count), 4)


class Unread(peewee.DateTimeField):
    """Values that cannot be read."""

    def python_value(self, value: object) -> object:
        raise ZeroDivisionError


class Unreadable(Table):
    """The same beings."""

    seen = Unread()

    class Meta:
        table_name = "statement_being"


@on_both_databases
class Changed(StatementsCase):
    """A schema that changes under a compiled statement, by another connection."""

    find: Any = Statement(lambda name: Being.select().where(Being.name == name))
    add: Any = Statement(lambda name: Being.insert(name=name))

    def test_a_column_more(self) -> None:
        self.call(self.add, "ann")
        before = self.call(read_only(self.find), "ann")
        self.other().execute_sql("ALTER TABLE statement_being ADD COLUMN colour VARCHAR(9)")
        self.assertEqual(self.call(read_only(self.find), "ann"), before)
        self.call(self.add, "bob")
        self.assertEqual(len(self.call(self.find, "bob")), 1)

    def test_a_table_made_anew(self) -> None:
        """While it is not there that is said as it is; then all is well, whatever the order of its
        columns is now."""
        self.call(self.add, "ann")
        columns = len(self.call(read_only(self.find), "ann")[0])
        other = self.other()
        other.execute_sql("DROP TABLE statement_being")
        for rule in (read_only(self.find), self.add):
            answer = self.database.run(rule, "ann")
            self.failureResultOf(answer, peewee.OperationalError, peewee.ProgrammingError)
            self.assertTrue(self.database.available)
        other.execute_sql(
            "CREATE TABLE statement_being (note TEXT, parent_id INT, made INT, seen DATETIME,"
            " born DATE, flag SMALLINT, ratio DOUBLE, size BIGINT, name VARCHAR(40) UNIQUE,"
            f" id INTEGER PRIMARY KEY {'AUTO_INCREMENT' if self.on_mysql else ''})"
        )
        self.call(self.add, "ann")
        [row] = self.call(read_only(self.find), "ann")
        self.assertEqual((row[0], row[1], row[4], len(row)), (1, "ann", True, columns))
