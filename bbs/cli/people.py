"""How `bbs user` shows people. What they are called, and why one is suspended, somebody has typed:
nothing in it acts on the terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime

from bbs.rules.user_admin import People, Person
from bbs.ui.text import visible

_NONE = "-"
_ROW = "{:27}{:27}{:11}{:23}{}"
_HEADER = _ROW.format("CREATED", "SEEN", "STATE", "SERVER", "NAME")


def print_list(part: Callable[[str], People], for_programs: bool) -> None:
    """Print a list, whose part behind a name `part` gives, as it comes: it may be long."""
    print("[" if for_programs else _HEADER, end="" if for_programs else "\n")
    separator, behind = "", ""
    while True:
        found = part(behind)
        for person in found.people:
            if for_programs:
                print(f"{separator}{json.dumps(as_json(person))}", end="")
                separator = ",\n "
            else:
                print(_row(person))
        if found.more is None:
            break
        behind = found.more
    if for_programs:
        print("]")


def as_json(person: Person) -> dict[str, object]:
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


def as_text(person: Person) -> str:
    """Somebody in lines of a name and a value each."""
    lines = [
        ("name", visible(person.name)),
        ("state", person.state),
        ("server", f"{person.server} at {person.address}" if person.server else _NONE),
        ("sessions", str(person.sessions)),
        ("created", local(person.created)),
        ("seen", local(person.seen)),
        ("suspended", _suspended(person)),
        *((visible(name).replace("_", " "), str(n)) for name, n in (person.counts or {}).items()),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def local(seconds: float | None) -> str:
    """When that is, in ISO 8601 and this machine's own time."""
    if seconds is None:
        return _NONE
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "?"  # No clock says so; some row may.


def _row(person: Person) -> str:
    return _ROW.format(
        local(person.created),
        local(person.seen),
        person.state,
        person.address or _NONE,
        visible(person.name),
    )


def _suspended(person: Person) -> str:
    there = person.suspended
    if there is None:
        return "no"
    until = "until resumed" if there.until is None else f"until {local(there.until)}"
    why = f": {visible(there.reason)}" if there.reason else ""
    return f"since {local(there.since)}, {until}{why}"
