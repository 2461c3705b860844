"""The commands that are the client's own: no server sees them."""

from __future__ import annotations

from collections.abc import Sequence

from bbs.protocols.presentation import Presentation
from bbs.ui import completing, manual
from bbs.ui.known import partners
from bbs.ui.talk import OwnCommand, Partner, Speaker, WrongUse
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
    presentation = conversation.client.vocabulary.presentation
    talking = [
        OwnCommand(_usage_of_talk(presentation), "what you type goes there", talk),
        OwnCommand("end", "end of talking", end),
    ]
    return (
        *(many if not conversation.alone else []),
        *(talking if presentation.open_talks else []),
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


def _usage_of_talk(presentation: Presentation) -> str:
    talks = presentation.open_talks
    names = " or ".join(visible(each.name) for each in talks if each.choices)
    if not names:
        return "talk"
    return f"talk <{names}>" if all(each.choices for each in talks) else f"talk [<{names}>]"


async def _partner(conversation: Speaker, words: Sequence[str]) -> Partner:
    """Who is meant by what follows `talk`: asked for, as it need not be known here yet."""
    presentation = conversation.client.vocabulary.presentation
    talks = {each.name: each for each in presentation.open_talks}
    user = conversation.current
    alone = [each for each in talks.values() if not each.choices and words in ([], [each.name])]
    *kind, name = words or [""]
    named = [each.name for each in talks.values() if each.choices]
    wanted = kind or named
    if not alone and (not name or len(kind) > 1 or not wanted or not {*wanted} <= {*named}):
        raise WrongUse()
    if user is None:
        raise WrongUse("Not login yet")
    if alone:
        return Partner(alone[0], alone[0].name)
    found = []
    for talk in [talks[each] for each in wanted]:
        names = await partners(conversation.client, user, talk)
        if names is None or name in names:  # A service that cannot say refuses what is sent.
            found.append(talk)
    shown = visible(name)
    if len(found) > 1:
        names = [visible(each.name) for each in found]
        ways = ", or ".join(f"talk {each} {shown}" for each in names)
        raise WrongUse(f"Both a {' and a '.join(names)}: {ways}")
    if not found:
        raise WrongUse(f"{shown} is no {' or '.join(map(visible, wanted))} of {visible(user)}.")
    return Partner(found[0], name)
