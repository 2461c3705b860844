"""Which quick tests a change needs."""

from __future__ import annotations

from pathlib import Path, PurePath

from twisted.trial.unittest import SynchronousTestCase

from tests.readers import readers
from tests.touched import ALWAYS, LAST, needed, quick_tests, room_of, selected


class Needed(SynchronousTestCase):
    def needed(self, *paths: str) -> set[str] | None:
        rooms = needed(map(PurePath, paths))
        return rooms if rooms is None else {*rooms} - {ALWAYS, "__main__"}

    def test_a_room_and_those_that_import_it(self) -> None:
        self.assertEqual(self.needed("bbs/web/page.py"), {"web", "daemons"})
        self.assertIn("scaling", self.needed("bbs/storage/mysql.py") or ())

    def test_through_the_facade(self) -> None:
        """The board imports the database's names from `bbs.framework`."""
        self.assertIn("board", self.needed("bbs/storage/mysql.py") or ())
        self.assertNotIn("board", self.needed("bbs/web/page.py") or ())

    def test_tests_and_documents(self) -> None:
        self.assertEqual(self.needed("tests/ui/test_words.py"), {"ui", "faces", "daemons", "cli"})
        self.assertEqual(self.needed("docs/web.md", "README.md"), {"docs"})
        self.assertEqual(self.needed("docs/screens/nc.txt", "tests/board/costs.md"), {"docs"})
        self.assertEqual(self.needed("newsfragments/+x.bugfix.md"), {"docs"})

    def test_what_tests_read(self) -> None:
        """It is for its readers, and for all if nobody is known to read it."""
        checkout = Path(self.mktemp())
        (checkout / "tests").mkdir(parents=True)
        (checkout / "tests/test_words.py").write_text('WORDS = CHECKOUT / "tests/words.txt"\n')
        self.assertEqual(needed([PurePath("tests/words.txt")], checkout), {ALWAYS})
        self.assertIsNone(needed([PurePath("tests/others.txt")], checkout))

    def test_what_all_stand_on(self) -> None:
        for path in ("setup.cfg", "Makefile", "tests/run.py", "tests/board/costs.py"):
            self.assertIsNone(self.needed("docs/web.md", path), path)


class Selected(SynchronousTestCase):
    def test_rooms_and_readers(self) -> None:
        """Of another room only what reads the file; of real servers none."""
        files = map(PurePath, ("docs/limits.md", "docs/runbook.md"))
        reading = {path for file in files for path in readers(file)}
        quick = [path for path in selected({"docs"}, reading) if room_of(path) != ALWAYS]
        self.assertEqual({*map(room_of, quick)}, {"board", "docs"})
        self.assertIn(PurePath("tests/docs/test_names.py"), quick)
        of_the_board = [path.name for path in quick if room_of(path) == "board"]
        self.assertEqual(of_the_board, ["test_prices.py"])

    def test_all(self) -> None:
        self.assertEqual(selected(None, ()), quick_tests())


class Quick(SynchronousTestCase):
    def test_each_but_of_real_servers(self) -> None:
        tests = quick_tests()
        self.assertIn(PurePath("tests/test_touched.py"), tests)
        self.assertNotIn("integration", map(room_of, tests))
        self.assertEqual(room_of(tests[-1]), LAST)
