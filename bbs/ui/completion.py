"""Completion of typed words, and hints on the usage of commands.

Completions come from a cache of names: friends, rooms, or whatever else the service declares
(`Choices`). A few requests fill it after a login; replies and events then keep it up to date.
Completion itself sends no requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bbs.client.catalog import CommandCatalog
from bbs.client.client import ServiceClient
from bbs.client.echo_filter import partner_name
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import FRAMEWORK, ClientRequest, CommandInfo
from bbs.protocols.forms import member, of_event
from bbs.protocols.presentation import Choices, Talk
from bbs.ui.chat import is_said
from bbs.ui.interpreter import HIDDEN, resolve_alias
from bbs.ui.output import visible

if TYPE_CHECKING:
    from bbs.ui.conversation import Conversation

Names = dict[str, None]  # names without repetition, in the order in which they were learned

MOST_QUESTIONS = 20
"""Commands at most that are sent at a login to fill the cache; a service needs a few."""

MOST_RECENT = 100
"""Numbers at most that are kept of what was shown (`Choices.recent`), for each user."""

MOST_SHARED = 1000
"""Names at most that are kept of a list that all users share: nobody completes among more."""


@dataclass(slots=True, eq=False, repr=False)
class NameCache:
    """The names known to each user who is logged in here, and those that all share."""

    _vocabulary: CommandCatalog
    _shared: dict[str, Names] = field(default_factory=dict)
    _own: dict[str, dict[str, Names]] = field(default_factory=dict)
    changes: int = 0  # rises whenever a name comes or goes

    def names(self, user: str | None, choices: str) -> Sequence[str]:
        """A user's names for some choices; none for a user who is not logged in here."""
        own = self._own.get(user or "", {})
        return [*own.get(choices, ()), *self._shared.get(choices, ())]

    def questions(self) -> Iterable[str]:
        """The commands whose replies fill the cache at a login, each once."""
        asks = dict.fromkeys(each.ask for each in self._vocabulary.presentation.choices if each.ask)
        return [*asks][:MOST_QUESTIONS]

    def begin(self, user: str) -> None:
        self._own.setdefault(user, {})

    def forget(self, user: str) -> None:
        self._own.pop(user, None)
        self.changes += 1

    def learn(self, request: ClientRequest, reply: ServiceReply) -> None:
        """Learn from the reply to a user's command."""
        name, user = request.name, request.user
        if user not in self._own or not reply.ok or not request.is_complete:
            return
        argument = request.argument
        for each in self._vocabulary.presentation.choices:
            if name in each.lists and each.recent:
                self._add_recent(user, each, reply.members.get(each.lists[name]))
            elif name in each.lists:
                self._replace(user, each, names_in(reply, each.lists[name], each.key))
            if name in each.removed_by:
                self._remove(user, each, argument)
            if name in each.added_by and argument is not None:
                self._add(user, each, argument)

    def learn_event(self, user: str, event: ServiceEvent) -> Mapping[str, str]:
        """Learn from an event for a user; returns the names that it removes, by their choices."""
        gone = dict[str, str]()
        for each in self._vocabulary.presentation.choices if user in self._own else ():
            removed = member(event.members, of_event(each.removed_by_events, event.members, ""))
            if each.recent and type(removed) is int:
                removed = str(removed)
            if isinstance(removed, str):
                self._remove(user, each, removed)
                gone[each.name] = removed
            added = member(event.members, of_event(each.added_by_events, event.members, ""))
            if each.recent:
                self._add_recent(user, each, [added])
            elif isinstance(added, str):
                self._add(user, each, added)
        return gone

    def learn_partner(self, user: str, message: ChatMessage) -> None:
        """Learn the partner in a message for a user: whoever writes may also be written to."""
        talk = self._vocabulary.presentation.talk(message.talk, message.group is not None)
        for each in self._vocabulary.presentation.choices if user in self._own else ():
            if each.name == talk.choices:
                self._add(user, each, partner_name(self._vocabulary.presentation, user, message))

    def _of(self, user: str, choices: Choices) -> Names:
        where = self._shared if choices.shared else self._own[user]
        return where.setdefault(choices.name, {})

    def _replace(self, user: str, choices: Choices, names: Iterable[str] | None) -> None:
        if names is not None:  # A malformed list is reported where the reply is shown.
            typed = [name for name in names if _can_be_typed(name)]
            kept = dict.fromkeys(typed[:MOST_SHARED] if choices.shared else typed)
            self._of(user, choices).clear()
            self._of(user, choices).update(kept)
            self.changes += 1

    def _add_recent(self, user: str, choices: Choices, shown: object) -> None:
        """Keep the numbers in a list that was shown, or the one number, before earlier ones."""
        entries = shown if isinstance(shown, list) else [shown]
        given = [
            member(each, choices.key) if isinstance(each, Mapping) else each for each in entries
        ]
        numbers = sorted((each for each in given if type(each) is int), reverse=True)
        known = self._of(user, choices)
        kept = [*dict.fromkeys([*map(str, numbers), *known])][:MOST_RECENT]
        known.clear()
        known.update(dict.fromkeys(kept))

    def _add(self, user: str, choices: Choices, name: str) -> None:
        if not _can_be_typed(name):
            return
        if name not in self._of(user, choices):
            self.changes += 1
        self._of(user, choices)[name] = None
        for each in self._vocabulary.presentation.choices:
            if each.name == choices.within:
                self._of(user, each)[name] = None

    def _remove(self, user: str, choices: Choices, name: str | None) -> None:
        if name is None:
            self._of(user, choices).clear()
        else:
            self._of(user, choices).pop(name, None)
        self.changes += 1


def _can_be_typed(name: str) -> bool:
    return [name] == name.split()


def names_in(reply: ServiceReply, list_name: str, key: str) -> Sequence[str] | None:
    """The names in a list of a reply; None for a malformed list."""
    names = []
    for entry in reply.lists.get(list_name, (None,)):
        name = member(entry, key) if isinstance(entry, Mapping) else entry
        if not isinstance(name, str):
            return None
        names.append(name)
    return names


async def fetch_partners(client: ServiceClient, user: str, talk: Talk) -> Sequence[str] | None:
    """Ask the service for a user's partners; None if it has no list. Fails like `client.ask`."""
    for each in client.vocabulary.presentation.choices:
        if each.name == talk.choices and each.ask:
            return names_in(await client.ask(each.ask, user), each.lists[each.ask], each.key)
    return None


@dataclass(frozen=True)
class Completion:
    """A `text` that may replace the line from `start` on, and its `meaning` in a word or two."""

    text: str
    start: int
    meaning: str


def completions(conversation: Conversation, line: str) -> Sequence[Completion]:
    """The completions of the last word of `line`, the text before the cursor."""
    start = line.rfind(" ") + 1
    if conversation.talk and is_said(line):
        return ()
    if line.startswith("/"):
        start = max(start, 1)
    words, begun = line[:start].lstrip("/").split(), line[start:]
    found = _arguments(conversation, words) if words else _commands(conversation)
    return [
        Completion(text, start, meaning)
        for text, meaning in found.items()
        if text.startswith(begun) and text != begun
    ]


def hint(conversation: Conversation, line: str) -> str:
    """The usage of the command that `line` begins with; empty for a message."""
    if conversation.talk and is_said(line):
        return ""
    words = line.lstrip("/").split()
    if not words:
        return ""
    if own := conversation.builtins.get(words[0]):
        return f"{own.usage}  {own.help}"
    vocabulary = conversation.client.vocabulary
    info = vocabulary.commands.get(resolve_alias(words[0], vocabulary))
    return usage(conversation, info) if info else ""


def usage(conversation: Conversation, info: CommandInfo) -> str:
    """A command's usage; arguments that need not be typed are in brackets or left out: the user
    too, unless there are several."""
    text = visible(info.usage)
    if info.command.takes_user:
        named = " [<user>]" if len(conversation.users) > 1 else ""
        text = text.replace(" <user>", named, 1)
    if info.name in ("login", "register"):
        text = text.replace("<password>", "[<password>]")
    elif info.is_same(FRAMEWORK["change-password"].command):
        text = text.replace("<old> <new>", "[<old> <new>]")
    return text


def listed_commands(conversation: Conversation) -> Iterator[CommandInfo]:
    """The service's commands that `help` lists."""
    commands = conversation.client.vocabulary.commands.values()
    return (info for info in commands if info.name not in HIDDEN)


def _commands(conversation: Conversation) -> Mapping[str, str]:
    service = {each.name: usage(conversation, each) for each in listed_commands(conversation)}
    own = {
        each.name: each.help for each in conversation.builtins.values() if each.name not in HIDDEN
    }
    return service | own


def _arguments(conversation: Conversation, words: Sequence[str]) -> Mapping[str, str]:
    """The possible next arguments after `words`, the command and its complete arguments."""
    vocabulary = conversation.client.vocabulary
    name, given, user = resolve_alias(words[0], vocabulary), list(words[1:]), conversation.current
    # A service may have commands of these names where the client has none.
    is_own = name in conversation.builtins
    if name == "use" and is_own:
        return {} if given else dict.fromkeys(conversation.users, "user")
    if name == "talk" and is_own:
        # A name that is in the choices of two talks gets the label of the first.
        partners = [talk.choices for talk in reversed(vocabulary.presentation.open_talks)]
        return {} if given else _known(conversation, user, partners)
    if name == "help":
        return {} if given else _commands(conversation)
    info = vocabulary.commands.get(name)
    if info is None:
        return {}
    users: Mapping[str, str] = {}
    if info.command.takes_user and not conversation.single_user:
        if given[:1] and given[0] in conversation.users:
            user = given.pop(0)
        elif not given:
            users = dict.fromkeys(conversation.users, "user")
    parameters = info.command.parameters
    if len(given) >= len(parameters):
        return users
    choices = _choices(conversation, name, parameters[len(given)])
    return {**_known(conversation, user, choices), **users}


def _choices(conversation: Conversation, command: str, parameter: str) -> Sequence[str]:
    """The choices declared for a command's parameter, else those for any parameter of its name."""
    presentation = conversation.client.vocabulary.presentation
    usual = [each.name for each in presentation.choices if parameter in each.parameters]
    return presentation.complete.get(f"{command} {parameter}", usual)


def _known(
    conversation: Conversation, user: str | None, choices: Sequence[str]
) -> Mapping[str, str]:
    """The names of some choices, and their labels; a choice with a leading `-` excludes names."""
    presentation, known = conversation.client.vocabulary.presentation, conversation.known
    left_out = {name for each in choices if each[:1] == "-" for name in known.names(user, each[1:])}
    labels = {each.name: visible(each.label or each.name) for each in presentation.choices}
    return {
        name: labels[each]
        for each in choices
        if each in labels
        for name in known.names(user, each)
        if name not in left_out
    }
