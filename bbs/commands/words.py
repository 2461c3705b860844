"""Words: what commands and events declare for people, as the `Presentation` that clients get."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from bbs.protocols.commands import Command
from bbs.protocols.events import Event
from bbs.protocols.forms import Line, Listing
from bbs.protocols.presentation import Presentation

T = TypeVar("T")


def has_words(command: Command) -> bool:
    """Whether a command declares anything for people."""
    said = (command.help, command.group, command.aliases, command.done, command.done_without)
    return any((*said, command.failures, command.shown, command.complete))


def completed(
    presentation: Presentation, commands: Sequence[Command], events: Sequence[Event] = ()
) -> Presentation:
    """A copy of `presentation` with what `commands` and `events` declare, in their order. What it
    says itself stays.

    :raises ValueError: two commands have one alias, or two lists of one name differ, or a parameter
        is completed by choices that the presentation lacks.
    """
    complete = {
        f"{each.name} {parameter}": names
        for each in commands
        for parameter, names in each.complete.items()
    }
    forms = [form for each in commands for form in each.shown]
    lists = {each.name for each in presentation.lists}
    chats = {each.event for each in presentation.chats}
    shown = {
        key: line for each in events if each.name not in chats for key, line in each.forms.items()
    }
    return replace(
        presentation,
        help={**{each.name: each.help for each in commands if each.help}, **presentation.help},
        groups=_groups(presentation, commands),
        aliases={**_aliases(commands), **presentation.aliases},
        done={**_done(commands), **presentation.done},
        failures={**_failures(commands), **presentation.failures},
        complete={**complete, **presentation.complete},
        lists=_once(
            presentation.lists,
            (form for form in forms if isinstance(form, Listing) and form.name not in lists),
        ),
        events={**shown, **presentation.events},
        chats=[
            *presentation.chats,
            *(each.chat for each in events if each.chat and each.name not in chats),
        ],
        lines=_once(presentation.lines, (form for form in forms if isinstance(form, Line))),
    )


def _once(own: Sequence[T], added: Iterable[T]) -> Sequence[T]:
    """What is there, and each once what is added. (They cannot be hashed.)"""
    both = [*own]
    for each in added:
        if each not in both:
            both.append(each)
    return both


def _groups(presentation: Presentation, commands: Sequence[Command]) -> dict[str, Sequence[str]]:
    groups: dict[str, Sequence[str]] = {**presentation.groups}
    placed = {name for group in groups.values() for name in group}
    for each in commands:
        if each.group and each.name not in placed:
            groups[each.group] = [*groups.get(each.group, ()), each.name]
    return groups


def _aliases(commands: Sequence[Command]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for command in commands:
        for alias in command.aliases:
            if alias in aliases:
                raise ValueError(f"aliases: {alias} is {aliases[alias]} and {command.name}")
            aliases[alias] = command.name
    return aliases


def _done(commands: Sequence[Command]) -> dict[str, str]:
    done = {}
    for command in commands:
        if command.done:
            done[command.name] = command.done
        for parameter, words in command.done_without.items():
            done[f"{command.name} -{parameter}"] = words
    return done


def _failures(commands: Sequence[Command]) -> dict[str, str]:
    """The words of refusals are for their code, those of the first if several have the code. Words
    that differ from these at a command are for command and code."""
    failures: dict[str, str] = {}
    for command in commands:
        for refusal in command.refuses or ():
            if refusal.shown:
                failures.setdefault(refusal.code, refusal.shown)
    for command in commands:
        for refusal in command.refuses or ():
            words = command.failures.get(refusal, refusal.shown)
            if words and failures.get(refusal.code) != words:
                failures[f"{command.name} {refusal.code}"] = words
    return failures
