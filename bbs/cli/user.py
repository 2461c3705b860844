"""`bbs user`: list people, show one; set a password; suspend, resume, kick or delete one."""

from __future__ import annotations

import argparse
import getpass
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import peewee

from bbs.cli import PasswordFileError, Program, duration, read_password, text
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
from bbs.commands.service import Service
from bbs.config import ConfigError, Configuration
from bbs.core.errors import Refusal
from bbs.limits.password_hashing import OWASP
from bbs.rules import accounts, user_admin
from bbs.rules.fleet_admin import By
from bbs.rules.names import normalized
from bbs.rules.user_admin import ActionResult, NoSuchPerson, Person
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade
from bbs.ui.output import visible

_NONE = "-"
_ROW = "{:27}{:27}{:11}{:23}{}"
_HEADER = _ROW.format("CREATED", "SEEN", "STATE", "SERVER", "NAME")


def _as_json(person: Person) -> dict[str, object]:
    """A person for programs; times are seconds since the epoch."""
    suspended = person.suspended
    members: dict[str, object] = {
        "name": person.name,
        "state": person.state,
        "created": person.created,
        "seen": person.seen,
        "server": person.server,
        "address": person.address,
        "sessions": person.sessions,
        "suspended": suspended
        and {"since": suspended.since, "until": suspended.until, "reason": suspended.reason},
    }
    return members if person.counts is None else {**members, "counts": {**person.counts}}


def _as_text(person: Person) -> str:
    """A person in lines of a name and a value each."""
    lines = [
        ("name", visible(person.name)),
        ("state", person.state),
        ("server", f"{person.server} at {person.address}" if person.server else _NONE),
        ("sessions", str(person.sessions)),
        ("created", local_time(person.created)),
        ("seen", local_time(person.seen)),
        ("suspended", _suspended(person)),
        *((visible(name).replace("_", " "), str(n)) for name, n in (person.counts or {}).items()),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def _suspended(person: Person) -> str:
    suspended = person.suspended
    if suspended is None:
        return "no"
    why = f": {visible(suspended.reason)}" if suspended.reason else ""
    return f"since {local_time(suspended.since)}, {_end(suspended.until)}{why}"


def _end(until: float | None) -> str:
    return "until resumed" if until is None else f"until {local_time(until)}"


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs user`; returns the exit code."""
    options = _parser(program).parse_args(argv)
    by = get_operator(f"{program.name} user")
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        with connected(config.database.url) as database:
            upgrade(database, program.service().schema)
            action, _ = ACTIONS[options.action]
            action(_Action(config, options, by, database, program.service()))
    except NoSuchPerson:
        return program.fail("user", f'there is no account "{options.name}"')
    except user_admin.NotSuspended:
        return program.fail("user", f"{options.name} is not suspended")
    except Refusal as error:
        return program.fail("user", error.message)
    except (ConfigError, DatabaseRefused, PasswordFileError, NotCarriedOut) as error:
        return program.fail("user", error)
    return 0


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = program.parser("user", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, (_, help) in ACTIONS.items():
        action = actions.add_parser(name, help=help, description=help)
        if name == "list":
            action.add_argument("--online", action="store_true", help="only people with a session")
            action.add_argument("--search", default="", metavar="TEXT", help="part of a name")
        else:
            action.add_argument("name", metavar="NAME", help="the person's name")
        if name == "password":
            help = "file with the password; without it, a prompt asks"
            action.add_argument("--password-file", metavar="FILE", help=help)
        if name == "suspend":
            help = "how long: 90s, 30m, 12h, 7d, 4w; without it, until resumed"
            action.add_argument("--for", dest="seconds", type=_duration, metavar="TIME", help=help)
            help = "the reason, for operators"
            action.add_argument("--reason", default="", type=_reason, metavar="TEXT", help=help)
        if name == "delete":
            action.add_argument("--yes", action="store_true", help="do not ask")
        program.add_database(action)
        action.add_argument("--json", action="store_true", help="for programs")
        program.add_version(action)
    return parser


def _duration(argument: str) -> float:
    seconds = duration(argument)
    if seconds > user_admin.LONGEST:
        raise argparse.ArgumentTypeError("at most ten years; without it, until resumed")
    return seconds


def _reason(argument: str) -> str:
    most = user_admin.MOST_REASON
    if len(argument) > most:
        raise argparse.ArgumentTypeError(f"a reason has {most} characters at most")
    return text(argument)


@dataclass(frozen=True)
class _Action:
    """One action of the command."""

    config: Configuration
    options: argparse.Namespace
    by: By
    database: peewee.Database
    service: Service

    def report(self, done: ActionResult, words: str, **members: object) -> None:
        """Report success in `words`, or for programs with more `members`, and log it."""
        name = done.name
        record(self.config, self.by, self.options.action, name)
        result = {"name": name, "done": self.options.action, "sessions": done.sessions, **members}
        ended = f"; {done.sessions} {'session' if done.sessions == 1 else 'sessions'} ended"
        words = f"{visible(name)} {words}{ended if done.sessions else ''}"
        print(json.dumps(result) if self.options.json else words)


def _list(action: _Action) -> None:
    """Print the list in parts, as it may be long."""
    options = action.options
    print("[" if options.json else _HEADER, end="" if options.json else "\n")
    separator, behind = "", ""
    while True:
        search, online = options.search, options.online
        found = user_admin.search(action.by.now, search, online=online, behind=behind)
        for person in found.people:
            if options.json:
                print(f"{separator}{json.dumps(_as_json(person))}", end="")
                separator = ",\n "
            else:
                times = local_time(person.created), local_time(person.seen)
                address, name = person.address or _NONE, visible(person.name)
                print(_ROW.format(*times, person.state, address, name))
        if found.more is None:
            break
        behind = found.more
    if options.json:
        print("]")


def _show(action: _Action) -> None:
    person = user_admin.show(action.by.now, action.options.name, action.service.any_person)
    print(json.dumps(_as_json(person)) if action.options.json else _as_text(person))


def _password(action: _Action) -> None:
    # Look the person up before anybody types a password in vain.
    name = user_admin.show(action.by.now, action.options.name).name
    path = action.options.password_file
    password = read_password(path) if path else _ask_password(name)
    accounts.check_password(password, action.config.limits.password_minimum)
    hashed = OWASP.hash(password)
    done = carry_out(action.database, user_admin.set_password, action.by, name, hashed)
    action.report(done, "has another password")


def _ask_password(name: str) -> str:
    """Read a password twice without showing it."""
    with warnings.catch_warnings():
        # Without a terminal, getpass would read standard input and show the text.
        warnings.simplefilter("error", getpass.GetPassWarning)
        try:
            password = getpass.getpass(f"New password of {visible(name)}: ")
            again = getpass.getpass("The same again: ")
        except (getpass.GetPassWarning, EOFError):
            raise NotCarriedOut(
                "there is no terminal to ask for the password: use --password-file FILE"
            ) from None
    if password != again:
        raise NotCarriedOut("the two passwords differ")
    if not password or " " in password:
        raise NotCarriedOut("a password is one word")
    return password


def _suspend(action: _Action) -> None:
    seconds, name, reason = action.options.seconds, action.options.name, action.options.reason
    until = None if seconds is None else action.by.now + seconds
    done = carry_out(action.database, user_admin.suspend, action.by, name, until, reason)
    action.report(done, f"is suspended {_end(until)}", until=until, reason=reason)


def _resume(action: _Action) -> None:
    done = carry_out(action.database, user_admin.resume, action.by, action.options.name)
    action.report(done, "may log in again")


def _kick(action: _Action) -> None:
    done = carry_out(action.database, user_admin.kick, action.by, action.options.name)
    action.report(done, "is logged out" if done.sessions else "was not logged in")


def _delete(action: _Action) -> None:
    name = user_admin.show(action.by.now, action.options.name).name
    if not action.options.yes:
        question = f"Type {visible(name)} again to delete the account: "
        if normalized(ask_line(question, "deletes")) not in (name, normalized(name)):
            raise NotCarriedOut("not the same: nothing is deleted")
    on_delete = action.service.forget
    done, user = carry_out(action.database, user_admin.delete, action.by, name, on_delete)
    while user and not carry_out(action.database, user_admin.go_on_deleting, user, on_delete):
        pass
    action.report(done, "is deleted")


ACTIONS: Mapping[str, tuple[Callable[[_Action], None], str]] = {
    "list": (_list, "who there is, and who of them is online"),
    "show": (_show, "the state and the figures of one person"),
    user_admin.PASSWORD: (_password, "set a new password, and end all sessions of the person"),
    "suspend": (
        _suspend,
        "end all sessions of the person, and refuse logins for a time or until resumed",
    ),
    "resume": (_resume, "let the person log in again"),
    "kick": (_kick, "end all sessions of the person, who may log in again"),
    "delete": (_delete, "remove an account and everything that belongs to it"),
}
