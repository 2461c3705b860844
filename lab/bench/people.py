"""Who is online while it is measured, and what each connection sends.

Whoever posts in the measurement is in the first circle, and nobody of that circle reads posts: so
the load does not grow the lists that are measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lab.bench.hashing import PASSWORD
from lab.bench.processes import Failed, Running, Tool

TEXT = "It is a truth universally acknowledged that a benchmark must be in want of a message."

UNTIL_RECEIVED = "send until received"
IN_TURN = "all in turn"
HASHING = ("register", "login")
"""Commands whose cost is for the most part the hash of a password."""

LINES: Mapping[str, str] = {
    "ping": "ping",
    "list-friend": "list-friend {user}",
    "receive-post": "receive-post {user}",
    "post": "post {author} " + TEXT,
    # Before those after which messages wait for people who do not listen.
    UNTIL_RECEIVED: "send {sender} {reader} <{{}}>",
    "send": "send {user} {friend} " + TEXT,
    "send-group": "send-group {user} {group} " + TEXT,
    "register": "register new{{}} " + PASSWORD,
    "login": "login {visitor} " + PASSWORD,
}
"""What is sent for each command; `{{}}` becomes a number that no other line has."""

NOT_NOW = ("Service unavailable, try again",)
TRIALS = 5
"""How often that is asked again, while a service is filled on a machine that has much to do."""

TURN = ("list-friend", "receive-post", "post", "send", "send-group", UNTIL_RECEIVED)


@dataclass(frozen=True)
class Circles:
    """How people know each other: within a circle all are friends, and each has `posts` posts.

    The first `members` of each circle are in its group, and are those who send in what follows.
    People of the circles `ask` send all commands but `post`, which people of the first one send.
    Messages that must be received go between people of the circles `correspond`.

    Those who log in are `visitors`, who belong to no circle: a user can have few sessions only, and
    the tokens of the others must stay. People write to the one who is `apart` places further in
    their circle.
    """

    circles: int
    size: int
    members: int
    posts: int
    ask: range
    correspond: range
    visitors: int = 0
    apart: int = 1

    def visitor(self, number: int) -> str:
        """The name of a visitor; they take turns if there are fewer."""
        return f"visitor{number % max(self.visitors, 1)}"


@dataclass(frozen=True)
class Person:
    """Somebody who is online, at the app server on `port`."""

    name: str
    circle: int
    number: int
    token: str
    port: int


def job(ports: Sequence[int], lines: Sequence[Sequence[str]], **more: Any) -> dict[str, Any]:
    """What to ask of `lab.bench.load`: connections to `ports` that send their lines."""
    talks = [{"port": port, "lines": own} for port, own in zip(ports, lines, strict=True)]
    return {"talks": talks, **more}


class People:
    """The people of a service whose login server listens on `login`."""

    def __init__(self, circles: Circles, everybody: Sequence[Person], login: int) -> None:
        self.everybody = everybody
        self._circles = circles
        self._login = login
        self._senders = [each for each in everybody if each.number < circles.members]
        self._authors = self._of(range(1))
        self._askers = self._of(circles.ask)
        self._correspondents = self._of(circles.correspond)

    def job(self, command: str, connections: int, fresh: bool = False) -> dict[str, Any]:
        """`command`, or each of `TURN` in turn, over so many connections."""
        commands = TURN if command == IN_TURN else (command,)
        ports, lines, listens = [], [], {}
        for number in range(connections):
            user, author = self._nth(self._askers, number), self._nth(self._authors, number)
            sender = self._nth(self._correspondents, number)
            at = {UNTIL_RECEIVED: sender, "post": author}.get(command, user)
            ports.append(self._login if command in HASHING else at.port)
            words = {
                "user": user.token,
                "visitor": self._circles.visitor(number),
                "friend": self.friend(user).name,
                "group": f"group{user.circle}",
                "author": author.token,
                "sender": sender.token,
                "reader": self.friend(sender).name,
            }
            lines.append([LINES[each].format(**words) for each in commands])
            if UNTIL_RECEIVED in commands:
                reader = self.friend(sender)
                listens[reader.name] = {"port": reader.port, "line": f"listen {reader.token}"}
        return job(ports, lines, fresh=fresh, listens=[*listens.values()])

    def friend(self, person: Person) -> Person:
        """The one of the same circle to whom this person writes, who sends as well."""
        circle = self._of(range(person.circle, person.circle + 1))
        return circle[(person.number + self._circles.apart) % len(circle)]

    def _of(self, circles: range) -> list[Person]:
        return [each for each in self._senders if each.circle in circles]

    @staticmethod
    def _nth(people: Sequence[Person], number: int) -> Person:
        return people[number % len(people)]


def settle(load: Tool, login: Running, circles: Circles) -> People:
    """Register everybody of a new service, and fill it with what people of circles did before.

    They log in one after the other, the first of each circle before the second of any: so where a
    circle has as many people as there are app servers, each server has one of each circle.
    """
    places = [(n, circle) for n in range(circles.size) for circle in range(circles.circles)]
    names = [f"person{circle}-{n}" for n, circle in places]
    visitors = [circles.visitor(number) for number in range(circles.visitors)]
    registered = [(login.port, f"register {name} {PASSWORD}") for name in names + visitors]
    ask_all(load, registered)
    logins = [(login.port, f"login {name} {PASSWORD}") for name in names]
    replies = ask_all(load, logins, width=1)
    everybody = [
        Person(name, circle, n, reply["token"], reply["app_server"]["port"])
        for name, (n, circle), reply in zip(names, places, replies, strict=True)
    ]
    everybody.sort(key=lambda each: (each.circle, each.number))
    pairs = [
        (one, other)
        for one in everybody
        for other in everybody
        if one.circle == other.circle and one.number < other.number
    ]
    ask_all(load, [(one.port, f"invite {one.token} {other.name}") for one, other in pairs])
    ask_all(load, [(two.port, f"accept-invite {two.token} {one.name}") for one, two in pairs])
    ask_all(load, [(each.port, f"post {each.token} {TEXT}") for each in everybody * circles.posts])
    for number, command in enumerate(("create-group", "join-group")):
        members = [
            each
            for each in everybody
            if (each.number == 0 if number == 0 else 0 < each.number < circles.members)
        ]
        ask_all(load, [(m.port, f"{command} {m.token} group{m.circle}") for m in members])
    return People(circles, everybody, login.port)


def ask_all(load: Tool, lines: Sequence[tuple[int, str]], width: int = 16) -> list[dict[str, Any]]:
    """Send lines, each to its port, over `width` connections or as many as there are ports, and
    return the replies in the order of the lines. What cannot be done just now is asked again.

    :raises Failed: one of them was refused.
    """
    replies = _ask(load, lines, width)
    for _ in range(TRIALS):
        again = [n for n, reply in enumerate(replies) if reply.get("message") in NOT_NOW]
        for number, reply in zip(again, _ask(load, [lines[n] for n in again], 1), strict=True):
            replies[number] = reply
    for (_, line), reply in zip(lines, replies, strict=True):
        if reply["status"]:
            raise Failed(f"{line.split()[0]}: {reply['message']}")
    return replies


def _ask(load: Tool, lines: Sequence[tuple[int, str]], width: int) -> list[dict[str, Any]]:
    of_port: dict[int, list[int]] = {}
    for number, (port, _) in enumerate(lines):
        of_port.setdefault(port, []).append(number)
    each = max(1, width // max(1, len(of_port)))
    talks = [
        (port, numbers[first::each])
        for port, numbers in of_port.items()
        for first in range(min(each, len(numbers)))
    ]
    work = job(
        [port for port, _ in talks],
        [[lines[number][1] for number in numbers] for _, numbers in talks],
        seconds=None,
    )
    replies: dict[int, dict[str, Any]] = {}
    for (_, numbers), found in zip(talks, load.ask(work)["replies"], strict=True):
        replies.update(zip(numbers, map(json.loads, found), strict=True))
    return [replies[number] for number in range(len(lines))]
