"""Attacks on logins that come from many networks, or with many guesses of one name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.attacks.filling import HONEST
from lab.attacks.floods import most_answered
from lab.attacks.limits import ANY_RATE
from lab.attacks.values import Attack

KNOWN, STRANGER = 1000.0, 2000.0
"""ms that a login may take at p99 from a network that its user was in before, and from another."""


def _wrong(addresses: int, source: str) -> Mapping[str, Any]:
    """One wrong login of an unknown name in flight from each of so many addresses."""
    return {
        "port": "login",
        "connections": addresses,
        "addresses": addresses,
        "source": source,
        "payload": "login nobody{n} wrong\n",
        "in_turn": True,
    }


def _from_networks(
    name: str, what: str, addresses: int, source: str, routes: Sequence[str] = ()
) -> Sequence[Attack]:
    """Wrong logins, while people log in from where they were before, and from elsewhere."""
    flood = _wrong(addresses, source)
    # Of 2,300 requests at a time Python keeps 20 MiB, by turns as without them.
    more: Mapping[str, Any] = {"limits": ("networks",), "routes": routes, "lead": 3.0, "kept": 24}
    known = Attack(f"{name}-known", f"{what}; others come from where they were before", (flood,))
    stranger = Attack(f"{name}-stranger", f"{what}; others come from elsewhere", (flood,))
    return (
        replace(known, logins=KNOWN, **more),
        replace(stranger, logins=STRANGER, strangers=True, **more),
    )


def _of_one_name(name: str, what: str) -> Attack:
    """Guesses of one name from twice as many addresses as use it up, while its owner logs in."""
    flood = {
        "port": "login",
        "connections": 20,
        "addresses": 20,
        "payload": f"login {HONEST}0 wrong{{n}}\n",
        "in_turn": True,
        "pause": 0.33,
    }
    return Attack(
        name,
        f"3 wrong passwords a second of one name from each of 20 addresses; {what}",
        (flood,),
        ("known",),
        # The name may fail 60 times, and then once a second: on a busy machine that takes 8 s.
        options={"limits.failed_logins": "6/minute", "limits.logins": ANY_RATE},
        names=1,
        lead=10.0,
    )


_BY_16S = _from_networks(
    "logins-16s",
    "a wrong login in flight from 2,300 addresses of as many /16s",
    2300,
    "/16s",
    ("11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/6"),
)

LOGINS: tuple[Attack, ...] = (
    *_from_networks(
        "logins-500", "a wrong login in flight from 500 addresses of 8 /16s", 500, "8 /16"
    ),
    *_from_networks(
        "logins-2300", "a wrong login in flight from 2,300 addresses of 8 /16s", 2300, "8 /16"
    ),
    *_from_networks(
        "logins-48",
        "a wrong login in flight from 2,300 /64s of one /48",
        2300,
        "/48",
        ("2001:db8::/32",),
    ),
    _BY_16S[0],
    # Nothing tells a newcomer from 2,300 who are new as well, until each of these had a turn: that
    # takes a minute, and is only measured.
    replace(_BY_16S[1], limits=(), logins=math.inf, turned_away=1.0),
    _of_one_name("guesses-known", "who logs in with it was there before"),
    replace(
        _of_one_name("guesses-device", "who logs in with it comes from elsewhere, with a device"),
        strangers=True,
        devices=True,
    ),
    Attack(
        "guesses-gateway",
        "50 connections from one address pipeline guesses at the gateways' secret",
        (
            {
                "port": "login",
                "connections": 50,
                "payload": "forwarded-for 192.0.2.1 guess{n}\n",
            },
        ),
        ("guess-delay",),
        # 200 a minute, and each of the others 2 s later.
        shows=most_answered(200 + 50, 200 / 60 + 50 / 2),
    ),
)
