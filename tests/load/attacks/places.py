"""Floods that take what there is for all: connections, and places on app servers."""

from __future__ import annotations

from tests.load.attacks.values import Attack

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
)
