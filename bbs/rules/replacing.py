"""Which servers another is launched for when operators ask for that, and what they are told of it:
pure, for the transaction that writes it down, for the shell and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from bbs.rules.servers import OPERATOR, ServerRow
from bbs.values import DrainCause, State, version_order

REPLACEABLE = (State.LAUNCHING, State.WARM, State.READY, State.DRAINING)
"""States of servers that another can be launched for: the others end by themselves."""

DELAY = "delay"
"""The figure of the login server that keeps the fleet: the `Blocker` for which servers that are to
be replaced are not, 0 where nothing holds that up."""


class Blocker(IntEnum):
    """What holds replacements up, by the numbers that login servers tell each other: they stay."""

    PROVIDER_AWAY = 1
    PROVIDER_SILENT = 2
    BROKER_AWAY = 3
    PEOPLE_WAIT = 4
    REFUSED = 5
    FAILED_LATELY = 6
    FULL = 7

    @property
    def text(self) -> str:
        """What operators read of it."""
        return _TEXTS[self]


_TEXTS: Mapping[int, str] = {
    Blocker.PROVIDER_AWAY: "the provider is away",
    Blocker.PROVIDER_SILENT: "the provider has not said for long what runs",
    Blocker.BROKER_AWAY: "the broker is away",
    Blocker.PEOPLE_WAIT: "people wait for places",
    Blocker.REFUSED: "nothing can be launched",
    Blocker.FAILED_LATELY: "a launch has failed lately",
    Blocker.FULL: (
        "fleet.maximum leaves no room for one more, and no others for the people of any of them"
    ),
}

ANOTHER = "the log of the login server that keeps the fleet says for what"
"""What operators read of a number that only a newer version knows."""

LONGEST = 9
"""Digits of how many are meant."""


@dataclass(frozen=True)
class Replacement:
    """What comes of asking for `servers` (their ids) to be replaced: so many of others that it
    concerns are run `by_hand` and stay, and of so many that are `booting` nobody knows yet which
    version they are. `full`: no server can be added before one ends."""

    servers: tuple[str, ...]
    by_hand: int = 0
    booting: int = 0
    full: bool = False


def choose(
    servers: Iterable[ServerRow], version: str | None, most: int | None, full: bool = False
) -> Replacement:
    """Those that the fleet launched and of which that was not asked yet; those alone that run
    another `version`, unless it is None, and `most` at the most, those of older versions first."""
    by_hand = booting = 0
    candidates = []
    for row in filter(_is_replaceable, servers):
        if version is not None and _boots(row):
            booting += 1
        elif row.version != version:
            by_hand += row.scope == OPERATOR
            if row.scope != OPERATOR:
                # What drains may end by itself.
                order = row.state is State.DRAINING, version_order(row.version), row.created
                candidates.append((order, row.id))
    ids = tuple(id for _, id in sorted(candidates)[:most])
    return Replacement(ids, by_hand, booting, full)


def outdated(servers: Iterable[ServerRow], version: str) -> int:
    """How many of those that would be chosen serve people now."""
    return sum(
        row.state is State.READY
        and row.version != version
        and row.scope != OPERATOR
        and _is_replaceable(row)
        for row in servers
    )


def asked(servers: Iterable[ServerRow]) -> tuple[str, ...]:
    """The ids of those that are to be replaced, and may stay yet as they do not drain for that; the
    oldest first."""
    found = [
        row
        for row in servers
        if row.replace_asked
        and row.state is not State.GONE
        and not (row.state is State.DRAINING and row.cause is DrainCause.REPLACEMENT)
    ]
    return tuple(row.id for row in sorted(found, key=lambda row: row.created))


def _is_replaceable(row: ServerRow) -> bool:
    leaves = row.replace_asked or row.drain_asked or row.warned is not None
    return row.state in REPLACEABLE and not leaves


def _boots(row: ServerRow) -> bool:
    """Whether it has not said anything yet."""
    return row.state is State.LAUNCHING and row.port is None


def delay(figures: Iterable[int]) -> str:
    """What holds replacements up, by what login servers tell of it; "" for nothing."""
    number = max(figures, default=0)
    return _TEXTS.get(number, ANOTHER) if number else ""


def count_of(text: str) -> int:
    """How many are meant.

    :raises ValueError: it is no number from 1.
    """
    if text.isascii() and text.isdigit() and len(text) <= LONGEST and int(text):
        return int(text)
    raise ValueError("how many is a number from 1")


# --- in words ---


def in_number(count: int) -> str:
    """So many servers."""
    return "1 server" if count == 1 else f"{count} servers"


def notes(result: Replacement, maximum: int) -> Iterator[str]:
    """What else is to be known, where the fleet may have `maximum` servers."""
    if result.by_hand:
        stays = "stays" if result.by_hand == 1 else "stay"
        yield f"{in_number(result.by_hand)} that an operator runs by hand {stays}"
    if result.booting:
        boots = "boots" if result.booting == 1 else "boot"
        yield (
            f"{in_number(result.booting)} still {boots}, and nobody knows which version: ask again"
            " later"
        )
    if result.full and result.servers:
        yield (
            f"fleet.maximum: {maximum} app servers run already: each is replaced when its people"
            " have room on others"
        )
