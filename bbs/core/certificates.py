"""How long the certificates of servers last, and how servers tell each other.

A heartbeat has a server's figures (`Tally`). That of `CERTIFICATE` says when the first of its
certificates ends, in seconds since the epoch. Behind it are the port and the file of each, without
its folder: `certificate 22222 bbs.pem`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

CERTIFICATE = "certificate"

DAY = 86400.0

NOTICE = 14 * DAY
"""Seconds before the end of a certificate from which operators are told."""


class Served(NamedTuple):
    """A certificate that a server shows at a port."""

    expires: int
    port: str
    file: str


def note_certificate(figures: MutableMapping[str, int], port: int, file: str, end: float) -> None:
    """Put into the `figures` of a server when the certificate in `file` ends."""
    figures[f"{CERTIFICATE} {port} {os.path.basename(file)}"] = int(end)
    figures[CERTIFICATE] = min(each.expires for each in certificates(figures))


def certificates(figures: Mapping[str, int]) -> Sequence[Served]:
    """The certificates of a server with these `figures`, the first to end first."""
    found = []
    for name, expires in figures.items():
        kind, _, rest = name.partition(" ")
        if kind == CERTIFICATE and rest:
            port, _, file = rest.partition(" ")
            found.append(Served(expires, port, file))
    return sorted(found)


def is_due(expires: float, now: float) -> bool:
    """Whether operators are to be told of a certificate with this end."""
    return expires - now <= NOTICE


def lasts(expires: float, now: float) -> str:
    """The predicate of a sentence about a certificate: "expires in 3 days", for one."""
    left = expires - now
    if left > 0:
        return f"expires in {_days(left)}"
    return f"expired {_days(-left)} ago" if left <= -DAY else "has expired"


def trouble(begins: float, expires: float, now: float) -> str:
    """The predicate of a sentence about a certificate that clients who check it refuse at the time
    `now`, or soon will; "" if it is well."""
    if now < begins:
        return f"is not valid before {date(begins)}"
    return f"{lasts(expires, now)}, on {date(expires)}" if is_due(expires, now) else ""


def _days(seconds: float) -> str:
    days = int(seconds // DAY)
    if days == 0:
        return "less than a day"
    return "a day" if days == 1 else f"{days} days"


def date(moment: float) -> str:
    """The first or last moment of a certificate as people read it."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
