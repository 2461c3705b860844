"""Help: what each command does, all of them under headings or one alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from bbs.client.catalog import CommandCatalog
from bbs.client.request import FRAMEWORK, CommandInfo
from bbs.protocols.presentation import Presentation
from bbs.ui.completion import listed_commands, usage
from bbs.ui.interfaces import UsageError
from bbs.ui.interpreter import HIDDEN, aliases_of, resolve_alias, similar_command
from bbs.ui.output import visible

if TYPE_CHECKING:
    from bbs.ui.conversation import Conversation

SENTENCES: Mapping[str, str] = {
    "register": "Makes an account; asks for a password.",
    "login": "Logs you in, until you log out.",
    "logout": "Logs you out everywhere.",
    "change-password": "Changes your password; other sessions end.",
    "delete": "Deletes your account and all that is in it.",
    "locate": "Says which server serves you.",
    "ping": "Checks that the service answers.",
    "listen": "Happens by itself here.",
}
"""One sentence for each of the framework's commands, in the order in which help lists them; a
service supplies those for its own."""


def help_of(conversation: Conversation, word: str) -> Iterator[str]:
    """A command's usage, a sentence and its aliases; `UsageError` for an unknown command."""
    vocabulary = conversation.client.vocabulary
    word = word.removeprefix("/") or "/"
    if own := conversation.builtins.get(word):
        yield own.usage
        yield own.help
        return
    info = vocabulary.commands.get(resolve_alias(word, vocabulary))
    if info is None:
        close = similar_command(conversation, word)
        hint = f" Did you mean {visible(close)}?" if close else ""
        raise UsageError(f"Unknown command {visible(word)}.{hint}")
    yield usage(conversation, info)
    if sentence := _sentence(vocabulary.presentation, info):
        yield sentence
    if aliases := aliases_of(info.name, vocabulary):
        yield f"In short: {', '.join(map(visible, aliases))}"


def _sentence(presentation: Presentation, info: CommandInfo) -> str:
    """The help of a command; empty if it has none."""
    ours = FRAMEWORK.get(info.name)
    usual = SENTENCES.get(info.name, "") if ours and info.is_same(ours.command) else ""
    return visible(presentation.help.get(info.name, usual))


EXIT_HELP = "Leaves. You stay logged in."


def script_help(vocabulary: CommandCatalog, word: str) -> list[str]:
    """What a script prints of one command: its usage, with the user, and a sentence. `UsageError`
    for an unknown command."""
    info = vocabulary.commands.get(word)
    if info is None and word != "exit":
        raise UsageError(f"Unknown command {visible(word)}")
    sentence = _sentence(vocabulary.presentation, info) if info else EXIT_HELP
    return [visible(info.usage) if info else word, *([sentence] if sentence else [])]


MOST_USAGE = 30  # columns of the usages in help; a longer one moves its sentence


def help_lines(conversation: Conversation) -> Iterator[str]:
    """All commands of the service and the client, each with a sentence, under the service's
    headings if it has some."""
    presentation, builtins = conversation.client.vocabulary.presentation, conversation.builtins
    listed = {
        each.name: (usage(conversation, each), _sentence(presentation, each))
        for each in listed_commands(conversation)
        if each.name not in builtins
    }
    account = [name for name in SENTENCES if name in listed]
    groups = {heading: [*names] for heading, names in presentation.groups.items()}
    grouped = {name for names in groups.values() for name in names}
    others = [name for name in listed if name not in (*grouped, *account)]
    groups.setdefault("Others", []).extend(others)
    groups.setdefault("Account", []).extend(name for name in account if name not in grouped)
    own = [each for each in builtins.values() if each.listed and each.name not in HIDDEN]
    listed |= {each.name: (each.usage, each.help) for each in own}
    groups.setdefault("Client", []).extend(each.name for each in own)
    columns = max(len(text) for text, _ in listed.values() if len(text) <= MOST_USAGE)
    for heading, names in groups.items():
        rows = [listed[name] for name in names if name in listed]
        if rows and grouped:
            yield f"{visible(heading)}:"
        for text, sentence in rows:
            yield f"  {text:{columns}}  {sentence}".rstrip(" ")
    if len(conversation.users) > 1:
        name = visible(conversation.current or "NAME")
        yield f"[<user>] is one of your users. Without it, a command is for {name}."
