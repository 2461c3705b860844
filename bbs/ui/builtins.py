"""The client's own commands and its help; no server sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from bbs.client.request import FRAMEWORK
from bbs.protocols.presentation import Presentation
from bbs.ui.chat import Partner
from bbs.ui.completion import fetch_partners, listed_commands, usage
from bbs.ui.interfaces import BuiltinCommand, UsageError
from bbs.ui.interpreter import HIDDEN, aliases_of, resolve_alias, unknown_command
from bbs.ui.output import visible

if TYPE_CHECKING:
    from bbs.ui.conversation import Conversation


def builtin_commands(conversation: Conversation) -> Sequence[BuiltinCommand]:
    """The commands of every interface; `use` only where several users may be logged in."""

    def use(words: Sequence[str]) -> None:
        if not words:
            names = "\n".join(map(visible, conversation.users))
            return conversation.screen.notice(names or "Nobody is logged in here.")
        (user,) = _require_words(words, 1)
        if user not in conversation.users:
            raise UsageError(f"{visible(user)} is not logged in here.")
        return conversation.become(user)

    async def talk(words: Sequence[str]) -> None:
        await conversation.begin_talk(await _find_partner(conversation, words))

    def end(words: Sequence[str]) -> None:
        _require_words(words, 0)
        conversation.end_talk()

    async def help(words: Sequence[str]) -> None:
        await conversation.client.learn()
        shown = help_lines(conversation)
        if words:
            shown = help_of(conversation, *_require_words(words, 1))
        conversation.screen.notice("\n".join(shown))

    def exit(words: Sequence[str]) -> None:
        _require_words(words, 0)
        conversation.end()

    commands = []
    if not conversation.alone:
        commands.append(BuiltinCommand("use [<user>]", "be another user", use))
    presentation = conversation.client.vocabulary.presentation
    if presentation.open_talks:
        usage = _usage_of_talk(presentation)
        commands.append(BuiltinCommand(usage, "what you type goes there", talk))
        commands.append(BuiltinCommand("end", "end of talking", end))
    return (
        *commands,
        BuiltinCommand("help [<command>]", "this list, or what a command does", help),
        BuiltinCommand("exit", "end", exit),
        BuiltinCommand("quit", "end", exit),
    )


def _require_words(words: Sequence[str], count: int) -> Sequence[str]:
    if len(words) != count:
        raise UsageError()
    return words


def _usage_of_talk(presentation: Presentation) -> str:
    talks = presentation.open_talks
    names = " or ".join(visible(each.name) for each in talks if each.choices)
    if not names:
        return "talk"
    return f"talk <{names}>" if all(each.choices for each in talks) else f"talk [<{names}>]"


async def _find_partner(conversation: Conversation, words: Sequence[str]) -> Partner:
    """The partner whom the words after `talk` name, by asking the service."""
    presentation = conversation.client.vocabulary.presentation
    talks = {each.name: each for each in presentation.open_talks}
    user = conversation.current
    alone = [each for each in talks.values() if not each.choices and words in ([], [each.name])]
    *kind, name = words or [""]
    named = [each.name for each in talks.values() if each.choices]
    wanted = kind or named
    if not alone and (not name or len(kind) > 1 or not wanted or not {*wanted} <= {*named}):
        raise UsageError()
    if user is None:
        raise UsageError("Not login yet")
    if alone:
        return Partner(alone[0], alone[0].name)
    found = []
    for talk in [talks[each] for each in wanted]:
        names = await fetch_partners(conversation.client, user, talk)
        if names is None or name in names:  # A service without such a list refuses the message.
            found.append(talk)
    shown = visible(name)
    if len(found) > 1:
        names = [visible(each.name) for each in found]
        ways = ", or ".join(f"talk {each} {shown}" for each in names)
        raise UsageError(f"Both a {' and a '.join(names)}: {ways}")
    if not found:
        raise UsageError(f"{shown} is no {' or '.join(map(visible, wanted))} of {visible(user)}.")
    return Partner(found[0], name)


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
"""One sentence for each of the framework's commands; a service supplies those for its own."""


def help_of(conversation: Conversation, word: str) -> Iterator[str]:
    """A command's usage, a sentence and its aliases; `UsageError` for an unknown command."""
    vocabulary = conversation.client.vocabulary
    word = word.removeprefix("/") or "/"
    if own := conversation.own.get(word):
        yield own.usage
        yield f"{own.help[:1].upper()}{own.help[1:]}."
        return
    info = vocabulary.commands.get(resolve_alias(word, vocabulary))
    if info is None:
        raise UsageError(unknown_command(conversation, word))
    yield usage(conversation, info)
    ours = FRAMEWORK.get(info.name)
    usual = SENTENCES.get(info.name, "") if ours and info.is_same(ours.command) else ""
    if sentence := vocabulary.presentation.help.get(info.name, usual):
        yield visible(sentence)
    if aliases := aliases_of(info.name, vocabulary):
        yield f"In short: {', '.join(map(visible, aliases))}"


def help_lines(conversation: Conversation) -> Iterator[str]:
    """All commands of the service and the client, under the service's headings if it has some."""
    groups = conversation.client.vocabulary.presentation.groups
    commands = {each.name: each for each in listed_commands(conversation)}
    for heading, names in groups.items():
        shown = [commands.pop(name) for name in names if name in commands]
        yield from _indent(f"{visible(heading)}:", [usage(conversation, each) for each in shown])
    others = [each for each in commands.values() if each.name not in conversation.own]
    yield from _indent("Others:" if groups else "", [usage(conversation, each) for each in others])
    own = [each for each in conversation.own.values() if each.name not in HIDDEN]
    lines = [f"{each.usage}  ({each.help})" for each in own]
    yield from _indent("Of this client:" if groups else "", lines)
    if conversation.current and not conversation.alone:
        name = visible(conversation.current)
        yield f"[<user>] may be left out: then it is {name}, unless a name of yours comes first."


def _indent(heading: str, lines: Sequence[str]) -> Sequence[str]:
    return [heading, *(f"  {line}" for line in lines)] if heading and lines else lines
