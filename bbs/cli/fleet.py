"""`bbs fleet`: list, launch, drain and replace app servers, or adopt a fleet.

The login server that leads the fleet finds the requests in the database.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from bbs.cli import Program
from bbs.cli.offline import NotCarriedOut, ask_line, configuration, connected, get_operator, record
from bbs.config import ConfigError, Configuration
from bbs.config.sections import OWN
from bbs.core.values import State
from bbs.rules import fleet_admin, fleets, membership, overview
from bbs.rules.fleet_admin import DELAY, By, Replacement, count_text
from bbs.rules.fleets import SourceFleet
from bbs.rules.overview import LoginServerRow
from bbs.scaling import providers
from bbs.scaling.identity import is_certainly_alive, is_certainly_dead
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade


def _confirm_adoption(sure: bool) -> None:
    """Print whose instances would be taken over, and unless `sure`, ask for that fleet's id."""
    left = fleets.waiting_for_adopt()
    if left is None:
        raise NotCarriedOut(_nothing_to_adopt())
    print(
        f"This database is a copy of fleet {_named(left)}. Adopted, it is fleet {left.id} again:"
        " instances that this fleet has launched count, and those without a server here are ended."
        " If the original still runs, these are its servers: first make sure that none of its login"
        " servers runs or will be started.",
        file=sys.stderr,
    )
    if sure:
        return
    if ask_line(f"Type {left.id} to adopt it: ", "adopts").strip() != left.id:
        raise NotCarriedOut("not the same: nothing is adopted")


def _nothing_to_adopt() -> str:
    id = fleets.fleet_id()
    if not id:
        return "there is nothing to adopt: no login server has started on this database yet"
    return f"there is nothing to adopt: this is fleet {id}, and its database is not a copy"


def _adoption_notes(adopted: str, before: str) -> Iterator[str]:
    """Notes for the operator after a fleet with the id `before` adopted the id `adopted`."""
    if adopted == before:
        return  # No login server has started on this copy, so nothing was launched.
    count = fleets.count_of(before)
    if count:
        yield f"{count} app servers launched as fleet {before} are this fleet's still"
    if not all(is_certainly_dead(sign.identity) for sign in membership.signs().values()):
        yield (
            f"running login servers go on as fleet {before} until they are restarted: restart them"
            " now"
        )


def _fleet_identity(config: Configuration) -> str:
    """The fleet's id and what it may adopt; empty if app servers end with their login server."""
    id = fleets.fleet_id()
    if not id or not providers.named(config.fleet.provider)[1].outlives:
        return ""
    left = fleets.waiting_for_adopt()
    if left is None:
        return f"fleet {id}"
    own = "another fleet with the next start" if left.at is None else f"fleet {id}"
    return f"{own}; its database is a copy of fleet {_named(left)}, which waits for fleet adopt"


def _named(left: SourceFleet) -> str:
    if left.at is None:
        return f"{left.id}'s"
    at = datetime.fromtimestamp(left.at).astimezone().isoformat(timespec="seconds")
    return f"{left.id}'s, as was noticed {at}"


ALL = -1  # the value of `--outdated` without a number


def _count(text: str) -> int:
    try:
        return fleet_admin.parse_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _replace(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    if options.cancel:
        return {"asked": "replace-cancel", "servers": fleet_admin.cancel(by)}
    most = None if options.outdated in (None, ALL) else options.outdated
    version = None if options.outdated is None else options.own_version
    asked = fleet_admin.replace(by, config.fleet.maximum, version, most)
    figures = {"by_hand": asked.by_hand, "booting": asked.booting, "full": asked.full}
    return {"asked": "replace", "servers": asked.servers, **figures}


def _status_lines(
    found: Sequence[Mapping[str, Any]], login_servers: Sequence[LoginServerRow]
) -> Iterator[str]:
    """Lines below a list of servers: why a replacement waits, and versions of other servers."""
    delay = fleet_admin.blocker_text(each.figures.get(DELAY, 0) for each in login_servers)
    if delay and any(server["replace_asked"] for server in found):
        yield f"replacing servers waits: {delay}"
    for name, is_fleet_only in (("fleet processes", True), ("login servers", False)):
        there = [each for each in login_servers if each.is_fleet_only is is_fleet_only]
        counts = Counter(each.version for each in there)
        versions = [
            f"{count} of {f'version {version}' if version else 'an older version'}"
            for version, count in counts.items()
        ]
        if versions:
            yield f"{name}: {', '.join(versions)}"


HEARTBEAT_DEADLINE = 3.0
"""Seconds to wait for a sign of life from a login server on another machine; its heartbeats come
each `fleet.heartbeat_interval`, 2 s."""

LOOK = 0.25  # seconds between two looks for one
LINES = 100  # servers at most in a list for people, without `--all`

_STATES = (State.LOST, State.DRAINING, State.LAUNCHING, State.READY, State.WARM)
"""The order of a list: servers that need attention come first."""


@dataclass(frozen=True)
class _FleetReport:
    """The result of an action, and the state of the fleet after it."""

    result: Any
    identity: str
    people: overview.HeadCount
    login_servers: Sequence[LoginServerRow]
    refusal: fleet_admin.Hold | None
    notes: Sequence[str]


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs fleet`; returns the exit code."""
    options = _parser(program).parse_args(argv)
    # Before the wait for the database: requests are stamped with the time when they were made.
    by = get_operator(f"{program.name} fleet")
    options.own_version = program.service().program_version
    try:
        config = configuration(options.config, options.data, program.name, program.settings)
        with connected(config.database.url) as database:
            upgrade(database, program.service().schema)
            report = _carry_out(config, options, by, database, program.name)
        _record(config, options, by, report.result)
    except fleet_admin.NoSuchServer:
        return program.fail(
            "fleet", f"there is no app server {options.id!r}: see {program.name} fleet list"
        )
    except (ConfigError, DatabaseRefused, NotCarriedOut, fleet_admin.FleetFull) as error:
        return program.fail("fleet", error)
    _print(report, options, f"{program.name} fleet")
    return 0


def _carry_out(
    config: Configuration,
    options: argparse.Namespace,
    by: By,
    database: peewee.Database,
    name: str,
) -> _FleetReport:
    if options.action == "adopt":
        _confirm_adoption(options.yes)
    with database.atomic():
        action, _ = _ACTIONS[options.action]
        result = action(config, options, by)
        identity, refusal = _fleet_identity(config), fleet_admin.refusal()
        people, login_servers = overview.head_count(), overview.login_servers()
    notes: list[str] = []
    if options.action == "adopt":
        notes += _adoption_notes(result["id"], result["before"])
    if options.action == "replace" and result["asked"] == "replace":
        asked = {name: value for name, value in result.items() if name != "asked"}
        notes += fleet_admin.replacement_notes(Replacement(**asked), config.fleet.maximum)
    is_request = options.action == "launch" or (
        options.action == "replace" and result["asked"] == "replace" and result["servers"]
    )
    if is_request and not _has_controller():
        # The request is in the database all the same, so this is not a failure.
        wanted = f"{name}-fleet" if config.fleet.controller == OWN else "login server"
        notes.append(f"no {wanted} is running: the next one to start will do this")
    return _FleetReport(result, identity, people, login_servers, refusal, notes)


def _record(config: Configuration, options: argparse.Namespace, by: By, result: Any) -> None:
    """Add the action to the security log."""
    if options.action == "replace":
        if result["servers"]:
            record(config, by, result["asked"], count_text(len(result["servers"])))
    elif options.action != "list":
        record(config, by, options.action, result["id"])


def _print(report: _FleetReport, options: argparse.Namespace, command: str) -> None:
    result = report.result
    if options.action == "list":
        # New kinds of lines come before the oldest one, which is expected to be the last.
        lines = [*_status_lines(result, report.login_servers), _in_words(report.people)]
        _print_list(result, options, [*lines, *filter(None, [report.identity])])
    else:
        print(json.dumps(result) if options.json else _as_text(result))
    for note in report.notes:
        print(f"{command}: {note}", file=sys.stderr)
    if refusal := report.refusal:
        # On standard error, as programs read the list of servers on standard output.
        left = min(refusal.until - time.time(), fleet_admin.LONGEST_HOLD)
        seconds = max(0, round(left))
        print(
            f"nothing can be launched: {refusal.reason} (next attempt in {seconds} s, when needed)",
            file=sys.stderr,
        )


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = program.parser("fleet", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, (_, help) in _ACTIONS.items():
        action = actions.add_parser(name, help=help, description=help)
        if name == "drain":
            action.add_argument("id", help="the app server's id, or the beginning of it")
        if name == "list":
            action.add_argument("--state", choices=[*map(str, _STATES)], help="only those in it")
            help = f"all, even if there are more than {LINES}"
            action.add_argument("--all", action="store_true", help=help)
        if name == "replace":
            which = action.add_mutually_exclusive_group()
            help = "only versions other than this one, oldest versions first, N servers at most"
            which.add_argument(
                "--outdated", metavar="N", type=_count, nargs="?", const=ALL, help=help
            )
            help = "keep all that are to be replaced and not draining"
            which.add_argument("--cancel", action="store_true", help=help)
        if name == "adopt":
            action.add_argument("--yes", action="store_true", help="do not ask")
        program.add_database(action)
        action.add_argument("--json", action="store_true", help="for programs")
        program.add_version(action)
    return parser


def _list(config: Configuration, options: argparse.Namespace, by: By) -> list[dict[str, object]]:
    now, prices = time.time(), providers.prices(config)
    found = [each for each in fleet_admin.listing() if options.state in (None, each.server.state)]
    return [_as_json(listed, now, prices) for listed in found]


def _as_json(
    listed: fleet_admin.ListedServer,
    now: float,
    prices: Mapping[str, Callable[[str], float | None]],
) -> dict[str, object]:
    server = listed.server
    price = prices.get(server.provider)
    took = server.launch_time
    return {
        "id": server.id,
        "state": str(server.state),
        "address": server.address,
        "taken": server.taken,
        "capacity": server.capacity,
        "connected": server.connected,
        "age": round(max(0.0, now - server.created), 1),
        "launch_time": None if took is None else round(took, 1),
        "scope": server.provider,
        "instance": server.instance_id or None,
        "type": server.kind or None,
        "version": server.version,
        "drain_asked": server.drain_asked,
        "replace_asked": server.replace_asked,
        "reason": server.reason,
        "people": listed.people,
        "usd_per_hour": price(server.kind) if price and server.kind else None,
    }


def _launch(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    server = fleet_admin.launch(by, config.app.capacity, config.fleet.maximum)
    return {"id": server, "asked": "launch"}


def _drain(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    return {"id": fleet_admin.drain(by, options.id), "asked": "drain"}


def _adopt(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    before = fleets.fleet_id()
    try:
        adopted = fleets.adopt(by)
    except fleets.NothingToAdopt:  # Somebody else did it meanwhile.
        raise NotCarriedOut(_nothing_to_adopt()) from None
    return {"id": adopted.id, "asked": "adopt", "before": before, "noticed": adopted.at}


_ACTIONS: Mapping[str, tuple[Callable[[Configuration, argparse.Namespace, By], Any], str]] = {
    "list": (_list, "what runs, and who is where"),
    "launch": (_launch, "start one more"),
    "drain": (_drain, "move everybody off one, and end it"),
    "replace": (_replace, "launch new ones in place of those that run, one after the other"),
    "adopt": (_adopt, "make a copied database the original fleet again"),
}


def _has_controller() -> bool:
    """Whether a server lives that leads the fleet or ensures that another one does.

    For one on this machine that is known; one elsewhere counts if it gives a sign of life within
    `HEARTBEAT_DEADLINE`. Machines' clocks are not compared, so only a count that changes is a sign.
    """
    before = membership.signs()
    if any(is_certainly_alive(sign.identity) for sign in before.values()):
        return True
    elsewhere = {id for id, sign in before.items() if not is_certainly_dead(sign.identity)}
    end = time.monotonic() + HEARTBEAT_DEADLINE
    while elsewhere and time.monotonic() < end:
        time.sleep(LOOK)
        for id, sign in membership.signs().items():
            if before.get(id) != sign:
                return True
    return False


def _as_text(result: Mapping[str, Any]) -> str:
    if result["asked"] == "adopt":
        return f"this is fleet {result['id']} again"
    if result["asked"].startswith("replace"):
        servers, back = count_text(len(result["servers"])), result["asked"] == "replace-cancel"
        if not result["servers"]:
            return "no server was to be replaced" if back else "nothing to replace"
        return f"replace taken back: {servers}" if back else f"replace asked for: {servers}"
    return f"{result['asked']} asked for: {result['id']}"


def _print_list(
    found: Sequence[Mapping[str, Any]], options: argparse.Namespace, notes: Sequence[str]
) -> None:
    """Print a list line by line, as it may have thousands."""
    if options.json:
        for number, server in enumerate(found):
            print("[" if not number else ", ", json.dumps(server), sep="", end="")
        print("]" if found else "[]")
        return
    # Within a state, the oldest stays first, as from the database.
    found = sorted(found, key=lambda server: _STATES.index(server["state"]))
    in_cloud = any(server["instance"] for server in found)
    header = (
        f"{'ID':34}{'STATE':11}{'ADDRESS':23}{'PEOPLE':9}{'LISTEN':>6}{'AGE':>8}  {'VERSION':10}"
    )
    print(f"{header}{_CLOUD_HEADER if in_cloud else ''}WHO")
    for server in found if options.all else found[:LINES]:
        taken = f"{server['taken']}/{server['capacity']}"
        listen = "-" if server["connected"] is None else server["connected"]
        version = (server["version"] or "-") + ("*" if server["replace_asked"] else "")
        print(
            f"{server['id']:34}{server['state']:11}{server['address'] or '-':23}"
            f"{taken:9}{listen:>6}{server['age']:>7.0f}s  {version:10}"
            f"{_in_cloud(server) if in_cloud else ''}{' '.join(server['people'])}"
        )
    if len(found) > LINES:
        states = Counter(server["state"] for server in found)
        said = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state])
        more = f"; the first {LINES} are shown, --all or --state shows others"
        print(f"{len(found)} servers: {said}{'' if options.all else more}")
    marked = sum(server["replace_asked"] for server in found)
    if marked:
        print(f"* {count_text(marked)} to be replaced")
    for note in notes:
        print(note)


def _in_words(people: overview.HeadCount) -> str:
    placed = "1 person has a place" if people.placed == 1 else f"{people.placed} people have places"
    listen = "1 of them listens" if people.connected == 1 else f"{people.connected} of them listen"
    away = "1 is" if people.away == 1 else f"{people.away} are"
    waiting = "1 waits" if people.waiting == 1 else f"{people.waiting} wait"
    return f"{placed}, {listen}; {away} logged in without one" + (
        f"; {waiting} for one" if people.waiting else ""
    )


_CLOUD_HEADER = f"{'INSTANCE':21}{'TYPE':13}{'LAUNCH':>8}{'USD/H':>9}  "


def _in_cloud(server: Mapping[str, Any]) -> str:
    """The columns of a server in a cloud; `LAUNCH` is the time until it was ready."""
    seconds, usd = server["launch_time"], server["usd_per_hour"]
    launch = "-" if seconds is None else f"{seconds:.0f}s"
    cost = "-" if usd is None else f"{usd:.4f}"
    return f"{server['instance'] or '-':21}{server['type'] or '-':13}{launch:>8}{cost:>9}  "
