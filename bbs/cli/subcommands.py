"""The subcommands that a service adds to its command line (`bbs.commands.service.Subcommand`), and
rules that an operator or a script runs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import import_module
from typing import Any, NoReturn, ParamSpec, TypeVar

import peewee

from bbs.cli import Program, duration, text
from bbs.cli.offline import (
    NotCarriedOut,
    ask_line,
    carry_out,
    configuration,
    connected,
    get_operator,
    local_time,
    record,
)
from bbs.commands.extensions import extended
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration
from bbs.core.errors import Refusal
from bbs.core.values import is_for_threads
from bbs.rules import fleet_admin, service_admin, user_admin
from bbs.rules.fleet_admin import By
from bbs.rules.service_admin import MOST_DETAIL, ActResult, OperatorAct
from bbs.storage.database import is_read_only
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade
from bbs.ui.output import visible

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, repr=False)  # The configuration has secrets.
class Operator:
    """The operator who runs a subcommand, with the service's database, as `Subcommand.run` gets
    them. A `Refusal` of a rule becomes one line on standard error, as `fail` does."""

    _config: Configuration
    _options: argparse.Namespace
    _parser: argparse.ArgumentParser
    _database: peewee.Database
    _by: By

    @property
    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return self._by.now

    def call(self, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
        """Call `rule` with `arguments` and `keywords` in a transaction; returns its result."""
        return carry_out(self._database, rule, *arguments, **keywords)

    def act(
        self, what: str, name: str, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
    ) -> T:
        """Call `rule` with `arguments` and `keywords` in a transaction that also records that the
        operator did this; returns its result.

        :param what: the act, in a word of at most 20 characters, as the security log has it.
        :param name: what it was done to.
        """

        def recorded() -> T:
            result = rule(*arguments, **keywords)
            fleet_admin.record(self._by, what, detail=name[:MOST_DETAIL])
            return result

        result = carry_out(self._database, recorded)
        record(self._config, self._by, what, name)
        return result

    def perform(self, act: OperatorAct, key: str, **fields: object) -> ActResult:
        """Carry out an act that the operators' page has too, as `act` does, in as many transactions
        as it needs: on the row `key` ("" for an act on no row), with its `fields` by name, of which
        times are in seconds since the epoch."""
        result = self.call(service_admin.perform, self._by, act, key, fields)
        record(self._config, self._by, act.name, result.on)
        while result.rest and not self.call(result.rest):
            pass
        return result

    def ask(self, question: str, done: str) -> str:
        """Ask the operator the `question` at the terminal, for a line; `done` says what an option
        `--yes` does without asking. Without a terminal, the subcommand ends as by `fail`."""
        return ask_line(visible(question), done)

    def say(self, words: str, members: Mapping[str, object]) -> None:
        """Print the result: lines of `words`, or with `--json` the members."""
        lines = map(visible, words.split("\n"))
        print(json.dumps(members) if self._options.json else "\n".join(lines))

    def say_all(self, lines: Iterable[str], entries: Iterable[Mapping[str, object]]) -> None:
        """Print a list, entry by entry: its `lines`, or with `--json` the `entries`."""
        if not self._options.json:
            for line in lines:
                print(visible(line))
            return
        separator = "["
        for entry in entries:
            print(f"{separator}{json.dumps(entry)}", end="")
            separator = ",\n "
        print("]" if separator != "[" else "[]")

    def misuse(self, reason: str) -> NoReturn:
        """End the subcommand as one with wrong arguments: with its usage and the `reason`, and the
        exit code 2."""
        self._parser.error(reason)

    def fail(self, reason: str) -> NoReturn:
        """End the subcommand with a reason, in one line, and the exit code 1: nothing is done."""
        raise NotCarriedOut(reason)

    def moment(self, text: str) -> float:
        """Read from `text` a time to come, as ISO 8601 (in this machine's time zone, if it names
        none) or as a length from now on, such as `2h`. Returns seconds since the epoch; wrong usage
        if it is neither, or over."""
        try:
            moment = self.now + duration(text)
        except argparse.ArgumentTypeError:
            try:
                moment = datetime.fromisoformat(text).astimezone().timestamp()
            except (ValueError, OverflowError, OSError):
                self.misuse(
                    f"{text!r} is not a time: write 2h (s, m, h, d or w), or 2026-11-26T14:03"
                )
        if moment <= self.now:
            self.misuse(f"{text} is over")
        return moment

    @staticmethod
    def time(seconds: float | None) -> str:
        """The time `seconds` after the epoch in ISO 8601, in this machine's time zone; `-` for
        None."""
        return local_time(seconds)


CHANGED = "nobody was told of what the rule has changed, unless it calls tell_soon"
"""Said of a rule that may have changed something, as no handler runs after it."""

RUN = """\
Run a rule of the service in a transaction on its database, and print what it returns as JSON.

The rule gets the arguments as texts; with --user, a caller before them. No handler runs: whoever
is connected is told of nothing, unless the rule calls tell_soon.
"""


def run_rule_command(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `NAME run`; returns the exit code."""
    parser = program.parser("run", RUN)
    parser.add_argument("rule", metavar="RULE", type=_rule, help="package.module:function")
    parser.add_argument("arguments", metavar="ARG", nargs="*", type=text)
    parser.add_argument("--user", metavar="NAME", type=text, help="the user who calls it")
    program.add_database(parser)
    options = parser.parse_args(argv)
    by = get_operator(f"{program.name} run")
    name, rule = options.rule

    def recorded() -> object:
        caller = () if options.user is None else (user_admin.caller_named(options.user, by.now),)
        result = rule(*caller, *options.arguments)
        fleet_admin.record(by, "run", person=options.user, detail=name[:MOST_DETAIL])
        # Here, so that nothing is stored if the result cannot be shown.
        return json.dumps(result, default=str, ensure_ascii=True)

    try:
        service, place = program.service(), (options.config, options.data)
        config = configuration(*place, program.name, program.settings)
        result = _run_rule(service, config, recorded)
        record(config, by, "run", name)
        print(result)
        if not is_read_only(rule):
            print(f"{program.name} run: {CHANGED}", file=sys.stderr)
    except Refusal as error:
        return program.fail("run", error.message)
    except user_admin.NoSuchPerson:
        return program.fail("run", f"there is no user {options.user}")
    except (ConfigError, DatabaseRefused) as error:
        return program.fail("run", error)
    except (TypeError, ValueError) as error:  # Arguments that do not fit, mostly.
        return program.fail("run", f"{name}: {type(error).__name__}: {error}")
    return 0


def _rule(reference: str) -> tuple[str, Callable[..., object]]:
    """The argparse type of a rule."""
    module, _, function = reference.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{reference}: {error}") from error
    if not is_for_threads(found):
        raise argparse.ArgumentTypeError(f"{reference} is not a rule: a plain function")
    return reference, found


def run_rule(
    service: Service,
    rule: Callable[P, T],
    *arguments: P.args,
    **keywords: P.kwargs,
) -> T:
    """Run `rule` of `service` in a script, with `arguments` and `keywords`, in a transaction on its
    database, and return its result. The database is the one that `NAME run` would use, in the
    working directory or as the environment says. Not for a process with a reactor: it waits.

    :raises Refusal: the rule refuses.
    :raises ConfigError: the configuration is wrong.
    :raises DatabaseRefused: the database cannot be used.
    :raises PluginUnusable: an installed extension cannot be used.
    """
    service = extended(service)
    config = configuration(None, None, service.name, service.sections)
    return _run_rule(service, config, partial(rule, *arguments, **keywords))


def _run_rule(service: Service, config: Configuration, rule: Callable[[], T]) -> T:
    with connected(config.database.url) as database:
        upgrade(database, service.schema)
        _tell_settings(database, service, config)
        return carry_out(database, rule)


def _tell_settings(database: Any, service: Service, config: Configuration) -> None:
    """Have rules find the service's sections of the configuration."""
    database.sections = service.loaded(config.settings)


def names(service: Service) -> Sequence[str]:
    """The first words of the service's subcommands."""
    return [*dict.fromkeys(name.split(" ")[0] for name in service.all_subcommands)]


def run(part: str, arguments: Sequence[str], program: Program) -> int:
    """Run the subcommand of the service that `part`, its first word, and `arguments` say; returns
    the exit code."""
    parser, parsers = _parsers(part, program)
    options = parser.parse_args(arguments)
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        parser.error("not UTF-8")
    name = part if options.action is None else f"{part} {options.action}"
    subcommand = program.service().all_subcommands[name]
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        with connected(config.database.url) as database:
            upgrade(database, program.service().schema)
            _tell_settings(database, program.service(), config)
            by = get_operator(f"{program.name} {part}")
            subcommand.run(Operator(config, options, parsers[name], database, by), options)
    except Refusal as error:
        return program.fail(part, error.message)
    except (ConfigError, DatabaseRefused, NotCarriedOut) as error:
        return program.fail(part, error)
    return 0


def _parsers(
    part: str, program: Program
) -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """The parser of a part, and that of each subcommand in it."""
    found = program.service().all_subcommands
    if part in found:
        parser = program.parser(part, found[part].help)
        parser.set_defaults(action=None)
        parsers = {part: parser}
    else:
        parser = program.parser(part, None)
        actions = parser.add_subparsers(dest="action", required=True)
        parsers = {
            name: actions.add_parser(name.split(" ")[1], help=each.help, description=each.help)
            for name, each in found.items()
            if name.startswith(f"{part} ")
        }
    for name, each in parsers.items():
        found[name].arguments(each)
        program.add_database(each)
        each.add_argument("--json", action="store_true", help="for programs")
        if each is not parser:
            program.add_version(each)
    return parser, parsers
