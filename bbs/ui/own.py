"""The commands that are the client's own: no server sees them."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.ui import completing, manual
from bbs.ui.talk import OwnCommand, Speaker, Talk, WrongUse
from bbs.ui.text import visible


def own_commands(conversation: Speaker) -> Sequence[OwnCommand]:
    """Those that every face has; `use` only where several users may be logged in."""

    def use(words: Sequence[str]) -> None:
        if not words:
            names = "\n".join(map(visible, conversation.users))
            return conversation.screen.notice(names or "Nobody is logged in here.")
        (user,) = one(words)
        if user not in conversation.users:
            raise WrongUse(f"{visible(user)} is not logged in here.")
        return conversation.become(user)

    async def talk(words: Sequence[str]) -> None:
        await conversation.begin_talk(await _partner(conversation, words))

    def end(words: Sequence[str]) -> None:
        none(words)
        conversation.end_talk()

    async def help(words: Sequence[str]) -> None:
        await conversation.client.learn()
        shown = completing.help_lines(conversation)
        if words:
            shown = manual.lines(conversation, *one(words))
        conversation.screen.notice("\n".join(shown))

    def exit(words: Sequence[str]) -> None:
        none(words)
        conversation.end()

    many = [OwnCommand("use [<user>]", "be another user", use)]
    talking = [
        OwnCommand("talk <friend or group>", "what you type goes there", talk),
        OwnCommand("end", "end of talking", end),
    ]
    offers = conversation.client.vocabulary.offers
    return (
        *(many if not conversation.alone else []),
        *(talking if "send" in offers or "send-group" in offers else []),
        OwnCommand("help [<command>]", "this list, or what a command does", help),
        OwnCommand("exit", "end", exit),
        OwnCommand("quit", "end", exit),
    )


def none(words: Sequence[str]) -> None:
    """`WrongUse` when there are any."""
    if words:
        raise WrongUse()


def one(words: Sequence[str]) -> Sequence[str]:
    """`WrongUse` when there is not just one."""
    if len(words) != 1:
        raise WrongUse()
    return words


async def _partner(conversation: Speaker, words: Sequence[str]) -> Talk:
    """Who is meant by what follows `talk`: asked for, as it need not be known here yet."""
    *kind, name = words or [""]
    wanted = kind or ["friend", "group"]
    if not name or len(kind) > 1 or wanted[0] not in ("friend", "group"):
        raise WrongUse()
    user, client = conversation.current, conversation.client
    if user is None:
        raise WrongUse("Not login yet")
    friend = "friend" in wanted and name in await client.list_friend(user)
    group = "group" in wanted and name in await client.list_joined(user)
    shown = visible(name)
    if friend and group:
        raise WrongUse(f"Both a friend and a group: talk friend {shown}, or talk group {shown}")
    if not friend and not group:
        raise WrongUse(f"{shown} is no {' or '.join(wanted)} of {visible(user)}.")
    return Talk(name, group)
