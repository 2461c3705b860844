"""Which quick tests a change needs."""

from __future__ import annotations

from pathlib import PurePath

from twisted.trial.unittest import SynchronousTestCase

from tests.touched import ALWAYS, LAST, needed, quick_tests, room_of


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
        self.assertEqual(self.needed("newsfragments/+x.bugfix.md"), {"docs"})

    def test_what_all_stand_on(self) -> None:
        for path in ("setup.cfg", "Makefile", "tests/run.py", "tests/board/costs.py"):
            self.assertIsNone(self.needed("docs/web.md", path), path)


class Quick(SynchronousTestCase):
    def test_each_but_of_real_servers(self) -> None:
        found = quick_tests()
        self.assertIn(PurePath("tests/test_touched.py"), found)
        self.assertNotIn("integration", map(room_of, found))
        self.assertEqual(room_of(found[-1]), LAST)
