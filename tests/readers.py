"""Which tests read a file that is not Python: a document, a golden table, a unit.

No test says so. What it says is the name of the file, and that of its folder.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePath

from tests.paths import CHECKOUT

PLACES = "tests.paths"
"""It names folders for half of all tests, few of which read them."""

_IMPORT = re.compile(r"^ *(?:from|import) ((?:tests|lab)[\w.]*)(?: import (\([^)]*\)|.*))?", re.M)


@cache
def readers(file: PurePath, checkout: Path = CHECKOUT) -> Sequence[PurePath]:
    """The test modules that name a file which is not Python, or import a helper that does, or one
    that imports such a helper. Who names all of the folder that has the file names the file."""
    if file.suffix == ".py":
        return ()
    folders = (
        folder
        for folder in file.parents
        if folder.parent.name and not (checkout / folder / "__init__.py").exists()
    )
    places, sources = (file, *folders), _sources(checkout)
    reading = {
        path
        for path, source in sources.items()
        if dotted(path) != PLACES and any(_names(path, source, place) for place in places)
    }
    while True:
        helpers = {dotted(path) for path in reading if not is_test(path)}
        more = {path for path, source in sources.items() if helpers.intersection(_helpers(source))}
        if more <= reading:
            return sorted(filter(is_test, reading))
        reading |= more


def _names(path: PurePath, source: str, place: PurePath) -> bool:
    """Whether a string of a module ends with the name of a file or folder. Many folders have a
    `README.md` or a `bbs.toml`, so the folder is named, too, or is the module's own."""
    if place.name not in source:
        return False
    tree = ast.parse(source)
    # A test need not read what its docstrings tell people of.
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = [
        node.value.rstrip("/").split("/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told
    ]
    around = place.parent in (path.parent, PurePath())
    around = around or any(place.parent.name in parts for parts in strings)
    return around and any(parts[-1] == place.name for parts in strings)


@cache
def _helpers(source: str) -> Collection[str]:
    """What a module imports of the tests: modules, and whatever else has a name there."""
    imports = _IMPORT.findall(source)
    names = (f"{module}.{name}" for module, some in imports for name in re.findall(r"\w+", some))
    return {*names, *(module for module, _ in imports)}


@cache
def _sources(checkout: Path) -> Mapping[PurePath, str]:
    """The modules of tests and their helpers."""
    paths = sorted(path for top in ("tests", "lab") for path in (checkout / top).rglob("*.py"))
    return {path.relative_to(checkout): path.read_text() for path in paths}


def dotted(path: PurePath) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def is_test(path: PurePath) -> bool:
    return path.name.startswith("test_") and path.suffix == ".py"
