"""Which quick tests a change needs.

    python -m tests.touched [--since COMMIT] [--all]

prints the modules. The change is what differs from COMMIT: by default from the last commit, or if
nothing does, what that one changed. It needs

- the tests of the rooms that it touches, and of their importers. A room is a package of `bbs/` or
  `examples/` with the folder of the same name in `tests/`.
- the test modules that read a changed document, table or other file that is not Python.

A change of what all tests stand on needs all of them. On stderr stands which tests of real servers
read a changed file.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

from tests.paths import CHECKOUT
from tests.readers import dotted, is_test, readers

SLOW = "integration"  # Its tests start real servers.

LAST = "deploy"
"""Its tests come last: they load a thousand modules, and each module costs every later test."""

FACADES = ("framework", "operators", "providers")
"""The rooms whose names are mostly those of others: whoever imports one may use any of them."""

CODE = ("bbs", "deploy", "docs", "examples", "lab")
"""Folders whose files belong to one room each."""

ALWAYS = ""  # The room of `tests/` itself: import contracts, public names.


def quick_tests(checkout: Path = CHECKOUT) -> Sequence[PurePath]:
    """The files of all tests that start no real servers, those of `LAST` at the end."""
    tests = sorted(
        path.relative_to(checkout)
        for folder in ("tests", "lab")
        for path in (checkout / folder).rglob("test_*.py")
    )
    quick = [path for path in tests if room_of(path) != SLOW]
    return sorted(quick, key=lambda path: room_of(path) == LAST)


def room_of(path: PurePath) -> str:
    """The room of a file: `board` for `bbs/board/names.py` and for `tests/board/test_names.py`."""
    first, *others = path.parts
    if first == "tests":
        return others[0] if len(others) > 1 else ALWAYS
    return PurePath(others[0]).stem if first == "bbs" and others else first


def needed(changed: Iterable[PurePath], checkout: Path = CHECKOUT) -> Collection[str] | None:
    """The rooms whose tests a change of these files needs; None: all."""
    touched = {ALWAYS}
    for path in changed:
        top, room = path.parts[0], room_of(path)
        if path.suffix == ".md":
            touched.add("docs")
        elif top in CODE or (top == "tests" and room and is_test(path)):
            touched.add(room)
        elif top != "newsfragments" and not (top == "tests" and readers(path, checkout)):
            return None
    return touched | importers(touched, checkout)


def selected(
    rooms: Collection[str] | None, reading: Collection[PurePath], checkout: Path = CHECKOUT
) -> Sequence[PurePath]:
    """The quick tests of these rooms, or of all (None), and those that read what changed."""
    tests = quick_tests(checkout)
    return [path for path in tests if rooms is None or room_of(path) in rooms or path in reading]


def importers(rooms: Collection[str], checkout: Path = CHECKOUT) -> set[str]:
    """The rooms of `bbs/` that import one of these, by themselves or through the facade."""
    imports = _imports(checkout)
    through = {facade for facade in FACADES if imports.get(facade, set()).intersection(rooms)}
    return {own for own, others in imports.items() if others.intersection(through.union(rooms))}


@cache
def _imports(checkout: Path) -> Mapping[str, set[str]]:
    """The rooms of `bbs/`, and those that each imports."""
    imports: dict[str, set[str]] = {}
    for path in (checkout / "bbs").rglob("*.py"):
        own = room_of(path.relative_to(checkout))
        imports.setdefault(own, set()).update(_imported(path.read_text()))
    return imports


def _imported(source: str) -> Iterator[str]:
    """The rooms of `bbs/` from which a module imports anything."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *others = name.split(".")
            if first == "bbs" and others:
                yield others[0]


def changed_since(commit: str | None) -> Sequence[PurePath]:
    """The files that differ from `commit`, new ones too."""
    changed = _git("diff", "--name-only", commit or "HEAD")
    changed += _git("ls-files", "--others", "--exclude-standard")
    if not changed and commit is None:
        changed = _git("diff", "--name-only", "HEAD^")
    return [PurePath(path) for path in changed]


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(
        ["git", *arguments], cwd=CHECKOUT, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.touched")
    parser.add_argument("--since", metavar="COMMIT", help="what differs from this one")
    parser.add_argument("--all", action="store_true", help="all quick tests")
    options = parser.parse_args()
    changed = [] if options.all else changed_since(options.since)
    rooms = None if options.all else needed(changed)
    reading = {path for file in changed for path in readers(file)}
    if rooms is not None:
        quick = (path for path in reading if room_of(path) not in (*rooms, SLOW))
        _say("Quick tests of", filter(None, rooms))
        _say("Quick tests that read what changed", map(dotted, quick))
    slow = (path for path in reading if room_of(path) == SLOW)
    _say("Tests of real servers that read it, which make test runs", map(dotted, slow))
    for path in selected(rooms, reading):
        print(dotted(path))


def _say(what: str, names: Iterable[str]) -> None:
    if listed := sorted(names):
        print(f"{what}: {', '.join(listed)}", file=sys.stderr)


if __name__ == "__main__":
    main()
