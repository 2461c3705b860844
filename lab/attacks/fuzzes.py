"""The fuzzers, one for each port."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.attacks.filling import ATTACKER
from lab.attacks.values import Attack, Outcome

MANY = tuple(f"{ATTACKER}{number}" for number in range(30))
"""So many that inputs need not wait for what one user may."""

PATIENT = {"limits.unterminated_timeout": 60.0, "limits.commands": "1000000/second"}
"""Inputs come in pieces, and an attacker of the least priority sends the next one late: what has no
end by then would be a request by itself. And what one address may ask for is not what is tried."""


def _holds(outcome: Outcome) -> Sequence[str]:
    """Every sentinel was answered, in its order."""
    wrong = ("out_of_order", "hangs", "dropped", "unreachable")
    (found,) = outcome.floods
    said = [f"{found[each]}× {each}" for each in wrong if found.get(each)]
    if said:
        said += found["wrong"][:2]
    if not found.get("inputs") or not found.get("sentinels"):
        said.append("nothing was tried")
    return said


def _fuzz(
    dialect: str,
    what: str,
    users: Sequence[str] = (),
    options: Mapping[str, object] = PATIENT,
) -> Attack:
    name = f"fuzz-{dialect.replace(' ', '-')}"
    return Attack(name, what, dialect=dialect, users=users, shows=_holds, options=options)


FUZZES: tuple[Attack, ...] = (
    _fuzz("login", "lines that are nearly requests, to the login server", MANY[:5]),
    _fuzz("app", "lines that are nearly requests, to an app server, by thirty users", MANY),
    _fuzz("telnet", "keys, sequences and noise, to the gateway"),
    _fuzz("stomp", "frames that are nearly STOMP, to the embedded broker", options={}),
    _fuzz("lying broker", "frames and hints from a broker that lies", (ATTACKER, "author")),
    _fuzz("page", "requests that are nearly HTTP, to the page"),
)
