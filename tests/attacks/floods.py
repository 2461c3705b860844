"""The floods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.attacks.filling import ATTACKER, PASSWORD
from tests.attacks.values import Attack, Outcome

FEW = 4
"""MiB that connections which only stay may cost beside their number's worth."""


def _silent(connections: int, addresses: int, **more: Any) -> Mapping[str, Any]:
    return {"port": "login", "connections": connections, "addresses": addresses, **more}


def _most_at_once(most: int) -> Any:
    """No more connections than `most` were open at the end."""

    def shows(outcome: Outcome) -> Sequence[str]:
        stayed = sum(each["at_the_end"] for each in outcome.floods)
        return [f"{stayed} connections stayed, not {most} at most"] if stayed > most else []

    return shows


def _launches(outcome: Outcome) -> Sequence[str]:
    return [] if outcome.launched else ["no app server was launched"]


def _logins(name: str, what: str, line: str, *limits: str) -> Attack:
    return Attack(
        name,
        what,
        ({"port": "login", "connections": 2000, "addresses": 20, "payload": f"{line}\n"},),
        limits,
    )


_HTTP = "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_STATUS = "HTTP/1.1 "

FLOODS: tuple[Attack, ...] = (
    _logins(
        "logins-right",
        "2,000 connections pipeline right logins of 200 names",
        f"login {ATTACKER}{{r}} {PASSWORD}",
        "logins",
    ),
    _logins(
        "logins-wrong",
        "2,000 connections pipeline wrong passwords of 200 names",
        f"login {ATTACKER}{{r}} wrong{{n}}",
        "failed-logins",
    ),
    _logins(
        "logins-unknown",
        "2,000 connections pipeline logins of unknown names",
        "login nobody{n} wrong",
        "failed-logins",
    ),
    Attack(
        "registrations",
        "500 connections from 10 addresses pipeline registrations",
        (
            {
                "port": "login",
                "connections": 500,
                "addresses": 10,
                "payload": f"register somebody{{n}} {PASSWORD}\n",
            },
        ),
        ("registrations",),
    ),
    Attack(
        "silent-one-address",
        "4,000 silent connections from one address",
        (_silent(4000, 1),),
        ("connections-per-address",),
        shows=_most_at_once(200),
    ),
    Attack(
        "silent-many-addresses",
        "6,000 silent connections from 6,000 addresses",
        (_silent(6000, 6000, reopens=False),),
        ("first-request",),
        options={"limits.first_request": 2.0},
        growth=64,
        shows=_most_at_once(0),
    ),
    Attack(
        "slow-lines",
        "300 connections send a byte of a long line every 40 ms",
        (_silent(300, 300, payload="x" * 60_000, drip=0.04, reopens=False),),
    ),
    Attack(
        "descriptors",
        "600 silent connections where 256 descriptors are all, while app servers are needed",
        (_silent(600, 600),),
        ("descriptors",),
        options={"app.capacity": 10, "fleet.maximum": 5},
        descriptors=256,
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
    ),
    Attack(
        "page-connections",
        "2,000 connections to the page from one address",
        ({"port": "page", "connections": 2000, "payload": _HTTP.format("/"), "mark": _STATUS},),
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
        users=(ATTACKER,),
        posts=True,
    ),
    Attack(
        "posts",
        "receive-post of 2,000 long posts, read, pipelined on 20 connections",
        ({"port": "app", "connections": 20, "payload": "receive-post {token}\n"},),
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
        users=(ATTACKER,),
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
    ),
    Attack(
        "endings",
        "6,000 connections to telnet that end at once, again and again",
        ({"port": "telnet", "connections": 6000, "addresses": 60, "share": 0.6},),
    ),
)
