"""`bbs user`: the people, for operators: who there is and what in numbers, and what can be done."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import peewee

from bbs.cli import Program, text
from bbs.cli.client import PasswordFileError, read_password
from bbs.cli.offline import (
    NotCarriedOut,
    by_whom,
    carry_out,
    configuration,
    connected,
    tell,
    type_again,
)
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration
from bbs.core.errors import Refusal
from bbs.limits.password_hashing import OWASP
from bbs.rules import accounts, user_admin
from bbs.rules.fleet_admin import By
from bbs.rules.names import normalized
from bbs.rules.user_admin import ActionResult, NoSuchPerson, People, Person
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade
from bbs.ui.output import visible

_NONE = "-"
_ROW = "{:27}{:27}{:11}{:23}{}"
_HEADER = _ROW.format("CREATED", "SEEN", "STATE", "SERVER", "NAME")


def _print_list(part: Callable[[str], People], for_programs: bool) -> None:
    """Print a list, whose part behind a name `part` gives, as it comes: it may be long."""
    print("[" if for_programs else _HEADER, end="" if for_programs else "\n")
    separator, behind = "", ""
    while True:
        found = part(behind)
        for person in found.people:
            if for_programs:
                print(f"{separator}{json.dumps(_as_json(person))}", end="")
                separator = ",\n "
            else:
                print(_row(person))
        if found.more is None:
            break
        behind = found.more
    if for_programs:
        print("]")


def _as_json(person: Person) -> dict[str, object]:
    """Somebody for programs; times are seconds since the epoch."""
    suspended = person.suspended
    told: dict[str, object] = {
        "name": person.name,
        "state": person.state,
        "created": person.created,
        "seen": person.seen,
        "server": person.server,
        "address": person.address,
        "sessions": person.sessions,
        "suspended": suspended
        and {
            "since": suspended.since,
            "until": suspended.until,
            "reason": suspended.reason,
        },
    }
    return told if person.counts is None else {**told, "counts": {**person.counts}}


def _as_text(person: Person) -> str:
    """Somebody in lines of a name and a value each."""
    lines = [
        ("name", visible(person.name)),
        ("state", person.state),
        ("server", f"{person.server} at {person.address}" if person.server else _NONE),
        ("sessions", str(person.sessions)),
        ("created", _local_time(person.created)),
        ("seen", _local_time(person.seen)),
        ("suspended", _suspended(person)),
        *((visible(name).replace("_", " "), str(n)) for name, n in (person.counts or {}).items()),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def _local_time(seconds: float | None) -> str:
    """When that is, in ISO 8601 and this machine's own time."""
    if seconds is None:
        return _NONE
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "?"  # No clock says so; some row may.


def _row(person: Person) -> str:
    return _ROW.format(
        _local_time(person.created),
        _local_time(person.seen),
        person.state,
        person.address or _NONE,
        visible(person.name),
    )


def _suspended(person: Person) -> str:
    there = person.suspended
    if there is None:
        return "no"
    until = "until resumed" if there.until is None else f"until {_local_time(there.until)}"
    why = f": {visible(there.reason)}" if there.reason else ""
    return f"since {_local_time(there.since)}, {until}{why}"


ACTIONS = {
    "list": "who there is, and who of them is online",
    "show": "somebody, in numbers",
    user_admin.PASSWORD: "give somebody another password, and end all sessions of theirs",
    "suspend": "end all sessions of somebody, who cannot log in until then",
    "resume": "let somebody log in again",
    "kick": "end all sessions of somebody, who may log in again",
    "delete": "remove an account, and all that is somebody's",
}

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
"""The units of `--for`."""


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs user`; returns the exit code."""
    options = _parser(program).parse_args(argv)
    by = by_whom(f"{program.name} user")
    try:
        config = configuration(options.config, options.data, program.name)
        with connected(config.database.url) as database:
            upgrade(database, program.service().schema)
            _DEEDS[options.action](_Action(config, options, by, database, program.service()))
            sys.stdout.flush()
    except BrokenPipeError:  # Whoever reads has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except NoSuchPerson:
        return program.fail("user", visible(f"nobody is called {options.name}"))
    except user_admin.NotSuspended:
        return program.fail("user", visible(f"{options.name} is not suspended"))
    except Refusal as error:
        return program.fail("user", visible(error.message))
    except (ConfigError, DatabaseRefused, PasswordFileError, NotCarriedOut) as error:
        return program.fail("user", visible(str(error)))
    return 0


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = program.parser("user", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, help in ACTIONS.items():
        action = actions.add_parser(name, help=help, description=help)
        if name == "list":
            action.add_argument("--online", action="store_true", help="only who has a session")
            action.add_argument("--search", default="", metavar="TEXT", help="part of a name")
        else:
            action.add_argument("name", metavar="NAME", help="who it is")
        if name == "password":
            action.add_argument(
                "--password-file", metavar="FILE", help="has it; without, it is asked for"
            )
        if name == "suspend":
            action.add_argument(
                "--for",
                dest="seconds",
                type=_duration,
                metavar="TIME",
                help="how long: 90s, 30m, 12h, 7d, 4w; without, until resumed",
            )
            action.add_argument(
                "--reason", default="", type=_reason, metavar="TEXT", help="why, for operators"
            )
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="do not ask")
        program.placed(action)
        action.add_argument("--json", action="store_true", help="for programs")
        program.versioned(action)
    return parser


def _duration(argument: str) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", argument, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError("a time is a number and s, m, h, d or w: 7d")
    seconds = float(int(found[1]) * SECONDS[found[2]])
    if seconds > user_admin.LONGEST:
        raise argparse.ArgumentTypeError("ten years at most; without, until resumed")
    return seconds


def _reason(argument: str) -> str:
    if len(argument) > user_admin.MOST_REASON:
        raise argparse.ArgumentTypeError(
            f"a reason has {user_admin.MOST_REASON} characters at most"
        )
    return text(argument)


@dataclass(frozen=True)
class _Action:
    """One action of the command, and on what it is carried out."""

    config: Configuration
    options: argparse.Namespace
    by: By
    database: peewee.Database
    service: Service

    def done(self, done: ActionResult, words: str, **members: object) -> None:
        """Say in `words`, or to programs with `members` beside, that the action is carried out, and
        write it down."""
        name = done.name
        tell(self.config, self.options.data, self.by, self.options.action, name)
        told = {"name": name, "done": self.options.action, "sessions": done.sessions, **members}
        ended = f"; {done.sessions} {'session' if done.sessions == 1 else 'sessions'} ended"
        words = f"{visible(name)} {words}{ended if done.sessions else ''}"
        print(json.dumps(told) if self.options.json else words)


def _list(action: _Action) -> None:
    def part(behind: str) -> user_admin.People:
        return user_admin.search(
            action.by.now, action.options.search, online=action.options.online, behind=behind
        )

    _print_list(part, action.options.json)


def _show(action: _Action) -> None:
    person = user_admin.show(action.by.now, action.options.name, action.service.person)
    print(json.dumps(_as_json(person)) if action.options.json else _as_text(person))


def _password(action: _Action) -> None:
    name = user_admin.show(
        action.by.now, action.options.name
    ).name  # Before anybody types one in vain.
    path = action.options.password_file
    password = read_password(path) if path else _asked(name)
    accounts.check_password(password, action.config.limits.password_minimum)
    done = carry_out(
        action.database, user_admin.set_password, action.by, name, OWASP.hash(password)
    )
    action.done(done, "has another password")


def _asked(name: str) -> str:
    """A password that somebody has typed twice, where nobody sees it."""
    with warnings.catch_warnings():
        # It would read standard input, and show what is typed.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            password = getpass.getpass(f"New password of {visible(name)}: ")
            again = getpass.getpass("The same again: ")
        except (getpass.GetPassWarning, EOFError):
            raise NotCarriedOut("no terminal to ask at: name a --password-file") from None
    if password != again:
        raise NotCarriedOut("the two are not the same")
    if not password or " " in password:
        raise NotCarriedOut("a password is one word")
    return password


def _suspend(action: _Action) -> None:
    seconds = action.options.seconds
    until = None if seconds is None else action.by.now + seconds
    done = carry_out(
        action.database,
        user_admin.suspend,
        action.by,
        action.options.name,
        until,
        action.options.reason,
    )
    when = "until resumed" if until is None else f"until {_local_time(until)}"
    action.done(done, f"is suspended {when}", until=until, reason=action.options.reason)


def _resume(action: _Action) -> None:
    done = carry_out(action.database, user_admin.resume, action.by, action.options.name)
    action.done(done, "may log in again")


def _kick(action: _Action) -> None:
    done = carry_out(action.database, user_admin.kick, action.by, action.options.name)
    action.done(done, "is logged out" if done.sessions else "was not logged in")


def _delete(action: _Action) -> None:
    name = user_admin.show(action.by.now, action.options.name).name
    if not action.options.yes:
        _make_sure(name)
    on_delete = action.service.on_delete
    done, user = carry_out(action.database, user_admin.delete, action.by, name, on_delete)
    while user and not carry_out(action.database, user_admin.go_on_deleting, user, on_delete):
        pass
    action.done(done, "is deleted")


def _make_sure(name: str) -> None:
    """Have whoever is at the terminal type the name again."""
    question = f"Type {visible(name)} again to delete the account: "
    if normalized(type_again(question, "deletes")) not in (name, normalized(name)):
        raise NotCarriedOut("not the same: nothing is deleted")


_DEEDS: Mapping[str, Callable[[_Action], None]] = {
    "list": _list,
    "show": _show,
    "password": _password,
    "suspend": _suspend,
    "resume": _resume,
    "kick": _kick,
    "delete": _delete,
}
