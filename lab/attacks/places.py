"""Floods that take what there is for all: connections, and places on app servers."""

from __future__ import annotations

from collections.abc import Sequence

from lab.attacks.filling import ATTACKER, PASSWORD
from lab.attacks.values import Attack, Outcome

PLACES_THERE = 110
"""For 41 honest people who are there before, 40 newcomers, and an address's share of a fifth."""


def _has_its_share(outcome: Outcome) -> Sequence[str]:
    had, share = outcome.answered, PLACES_THERE // 5
    return [f"an address had {had} places, not {share} at most"] if had > share else []


PLACES: tuple[Attack, ...] = (
    Attack(
        "asked-and-idle",
        "2,000 connections from ten addresses, which ping once, to a process that takes 2,000",
        (
            {
                "port": "login",
                "connections": 2000,
                "addresses": 10,
                "opening": "ping\n",
            },
        ),
        ("giving-way",),
        options={"limits.connections": 2000},
        # Those who come back are refused in their hundreds each second.
        lead=2.0,
    ),
    Attack(
        "places",
        "150 people of one address log in, where there are 110 places and no more",
        (
            {
                "port": "login",
                "connections": 150,
                "payload": f"login {ATTACKER}{{n}} {PASSWORD}\n",
                "times": 1,
            },
        ),
        ("places-per-address",),
        options={"app.capacity": PLACES_THERE},
        # They have all that they get before anybody else comes.
        lead=6.0,
        newcomers=True,
        shows=_has_its_share,
    ),
    Attack(
        "places-unused",
        "people of five addresses have all 110 places, and use none of them",
        (
            {
                "port": "login",
                "connections": 150,
                "addresses": 5,
                "payload": f"login {ATTACKER}{{n}} {PASSWORD}\n",
                "times": 1,
            },
        ),
        ("giving-way-of-places",),
        options={"app.capacity": PLACES_THERE},
        lead=6.0,
        newcomers=True,
        strangers=True,
        patched=("soon-silent",),
    ),
)
