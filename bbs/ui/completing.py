"""What the word that somebody types may become, and how the command is used that it belongs to.

All of it comes from what is known already (`bbs.ui.known`): nothing here asks the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bbs.client.commands import Offer
from bbs.client.typed import Typed
from bbs.client.values import Reply
from bbs.protocols.commands import WrongUsage
from bbs.ui.aliases import is_familiar, meant
from bbs.ui.known import Circle
from bbs.ui.talk import Speaker, is_said
from bbs.ui.text import visible

HIDDEN = ("listen", "events", "quit")
"""Commands that need no mention: what they do happens by itself, or has a better name."""


@dataclass(frozen=True)
class Completion:
    """`text` may stand in the place of what the line has from `start` on; `meaning` says what it
    is, in a word or two."""

    text: str
    start: int
    meaning: str


def completions(conversation: Speaker, line: str) -> Sequence[Completion]:
    """What may stand in the place of the last word of `line`, the text before the cursor."""
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


def hint(conversation: Speaker, line: str) -> str:
    """The usage of the command that `line` begins with; in a talk, to whom the line goes."""
    talk = conversation.talk
    if talk and (not line.strip(" ") or is_said(line)):
        return f"to {visible(talk.name)}; end ends"
    words = line.lstrip("/").split()
    if not words:
        return ""
    if own := conversation.own.get(words[0]):
        return f"{own.usage}: {own.help}"
    offers = conversation.client.vocabulary.offers
    offer = offers.get(meant(words[0], offers))
    return usage(conversation, offer) if offer else ""


def usage(conversation: Speaker, offer: Offer) -> str:
    """A command's usage, with what need not be typed in brackets or left out."""
    text = visible(offer.usage)
    if offer.command.takes_user and conversation.alone:
        text = text.replace(" <user>", "", 1)
    elif offer.command.takes_user and conversation.current:
        text = text.replace("<user>", "[<user>]", 1)
    if offer.name in ("login", "register"):
        text = text.replace("<password>", "[<password>]")
    elif offer.name == "change-password" and is_familiar(offer):
        text = text.replace("<old> <new>", "[<old> <new>]")
    return text


def corrected(conversation: Speaker, request: Typed, reply: Reply) -> Reply:
    """`reply`, which says how the command is used as the hint and `help` do, where it says that:
    the server does not know what need not be typed here."""
    offer = conversation.client.vocabulary.offers.get(request.name)
    if offer is None or reply.code != WrongUsage.code:
        return reply
    return Reply({**reply.members, "message": f"Usage: {usage(conversation, offer)}"})


def help_lines(conversation: Speaker) -> Iterator[str]:
    """Every command, the service's and the client's own, and what need not be typed."""
    for offer in _offers(conversation):
        if offer.name not in conversation.own:
            yield usage(conversation, offer)
    for own in conversation.own.values():
        if own.name not in HIDDEN:
            yield f"{own.usage}  ({own.help})"
    if conversation.current and not conversation.alone:
        name = visible(conversation.current)
        yield f"[<user>] may be left out: then it is {name}, unless a name of yours comes first."


def _offers(conversation: Speaker) -> Iterator[Offer]:
    """What the service has that needs mention."""
    offers = conversation.client.vocabulary.offers.values()
    return (offer for offer in offers if offer.name not in HIDDEN)


def _commands(conversation: Speaker) -> Mapping[str, str]:
    service = {each.name: usage(conversation, each) for each in _offers(conversation)}
    own = {each.name: each.help for each in conversation.own.values() if each.name not in HIDDEN}
    return service | own


def _arguments(conversation: Speaker, words: Sequence[str]) -> Mapping[str, str]:
    """What may follow `words`, the command and the arguments that are complete."""
    offers = conversation.client.vocabulary.offers
    name, given = meant(words[0], offers), list(words[1:])
    circle = conversation.known.circle(conversation.current)
    if name == "use":
        return {} if given else _all(conversation.users, "user")
    if name == "talk":
        return {} if given else _all(circle.joined, "group") | _all(circle.friends, "friend")
    if name == "help":
        return {} if given else _commands(conversation)
    offer = offers.get(name)
    if offer is None:
        return {}
    users: Mapping[str, str] = {}
    if offer.command.takes_user and not conversation.alone:
        if given[:1] and given[0] in conversation.users:
            circle = conversation.known.circle(given.pop(0))
        elif not given:
            users = _all(conversation.users, "user")
    parameters = offer.command.parameters
    if len(given) >= len(parameters):
        return users
    return {**_named(conversation, circle, name, parameters[len(given)]), **users}


def _named(
    conversation: Speaker, circle: Circle, command: str, parameter: str
) -> Mapping[str, str]:
    """What is known that a parameter of a command may be: by its name, whatever the command, where
    there is not more to be said."""
    match command, parameter:
        case "accept-invite" | "decline-invite", "id":
            return _all(circle.invitations, "invitation")
        case "block", "id":
            return _all(circle.invitations, "invitation") | _all(circle.friends, "friend")
        case "unblock", "id":
            return _all(circle.blocked, "blocked")
        case "history", "name":
            return _all(circle.joined, "group") | _all(circle.friends, "friend")
        case "join-group", "group":
            groups = conversation.known.groups
            return _all([group for group in groups if group not in circle.joined], "group")
        case "create-group", "group":
            return {}
        case _, "friend":
            return _all(circle.friends, "friend")
        case _, "group":
            return _all(circle.joined, "group")
    return {}


def _all(names: Iterable[str], meaning: str) -> dict[str, str]:
    return dict.fromkeys(names, meaning)
