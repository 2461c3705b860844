"""The interpreter of typed lines: aliases, omitted names, and suggestions for mistyped words.

A command of the service takes precedence over an alias of the same name.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from bbs.client.catalog import CommandCatalog
from bbs.client.request import ClientRequest
from bbs.ui.interfaces import UsageError
from bbs.ui.output import visible
from bbs.ui.prompts import Confirmation, is_password_change, lacks_passwords

if TYPE_CHECKING:
    from bbs.ui.conversation import Conversation


def resolve_alias(word: str, vocabulary: CommandCatalog) -> str:
    """The command that a line's first word names, by itself or as an alias."""
    if word in vocabulary.commands:
        return word
    return vocabulary.presentation.aliases.get(word, word)


def aliases_of(name: str, vocabulary: CommandCatalog) -> list[str]:
    aliases = vocabulary.presentation.aliases
    return [each for each in aliases if each != name and resolve_alias(each, vocabulary) == name]


IRREVOCABLE = ("delete",)  # commands that need confirmation, and are never suggested


async def parse_line(speaker: Conversation, line: str) -> ClientRequest:
    """Turn a line into a request to this service; `UsageError` for a malformed line."""
    try:
        return await speaker.client.understand(line)
    except ValueError as problem:
        raise UsageError(visible(str(problem))) from None


async def interpret(speaker: Conversation, sure: Confirmation, line: str) -> ClientRequest:
    """Turn a line into a request; the current user's name is added where none was typed."""
    for _ in range(2):  # An unknown word may prove an alias once the service's commands are known.
        line = await _without_alias(speaker, line)
        request = await parse_line(speaker, line)
        if request.info is not None:
            break
    if request.info is None and (close := similar_command(speaker, request.name)):
        name = visible(request.name)
        question = f"Unknown command {name}. Did you mean {visible(close)}?"
        sure.ask(speaker.current, line, question)
    # A typed user name comes first. If too few words follow it, it is an argument instead: a friend
    # who is logged in here too, or the beginning of a text.
    enough = request.is_complete or (is_password_change(request) and lacks_passwords(request))
    named = not speaker.single_user and request.user in speaker.users and enough
    if not request.takes_user or named or speaker.current is None:
        return request
    if request.name in IRREVOCABLE and len(request.words) > 1:
        return request  # No name is added to words that may be meant for another command.
    command, space, rest = line.lstrip(" ").partition(" ")
    return await parse_line(speaker, f"{command} {speaker.current}{space}{rest}")


async def _without_alias(speaker: Conversation, line: str) -> str:
    command, space, rest = line.lstrip(" ").partition(" ")
    vocabulary = speaker.client.vocabulary
    if command not in vocabulary.commands and not vocabulary.learned:
        await speaker.client.learn()  # The service declares the aliases.
    return f"{resolve_alias(command, vocabulary)}{space}{rest}"


HIDDEN = ("listen", "events", "quit")
"""Commands that help does not list: the client does them by itself, or has a better name."""


def similar_command(conversation: Conversation, word: str) -> str:
    vocabulary = conversation.client.vocabulary
    if vocabulary.is_unlisted(word):
        return ""
    listed = [name for name in (*vocabulary.commands, *conversation.builtins) if name not in HIDDEN]
    names = {*listed, *vocabulary.presentation.aliases}
    return next(iter(get_close_matches(word, names.difference(IRREVOCABLE), 1)), "")
