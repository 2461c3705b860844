"""`/`: the page's one file of markup, with what only the server knows when it is asked for.

A script fills the page in a moment later. What is there without one: the service's name and the
version, what the service counts and what is to be said of it when the broker is away, whether
anybody may log in (also while so many watch that nobody more may), and the fleet in sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from twisted.web.template import Element, Tag, XMLString, flattenString, renderer

from bbs import __version__
from bbs.values import Counter, Policy, State
from bbs.web.alarm import alarms
from bbs.web.narrate import broker_away, short
from bbs.web.snapshot import Standing, View, free_places, people


class Front(Element):
    """The page as it is at first."""

    def __init__(self, markup: XMLString, standing: Standing, view: View) -> None:
        Element.__init__(self, markup)
        self._standing = standing
        self._view = view

    @renderer
    def page(self, request: object, tag: Tag) -> Tag:
        """The whole of it."""
        standing = self._standing
        return tag.fillSlots(
            service=standing.service,
            counters=" ".join(each.name for each in standing.counters),
            broker_away=broker_away(standing.counters, ", seconds later than usual"),
            where=f"Version {__version__}, login server {short(standing.login_server)}",
            fleet=in_sentences(self._view, standing.policy),
        )

    @renderer
    def login(self, request: object, tag: Tag) -> Tag:
        """The button, shown where somebody may log in."""
        return tag if self._standing.may_act else tag(hidden="hidden")

    @renderer
    def counted(self, request: object, tag: Tag) -> Tag | str:
        """A cell of the table's column of what each server counts, if the service counts
        anything."""
        counters = self._standing.counters
        return tag.fillSlots(counted=column(counters)) if counters else ""


async def rendered(markup: XMLString, standing: Standing, view: View) -> bytes:
    """The page as a browser gets it."""
    return b"<!doctype html>\n" + await flattenString(None, Front(markup, standing, view))


def column(counters: Sequence[Counter]) -> str:
    """What is above the rates of each server."""
    if len(counters) != 1:
        return "Counted/s"
    return f"{counters[0].name.replace('_', ' ').capitalize()}/s"


def in_sentences(view: View, policy: Policy) -> str:
    """The fleet, for those who have no script."""
    at = datetime.fromtimestamp(view.seen_at, UTC)
    silence = view.measured.keeper_silence
    cries = [
        f"ALARM: {alarm.text}. " for alarm in alarms(view.scene.overview, policy, silence, False)
    ]
    states = [server.state for server in view.scene.overview.servers]
    servers = ", ".join(f"{states.count(each)} {each}" for each in State if each in states)
    away = "" if view.scene.database else " The database is away: nobody can log in."
    return (
        f"{''.join(cries)}At {at:%Y-%m-%d %H:%M:%S} UTC: "
        f"servers: {servers or 'none'}; people online: {people(view)}; "
        f"free places: {free_places(view)}; people waiting: {view.scene.overview.waiting}.{away}"
    )
