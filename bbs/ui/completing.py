"""What the word that somebody types may become, and how the command is used that it belongs to.

All of it comes from what is known already (`bbs.ui.known`): nothing here asks the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bbs.client.commands import FRAMEWORK, Offer
from bbs.client.typed import Typed
from bbs.client.values import ServiceReply
from bbs.protocols.commands import WrongUsage
from bbs.ui.aliases import meant
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
    vocabulary = conversation.client.vocabulary
    offer = vocabulary.offers.get(meant(words[0], vocabulary))
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
    elif offer.is_same(FRAMEWORK["change-password"].command):
        text = text.replace("<old> <new>", "[<old> <new>]")
    return text


def corrected(conversation: Speaker, request: Typed, reply: ServiceReply) -> ServiceReply:
    """`reply`, which says how the command is used as the hint and `help` do, where it says that:
    the server does not know what need not be typed here."""
    offer = conversation.client.vocabulary.offers.get(request.name)
    if offer is None or reply.code != WrongUsage.code:
        return reply
    return replace(
        reply, members={**reply.members, "message": f"Usage: {usage(conversation, offer)}"}
    )


def help_lines(conversation: Speaker) -> Iterator[str]:
    """Every command, the service's and the client's own, and what need not be typed; under headings
    where the service has some."""
    groups = conversation.client.vocabulary.presentation.groups
    offers = {each.name: each for each in _offers(conversation)}
    for heading, names in groups.items():
        shown = [offers.pop(name) for name in names if name in offers]
        yield from _under(f"{visible(heading)}:", [usage(conversation, each) for each in shown])
    others = [each for each in offers.values() if each.name not in conversation.own]
    yield from _under("Others:" if groups else "", [usage(conversation, each) for each in others])
    own = [each for each in conversation.own.values() if each.name not in HIDDEN]
    yield from _under(
        "Of this client:" if groups else "", [f"{each.usage}  ({each.help})" for each in own]
    )
    if conversation.current and not conversation.alone:
        name = visible(conversation.current)
        yield f"[<user>] may be left out: then it is {name}, unless a name of yours comes first."


def _under(heading: str, lines: Sequence[str]) -> Sequence[str]:
    """Lines under a heading, where there is one and they are any."""
    if not heading or not lines:
        return lines
    return [heading, *(f"  {line}" for line in lines)]


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
    vocabulary = conversation.client.vocabulary
    name, given, user = meant(words[0], vocabulary), list(words[1:]), conversation.current
    # A service has commands of such names where the client has none.
    is_own = name in conversation.own
    if name == "use" and is_own:
        return {} if given else _all(conversation.users, "user")
    if name == "talk" and is_own:
        # Where a name is two things, it is called what the first talk calls it.
        partners = [talk.choices for talk in reversed(vocabulary.presentation.open_talks)]
        return {} if given else _known(conversation, user, partners)
    if name == "help":
        return {} if given else _commands(conversation)
    offer = vocabulary.offers.get(name)
    if offer is None:
        return {}
    users: Mapping[str, str] = {}
    if offer.command.takes_user and not conversation.alone:
        if given[:1] and given[0] in conversation.users:
            user = given.pop(0)
        elif not given:
            users = _all(conversation.users, "user")
    parameters = offer.command.parameters
    if len(given) >= len(parameters):
        return users
    return {
        **_known(conversation, user, _choices(conversation, name, parameters[len(given)])),
        **users,
    }


def _choices(conversation: Speaker, command: str, parameter: str) -> Sequence[str]:
    """The choices of a parameter: those declared for this command, or those for any parameter of
    its name."""
    presentation = conversation.client.vocabulary.presentation
    usual = [each.name for each in presentation.choices if parameter in each.parameters]
    return presentation.complete.get(f"{command} {parameter}", usual)


def _known(conversation: Speaker, user: str | None, choices: Sequence[str]) -> Mapping[str, str]:
    """The names of some choices, and what they are; of those that begin with `-` none."""
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


def _all(names: Iterable[str], meaning: str) -> dict[str, str]:
    return dict.fromkeys(names, meaning)
