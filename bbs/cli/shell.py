"""`NAME shell`: a Python prompt with the models and rules of a service, on its database.

It reads. With `--write`, a rule that is called by `run` may write, each time in a transaction.
"""

from __future__ import annotations

import argparse
import code
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from textwrap import fill
from typing import Any, ParamSpec, TypeVar

import peewee

from bbs.cli import Program
from bbs.cli.offline import carry_out, configuration, connected, get_operator, record
from bbs.commands.service import Service
from bbs.commands.strictness import function_of
from bbs.config import ConfigError
from bbs.core.values import is_for_threads
from bbs.rules import fleet_admin, user_admin
from bbs.rules.auth import Caller
from bbs.rules.service_admin import MOST_DETAIL
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade
from bbs.storage.models import MODELS
from bbs.storage.statements import Statement
from bbs.storage.transactions import name_of_rule

P = ParamSpec("P")
T = TypeVar("T")

WIDTH = 100  # columns of the lists of names

SHELL = "A Python prompt with the models and rules of the service, which reads its database."


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `NAME shell`; returns the exit code."""
    parser = program.parser("shell", SHELL)
    parser.add_argument("--write", action="store_true", help="let rules write that `run` calls")
    program.add_database(parser)
    options = parser.parse_args(argv)
    try:
        service = program.service()
        config = configuration(options.config, options.data, program.name, program.settings)
        with connected(config.database.url) as database:
            if options.write:
                upgrade(database, service.schema)
            else:  # What passes by peewee is refused by the database itself.
                is_sqlite = isinstance(database, peewee.SqliteDatabase)
                read_only = "PRAGMA query_only = 1", "SET SESSION TRANSACTION READ ONLY"
                driver: Any = database
                driver.execute_sql(read_only[not is_sqlite])
            shell = _Shell(program, config, database, options)
            names = {**names_of(service), **shell.names(), "__name__": "shell"}
            with shell.reading():
                code.interact(_banner(program, options, names), None, names, "")
    except (ConfigError, DatabaseRefused) as error:
        return program.fail("shell", error)
    return 0


class _Shell:
    """The names at a prompt beside those of the service."""

    def __init__(
        self, program: Program, config: Any, database: Any, options: argparse.Namespace
    ) -> None:
        self._by = get_operator(f"{program.name} shell")
        self._config, self._database, self._writes = config, database, options.write

    def names(self) -> Mapping[str, object]:
        return {"run": self.run, "caller": self.caller, "database": self._database}

    def run(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call `rule` in a transaction; with --write it may write."""
        if not self._writes:
            self._database.begin_reading()
            try:
                return rule(*arguments, **keywords)
            finally:
                self._database.end_reading()
        name = name_of_rule(rule)

        def recorded() -> T:
            result = rule(*arguments, **keywords)
            fleet_admin.record(self._by, "shell", detail=name[:MOST_DETAIL])
            return result

        with self.reading(False):
            result = carry_out(self._database, recorded)
        record(self._config, self._by, "shell", name)
        return result

    def caller(self, name: str) -> Caller:
        """The user `name`, as rules of commands get their caller."""
        return user_admin.caller_named(name, self._by.now, locked=False)

    @contextmanager
    def reading(self, only: bool = True) -> Iterator[None]:
        """Refuse every statement that writes, or with False none, in the `with` statement."""
        state = self._database.state
        before, state.reading = state.reading, only
        try:
            yield
        finally:
            state.reading = before


def names_of(service: Service) -> dict[str, Any]:
    """The models of a service and its extensions, and the public functions and statements of the
    modules with their rules, by name. Of two with one name, the first one counts."""
    names: dict[str, Any] = {}
    for model in (*service.schema.all_models, *MODELS):
        names.setdefault(model.__name__, model)
    rules = [command.rule for part in service.parts for table in part.commands for command in table]
    functions = filter(None, map(function_of, rules))
    for module in dict.fromkeys(sys.modules[each.__module__] for each in functions):
        for name, thing in vars(module).items():
            is_own = getattr(thing, "__module__", None) == module.__name__
            is_rule = is_for_threads(thing) or isinstance(thing, Statement)
            if is_own and is_rule and not name.startswith("_"):
                names.setdefault(name, thing)
    return names


def _banner(program: Program, options: argparse.Namespace, names: Mapping[str, object]) -> str:
    with suppress(ImportError):  # Not every Python has it.
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(dict(names)).complete)
        readline.parse_and_bind("tab: complete")
    writes = "run(rule, …) may write" if options.write else "nothing can be written: see --write"
    models = [name for name, thing in names.items() if isinstance(thing, type)]
    own = ("run", "caller", "database", "__name__")
    rules = [name for name in names if name not in (*models, *own)]
    lists = [
        fill(f"{what}: {', '.join(sorted(found))}", WIDTH, subsequent_indent="  ")
        for what, found in (("Models", models), ("Rules and statements", rules))
        if found
    ]
    told = (
        f"The models and rules of {program.name}, by their names. run(rule, …) calls a rule in a"
        f" transaction; caller(NAME) is a user. Here {writes}."
    )
    return "\n".join((*lists, told))
