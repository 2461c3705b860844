"""What people read in place of a reply's message: by the code of a failure, or by the command.

Scripts print the server's messages, which never change. Faces, at a terminal or a gateway, have
words of their own: those that the service's presentation declares (`Presentation.done` and
`failures`), else the framework's here. A code without words shows the server's message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from bbs.client.errors import ClientError, Refused, TurnedAway
from bbs.client.replies import ServiceReply
from bbs.client.request import FRAMEWORK, ClientRequest
from bbs.protocols.forms import member
from bbs.protocols.presentation import Presentation
from bbs.ui.output import problem_line, visible

DONE: Mapping[str, str] = {
    "register": "Made the account {id}.",
    "login": "Logged in as {id}.",
    "logout": "{user} is logged out.",
    "delete": "The account {user} is deleted.",
    "change-password": "The password is changed. Your other sessions have ended.",
}
"""What has happened after each of the framework's commands, as `Presentation.done` has it."""

FAILURES: Mapping[str, str] = {
    "line-too-long": "The line is too long for the server",
    "invalid-utf-8": "The line is not valid UTF-8",
    "too-many-connections": "There are too many connections. Try again later.",
    "request-timed-out": "The server waited too long for a request. Try again.",
    "unknown-command": "Unknown command {command}. help lists all commands.",
    "not-logged-in": "You are not logged in. Try: login NAME",
    "moved": "Another server has your place now. Try again.",
    "ask-login-server": "You have no place at a server now. Try again.",
    "wrong-credentials": "Wrong name or password",
    "change-password wrong-credentials": "The old password is wrong",
    "account-suspended": "This account is suspended. Ask the operators of the service.",
    "registration-closed": "Nobody can register here. Ask the operators for an account.",
    "invalid-id": "{id} cannot be a name. Use at most 100 characters, without spaces.",
    "already-used": "The name {id} is taken",
    "password-too-short": "The password is too short",
    "password-too-long": "The password is too long",
    "too-many-attempts": "Too many attempts. Try again in {number} s.",
    "too-many-listeners": "You are connected {number} times already. Close another client first.",
    "too-many-places": "Too many people of your network are here. Try again later.",
    "cursor-expired": "This list has expired. Ask for it again.",
    "unavailable": "The service cannot answer now. Try again.",
    "disk-full": "The service has no disk space left. Try again later.",
    "stopping": "The server is about to stop. Try again.",
    "internal-error": "The server failed. Tell its operators the reference {reference}.",
}
"""The framework's failures, as `Presentation.failures` has them. In addition, `{command}` stands
for the command, `{number}` for the first number of the server's message, and `{reference}` for its
last word. `wrong-usage` is missing: people read the usage as they may type it (`typing_line`)."""

SUCCESS = "Success!"  # what servers answer where there is nothing to say

_NAMES = {"id": "NAME", "name": "NAME", "user": "NAME"}
"""What people read in place of a parameter; of others they read the name, in capitals."""

_ASKED_FOR = re.compile(r" \[<(?:password|old)>.*?\]")  # what a prompt asks for
_PARAMETER = re.compile(r"<(.*?)>")
_PLACE = re.compile(r"\{([\w.-]*)\}")
_NUMBER = re.compile(r"\d+")


def typing_line(usage: str) -> str:
    """What people read of a command that they typed wrongly: `Type: register NAME`."""

    def words(place: re.Match[str]) -> str:
        return _NAMES.get(place[1], place[1].upper().replace(" OR ", "|"))

    return f"Type: {_PARAMETER.sub(words, _ASKED_FOR.sub('', usage))}"


def reply_words(presentation: Presentation, request: ClientRequest, reply: ServiceReply) -> str:
    """The words for a reply to `request`, safe to show; empty if its message or list is shown."""
    if reply.ok and reply.message is None and reply.list_name is not None:
        return visible(_empty(presentation, request, reply))
    for form in _forms(presentation, request, reply):
        if words := _filled(form, request, reply):
            return visible(words)
    return "Done." if reply.ok and reply.message == SUCCESS else ""


def failure_text(presentation: Presentation, request: ClientRequest, reply: ServiceReply) -> str:
    """The reason of a failure in words, without a full stop, to stand within a sentence."""
    words = reply_words(presentation, request, reply) or visible(reply.message or "Failed")
    return words.removesuffix(".")


def problem_words(problem: ClientError) -> str:
    """The line for people about a request that failed without a reply of its own."""
    if isinstance(problem, Refused | TurnedAway) and problem.reply.code in FAILURES:
        form = FAILURES[problem.reply.code or ""]
        if not _PLACE.search(form):
            return form
    return problem_line(problem)


def _empty(presentation: Presentation, request: ClientRequest, reply: ServiceReply) -> str:
    """The words for the empty list that a command gave, if it has some of its own."""
    name = reply.list_name
    if name is None or reply.lists[name] or reply.has_more:
        return ""
    return presentation.listing(name).empties.get(request.name, "")


def _forms(
    presentation: Presentation, request: ClientRequest, reply: ServiceReply
) -> Iterator[str]:
    name, ours = request.name, FRAMEWORK.get(request.name)
    is_ours = ours is not None and request.info is not None and request.info.is_same(ours.command)
    if reply.ok:
        parameters = request.info.command.parameters if request.info else ()
        names = [name, *(f"{name} -{each}" for each in parameters)]
        tables = [presentation.done, DONE if is_ours else {}]
    else:
        names = [f"{name} {reply.code}", reply.code or ""]
        tables = [presentation.failures, FAILURES]
    yield from (table[name] for table in tables for name in names if table.get(name))


def _filled(form: str, request: ClientRequest, reply: ServiceReply) -> str:
    """The form with its places filled; empty if there is nothing for one of them."""
    values = _values(request, reply)
    # A reply may have a member of a parameter's name: the number of a new post, for one.
    of_reply = {name: _of(reply, name) for name in _PLACE.findall(form)}
    found = {
        name: (reply.ok and each) or values.get(name) or each for name, each in of_reply.items()
    }
    if not all(found.values()):
        return ""
    return _PLACE.sub(lambda place: found[place[1]], form)


def _values(request: ClientRequest, reply: ServiceReply) -> Mapping[str, str]:
    message = reply.message or ""
    values = {"command": request.name, "user": request.user}
    if number := _NUMBER.search(message):
        values["number"] = number[0]
    values["reference"] = message.rpartition(" ")[2]
    if request.info is not None:
        command = request.info.command
        given = (
            *request.words[1 + command.takes_user :],
            *([request.text] if command.rest else ()),
        )
        values |= dict(zip(command.parameters, given, strict=False))
        values[""] = values.get(command.parameters[0], "") if command.parameters else ""
    return values


def _of(reply: ServiceReply, path: str) -> str:
    """The text or number in a member of a reply."""
    value = member(reply.members, path)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
