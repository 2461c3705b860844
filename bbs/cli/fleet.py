"""`bbs fleet`: the app servers that run, one more, one less, others for them; and which fleet this
is.

It talks to the database alone: whoever keeps the fleet finds there what was asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bbs import __version__
from bbs.cli import Program
from bbs.cli.offline import NotCarriedOut, by_whom, configuration, connected, tell, type_again
from bbs.config import ConfigError, Configuration
from bbs.core.values import State
from bbs.rules import fleet_admin, fleets, membership, overview
from bbs.rules.fleet_admin import DELAY, By, Replacement, count_text
from bbs.rules.fleets import SourceFleet
from bbs.rules.overview import LoginServerRow
from bbs.scaling import providers
from bbs.scaling.ec2.instance_states import price
from bbs.scaling.identity import is_certainly_alive, is_certainly_dead
from bbs.storage.engines import DatabaseRefused
from bbs.storage.migrations import upgrade


def _confirm_adoption(sure: bool) -> None:
    """Say whose instances would be taken over, and unless it is `sure` already, have whoever is at
    the terminal type that fleet's id.

    :raises NotCarriedOut: there is nothing to adopt, or the answer is no.
    """
    left = fleets.waiting_for_adopt()
    if left is None:
        raise NotCarriedOut(_nothing_to_adopt())
    print(
        f"This database is a copy of fleet {_named(left)}. Adopted, it is fleet {left.id} again:"
        " instances that this fleet has launched count, and those without a server here are ended."
        " Where the original goes on, these are its servers: see first that no login server of the"
        " original runs, or will.",
        file=sys.stderr,
    )
    if sure:
        return
    if type_again(f"Type {left.id} to adopt it: ", "adopts").strip() != left.id:
        raise NotCarriedOut("not the same: nothing is adopted")


def _nothing_to_adopt() -> str:
    """Why there is nothing to adopt."""
    id = fleets.fleet_id()
    if not id:
        return "there is nothing to adopt: no login server has started on this database yet"
    return f"there is nothing to adopt: this is fleet {id}, and no copy of another's database"


def _adoption_notes(adopted: str, before: str) -> Iterator[str]:
    """Notes for the operator who has `adopted` a fleet that was `before` another."""
    if adopted == before:
        return  # Nobody has started on this copy, so nobody has launched anything.
    count = fleets.count_of(before)
    if count:
        yield f"{count} app servers launched as fleet {before} are this fleet's still"
    if not all(is_certainly_dead(sign.identity) for sign in membership.signs().values()):
        yield (
            f"login servers that run go on as fleet {before} until they are started again: start"
            " them again now"
        )


def _fleet_identity(config: Configuration) -> str:
    """Which fleet this is, and what it may adopt, where app servers outlive login servers and so it
    matters; else nothing."""
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


EVERYBODY = -1
"""What `--outdated` alone says: however many they are."""


def _add_replace_options(parser: argparse.ArgumentParser) -> None:
    """Have `parser` know which are meant."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--outdated",
        metavar="N",
        type=_how_many,
        nargs="?",
        const=EVERYBODY,
        help=f"only those that run another version than {__version__}, and N of them at the most,"
        " those of older versions first: one, to see how the new version does",
    )
    which.add_argument(
        "--cancel",
        action="store_true",
        help="let all stay that are to be replaced and do not drain yet",
    )


def _how_many(text: str) -> int:
    try:
        return fleet_admin.parse_count(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _replace(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    """Ask for it; what comes of that."""
    if options.cancel:
        return {"asked": "replace-cancel", "servers": fleet_admin.cancel(by)}
    most = None if options.outdated in (None, EVERYBODY) else options.outdated
    version = None if options.outdated is None else __version__
    asked = fleet_admin.replace(by, config.fleet.maximum, version, most)
    return {
        "asked": "replace",
        "servers": asked.servers,
        "by_hand": asked.by_hand,
        "booting": asked.booting,
        "full": asked.full,
    }


def _replacement_in_words(result: Mapping[str, Any]) -> str:
    """What was asked for."""
    servers = fleet_admin.count_text(len(result["servers"]))
    if result["asked"] == "replace-cancel":
        return f"replace taken back: {servers}" if result["servers"] else "nothing to take back"
    return f"replace asked for: {servers}" if result["servers"] else "nothing to replace"


def _replacement_notes(config: Configuration, result: Mapping[str, Any]) -> Iterator[str]:
    """Notes on a replacement."""
    if result["asked"] == "replace":
        said = {name: value for name, value in result.items() if name != "asked"}
        yield from fleet_admin.replacement_notes(Replacement(**said), config.fleet.maximum)


def _status_lines(
    found: Sequence[Mapping[str, Any]], login_servers: Sequence[LoginServerRow]
) -> Iterator[str]:
    """Lines below a list of `found` servers: for what a replacement waits, and which versions login
    servers have."""
    delay = fleet_admin.blocker_text(each.figures.get(DELAY, 0) for each in login_servers)
    if delay and any(server["replace_asked"] for server in found):
        yield f"replacing servers waits: {delay}"
    if login_servers:
        counts = Counter(each.version for each in login_servers)
        versions = (
            f"{count} of {f'version {version}' if version else 'an older version'}"
            for version, count in counts.items()
        )
        yield f"login servers: {', '.join(versions)}"


WATCHED = 3.0
"""Seconds that a login server on another machine has to show that it lives; its heartbeats come
each `fleet.heartbeat_interval`, 2 s."""

LOOK = 0.25
"""Seconds between two looks at that."""

LINES = 100
"""Servers in a list for people at the most, if not all are asked for."""

_STATES = (State.LOST, State.DRAINING, State.LAUNCHING, State.READY, State.WARM)
"""In the order of a list: what somebody has to look at comes first."""


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs fleet`; returns the exit code."""
    options = _parser(program).parse_args(argv)
    # Before the database is waited for: what is asked for is stamped with when it was.
    by = by_whom(f"{program.name} fleet")
    try:
        config = configuration(options.config, options.data, program.name)
        with connected(config.database.url) as database:
            upgrade(database, program.service().schema)
            if options.action == "adopt":
                _confirm_adoption(options.yes)
            with database.atomic():
                result = _ACTIONS[options.action](config, options, by)
                standing = _fleet_identity(config)
                refusal = fleet_admin.refusal()
                people = overview.head_count()
                login_servers = overview.login_servers()
            kept = not _is_for_a_keeper(options.action, result) or _is_kept()
            notes = []
            if options.action == "adopt":
                notes = [*_adoption_notes(result["id"], result["before"])]
            if options.action == "replace":
                notes = [*_replacement_notes(config, result)]
        if options.action == "replace":
            if result["servers"]:
                count = count_text(len(result["servers"]))
                tell(config, options.data, by, result["asked"], count)
        elif options.action != "list":
            tell(config, options.data, by, options.action, result["id"])
    except fleet_admin.FleetFull:
        return program.fail(
            "fleet", f"fleet.maximum: {config.fleet.maximum} app servers run already"
        )
    except fleet_admin.NoSuchServer:
        return program.fail("fleet", f"no app server {options.id}")
    except (ConfigError, DatabaseRefused, NotCarriedOut) as error:
        return program.fail("fleet", error)
    if options.action == "list":
        # New lines come before the one that has long been last.
        lines = [*_status_lines(result, login_servers), _in_words(people)]
        _print_list(result, options, [*lines, *filter(None, [standing])])
    else:
        print(json.dumps(result) if options.json else _as_text(result))
    for note in notes:
        print(f"{program.name} fleet: {note}", file=sys.stderr)
    if not kept:
        # The wish is written down all the same, so this is not a failure.
        print(
            f"{program.name} fleet: no login server runs that would do it: it will be done by the"
            " next that starts",
            file=sys.stderr,
        )
    if refusal:
        # Beside the list, and not in it: whoever reads that by program reads one of servers.
        left = min(refusal.until - time.time(), fleet_admin.LONGEST_HOLD)
        seconds = max(0, round(left))
        print(
            f"nothing can be launched: {refusal.reason} (next attempt in {seconds} s, when needed)",
            file=sys.stderr,
        )
    return 0


def _parser(program: Program) -> argparse.ArgumentParser:
    parser = program.parser("fleet", __doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, help in (
        ("list", "what runs, and who is where"),
        ("launch", "start one more"),
        ("drain", "move everybody off one, and end it"),
        ("replace", "launch others in place of those there are, one after the other"),
        ("adopt", "be the fleet again of whose database this is a copy"),
    ):
        action = actions.add_parser(name, help=help, description=help)
        if name == "drain":
            action.add_argument("id", help="the app server's id, or the beginning of it")
        if name == "list":
            action.add_argument("--state", choices=[*map(str, _STATES)], help="only those in it")
            action.add_argument(
                "--all", action="store_true", help=f"all, also where they are more than {LINES}"
            )
        if name == "replace":
            _add_replace_options(action)
        if name == "adopt":
            action.add_argument("--yes", action="store_true", help="do not ask")
        program.placed(action)
        action.add_argument("--json", action="store_true", help="for programs")
        program.versioned(action)
    return parser


def _list(config: Configuration, options: argparse.Namespace, by: By) -> list[dict[str, object]]:
    now, region = time.time(), config.ec2.region
    found = [each for each in fleet_admin.listing() if options.state in (None, each.server.state)]
    return [_as_json(listed, now, region) for listed in found]


def _as_json(listed: fleet_admin.ListedServer, now: float, region: str) -> dict[str, object]:
    server = listed.server
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
        "usd_per_hour": price(server.kind or "", region),
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
    except fleets.NothingToAdopt:  # Somebody else has done it meanwhile.
        raise NotCarriedOut(_nothing_to_adopt()) from None
    return {"id": adopted.id, "asked": "adopt", "before": before, "noticed": adopted.at}


_ACTIONS: Mapping[str, Callable[[Configuration, argparse.Namespace, By], Any]] = {
    "list": _list,
    "launch": _launch,
    "drain": _drain,
    "replace": _replace,
    "adopt": _adopt,
}


def _is_for_a_keeper(action: str, result: Any) -> bool:
    """Whether somebody who keeps the fleet has to do something soon."""
    if action == "replace":
        return result["asked"] == "replace" and bool(result["servers"])
    return action == "launch"


def _is_kept() -> bool:
    """Whether a login server lives, which then keeps the fleet or sees to it that another does.

    On this machine that is known; of others it is believed when one says so within `WATCHED`
    seconds. Nobody compares clocks, so only a count that moves says anything.
    """
    before = membership.signs()
    if any(is_certainly_alive(sign.identity) for sign in before.values()):
        return True
    elsewhere = {id for id, sign in before.items() if not is_certainly_dead(sign.identity)}
    end = time.monotonic() + WATCHED
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
        return _replacement_in_words(result)
    return f"{result['asked']} asked for: {result['id']}"


def _print_list(
    found: Sequence[Mapping[str, Any]], options: argparse.Namespace, notes: Sequence[str]
) -> None:
    """Print a list, for programs or for people; a line at a time, as it may have thousands."""
    if options.json:
        for number, server in enumerate(found):
            print("[" if not number else ", ", json.dumps(server), sep="", end="")
        print("]" if found else "[]")
        return
    # Within a state the oldest comes first, as from the database.
    found = sorted(found, key=lambda server: _STATES.index(server["state"]))
    in_cloud = any(server["instance"] for server in found)
    header = (
        f"{'ID':34}{'STATE':11}{'ADDRESS':23}{'PEOPLE':9}{'LISTEN':>6}{'AGE':>8}  {'VERSION':10}"
    )
    print(f"{header}{_CLOUD_HEADER if in_cloud else ''}WHO")
    for server in found if options.all else found[:LINES]:
        taken = f"{server['taken']}/{server['capacity']}"
        listen = "-" if server["connected"] is None else server["connected"]
        print(
            f"{server['id']:34}{server['state']:11}{server['address'] or '-':23}"
            f"{taken:9}{listen:>6}{server['age']:>7.0f}s  {_version(server):10}"
            f"{_in_cloud(server) if in_cloud else ''}{' '.join(server['people'])}"
        )
    if len(found) > LINES:
        states = Counter(server["state"] for server in found)
        said = ", ".join(f"{states[state]} {state}" for state in _STATES if states[state])
        more = (
            "" if options.all else f"; the first {LINES} are shown, --all or --state shows others"
        )
        print(f"{len(found)} servers: {said}{more}")
    marked = sum(server["replace_asked"] for server in found)
    if marked:
        print(f"* {count_text(marked)} to be replaced")
    for note in notes:
        print(note)


def _version(server: Mapping[str, Any]) -> str:
    """Which one it runs, and a mark where another is to be launched for it."""
    return (server["version"] or "-") + ("*" if server["replace_asked"] else "")


def _in_words(people: overview.HeadCount) -> str:
    """Who has a place, who listens, and who is merely logged in."""
    placed = "1 person has a place" if people.placed == 1 else f"{people.placed} people have places"
    listen = "1 of them listens" if people.connected == 1 else f"{people.connected} of them listen"
    away = "1 is" if people.away == 1 else f"{people.away} are"
    waiting = "1 waits" if people.waiting == 1 else f"{people.waiting} wait"
    return f"{placed}, {listen}; {away} logged in without one" + (
        f"; {waiting} for one" if people.waiting else ""
    )


_CLOUD_HEADER = f"{'INSTANCE':21}{'TYPE':13}{'LAUNCH':>8}{'USD/H':>9}  "


def _in_cloud(server: Mapping[str, Any]) -> str:
    """The columns of a cloud's server; `LAUNCH` is how long it took until it was ready."""
    seconds, usd = server["launch_time"], server["usd_per_hour"]
    launch = "-" if seconds is None else f"{seconds:.0f}s"
    cost = "-" if usd is None else f"{usd:.4f}"
    return f"{server['instance'] or '-':21}{server['type'] or '-':13}{launch:>8}{cost:>9}  "
