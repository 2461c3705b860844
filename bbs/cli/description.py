"""`NAME stubs` and `NAME spec`: a service for those who write clients, from its declaration.

`stubs` prints a module of Python with a class `NAMEClient`, which has a method for each command.
`spec` prints a description of commands, replies and events in the form of AsyncAPI 3.0.

Both read the commands that the servers have, with those of installed plugins and extensions, their
replies (`Command(reply=…)`) and the presentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib import import_module
from importlib.metadata import entry_points, packages_distributions, version
from keyword import iskeyword
from typing import Any

from bbs import __version__
from bbs.cli import Program
from bbs.client.request import FRAMEWORK
from bbs.commands.common import all_commands
from bbs.commands.extensions import extended
from bbs.commands.service import Service, ServiceUnusable, is_harmless
from bbs.commands.strictness import function_of
from bbs.core.errors import Refusal
from bbs.protocols.commands import Command, Role
from bbs.protocols.forms import Line, places
from bbs.protocols.presentation import ChatEvent, Presentation, is_reference
from bbs.protocols.reply_types import Form, members, parse, records
from bbs.ui.help import SENTENCES


class NoService(Exception):
    """The service was not found; the text is one line."""


@dataclass(frozen=True)
class Description:
    """What is read of a service: its commands in order, and its presentation."""

    service: Service
    commands: Sequence[Command]
    presentation: Presentation

    @classmethod
    def of(cls, service: Service) -> Description:
        """Read a service; `ServiceUnusable` or `PluginUnusable` if servers could not serve it."""
        presentation = service.presentation() if service.is_presented else Presentation()
        return cls(service, [*all_commands(service)], presentation)

    @property
    def stored_events(self) -> Sequence[str]:
        """The names of the events that the feed stores, as far as they are declared."""
        feed, extensions = self.service.feed, self.service.extensions
        own = (feed.events or ()) if feed else ()
        return [*own, *(name for each in extensions for name in each.feed_events)]

    def help(self, command: Command) -> str:
        """A sentence that says what a command does; empty if nobody says it."""
        return self.presentation.help.get(command.name, SENTENCES.get(command.name, ""))


def stubs(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `NAME stubs`; returns the exit code."""
    parser = program.parser("stubs", "Print a typed client of a service, a module of Python.")
    help = "derive the class from bbs.client.aio.Client; by default, it is for Twisted"
    parser.add_argument("--asyncio", action="store_true", help=help)
    _add_service(parser)
    options = parser.parse_args(argv)
    return _print("stubs", options.service, program, lambda of: _module(of, options.asyncio))


def spec(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `NAME spec`; returns the exit code."""
    parser = program.parser("spec", "Print a description of a service: AsyncAPI 3.0, as JSON.")
    _add_service(parser)
    service = parser.parse_args(argv).service
    return _print("spec", service, program, lambda of: json.dumps(_Spec(of).document(), indent=2))


def _add_service(parser: Any) -> None:
    help = "a service: its command, or package.module:service; the default is this command's own"
    parser.add_argument("service", metavar="NAME", nargs="?", help=help)


def _print(
    part: str, name: str | None, program: Program, text: Callable[[Description], str]
) -> int:
    try:
        service = program.service() if name in (None, program.name) else find_service(str(name))
        print(text(Description.of(service)))
    except (NoService, ServiceUnusable) as error:
        return program.fail(part, error)
    return 0


def find_service(name: str) -> Service:
    """The service that an installed command of this name serves, or that is at
    `package.module:name`.

    :raises NoService: there is none.
    """
    try:
        if is_reference(name):
            module, _, attribute = name.partition(":")
            found = getattr(import_module(module), attribute)
        else:
            points = [*entry_points(group="console_scripts", name=name)]
            if not points:
                raise NoService(f"no command {name} is installed; {_SO}")
            found = points[0].load()
    except (ImportError, AttributeError) as error:
        raise NoService(f"{name}: {error}") from error
    of_command = getattr(found, "program", None)
    if isinstance(of_command, Program):
        return of_command.service()
    if not isinstance(found, Service):
        raise NoService(f"{name} is not a service, nor its command; {_SO}")
    return extended(found)


_SO = "name a service by its command, or by package.module:service"


# Stubs

_USED = {"str", "Deferred", "ServiceReply"}
"""What the annotations of methods use: no method may be called so."""


def _module(of: Description, is_asyncio: bool) -> str:
    """The module with the typed client."""
    base: type
    if is_asyncio:
        from bbs.client.aio import Client as base
    else:
        from bbs.client import ServiceClient as base
    name = f"{of.service.name.capitalize()}Client"
    listed = [each for each in of.commands if each.listed]
    writer = _ClassWriter(name, base, is_asyncio)
    for command in listed:
        writer.add(command, of.help(command))
    return writer.module(of.service)


class _ClassWriter:
    """Writes a class that derives from `base`, and the dataclasses of the replies."""

    def __init__(self, name: str, base: type, is_asyncio: bool) -> None:
        self._name, self._base, self._is_asyncio = name, base, is_asyncio
        self._records: dict[type, str] = {}
        self._methods: dict[str, str] = {}

    def add(self, command: Command, help: str) -> None:
        """Add the method for a command, unless the library has it."""
        method = identifier(command.name)
        if command.name in FRAMEWORK and hasattr(self._base, method):
            return
        if command.reply is not None:
            for record in records(command.reply):
                self._records.setdefault(record, self._free_name(record))
        taken = {*dir(self._base), *self._methods, *self._records.values()}
        while method in taken:
            method += "_"
        self._methods[method] = self._method(method, command, help)

    def _free_name(self, record: type) -> str:
        """A name for a dataclass; two of them may have the same, in modules of their own."""
        taken = {self._name, self._base.__name__, "Deferred", "ServiceReply", "dataclass", "field"}
        name = record.__name__.lstrip("_")
        while name in taken | {*self._records.values(), *self._methods} or iskeyword(name):
            name += "_"
        return name

    def _method(self, name: str, command: Command, help: str) -> str:
        parameters = parameter_names(command)
        needed = command.takes_user + command.minimum
        named = (*(("user",) if command.takes_user else ()), *command.parameters)
        typed = [*zip(parameters, (_type(command, each).__name__ for each in named), strict=True)]
        annotated = [f"{each}: {kind}" for each, kind in typed[:needed]]
        annotated += [f"{each}: {kind} | None = None" for each, kind in typed[needed:]]
        words = [json.dumps(command.name), *(_sent(*each) for each in typed[:needed])]
        if optional := typed[needed:]:
            given = f"({', '.join(each for each, _ in optional)},)"
            sent = _sent("each", *{kind for _, kind in optional})
            words.append(f"*[{sent} for each in {given} if each is not None]")
        asked = f"self.ask({', '.join(words)})"
        reply = "ServiceReply" if command.reply is None else self._records[command.reply]
        if self._is_asyncio:
            head = f"async def {name}({', '.join(['self', *annotated])}) -> {reply}:"
            reads = f"(await {asked}).read_as({reply})"
            done = f"await {asked}" if command.reply is None else reads
        else:
            head = f"def {name}({', '.join(['self', *annotated])}) -> Deferred[{reply}]:"
            reads = f".addCallback(lambda reply: reply.read_as({reply}))"
            done = asked if command.reply is None else f"{asked}{reads}"
        lines = [head, *([f"    {_docstring(help)}"] if help else ()), f"    return {done}"]
        return "\n".join(f"    {line}" for line in lines)

    def _record(self, record: type) -> str:
        """The text of a dataclass; its own docstring, not the one that `dataclass` makes."""
        lines = ["@dataclass(frozen=True)", f"class {self._records[record]}:"]
        if (text := record.__doc__ or "") and not text.startswith(f"{record.__name__}("):
            lines += [f"    {_docstring(' '.join(text.split()))}", ""]
        for member in members(record):
            default = ""
            if member.factory is not MISSING:
                default = f" = field(default_factory=lambda: {member.factory()!r})"
            elif member.default is not MISSING:
                default = f" = {member.default!r}"
            lines.append(f"    {member.field}: {self._annotation(member.kind)}{default}")
        return "\n".join(lines if members(record) else [*lines, "    pass"])

    def _annotation(self, kind: Any) -> str:
        form, parts = parse(kind)
        of = [self._annotation(each) for each in parts]
        match form:
            case Form.ANY:
                return "object"
            case Form.UNION:
                return " | ".join(of)
            case Form.LIST:
                return f"list[{of[0]}]"
            case Form.TUPLE:
                return f"tuple[{of[0]}, ...]"
            case Form.MAPPING:
                return f"dict[str, {of[0]}]"
            case Form.RECORD:
                return self._records[kind]
        return "None" if kind in (None, type(None)) else str(kind.__name__)

    def module(self, service: Service) -> str:
        """The whole module."""
        option = " --asyncio" if self._is_asyncio else ""
        classes = [self._record(each) for each in self._records]
        base = self._base.__name__
        own = f"class {self._name}({base if self._is_asyncio else f'{base}[ServiceReply]'}):"
        greeting = service.greeting or f"A client of the service {service.name}."
        methods = "\n\n".join(self._methods.values())
        classes.append(f"{own}\n    {_docstring(greeting)}\n\n{methods}")
        used = "dataclass, field" if any("= field(" in each for each in classes) else "dataclass"
        imports = ["from __future__ import annotations"]
        if self._records:
            imports.append(f"from dataclasses import {used}")
        if self._is_asyncio:
            ours = ("from bbs.client import ServiceReply", f"from bbs.client.aio import {base}")
            imports.append("\n".join(ours))
        else:
            imports.append("from twisted.internet.defer import Deferred")
            imports.append(f"from bbs.client import {base}, ServiceReply")
        by = f"{service.name} stubs{option}"
        head = f"A typed client of the service {service.name}, written by `{by}`."
        return "\n\n\n".join(["\n\n".join([_docstring(head), *imports]), *classes])


def identifier(word: str) -> str:
    """A word of a usage as a name in Python: `list-member` is `list_member`, `from` is `from_`."""
    name = re.sub(r"\W", "_", word)
    if not name.isidentifier():
        name = f"command_{name}"
    return f"{name}_" if iskeyword(name) or name in _USED else name


def parameter_names(command: Command) -> Sequence[str]:
    """The parameters of a command's method."""
    names: list[str] = []
    for word in (*(("user",) if command.takes_user else ()), *command.parameters):
        name = identifier(word)
        while name in (*names, "self", "each"):
            name += "_"
        names.append(name)
    return names


def _type(command: Command, parameter: str) -> type:
    """The type of an argument in a typed client, which may know no type of the service's own."""
    found = command.kinds[parameter].type if parameter in command.kinds else str
    return found if found in (int, float) else str


def _sent(name: str, *kinds: str) -> str:
    """What a typed client sends of an argument of one of these kinds."""
    return name if {*kinds} == {"str"} else f"str({name})"


def _docstring(text: str) -> str:
    """A literal with a text, which may be anything."""
    is_plain = text.isprintable() and "\\" not in text and '""' not in f'{text}"'
    return f'"""{text}"""' if is_plain else repr(text)


# AsyncAPI

_SAFE = re.compile(r"[^A-Za-z0-9_.-]")

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_ADDRESS = {
    "type": "object",
    "required": ["host", "port"],
    "properties": {"host": _TEXT, "port": {"type": "integer", "minimum": 1, "maximum": 65535}},
}
_WHERE = {
    Role.LOGIN: "The login server: accounts, sessions, and where a user is served.",
    Role.APP: "The app server that `app_server` of a `login` or `locate` names.",
    Role.EITHER: "Any server.",
}
_OWN_EVENTS: Mapping[str, tuple[Role, str, Mapping[str, object]]] = {
    "moved": (Role.APP, "Another server serves the user: listen there.", {"app_server": _ADDRESS}),
    "logout": (Role.APP, "The session has ended.", {}),
    "waiting": (
        Role.LOGIN,
        "The place in the queue of a `login` or `locate` that waits, for those who say `events`.",
        {"position": {"type": "integer", "minimum": 1}, "seconds": {"type": ["number", "null"]}},
    ),
}
"""The events of every service (`docs/protocol.md`, section 4)."""


UNRELEASED = "unreleased"  # The version of a service that nothing says one of.


def _version_of(service: Service) -> str:
    """The service's release, or the version of the distribution that it comes with."""
    if service.release:
        return service.release
    tables = [command for table in service.commands for command in table]
    own = {
        each.__module__
        for command in tables
        if (each := function_of(command.rule or command.handler))
    }
    packages = {name.partition(".")[0] for name in own}
    if packages == {"bbs"}:
        return __version__
    known = packages_distributions()
    found = {each for package in packages for each in known.get(package, ())}
    return version(min(found)) if found else UNRELEASED


class _Spec:
    """Writes the document from the server's side, which receives requests and sends events."""

    def __init__(self, of: Description) -> None:
        self._of = of
        self._schemas: dict[str, object] = {}
        self._names: dict[type, str] = {}
        self._messages: dict[str, object] = {}
        self._operations: dict[str, object] = {}
        self._in: dict[Role, dict[str, object]] = {role: {} for role in Role}

    def document(self) -> Mapping[str, object]:
        service = self._of.service
        self._messages["failure"] = self._failure()
        for command in self._of.commands:
            self._add_command(command)
        for name, (role, summary, properties) in _OWN_EVENTS.items():
            self._add_event(name, role, summary, properties, [*properties])
        records = {each.name: each.record for part in service.parts for each in part.events}
        for name, (properties, needed) in self._events([*records]).items():
            if record := records.get(name):
                self._add_declared(name, record)
            else:
                self._add_event(name, Role.APP, "", properties, needed)
        servers = {role.value: self._server(role) for role in (Role.LOGIN, Role.APP)}
        return {
            "asyncapi": "3.0.0",
            "info": {
                "title": service.name,
                "version": _version_of(service),
                "description": service.greeting or f"The service {service.name}.",
            },
            "defaultContentType": "application/json",
            "servers": servers,
            "channels": {
                role.value: {
                    "address": None,
                    "description": _WHERE[role],
                    "servers": [
                        {"$ref": f"#/servers/{each}"}
                        for each in servers
                        if role in (Role.EITHER, Role(each))
                    ],
                    "messages": found,
                }
                for role, found in self._in.items()
            },
            "operations": self._operations,
            "components": {"messages": self._messages, "schemas": self._schemas},
        }

    def _server(self, role: Role) -> Mapping[str, object]:
        return {
            "host": "{host}:{port}",
            "protocol": "tcp",
            "description": f"{_WHERE[role]} Lines of text in UTF-8 there, lines of JSON back.",
            "variables": {
                "host": {"default": "127.0.0.1"},
                "port": {"default": "22222"} if role is Role.LOGIN else {},
            },
        }

    def _failure(self) -> Mapping[str, object]:
        codes = _codes(self._of.commands)
        return {
            "summary": "A request that was refused, or is for another server (`app_server`).",
            "payload": {
                "type": "object",
                "required": ["status", "message"],
                "properties": {
                    "status": {"const": 1},
                    "message": _TEXT,
                    "code": {"type": "string", "examples": [*codes]},
                    "app_server": _ADDRESS,
                },
            },
            "x-codes": codes,
        }

    def _add_command(self, command: Command) -> None:
        key, help = _key(command.name), self._of.help(command)
        request, reply = f"request.{key}", f"reply.{key}"
        pattern = re.sub(r"([^\w-])", r"\\\1", command.name)
        words = ["[^ ]+"] * (command.takes_user + len(command.parameters))
        if command.rest:
            words[-1] = ".+"
        needed = command.takes_user + command.minimum
        needs = "".join(f" +{each}" for each in words[:needed])
        may = "".join(f"( +{each}" for each in words[needed:]) + ")?" * (len(words) - needed)
        self._messages[request] = {
            "name": command.name,
            "title": command.usage,
            "contentType": "text/plain",
            "payload": {"type": "string", "pattern": f"^{pattern}{needs}{may} *$"},
        }
        self._messages[reply] = {"name": command.name, "payload": self._reply(command)}
        for each in (request, reply, "failure"):
            self._in[command.role][each] = {"$ref": f"#/components/messages/{each}"}
        channel = f"#/channels/{command.role.value}"
        self._operations[f"command.{key}"] = {
            "action": "receive",
            "title": command.name,
            "summary": help or command.usage,
            "channel": {"$ref": channel},
            "messages": [{"$ref": f"{channel}/messages/{request}"}],
            "reply": {
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/{each}"} for each in (reply, "failure")],
            },
            "x-command": _refuses(command)
            | {
                "usage": command.usage,
                "server": command.role.value,
                "user": command.takes_user,
                "parameters": [
                    {"name": name, "required": number < command.minimum}
                    | ({"type": _TYPES[_type(command, name)]} if name in command.kinds else {})
                    for number, name in enumerate(command.parameters)
                ],
                "rest": command.rest,
                "harmless": is_harmless(command),
                "listed": command.listed,
            },
        }

    def _reply(self, command: Command) -> Mapping[str, object]:
        """The schema of a success."""
        known = {"status": {"const": 0}, "message": _TEXT}
        plain = {"type": "object", "required": ["status"], "properties": known}
        if command.reply is None:
            return plain
        return {"allOf": [plain, self._schema(command.reply)]}

    def _schema(self, kind: Any) -> Mapping[str, object]:
        form, parts = parse(kind)
        of = [self._schema(each) for each in parts]
        match form:
            case Form.ANY:
                return {}
            case Form.UNION:
                return {"anyOf": of}
            case Form.LIST | Form.TUPLE:
                return {"type": "array", "items": of[0]}
            case Form.MAPPING:
                return {"type": "object", "additionalProperties": of[0]}
            case Form.RECORD:
                return {"$ref": f"#/components/schemas/{self._define(kind)}"}
        return {"type": _TYPES[type(None) if kind is None else kind]}

    def _define(self, record: type) -> str:
        """The name of the schema of a dataclass, which is added."""
        if record not in self._names:
            name = record.__name__
            while name in self._names.values():
                name += "_"
            self._names[record] = name
            found = members(record)
            schema: dict[str, object] = {"type": "object"}
            if text := _said(record):
                schema["description"] = text
            schema["required"] = [each.name for each in found if each.needed]
            schema["properties"] = {each.name: self._schema(each.kind) for each in found}
            self._schemas[name] = schema
        return self._names[record]

    def _add_event(
        self,
        name: str,
        role: Role,
        summary: str,
        properties: Mapping[str, object],
        needed: Sequence[str],
    ) -> None:
        key = f"event.{_key(name)}"
        self._messages[key] = {
            "name": name,
            "payload": {
                "type": "object",
                "required": ["event", *needed],
                "properties": {"event": {"const": name}, **properties},
            },
        }
        channel = f"#/channels/{role.value}"
        self._in[role][key] = {"$ref": f"#/components/messages/{key}"}
        self._operations[key] = {
            "action": "send",
            "title": name,
            "summary": summary or f"The event {name}, on connections that listen.",
            "channel": {"$ref": channel},
            "messages": [{"$ref": f"{channel}/messages/{key}"}],
            "x-stored": name in self._of.stored_events,
        }

    def _add_declared(self, name: str, record: type) -> None:
        """Add an event with the members that its record describes."""
        found = [each for each in members(record) if each.name != "event"]
        properties = {each.name: self._schema(each.kind) for each in found}
        needed = [each.name for each in found if each.needed]
        self._add_event(name, Role.APP, _said(record), properties, needed)

    def _events(
        self, declared: Sequence[str]
    ) -> Mapping[str, tuple[Mapping[str, object], Sequence[str]]]:
        """The service's own events, those `declared` and others: of each the schemas of the known
        members, and those that are always there."""
        found: dict[str, tuple[Mapping[str, object], Sequence[str]]] = {}
        for chat in self._of.presentation.chats:
            found[chat.event] = _of_chat(chat)
        lines: dict[str, dict[str, Any]] = {}
        for key, line in self._of.presentation.events.items():
            name, _, with_member = key.partition(" ")
            properties = lines.setdefault(name, {"text": _TEXT})
            _of_line(line, properties)
            if with_member:
                properties.setdefault(with_member, {})
        found.update((name, (properties, ())) for name, properties in lines.items())
        for name in (*declared, *self._of.stored_events):
            found.setdefault(name, ({"text": _TEXT}, ()))
        return found


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _said(record: type) -> str:
    """What a dataclass says of itself; empty if it has the docstring that Python made."""
    text = record.__doc__ or ""
    return "" if text.startswith(f"{record.__name__}(") else " ".join(text.split())


def _of_chat(chat: ChatEvent) -> tuple[Mapping[str, object], Sequence[str]]:
    properties: dict[str, Any] = {}
    for path, schema in (
        (chat.sender, _TEXT),
        (chat.text, _TEXT),
        (chat.to, _TEXT),
        (chat.room, _TEXT),
        (chat.id, {"type": "integer"}),
        (chat.time, _NUMBER),
        (chat.former, {"type": "boolean"}),
    ):
        _put(properties, path, schema)
    needed = (each.partition(".")[0] for each in (chat.sender, chat.text, chat.id))
    return properties, [*dict.fromkeys(filter(None, needed))]


def _of_line(line: Line, properties: dict[str, Any]) -> None:
    """Add what a form says of an event's members."""
    for path, kind in places(f"{line.text} {line.shown} {line.many}"):
        plain = {":time": _NUMBER, ":text": _TEXT}.get(kind, {"type": ["string", "number"]})
        _put(properties, path, plain)
    _put(properties, line.time, _NUMBER)
    _put(properties, line.once, {"type": "integer"})
    _put(properties, line.by, _TEXT)
    for path, value in line.when.items():
        _put(properties, path, {"type": _TYPES[type(value)]})
    for path in line.has:
        _put(properties, path, {})


def _put(properties: dict[str, Any], path: str, schema: Mapping[str, object]) -> None:
    """Add the schema of the member at a path, unless one is there."""
    name, _, rest = path.partition(".")
    if rest:
        within = properties.setdefault(name, {"type": "object", "properties": {}})
        _put(within.setdefault("properties", {}), rest, schema)
    elif name:
        properties.setdefault(name, dict(schema))


def _key(name: str) -> str:
    """A name as AsyncAPI takes it for a key."""
    return _SAFE.sub(lambda found: f"_{ord(found[0]):x}_", name)


_FRAMEWORK = {f"bbs.{room}" for room in ("core", "protocols", "limits", "rules", "commands")}


def _refuses(command: Command) -> dict[str, Any]:
    """The refusals that a command declares, by their codes, beside those of every command."""
    if command.refuses is None:
        return {}
    return {"refuses": {each.code: each.text for each in command.refuses}}


def _codes(commands: Sequence[Command]) -> Mapping[str, str]:
    """The codes of the refusals in the packages that the commands are from, with their texts."""
    functions = [each for one in commands for each in (one.rule, one.handler) if each is not None]
    packages = _FRAMEWORK | {_package(getattr(each, "__module__", "")) for each in functions}
    return dict(sorted(_refusals(Refusal, packages)))


def _package(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2] if parts[0] == "bbs" else parts[:1])


def _refusals(kind: type[Refusal], packages: Container[str]) -> Iterator[tuple[str, str]]:
    for each in kind.__subclasses__():
        if _package(each.__module__) in packages:
            yield each.code, each.text
        yield from _refusals(each, packages)
