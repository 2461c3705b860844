"""The text of `help COMMAND`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bbs.client.commands import FRAMEWORK
from bbs.ui.aliases import aliases_of, meant, suggestion
from bbs.ui.completing import HIDDEN, usage
from bbs.ui.talk import Speaker, WrongUse
from bbs.ui.text import visible

SENTENCES: Mapping[str, str] = {
    "register": "Makes an account; the password is asked for, and shows nothing.",
    "login": "Logs you in; the password is asked for. You stay online until logout.",
    "logout": "Ends all your sessions: you are offline then.",
    "delete": "Removes your account, and everything that belongs to it, for good.",
    "locate": "Tells at which server you are served.",
    "change-password": "Gives you another password, asked for; all other sessions of yours end.",
    "listen": "Happens by itself here.",
    "ping": "Asks the login server for a sign of life.",
}
"""A sentence for each of the framework's commands; the service has those for its own."""


def lines(conversation: Speaker, word: str) -> Iterator[str]:
    """The usage of a command, a sentence and its aliases; `WrongUse` for an unknown command."""
    vocabulary = conversation.client.vocabulary
    word = word.removeprefix("/") or "/"
    if own := conversation.own.get(word):
        yield own.usage
        yield f"{own.help[:1].upper()}{own.help[1:]}."
        return
    offer = vocabulary.offers.get(meant(word, vocabulary))
    if offer is None:
        raise WrongUse(unknown(conversation, word))
    yield usage(conversation, offer)
    ours = FRAMEWORK.get(offer.name)
    usual = SENTENCES.get(offer.name, "") if ours and offer.is_same(ours.command) else ""
    if sentence := vocabulary.presentation.help.get(offer.name, usual):
        yield visible(sentence)
    if aliases := aliases_of(offer.name, vocabulary):
        yield f"In short: {', '.join(map(visible, aliases))}"


def unknown(conversation: Speaker, word: str) -> str:
    """The error for an unknown command, with a suggestion."""
    close = alike(conversation, word)
    hint = f" Did you mean {visible(close)}?" if close else ""
    return f"Unknown command {visible(word)}.{hint}"


def alike(conversation: Speaker, word: str) -> str:
    """The command that comes closest to a mistyped word; empty if none is close."""
    vocabulary = conversation.client.vocabulary
    if vocabulary.is_unlisted(word):
        return ""
    listed = [name for name in (*vocabulary.offers, *conversation.own) if name not in HIDDEN]
    return suggestion(word, [*listed, *vocabulary.presentation.aliases])
