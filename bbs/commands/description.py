"""The description of a service for its clients: the reply to `commands`.

Clients can do without a description, but people see its mistakes. A server therefore compares the
presentation with the commands when it starts.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from bbs.commands.service import Service, ServiceUnusable
from bbs.protocols.commands import Command, CommandTable
from bbs.protocols.presentation import WITH_PASSWORDS, Presentation, is_list
from bbs.protocols.presentation_json import to_json
from bbs.storage.database import is_read_only


def usage_of(command: Command) -> dict[str, object]:
    """Describe a command, as the reply to `commands` does."""
    return {
        "usage": command.usage,
        "server": command.role.value,
        "rest": command.rest,
        "harmless": is_harmless(command),
    }


def is_harmless(command: Command) -> bool:
    """Whether a command may be sent again when its answer was lost."""
    return command.harmless or is_read_only(command.rule)


def described(service: Service, table: CommandTable) -> Mapping[str, object]:
    """Make the members of the reply to `commands` that hold the service's presentation.

    :raises ServiceUnusable: it cannot be loaded, or does not fit the commands.
    """
    if not service.client:
        return {}
    presentation, commands = service.presentation(), {each.name: each for each in table}
    try:
        check(presentation, commands, {each.name for each in table if is_harmless(each)})
    except ValueError as error:
        raise ServiceUnusable(
            f"the service {service.name}: client {service.client}: {error}"
        ) from error
    used = [commands[name] for name in presentation.histories]
    unlisted = [usage_of(command) for command in used if not command.listed]
    return {"unlisted": unlisted, "presentation": to_json(presentation)}


def check(
    presentation: Presentation, commands: Mapping[str, Command], harmless: Container[str]
) -> None:
    """Compare a presentation with the commands of its service, of which `harmless` change nothing.

    :raises ValueError: a command is missing or has other parameters, has a password and an alias,
        or is not harmless and would be sent by clients themselves.
    """
    for name, where in _commands(presentation):
        if name not in commands:
            raise ValueError(f"{where}: there is no command {name}")
    for name, where in _asked(presentation):
        if name not in harmless:
            raise ValueError(
                f"{where}: clients send {name} by themselves, so it must change nothing:"
                " mark its rule with @read_only, or declare it with harmless=True"
            )
    for check_part in (_check_words, _check_choices, _check_talks):
        check_part(presentation, commands)


def _check_words(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    for alias, name in presentation.aliases.items():
        if name in WITH_PASSWORDS:
            raise ValueError(f"aliases: {alias}: clients hide passwords by the name {name}")
    headings: dict[str, str] = {}
    for heading, group in presentation.groups.items():
        for name in group:
            if headings.setdefault(name, heading) != heading:
                raise ValueError(f"groups: {name} is in {headings[name]} and in {heading}")
    for where in presentation.complete:
        name, parameter = where.split(" ")
        if parameter not in commands[name].parameters:
            raise ValueError(f"complete: {commands[name].usage} has no <{parameter}>")


def _check_choices(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    parameters = {each for command in commands.values() for each in command.parameters}
    for choices in presentation.choices:
        where = f"choices {choices.name}"
        if unknown := {*choices.parameters} - parameters:
            raise ValueError(f"{where}: no command has a parameter <{min(unknown)}>")
        for name in choices.added_by:
            if not commands[name].parameters:
                raise ValueError(f"{where}: {commands[name].usage} adds no name")
        if choices.ask and not is_list(commands[choices.ask]):
            usage = commands[choices.ask].usage
            raise ValueError(f"{where}: {usage} is not {choices.ask} <user>")


def _check_talks(presentation: Presentation, commands: Mapping[str, Command]) -> None:
    for talk in presentation.talks:
        where, partner = f"talk {talk.name}", " <partner>" if talk.choices else ""
        send, history = commands.get(talk.send), commands.get(talk.history)
        if send and not talk.is_sent_by(send):
            wanted = f"{talk.send} <user>{partner} <text>, with rest=True"
            raise ValueError(f"{where}: {send.usage} is not {wanted}")
        if history and not talk.is_recalled_by(history):
            raise ValueError(f"{where}: {history.usage} is not {talk.history} <user>{partner}")


def _asked(presentation: Presentation) -> Iterator[tuple[str, str]]:
    """Yield each command that clients send by themselves, and where that is said."""
    yield from ((each.ask, f"choices {each.name}") for each in presentation.choices if each.ask)
    yield from ((each.history, f"talk {each.name}") for each in presentation.talks if each.history)


def _commands(presentation: Presentation) -> Iterator[tuple[str, str]]:
    """Yield each command that is named here, and where."""
    for name in presentation.help:
        yield name, "help"
    for heading, group in presentation.groups.items():
        yield from ((name, f"groups: {heading}") for name in group)
    for alias, name in presentation.aliases.items():
        yield name, f"aliases: {alias}"
    for where in presentation.complete:
        yield where.split(" ")[0], "complete"
    for each in presentation.choices:
        names = (*each.lists, *each.added_by, *each.removed_by)
        yield from ((name, f"choices {each.name}") for name in names)
    for talk in presentation.talks:
        names = (talk.send, talk.history, *talk.ended_by)
        yield from ((name, f"talk {talk.name}") for name in names if name)
