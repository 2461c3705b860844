"""The names that people type here: friends or rooms, or whatever else the service has (`Choices`).

Completion reads this and asks nobody. After a login it is filled by a few questions; from then on
it follows the replies and events that pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bbs.client.echoes import partner_name
from bbs.client.library import ServiceClient
from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.vocabulary import Vocabulary
from bbs.protocols.presentation import Choices, Presentation, Talk, member

Names = dict[str, None]
"""Names without repetition, in the order in which they were learned."""

MOST_QUESTIONS = 20
"""Commands that are sent at a login to know what is completed; a service needs a few."""

MOST_SHARED = 1000
"""Names that are kept of a service that may have any number: nobody completes among more."""


class Known:
    """The known names of each user who is logged in here, and the names that all share."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._shared: dict[str, Names] = {}
        self._own: dict[str, dict[str, Names]] = {}

    def names(self, user: str | None, choices: str) -> Sequence[str]:
        """The names of some choices that a user has; none for somebody not logged in here."""
        own = self._own.get(user or "", {})
        return [*own.get(choices, ()), *self._shared.get(choices, ())]

    def questions(self) -> Iterable[str]:
        """The commands whose replies tell what completion needs at a login, each once."""
        asks = dict.fromkeys(each.ask for each in self._presentation.choices if each.ask)
        return [*asks][:MOST_QUESTIONS]

    def begin(self, user: str) -> None:
        """A user has logged in."""
        self._own.setdefault(user, {})

    def forget(self, user: str) -> None:
        """A user has left."""
        self._own.pop(user, None)

    def learn(self, request: Typed, reply: ServiceReply) -> None:
        """A command of a user's was carried out."""
        name, user = request.name, request.user
        if user not in self._own or not reply.ok or not request.is_complete:
            return
        argument = request.argument
        for each in self._presentation.choices:
            if name in each.lists:
                self._replace(user, each, _listed(reply, each.lists[name], each.key))
            if name in each.removed_by:
                self._remove(user, each, argument)
            if name in each.added_by and argument is not None:
                self._add(user, each, argument)

    def told(self, user: str, event: ServiceEvent) -> Mapping[str, str]:
        """A user was told of something; the names that it removes, by their choices."""
        name, gone = str(event.members.get("event")), dict[str, str]()
        for each in self._presentation.choices if user in self._own else ():
            removed = member(event.members, each.removed_by_events.get(name, ""))
            if isinstance(removed, str):
                self._remove(user, each, removed)
                gone[each.name] = removed
            added = member(event.members, each.added_by_events.get(name, ""))
            if isinstance(added, str):
                self._add(user, each, added)
        return gone

    def heard(self, user: str, message: ChatMessage) -> None:
        """A user got a message: only those who may be talked to write."""
        talk = self._presentation.talk(message.talk, message.group is not None)
        for each in self._presentation.choices if user in self._own else ():
            if each.name == talk.choices:
                self._add(user, each, partner_name(self._presentation, user, message))

    @property
    def _presentation(self) -> Presentation:
        return self._vocabulary.presentation

    def _of(self, user: str, choices: Choices) -> Names:
        where = self._shared if choices.shared else self._own[user]
        return where.setdefault(choices.name, {})

    def _replace(self, user: str, choices: Choices, names: Iterable[str] | None) -> None:
        if names is not None:  # Whoever shows the reply says so.
            typed = [name for name in names if _can_be_typed(name)]
            kept = dict.fromkeys(typed[:MOST_SHARED] if choices.shared else typed)
            self._of(user, choices).clear()
            self._of(user, choices).update(kept)

    def _add(self, user: str, choices: Choices, name: str) -> None:
        if not _can_be_typed(name):
            return
        self._of(user, choices)[name] = None
        for each in self._presentation.choices:
            if each.name == choices.within:
                self._of(user, each)[name] = None

    def _remove(self, user: str, choices: Choices, name: str | None) -> None:
        if name is None:
            self._of(user, choices).clear()
        else:
            self._of(user, choices).pop(name, None)


def _can_be_typed(name: str) -> bool:
    return [name] == name.split()


def _listed(reply: ServiceReply, list_name: str, key: str) -> Sequence[str] | None:
    """The names in a list of a reply; None where it has something else."""
    names = []
    for entry in reply.lists.get(list_name, (None,)):
        name = member(entry, key) if isinstance(entry, Mapping) else entry
        if not isinstance(name, str):
            return None
        names.append(name)
    return names


async def partners(client: ServiceClient, user: str, talk: Talk) -> Sequence[str] | None:
    """The names that a user may talk to, asked of the service; None if it cannot say. Fails as
    `ServiceClient.ask` does."""
    for each in client.vocabulary.presentation.choices:
        if each.name == talk.choices and each.ask:
            return _listed(await client.ask(each.ask, user), each.lists[each.ask], each.key)
    return None
