"""Which tests read a document, a golden table or another file that is not Python."""

from __future__ import annotations

from pathlib import Path, PurePath

from twisted.trial.unittest import SynchronousTestCase

from tests.readers import dotted, readers


class InTheCheckout(SynchronousTestCase):
    """Files, and the tests that compare them; this module only names them."""

    def readers(self, file: str) -> set[str]:
        return {*map(dotted, readers(PurePath(file)))} - {__name__, "tests.test_touched"}

    def test_a_document(self) -> None:
        reading = self.readers("docs/protocol.md")
        self.assertIn("tests.docs.test_protocol", reading)
        # Its docstrings alone say that the document has more.
        self.assertNotIn("tests.board.posts.test_posts", reading)

    def test_by_a_helper(self) -> None:
        """`test_limits` compares what `tests.docs.limits` writes, and `costs.py` is beside its
        page."""
        self.assertIn("tests.docs.test_limits", self.readers("docs/limits.md"))
        self.assertIn("tests.board.scenarios.test_costs", self.readers("tests/board/costs.md"))
        self.assertEqual(
            self.readers("tests/board/queries.md"), {"tests.board.scenarios.test_explain"}
        )

    def test_all_of_a_folder(self) -> None:
        reading = self.readers("docs/screens/two-days-first.txt")
        self.assertEqual(reading, {"tests.integration.test_screens"})

    def test_nobody(self) -> None:
        self.assertEqual(self.readers("docs/index.md"), set())


class InAnother(SynchronousTestCase):
    def setUp(self) -> None:
        self.checkout = Path(self.mktemp())
        self.write("tests/paths.py", 'SCREENS = CHECKOUT / "docs/screens"\n')

    def write(self, path: str, source: str) -> None:
        (self.checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (self.checkout / path).write_text(source)

    def readers(self, file: str) -> list[str]:
        return [*map(dotted, readers(PurePath(file), self.checkout))]

    def test_the_folder_counts(self) -> None:
        """Many have a README."""
        self.write("tests/test_a.py", 'A = CHECKOUT / "deploy" / "image/README.md"\n')
        self.write("tests/test_b.py", 'B = CHECKOUT / "deploy/compose/README.md"\n')
        self.write("tests/cloud/test_c.py", 'C = Path(__file__).with_name("README.md")\n')
        self.assertEqual(self.readers("deploy/image/README.md"), ["tests.test_a"])
        self.assertEqual(self.readers("deploy/compose/README.md"), ["tests.test_b"])
        self.assertEqual(self.readers("tests/cloud/README.md"), ["tests.cloud.test_c"])
        self.assertEqual(self.readers("docs/README.md"), [])

    def test_on_top(self) -> None:
        self.write("tests/docs/test_a.py", 'A = CHECKOUT / "README.md"\n')
        self.assertEqual(self.readers("README.md"), ["tests.docs.test_a"])

    def test_part_of_a_name(self) -> None:
        self.write("tests/test_a.py", 'A = CHECKOUT / "docs/rate_limits.md"\n')
        self.assertEqual(self.readers("docs/limits.md"), [])

    def test_a_folder(self) -> None:
        """Not one with modules, nor one on top, nor where `tests/paths.py` says it is."""
        self.write("tests/__init__.py", "")
        self.write("tests/board/__init__.py", "")
        self.write("tests/test_a.py", 'A = CHECKOUT / "docs/screens"\n')
        self.write("tests/test_b.py", 'B = CHECKOUT / "tests/board", CHECKOUT / "docs"\n')
        self.write("tests/test_c.py", "from tests.paths import SCREENS\n")
        self.write("tests/test_d.py", 'D = f"docs/screens/{name}.txt"\n')
        self.write("tests/test_e.py", 'E = CHECKOUT / "docs/screens/nc.txt"\n')
        self.assertEqual(self.readers("docs/screens/web.txt"), ["tests.test_a", "tests.test_d"])
        self.assertEqual(self.readers("tests/board/costs.md"), [])
        self.assertEqual(self.readers("docs/web.md"), [])

    def test_through_helpers(self) -> None:
        """But not through another test, whose cases it does not have."""
        self.write("tests/board/costs.py", 'PAGE = Path(__file__).with_name("costs.md")\n')
        self.write("tests/board/crowds.py", "from tests.board import (\n    costs,\n    full,\n)\n")
        self.write("lab/test_a.py", "from tests.board.crowds import crowd\n")
        self.write("tests/test_b.py", "import tests.board.costs\n")
        self.write("tests/test_c.py", "from tests.test_b import B\n")
        self.write("tests/cloud/__init__.py", 'MANUAL = Path(__file__).with_name("README.md")\n')
        self.write("tests/test_d.py", "from tests.cloud import MANUAL\n")
        self.assertEqual(self.readers("tests/board/costs.md"), ["lab.test_a", "tests.test_b"])
        self.assertEqual(self.readers("tests/cloud/README.md"), ["tests.test_d"])

    def test_what_docstrings_say(self) -> None:
        self.write("tests/test_a.py", '"""docs/web.md"""\n\nA = 1\n"""docs/web.md"""\n')
        self.assertEqual(self.readers("docs/web.md"), [])

    def test_python_is_imported(self) -> None:
        self.write("tests/test_a.py", 'A = CHECKOUT / "docs/conf.py"\n')
        self.assertEqual(self.readers("docs/conf.py"), [])
