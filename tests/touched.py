"""Which quick tests a change needs: those of the rooms that it touches, and of their importers.

    python -m tests.touched [--since COMMIT] [--all]

prints the modules. A room is a package of `bbs/` or `examples/` with the folder of the same name in
`tests/`. The change is what differs from COMMIT: by default from the last commit, or if nothing
does, what that one changed. A change of what all tests stand on needs all of them.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from tests.paths import CHECKOUT

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
    found = sorted(
        path.relative_to(checkout)
        for folder in ("tests", "lab")
        for path in (checkout / folder).rglob("test_*.py")
    )
    quick = [path for path in found if room_of(path) != SLOW]
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
        elif top in CODE or (top == "tests" and room and path.name.startswith("test_")):
            touched.add(room)
        elif top != "newsfragments":
            return None
    return touched | importers(touched, checkout)


def importers(rooms: Collection[str], checkout: Path = CHECKOUT) -> set[str]:
    """The rooms of `bbs/` that import one of these, by themselves or through the facade."""
    imports: dict[str, set[str]] = {}
    for path in (checkout / "bbs").rglob("*.py"):
        own = room_of(path.relative_to(checkout))
        imports.setdefault(own, set()).update(_imported(path.read_text()))
    through = {each for each in FACADES if imports.get(each, set()).intersection(rooms)}
    return {own for own, others in imports.items() if others.intersection(through.union(rooms))}


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
    rooms = None if options.all else needed(changed_since(options.since))
    if rooms is not None:
        print(f"Quick tests of: {', '.join(sorted(filter(None, rooms)))}", file=sys.stderr)
    for path in quick_tests():
        if rooms is None or room_of(path) in rooms:
            print(".".join(path.with_suffix("").parts))


if __name__ == "__main__":
    main()
