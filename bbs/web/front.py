"""`/`: the page's one file of markup, with what only the server knows when it is asked for.

A script fills the page in a moment later. What is there without one: the version, whether anybody
may log in (also while so many watch that nobody more may), and the fleet in sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.web.template import Element, Tag, XMLString, flattenString, renderer

from bbs.values import State


class Front(Element):
    """The page as it is at first. `state` is a snapshot (`docs/web.md`)."""

    def __init__(self, markup: XMLString, state: Mapping[str, Any]) -> None:
        Element.__init__(self, markup)
        self._state = state

    @renderer
    def page(self, request: object, tag: Tag) -> Tag:
        """The whole of it."""
        server = self._state["login_server"][:8]
        where = f"Version {self._state['version']}, login server {server}"
        return tag.fillSlots(where=where, fleet=in_sentences(self._state))

    @renderer
    def login(self, request: object, tag: Tag) -> Tag:
        """The button, shown where somebody may log in."""
        return tag if self._state["may_act"] else tag(hidden="hidden")


async def rendered(markup: XMLString, state: Mapping[str, Any]) -> bytes:
    """The page as a browser gets it."""
    return b"<!doctype html>\n" + await flattenString(None, Front(markup, state))


def in_sentences(state: Mapping[str, Any]) -> str:
    """The fleet of a snapshot, for those who have no script."""
    at = datetime.fromtimestamp(state["fleet_at"], UTC)
    states = [server["state"] for server in state["servers"]]
    servers = ", ".join(f"{states.count(each)} {each}" for each in State if each in states)
    away = "" if state["database"] else " The database is away: nobody can log in."
    return (
        f"At {at:%H:%M:%S} UTC: servers: {servers or 'none'}; people online: {state['people']}; "
        f"free places: {state['free_places']}; people waiting: {state['waiting']['count']}.{away}"
    )
