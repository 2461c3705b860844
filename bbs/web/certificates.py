"""Which certificates of the servers that run end soon, or have ended, and what to say of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from bbs.core.certificates import CERTIFICATE, Served, certificates, date, is_due, lasts
from bbs.rules.overview import LoginServerRow, Overview
from bbs.rules.page_history import short
from bbs.rules.placement import SERVING
from bbs.rules.servers import HeardServer

NAMED = 4
"""Certificates that an alarm names. Those of a fleet are mostly the same one."""


TODO = (
    "Put a new one in its place, with its key: servers read it again once an hour. If this stays,"
    " their logs say why."
)


class DueCertificate(NamedTuple):
    """A certificate that operators should replace, and a server that shows it."""

    served: Served
    server: str


def due(seen: Overview, at: float) -> Sequence[DueCertificate]:
    """The certificates that have ended at the time `at`, or end soon, of servers that run; the
    first to end first."""
    found = []
    for kind, each in _running(seen):
        # Thousands of servers are looked through each second.
        if is_due(each.figures.get(CERTIFICATE, math.inf), at):
            name = f"{kind} server {short(each.id)}"
            served = certificates(each.figures)
            found += [DueCertificate(one, name) for one in served if is_due(one.expires, at)]
    return sorted(found)


def first_ends(seen: Overview) -> Mapping[str, float]:
    """When the first certificate of all `login` and of all `app` servers ends, where there is
    one."""
    ends: dict[str, float] = {}
    for kind, each in _running(seen):
        if end := each.figures.get(CERTIFICATE):
            ends[kind] = min(end, ends.get(kind, end))
    return ends


def _running(seen: Overview) -> Iterator[tuple[str, LoginServerRow | HeardServer]]:
    for login in seen.login_servers:
        yield "login", login
    for server in seen.servers:
        if server.state in SERVING:
            yield "app", server


def sentence(found: Sequence[DueCertificate], at: float, operator: bool) -> str:
    """A sentence, without its full stop, about those that are `due` at the time `at`. An `operator`
    may see which they are."""
    end = found[0].served.expires
    then = (
        "and then clients that check it refuse" if end > at else "so clients that check it refuse"
    )
    text = f"The certificate of a server {lasts(end, at)}, {then} to connect"
    return f"{text}: {_named(found)}" if operator else text


def _named(found: Sequence[DueCertificate]) -> str:
    named = [
        f"{server}, port {served.port}, {served.file}, {date(served.expires)}"
        for served, server in found[:NAMED]
    ]
    if len(found) > NAMED:
        named.append(f"and {len(found) - NAMED} more")
    return "; ".join(named)
