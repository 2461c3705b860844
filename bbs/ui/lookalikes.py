"""Warnings of names that look like a friend's.

A service declares which names are compared with which (`Choices.lookalike_events` and
`lookalike_lists`). Names of friends come from the cache for completion, so nothing is asked for a
warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bbs.client.client import ServiceClient
from bbs.client.replies import ServiceReply
from bbs.client.request import ClientRequest
from bbs.core.confusables import skeletons
from bbs.protocols.forms import member, of_event
from bbs.protocols.presentation import Choices
from bbs.ui.completion import NameCache, names_in
from bbs.ui.interfaces import IScreen
from bbs.ui.output import visible

MOST_COMPARED = 1000
"""Names of a list that are compared, at most: each takes some 3 µs."""

MOST_WARNED = 1000
"""Names that are remembered, so that a warning comes once; beyond that, one may come again."""

MOST_EARLY = 1000
"""Names that are kept until those to compare with are there, for each user."""


@dataclass(slots=True, eq=False, repr=False)
class LookalikeWarnings:
    """The warnings for all users of a client, each given once while the user is logged in."""

    _client: ServiceClient
    _screen: IScreen
    _known: NameCache
    _warned: set[tuple[str, str]] = field(default_factory=set)
    _early: dict[str, dict[tuple[str, str], None]] = field(default_factory=dict)
    # By user and choices, the names by their skeletons.
    _looks: dict[tuple[str, str], dict[str, list[str]]] = field(default_factory=dict)
    _made: int = -1  # the state of the cache that `_looks` are of

    def begin(self, user: str) -> None:
        """Keep the names in a user's events until `names_loaded`."""
        self._early[user] = {}

    def names_loaded(self, user: str) -> None:
        """Check what came before the user's names did, or before they could not be had."""
        early = self._early.pop(user, {})
        for choices in self._client.vocabulary.presentation.choices if early else ():
            self._check(user, choices, [name for of, name in early if of == choices.name])

    def forget(self, user: str) -> None:
        self._early.pop(user, None)
        self._warned = {each for each in self._warned if each[0] != user}

    def check_event(self, user: str, event: Mapping[str, object]) -> None:
        """Warn of the name in an event for a user, which may be a message."""
        early = self._early.get(user)
        for choices in self._client.vocabulary.presentation.choices:
            name = member(event, of_event(choices.lookalike_events, event, ""))
            if isinstance(name, str):
                if early is not None and len(early) < MOST_EARLY:
                    early[choices.name, name] = None
                self._check(user, choices, (name,))

    def check_list(self, request: ClientRequest, reply: ServiceReply) -> None:
        """Warn of the names in the list of a reply to a user."""
        for choices in self._client.vocabulary.presentation.choices:
            listed = choices.lookalike_lists.get(request.name)
            if listed is not None:
                names = names_in(reply, listed, choices.key) or ()
                self._check(request.user, choices, names[:MOST_COMPARED])

    def _check(self, user: str, choices: Choices, names: Iterable[str]) -> None:
        looks = self._looks_of(user, choices)
        for name in names if looks else ():
            found = (known for each in skeletons(name) for known in looks.get(each, ()))
            other = next((known for known in found if known != name), None)
            if other is not None and name != user and (user, name) not in self._warned:
                self._warn(user, choices, name, other)

    def _looks_of(self, user: str, choices: Choices) -> Mapping[str, Sequence[str]]:
        if self._made != self._known.changes:
            self._made = self._known.changes
            self._looks.clear()
        looks = self._looks.get((user, choices.name))
        if looks is None:
            looks = self._looks[user, choices.name] = {}
            for name in self._known.names(user, choices.name)[:MOST_COMPARED]:
                for skeleton in skeletons(name):
                    looks.setdefault(skeleton, []).append(name)
        return looks

    def _warn(self, user: str, choices: Choices, name: str, other: str) -> None:
        if len(self._warned) >= MOST_WARNED:
            self._warned.clear()
        self._warned.add((user, name))
        to = f"{visible(user)}: " if len(self._client.users) > 1 else ""
        label = visible(choices.label or choices.name)
        both = ", but another one" if name in self._known.names(user, choices.name) else ""
        self._screen.problem(f"{to}{visible(name)} is not your {label} {visible(other)}{both}.")
