"""Whoever changes a module finds its tests: `tests/` mirrors `bbs/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

SCENARIOS = "scenarios"
"""The folders with tests of what several modules do together."""


def strays(checkout: Path) -> Iterator[str]:
    """The files of tests in rooms of `bbs/` that are named after none of its modules or packages,
    and are in no folder of scenarios."""
    tests, code = checkout / "tests", checkout / "bbs"
    for path in sorted(tests.rglob("test_*.py")):
        folder = path.parent.relative_to(tests)
        is_mirrored = folder.parts and (code / folder.parts[0]).is_dir()
        if not is_mirrored or folder.name == SCENARIOS:
            continue
        name = path.stem.removeprefix("test_")
        mirrored = (code / folder / f"{name}.py", code / folder / name)
        if name != folder.name and not any(each.exists() for each in mirrored):
            yield str(path.relative_to(checkout))


class Mirror(SynchronousTestCase):
    def test_each_file_is_named_after_a_module_or_has_a_scenario(self) -> None:
        self.assertEqual([*strays(CHECKOUT)], [])

    def test_a_stray(self) -> None:
        checkout = Path(self.mktemp())
        for path in (
            *("bbs/board/posts.py", "tests/board/test_posts.py", "tests/board/test_board.py"),
            *(
                "tests/board/scenarios/test_crowds.py",
                "tests/docs/test_links.py",
                "tests/test_x.py",
            ),
            "tests/board/test_crowds.py",
        ):
            (checkout / path).parent.mkdir(parents=True, exist_ok=True)
            (checkout / path).touch()
        self.assertEqual([*strays(checkout)], ["tests/board/test_crowds.py"])
