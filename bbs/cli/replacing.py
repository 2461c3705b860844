"""`bbs fleet replace`: other servers in place of those that the fleet launched."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from bbs import __version__
from bbs.config import Configuration
from bbs.rules import operators
from bbs.rules.operators import By

EVERYBODY = -1
"""What `--outdated` alone says: however many they are."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Have `parser` know which are meant."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--outdated",
        metavar="N",
        type=_count,
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


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 10**9:
        return int(text)
    raise argparse.ArgumentTypeError("how many is a number from 1")


def ask(config: Configuration, options: argparse.Namespace, by: By) -> dict[str, object]:
    """Ask for it; what comes of that."""
    if options.cancel:
        return {"asked": "replace-cancel", "servers": operators.cancel(by)}
    most = None if options.outdated in (None, EVERYBODY) else options.outdated
    version = None if options.outdated is None else __version__
    asked = operators.replace(by, config.fleet.maximum, version, most)
    return {
        "asked": "replace",
        "servers": asked.servers,
        "by_hand": asked.by_hand,
        "booting": asked.booting,
        "full": asked.full,
    }


def in_words(result: Mapping[str, Any]) -> str:
    """What was asked for."""
    servers = operators.in_number(len(result["servers"]))
    if result["asked"] == "replace-cancel":
        return f"replace taken back: {servers}" if result["servers"] else "nothing to take back"
    return f"replace asked for: {servers}" if result["servers"] else "nothing to replace"


def notes(config: Configuration, result: Mapping[str, Any]) -> Iterator[str]:
    """What else is to be known."""
    if result["asked"] != "replace":
        return
    if result["by_hand"]:
        stays = "stays" if result["by_hand"] == 1 else "stay"
        by_hand = operators.in_number(result["by_hand"])
        yield f"{by_hand} that an operator runs by hand {stays}"
    if result["booting"]:
        boots = "boots" if result["booting"] == 1 else "boot"
        booting = operators.in_number(result["booting"])
        yield f"{booting} still {boots}, and nobody knows which version: ask again later"
    if result["full"] and result["servers"]:
        yield (
            f"fleet.maximum: {config.fleet.maximum} app servers run already: each is replaced when"
            " its people have room on others"
        )
