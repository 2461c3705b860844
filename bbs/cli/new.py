"""`NAME new`: begin a package of one's own, which runs as it is.

The folders in `templates/` are whole projects, whose name is NAME. A new project is a copy of one,
with its own name in that place, in the names of files too.
"""

from __future__ import annotations

import builtins
import io
import keyword
import os
import shutil
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from bbs.cli import Program
from bbs.commands.extensions import NAME
from bbs.config.sections import OWN_SECTIONS, installed_providers

PLACEHOLDER = "NAME"
"""What stands for the project's name in templates."""

KINDS = {
    "service": "a service of your own",
    "commands": "commands for the board, with a table: an extension of it",
    "provider": "another way to start app servers",
}


class NameUnusable(Exception):
    """A project cannot have this name; the text is one line that says why, and what to do."""


def main(argv: Sequence[str], program: Program) -> int:
    """Make the folder of a new project, and print what to do next."""
    parser = program.parser("new", "Make a package that runs as it is, to change into your own.")
    parser.add_argument("name", metavar="NAME", help="its name, and the folder that is made")
    kinds = "; ".join(f"{kind}: {what}" for kind, what in KINDS.items())
    parser.add_argument("--kind", choices=KINDS, default="service", help=kinds)
    options = parser.parse_args(argv)
    name, kind = options.name, options.kind
    contents = dict(contents_of(kind))
    try:
        check_name(name, kind, contents, program)
        make_project(Path(name), contents)
    except NameUnusable as error:
        return program.fail("new", error)
    except OSError as error:
        return program.fail("new", f"cannot make {error.filename or name}: {error.strerror}")
    print("\n".join(next_commands(name, kind, program.name)))
    return 0


def contents_of(kind: str) -> Iterator[tuple[str, str]]:
    """The files of a template: path and text."""

    def walk(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
        for each in sorted(folder.iterdir(), key=lambda each: each.name):
            if each.is_dir() and each.name != "__pycache__":
                yield from walk(each, f"{path}{each.name}/")
            elif each.is_file():
                yield f"{path}{each.name}", each.read_text("utf-8")

    return walk(files("bbs.cli") / "templates" / kind, "")


# Names


def check_name(name: str, kind: str, contents: Mapping[str, str], program: Program) -> None:
    """Check that a project of this kind can have this name.

    :raises NameUnusable: it would not run, or would break what is installed.
    """
    for reason in _reasons(name, kind, contents, program):
        raise NameUnusable(reason)


def _reasons(name: str, kind: str, contents: Mapping[str, str], program: Program) -> Iterator[str]:
    other = "choose another name"
    if not NAME.fullmatch(name):
        yield (
            f"{name!r} cannot be a name: use a lower-case letter, and then at most 31 lower-case"
            " letters and digits"
        )
    if keyword.iskeyword(name) or hasattr(builtins, name):
        yield f"{name} is a word of Python: {other}"
    if os.path.lexists(name):
        yield f"{name} is here already: remove it, or {other}"
    if _is_installed(name):
        yield f"{name} is installed here already: {other}"
    if name in _identifiers(contents):
        yield f"{name} is a name in the code that would be made: {other}"
    if kind == "service" and (program_file := Path(sys.executable).parent / name).exists():
        yield f"the command {name} would replace {program_file}: {other}"
    if kind == "commands" and name in _commands(program):
        yield f"{name} is a command or extension of {program.name}: {other}"
    if kind == "provider" and name in _sections():
        yield f"{name} is a section of the configuration: {other}"


def _is_installed(name: str) -> bool:
    """Whether a module or a distribution has the name."""
    if name in sys.builtin_module_names or find_spec(name) is not None:
        return True
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _identifiers(contents: Mapping[str, str]) -> set[str]:
    """The names in the code of a template: a package of one of them could hide it."""
    sources = [text for path, text in contents.items() if path.endswith(".py")]
    tokens = (token for text in sources for token in _tokens(text))
    return {token.string for token in tokens if token.type == tokenize.NAME} | {"src", "tests"}


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)


def _commands(program: Program) -> set[str]:
    service = program.service()
    named = {command.name for table in service.commands for command in table}
    for extension in service.extensions:
        named |= {extension.name, *extension.commands_of()}
    return named


def _sections() -> set[str]:
    return {*OWN_SECTIONS, *(provider.name for _, provider in installed_providers())}


# The project


def make_project(folder: Path, contents: Mapping[str, str]) -> None:
    """Write the files of a template, for the project that the folder is called after. On an error,
    an OSError, nothing is left."""
    folder.mkdir()
    try:
        for path, text in contents.items():
            file = folder / path.replace(PLACEHOLDER, folder.name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace(PLACEHOLDER, folder.name), "utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def next_commands(name: str, kind: str, program_name: str) -> Iterator[str]:
    """The commands that install, test and run a new project: at most five lines."""
    if sys.prefix == sys.base_prefix:
        yield f"python3 -m venv --system-site-packages {name}/env && . {name}/env/bin/activate"
    elif os.environ.get("VIRTUAL_ENV") != sys.prefix:
        yield f". {sys.prefix}/bin/activate"
    yield f"pip install --editable ./{name}"
    yield f"cd {name} && python -m twisted.trial tests"
    if kind == "service":
        yield f"{name} up    # then, elsewhere: {name} client"
    elif kind == "commands":
        yield f"bbs up    # then, elsewhere: bbs client, help {name}"
    else:
        yield f"BBS_FLEET_PROVIDER={name} {program_name} up"
