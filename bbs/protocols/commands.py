"""The command table: one declaration for each command, from which everything else follows.

    table = CommandTable()

    @table.command("send <user> <friend> <message>", Role.APP, rest=True)
    async def send(ask, friend, message): ...

The usage text has the command's name and its parameters, some of them optional. Parsing, help and
the checks of a request follow from it. A service declares its commands here and nowhere else.
"""

import enum
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeVar

from bbs.core.errors import Refusal
from bbs.core.values import is_for_threads
from bbs.protocols.arguments import KINDS, ArgumentKind
from bbs.protocols.forms import Line, Listing

Handler = Callable[..., Awaitable[Any]]
_H = TypeVar("_H", bound=Handler)

_NAME = re.compile(r"[^\s<>\[\]]+")
_PARAMETER = re.compile(r"<([^\s<>\[\]]+)>|\[<([^\s<>\[\]]+)>\]")
_KIND = re.compile(r"([^\s<>\[\]:]+):([a-z][a-z-]*)")  # Of a parameter: `lot:int`.


class UnknownCommand(Refusal):
    """No command has this name."""

    text = "Unknown command {}"


class WrongUsage(Refusal):
    """The number of arguments is wrong for the command, or one of them is malformed."""

    text = "Usage: {}"


class Role(enum.Enum):
    """The kind of server that serves a command: `LOGIN`, `APP`, or `EITHER` of them."""

    LOGIN = "login"
    APP = "app"
    EITHER = "either"


@dataclass(frozen=True)
class Command:
    """One command, as its declaration says.

    `usage` is the name and then the parameters, `<like>` `<this>`; the last ones may be optional,
    `[<so>]`. A first parameter `<user>` stands for the session's token, which is not an argument:
    `parameters`, `minimum` and `maximum` do not count it. With `rest` the last parameter is the
    rest of the line.

    A parameter may have a kind, `<lot:int>` or `<until:time>` (`bbs.protocols.arguments`): rule and
    handler then get a value of it, and peers the usage if they send anything else. People read
    `<lot>`. `kinds` has more of them by their names.

    With a `rule`, the command runs `rule(caller, *arguments)` in the transaction that finds the
    caller by the token; then `handler(ask, result)` makes the reply, which may be given as `then`.
    Without a rule, `handler(ask, *arguments)` does both. The result of the handler, or without one
    of the rule, becomes the reply: None is `Success!`, a mapping is the members of the reply. Only
    a command that takes `<user>` has a rule. Clients do not run commands, so theirs have neither.

    A command that is not `listed` is for programs, and no help shows it. A `harmless` command may
    be sent again if its reply was lost, even if it writes; so may any command whose rule is
    `@read_only`. Clients send a `by_itself` command on their own, for example when a server has
    ended: it does not show that the user is there.

    `reply` is a dataclass that describes the members of the reply (`bbs.protocols.reply_types`),
    for typed clients and the description of the service. `refuses` are the refusals that its rule
    and handler may raise, beside those of the framework; None: they are not declared. Tests and
    `up --debug` compare answers with both.

    What people read of it becomes a part of the service's `Presentation`: `help` says what the
    command does, in a sentence, `group` is the heading under which help has it, `aliases` are short
    names, and `complete` has the choices that a parameter takes, by its name. `done` are the words
    for a success, `done_without` those for the command without an optional argument, by its name,
    and `failures` the words for a refusal where those that it has (`Refusal.shown`) do not fit
    here. `shown` are the forms of the lists and entries of its reply.

    `bounded` says why the command costs the same whatever is stored, if the price of its rule
    (`bbs.framework.limits.costs`) does not grow with the result: a phrase, such as "one row".
    Nothing needs it but `bbs.testing.undeclared_limits`.

    Raises ValueError for a malformed usage text, role, rule, handler or reply, both a handler and
    `then`, and words for a refusal that is not declared.
    """

    usage: str
    role: Role
    handler: Handler | None = None
    _: KW_ONLY
    rest: bool = False
    rule: Callable[..., object] | None = None
    listed: bool = True
    harmless: bool = False
    by_itself: bool = False
    reply: type[Any] | None = None
    bounded: str = ""
    refuses: Sequence[type[Refusal]] | None = field(default=None, hash=False)
    kinds: Mapping[str, ArgumentKind] = field(default_factory=dict, hash=False)
    then: InitVar[Handler | None] = None
    help: str = ""
    group: str = ""
    aliases: Sequence[str] = field(default=(), hash=False)
    done: str = ""
    done_without: Mapping[str, str] = field(default_factory=dict, hash=False)
    failures: Mapping[type[Refusal], str] = field(default_factory=dict, hash=False)
    shown: Sequence[Line | Listing] = field(default=(), hash=False)
    complete: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    name: str = field(init=False)
    takes_user: bool = field(init=False)
    parameters: tuple[str, ...] = field(init=False)
    minimum: int = field(init=False)
    maximum: int = field(init=False)

    def __post_init__(self, then: Handler | None) -> None:
        derive = object.__setattr__  # the dataclass is frozen for everybody else
        if then is not None and self.handler is not None:
            raise ValueError(f"{self.usage!r}: it has both a handler and then")
        if then is not None:
            derive(self, "handler", then)
        usage, typed = self._without_kinds()
        derive(self, "usage", usage)
        derive(self, "kinds", {**self.kinds, **typed})
        name, *words = self.usage.split(" ")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{self.usage!r} does not begin with the name of a command")
        required, optional = self._parameters(words)
        takes_user = required[:1] == ["user"]
        parameters = tuple((required + optional)[takes_user:])
        rule, handler = self.rule, self.handler
        for is_right, needed in (
            ("user" not in parameters, "<user> must be the first parameter, and not optional"),
            (len({*parameters}) == len(parameters), "two parameters have the same name"),
            (not rule or takes_user, "a command with a rule must take <user>"),
            (parameters or not self.rest, "a parameter must take the rest of the line"),
            (isinstance(self.role, Role), f"{self.role!r} is not a Role"),
            (rule is None or is_for_threads(rule), "the rule must be a plain function"),
            (handler is None or callable(handler), "the handler must be a coroutine function"),
            (_are_refusals(self.refuses), "refuses are classes of Refusal, (class,) if one"),
            (
                all(each in (self.refuses or ()) for each in self.failures),
                "failures has words for what refuses does not have",
            ),
            (
                all(each in parameters for each in (*self.done_without, *self.complete)),
                "done_without and complete name something that is not a parameter",
            ),
            (
                isinstance(self.shown, (tuple, list))
                and all(isinstance(each, (Line, Listing)) for each in self.shown),
                "shown are Lines and Listings, (Listing(…),) if one",
            ),
        ):
            if not is_right:
                raise ValueError(f"{self.usage!r}: {needed}")
        if self.reply is not None:
            self._check_reply()
        derive(self, "name", name)
        derive(self, "takes_user", takes_user)
        derive(self, "parameters", parameters)
        derive(self, "minimum", len(required) - takes_user)
        derive(self, "maximum", len(parameters))

    def _without_kinds(self) -> tuple[str, Mapping[str, ArgumentKind]]:
        """The usage as people read it, and the kinds of its parameters by their names."""
        known, typed = {**KINDS, **self.kinds}, {}
        words = self.usage.split(" ")
        for index, word in enumerate(words[1:], 1):
            parameter = _PARAMETER.fullmatch(word)
            match = parameter and _KIND.fullmatch(parameter[1] or parameter[2])
            if not match:
                continue
            name, kind = match[1], match[2]
            if kind not in known:
                # Before there were kinds, a parameter may have been called `host:port`.
                if meant := get_close_matches(kind, known, 1, 0.6):
                    told = f"{kind} is not a kind; did you mean {meant[0]}?"
                    raise ValueError(f"{self.usage!r}: {told}")
                continue
            typed[name] = known[kind]
            words[index] = word.replace(match[0], name)
        return " ".join(words), typed

    def read(self, arguments: tuple[str, ...]) -> tuple[Any, ...]:
        """The values of `arguments`, of which there are not too many; ValueError if one is not of
        the kind of its parameter."""
        return tuple(
            self.kinds[name].read(text) if name in self.kinds else text
            for name, text in zip(self.parameters, arguments, strict=False)
        )

    def _check_reply(self) -> None:
        from bbs.protocols.reply_types import records  # Most programs declare none.

        try:
            records(self.reply)
        except ValueError as error:
            raise ValueError(f"{self.usage!r}: {error}") from error

    def _parameters(self, words: list[str]) -> tuple[list[str], list[str]]:
        required: list[str] = []
        optional: list[str] = []
        for word in words:
            match = _PARAMETER.fullmatch(word)
            if match is None:
                raise ValueError(f"{self.usage!r}: {word!r} is neither <name> nor [<name>]")
            if match[2]:
                optional.append(match[2])
            elif optional:
                raise ValueError(f"{self.usage!r}: {word} comes after an optional parameter")
            else:
                required.append(match[1])
        return required, optional

    def served_by(self, role: Role) -> bool:
        """Whether servers of `role` (LOGIN or APP) carry this command out."""
        return self.role in (role, Role.EITHER)

    def arguments(self, text: str) -> tuple[str | None, tuple[str, ...]]:
        """Cut the text after the name, at runs of spaces, into token and arguments (any number)."""
        if not text:
            return None, ()
        if self.rest:
            words = _words_and_rest(text, self.takes_user + self.maximum - 1)
        else:
            words = text.split(" ")
            if "" in words:
                words = [word for word in words if word]
        if self.takes_user and words:
            return words[0], tuple(words[1:])
        return None, tuple(words)


def _are_refusals(refuses: object) -> bool:
    if refuses is None:
        return True
    return isinstance(refuses, (tuple, list)) and all(
        isinstance(each, type) and issubclass(each, Refusal) for each in refuses
    )


@dataclass(frozen=True)
class Request:
    """One parsed line.

    `token` is None if the command takes none or the line has none. `usage_error` means a wrong
    number of arguments, or one that is not of its kind; the dispatcher refuses it after it has
    checked the token.
    """

    command: Command
    token: str | None = field(repr=False)
    arguments: tuple[Any, ...] = field(repr=False)
    usage_error: bool


class CommandTable:
    """The commands of a service: those given, and then those declared, in order."""

    def __init__(self, *commands: Command) -> None:
        self._commands: dict[str, Command] = {}
        for command in commands:
            self.declare(command)

    def __iter__(self) -> Iterator[Command]:
        return iter(self._commands.values())

    def declare(self, command: Command) -> None:
        """Add `command`; ValueError if its name is taken, or if it has neither rule nor handler."""
        if command.name in self._commands:
            raise ValueError(f"the command {command.name} already exists")
        if command.handler is None and command.rule is None:
            raise ValueError(f"the command {command.name} has neither a rule nor a handler")
        self._commands[command.name] = command

    def include(self, table: "CommandTable") -> None:
        """Add all commands of another table; ValueError if a name is taken."""
        for command in table:
            self.declare(command)

    def command(
        self,
        usage: str,
        role: Role,
        *,
        rest: bool = False,
        rule: Callable[..., object] | None = None,
        listed: bool = True,
        harmless: bool = False,
        by_itself: bool = False,
        reply: type[Any] | None = None,
        bounded: str = "",
        refuses: Sequence[type[Refusal]] | None = None,
        kinds: Mapping[str, ArgumentKind] = MappingProxyType({}),
        **words: Any,
    ) -> Callable[[_H], _H]:
        """Declare the decorated function as the handler of a command. `usage`, `role`, `rest`,
        `rule`, `listed`, `harmless`, `by_itself`, `reply`, `bounded`, `refuses` and `kinds` are as
        in `Command`, and so are `words`: `help`, `group` and what else people read.

        :raises ValueError: one of these is malformed, or the name of the command is taken.
        """
        command = Command(
            usage,
            role,
            rest=rest,
            rule=rule,
            listed=listed,
            harmless=harmless,
            by_itself=by_itself,
            reply=reply,
            bounded=bounded,
            refuses=refuses,
            kinds=kinds,
            **words,
        )

        def declare(handler: _H) -> _H:
            self.declare(replace(command, handler=handler))
            return handler

        return declare

    def parse(self, line: str) -> Request:
        """Read a request, a line without its end. Raises UnknownCommand."""
        name, _, text = line.lstrip(" ").partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise UnknownCommand(name)
        token, arguments = command.arguments(text)
        usage_error = not command.minimum <= len(arguments) <= command.maximum
        if command.kinds and not usage_error:
            try:
                return Request(command, token, command.read(arguments), False)
            except ValueError:
                usage_error = True
        return Request(command, token, arguments, usage_error)

    def is_whole(self, line: str, is_token: Callable[[str], object]) -> bool:
        """Whether `line`, the beginning of a request, is complete: its command takes only `<user>`,
        and `is_token` accepts the token."""
        name, _, text = line.lstrip(" ").partition(" ")
        command = self._commands.get(name)
        takes_no_more = command is not None and command.takes_user and not command.maximum
        return takes_no_more and bool(is_token(text.lstrip(" ")))

    def help(self, role: Role) -> str:
        """The usages of the commands that a server of `role` serves, each on a line."""
        listed = (command for command in self if command.listed and command.served_by(role))
        return "\n".join(command.usage for command in listed)


def _words_and_rest(text: str, count: int) -> list[str]:
    """Cut off up to `count` words; the rest, unless it is blank, comes last, exactly as typed."""
    words: list[str] = []
    while text and len(words) < count:
        word, _, text = text.lstrip(" ").partition(" ")
        if word:
            words.append(word)
    if text.strip():
        words.append(text)
    return words
