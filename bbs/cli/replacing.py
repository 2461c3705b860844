"""`bbs fleet replace`: other servers in place of those that the fleet launched."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bbs import __version__
from bbs.config import Configuration
from bbs.rules import fleet_admin
from bbs.rules.fleet_admin import DELAY, By, Replacement
from bbs.rules.overview import LoginServerRow

EVERYBODY = -1
"""What `--outdated` alone says: however many they are."""


def arguments(parser: argparse.ArgumentParser) -> None:
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
        return fleet_admin.count_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def ask(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
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


def in_words(result: Mapping[str, Any]) -> str:
    """What was asked for."""
    servers = fleet_admin.in_number(len(result["servers"]))
    if result["asked"] == "replace-cancel":
        return f"replace taken back: {servers}" if result["servers"] else "nothing to take back"
    return f"replace asked for: {servers}" if result["servers"] else "nothing to replace"


def notes(config: Configuration, result: Mapping[str, Any]) -> Iterator[str]:
    """What else is to be known."""
    if result["asked"] == "replace":
        said = {name: value for name, value in result.items() if name != "asked"}
        yield from fleet_admin.notes(Replacement(**said), config.fleet.maximum)


def standing(
    found: Sequence[Mapping[str, Any]], login_servers: Sequence[LoginServerRow]
) -> Iterator[str]:
    """Lines below a list of `found` servers: for what a replacement waits, and which versions login
    servers have."""
    delay = fleet_admin.delay(each.figures.get(DELAY, 0) for each in login_servers)
    if delay and any(server["replace_asked"] for server in found):
        yield f"replacing servers waits: {delay}"
    if login_servers:
        counts = Counter(each.version for each in login_servers)
        versions = (
            f"{count} of {f'version {version}' if version else 'an older version'}"
            for version, count in counts.items()
        )
        yield f"login servers: {', '.join(versions)}"
