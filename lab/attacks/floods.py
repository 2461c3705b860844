"""The floods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.attacks.filling import ATTACKER, PASSWORD
from lab.attacks.values import EVERY_APP, Attack, Outcome

Shows = Callable[[Outcome], Sequence[str]]


TURNING_AWAY = 1.0
"""Seconds in which a connection too many has ended. 200 of them come at the same moment."""


def _silent(connections: int, addresses: int, **more: Any) -> Mapping[str, Any]:
    return {"port": "login", "connections": connections, "addresses": addresses, **more}


def _most_stay(most: int, after: float = 0.0) -> Shows:
    """No more connections than `most` are open at the end of what lasts longer than `after`."""

    def shows(outcome: Outcome) -> Sequence[str]:
        stayed = sum(each["at_the_end"] for each in outcome.floods)
        if stayed <= most or outcome.plan.during < after:
            return []
        return [f"{stayed} connections stayed, not {most} at most"]

    return shows


def _most_done(most: int) -> Shows:
    """No more of it was carried out, rightly or not, than `most` in a minute."""

    def shows(outcome: Outcome) -> Sequence[str]:
        refused = sum(
            number
            for each in outcome.floods
            for code, number in each["codes"].items()
            if code in REFUSED
        )
        done = outcome.answered - refused
        allowed = most * (1 + outcome.seconds / 60)
        return [f"{done} were carried out, not {allowed:.0f} at most"] if done > allowed else []

    return shows


def most_answered(at_once: float, per_second: float) -> Shows:
    """No more is answered than so much at once, and then so much a second."""

    def shows(outcome: Outcome) -> Sequence[str]:
        allowed = at_once + per_second * outcome.seconds
        over = outcome.answered > allowed
        return [f"{outcome.answered} were answered, not {allowed:.0f} at most"] if over else []

    return shows


SERVERS = 4
"""App servers where one user asks all of them."""

REFUSED = ("too-many-attempts", "unavailable", "too-many-connections")
"""The codes of what was not carried out, as there was too much of it."""


def _launches(outcome: Outcome) -> Sequence[str]:
    return [] if outcome.launched else ["no app server was launched"]


def _many(name: str, what: str, line: str) -> Attack:
    """Logins over 2,000 connections, of which none is one too many."""
    flood = {"port": "login", "connections": 2000, "addresses": 20, "payload": f"{line}\n"}
    return Attack(name, what, (flood,), ("turns",), crowd_ahead=20)


def _from_one(name: str, what: str, line: str, limit: str, most: int, **options: object) -> Attack:
    """The same from one address, again and again, of which `most` in a minute are taken."""
    flood = {"port": "login", "connections": 100, "payload": f"{line}\n"}
    return Attack(name, what, (flood,), (limit,), options=options, shows=_most_done(most))


_HTTP = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_STATUS = "HTTP/1.1 "

FLOODS: tuple[Attack, ...] = (
    _many(
        "logins-right",
        "2,000 connections from 20 addresses pipeline right logins of 200 names",
        f"login {ATTACKER}{{r}} {PASSWORD}",
    ),
    _many(
        "logins-wrong",
        "2,000 connections from 20 addresses pipeline wrong passwords of 200 names",
        f"login {ATTACKER}{{r}} wrong{{n}}",
    ),
    _many(
        "logins-unknown",
        "2,000 connections from 20 addresses pipeline logins of unknown names",
        "login nobody{n} wrong",
    ),
    _from_one(
        "guesses",
        "100 connections from one address pipeline wrong passwords of one name",
        f"login {ATTACKER}0 wrong{{n}}",
        "failed-logins",
        20,
    ),
    _from_one(
        "logins-one-name",
        "100 connections from one address pipeline right logins of one name",
        f"login {ATTACKER}0 {PASSWORD}",
        "logins",
        10,
        **{"limits.logins": "10/minute"},
    ),
    _from_one(
        "registrations",
        "100 connections from one address pipeline registrations",
        f"register somebody{{n}} {PASSWORD}",
        "registrations",
        20,
        **{"limits.registrations": "20/minute"},
    ),
    _many(
        "registrations-many",
        "2,000 connections from 20 addresses pipeline registrations",
        f"register somebody{{n}} {PASSWORD}",
    ),
    Attack(
        "silent-one-address",
        "2,000 silent connections from one address",
        (_silent(2000, 1, age=TURNING_AWAY),),
        ("connections-per-address",),
        shows=_most_stay(200),
    ),
    Attack(
        "silent-many-addresses",
        "6,000 silent connections from 6,000 addresses",
        (_silent(6000, 6000, reopens=False, age=2.0),),
        ("first-request",),
        options={"limits.first_request": 1.0},
        growth=64,
        shows=_most_stay(0),
    ),
    Attack(
        "crowd",
        "700 silent connections from 700 addresses to a process that takes 500",
        # Who is silent has two seconds. Here, too, fewer come in that time than there are places,
        # except at the beginning.
        (_silent(700, 700, again=1.5),),
        ("connections",),
        options={"limits.connections": 500},
        lead=4.0,
        shows=_most_stay(510),
    ),
    Attack(
        "slow-lines",
        "300 connections send a byte of a long line every 40 ms",
        (_silent(300, 300, payload="x" * 60_000, drip=0.04, reopens=False, age=11.0),),
        ("late-lines",),
        shows=_most_stay(0, after=12.0),
    ),
    Attack(
        "descriptors",
        "600 silent connections where 256 descriptors are all, while app servers are needed",
        (_silent(600, 600),),
        ("descriptors",),
        options={"app.capacity": 8, "fleet.maximum": 12},
        newcomers=True,
        descriptors=256,
        # Who has come and not asked yet makes room at once here. Attackers come so fast that an
        # honest peer has about 25 ms for its line, which a busy machine may not give it.
        turned_away=0.02,
        shows=_launches,
    ),
    Attack(
        "page",
        "10 connections pipeline 3,000 requests each to the page",
        tuple(
            {
                "port": "page",
                "connections": 5,
                "net": net,
                "payload": _HTTP.format(path),
                "times": 3000,
                "mark": _STATUS,
            }
            for net, path in ((10, "/metrics"), (11, "/state"))
        ),
        ("page-turns", "page-kept"),
    ),
    Attack(
        "page-connections",
        "2,000 connections to the page from one address",
        (
            {
                "port": "page",
                "connections": 2000,
                "payload": _HTTP.format("/"),
                "mark": _STATUS,
                "age": TURNING_AWAY,
            },
        ),
        ("page-connections", "page-turns"),
        shows=_most_stay(100),
    ),
    Attack(
        "unread-posts",
        "64 pipelined receive-post of 2,000 long posts, unread, on 20 connections",
        (
            {
                "port": "app",
                "connections": 20,
                "payload": "receive-post {token}\n",
                "times": 64,
                "reads": False,
            },
        ),
        ("replies", "unread", "commands"),
        users=(ATTACKER,),
        posts=True,
    ),
    Attack(
        "posts",
        "receive-post of 2,000 long posts, read, pipelined on 20 connections",
        ({"port": "app", "connections": 20, "payload": "receive-post {token}\n"},),
        ("replies", "commands"),
        users=(ATTACKER,),
        posts=True,
    ),
    Attack(
        "group",
        "200 pipelined messages to a group of 1,000, on each of 5 connections",
        (
            {
                "port": "app",
                "connections": 5,
                "payload": "send-group {token} crowd number {n}\n",
                "times": 200,
            },
        ),
        ("deliveries",),
        users=(ATTACKER,),
        crowd=True,
        # 5,000 messages, and then 500 a second; each connection may have one more under way.
        shows=most_answered(5 + 5, 0.5),
    ),
    Attack(
        "listeners",
        "one user listens on 3,000 connections, and writes to their group meanwhile",
        (
            {
                "port": "app",
                "connections": 3000,
                "addresses": 30,
                "opening": "listen {token}\n",
            },
            {
                "port": "app",
                "connections": 1,
                "net": 11,
                "opening": "create-group {token} own\njoin-group {token} own\n",
                "payload": "send-group {token} own number {n}\n",
            },
        ),
        ("listeners",),
        users=(ATTACKER,),
    ),
    Attack(
        "elsewhere",
        "one user pipelines a list on 5 connections to each of 4 app servers",
        ({"port": EVERY_APP, "connections": 5, "payload": "list-friend {token}\n"},),
        ("elsewhere", "commands"),
        users=(ATTACKER,),
        options={"fleet.minimum": SERVERS, "fleet.maximum": SERVERS},
        shows=most_answered(1000 + 50 * (SERVERS - 1) + 100, 200 + 5 * (SERVERS - 1)),
    ),
    Attack(
        "handshakes",
        "200 connections from 200 addresses begin a handshake of TLS and end, again and again",
        (
            {
                "port": "page",
                "connections": 200,
                "addresses": 200,
                "hails": True,
            },
        ),
        ("handshakes",),
        # Python keeps what the first of them needed.
        kept=32,
        tls=True,
        shows=most_answered(25 + 20, 100),
    ),
    Attack(
        "commands",
        "one user pipelines commands that write on 100 connections",
        (
            {
                "port": "app",
                "connections": 100,
                "payload": "post {token} number {n}\n",
            },
        ),
        ("commands",),
        users=(ATTACKER,),
        shows=most_answered(1000 + 100, 200),
    ),
    *(
        Attack(
            f"endings-{port}",
            f"6,000 connections to {port} that end at once",
            ({"port": port, "connections": 6000, "addresses": 60, "share": 0.6},),
        )
        for port in ("login", "telnet")
    ),
    Attack(
        "telnet-help",
        "4,000 visits by telnet that type help and end",
        (
            {
                "port": "telnet",
                "connections": 4000,
                "addresses": 400,
                "payload": "help\r\nexit\r\n",
                "times": 1,
                "reopens": False,
            },
        ),
        ("visit-turns",),
    ),
)
