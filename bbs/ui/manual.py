"""What commands do, in a sentence each, for `help COMMAND`.

Of what a service has beyond these, the usage is all that is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bbs.ui.aliases import ALIASES, aliases_of, is_familiar, meant, suggestion
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
    "invite": "Asks somebody to be your friend.",
    "list-invite": "Lists who has invited you, the oldest invitation first.",
    "accept-invite": "Makes you friends with somebody who has invited you.",
    "decline-invite": "Says no to an invitation; whoever sent it may invite you again.",
    "list-friend": "Lists your friends, the oldest friendship first.",
    "who": "Tells which of your friends are online, and when the others were here last.",
    "unfriend": "Ends a friendship. What was said stays to be read.",
    "block": "Takes nothing from somebody any more; friendship and invitations end.",
    "unblock": "Takes from somebody again.",
    "list-block": "Lists whom you have blocked.",
    "post": "Writes for all your friends.",
    "receive-post": "Shows the latest of what your friends have posted.",
    "send": "Sends one message to a friend who is online.",
    "history": "Shows the last 50 messages of a talk with a friend or in a group.",
    "create-group": "Makes a group, with you in it.",
    "list-group": "Lists all groups there are.",
    "list-joined": "Lists the groups that you are in.",
    "join-group": "Makes you a member of a group.",
    "leave-group": "Makes you a member of a group no more.",
    "list-member": "Lists who is in a group of yours, in the order joined.",
    "send-group": "Sends one message to everybody in a group who is online.",
    "listen": "Happens by itself here.",
    "ping": "Asks the login server for a sign of life.",
}


def lines(conversation: Speaker, word: str) -> Iterator[str]:
    """How a command is used, what it does, and by what else it can be typed; `WrongUse` when there
    is no such command."""
    offers = conversation.client.vocabulary.offers
    word = word.removeprefix("/") or "/"
    if own := conversation.own.get(word):
        yield own.usage
        yield f"{own.help[:1].upper()}{own.help[1:]}."
        return
    offer = offers.get(meant(word, offers))
    if offer is None:
        raise WrongUse(unknown(conversation, word))
    yield usage(conversation, offer)
    if is_familiar(offer) and offer.name in SENTENCES:
        yield SENTENCES[offer.name]
    if aliases := aliases_of(offer.name, offers):
        yield f"In short: {', '.join(aliases)}"


def unknown(conversation: Speaker, word: str) -> str:
    """That there is no such command, and which may have been meant."""
    close = alike(conversation, word)
    hint = f" Did you mean {visible(close)}?" if close else ""
    return f"Unknown command {visible(word)}.{hint}"


def alike(conversation: Speaker, word: str) -> str:
    """The command that may have been meant by a word that is none; empty for no such."""
    offers = conversation.client.vocabulary.offers
    listed = [name for name in (*offers, *conversation.own) if name not in HIDDEN]
    return suggestion(word, [*listed, *(each for each in ALIASES if meant(each, offers) != each)])
