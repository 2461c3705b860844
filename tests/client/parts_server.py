"""A server that bounds its replies: lists in parts, behind the network of a client's test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from bbs.testing import Link, MemoryNetwork

Answer = Mapping[str, object]


class PartsServer:
    """Answers some commands by lists, a part at a time, instead of the servers of a network; `more`
    too. What else is asked they answer themselves, and all replies stay in the order of requests.

    `asked` are the requests for further parts. What `meddle` gives is sent instead of a part, and
    what `going_on` has instead of any.
    """

    def __init__(self, network: MemoryNetwork, a_part: int = 3) -> None:
        self.asked: list[str] = []
        self.meddle: Callable[[str, Answer], Answer] = lambda line, part: part
        self.going_on: Iterator[Answer] | None = None
        self._a_part = a_part
        self._lists: dict[str, tuple[str, Sequence[object]]] = {}
        self._mine: dict[Link, list[Answer | None]] = {}
        self._to_servers, self._to_clients = network.to_servers, network.to_clients
        network.to_servers, network.to_clients = self._request, self._reply

    def has(self, command: str, name: str, entries: Sequence[object]) -> None:
        """What `command` answers: a list of that name. Of posts and histories the first part has
        the last entries."""
        self._lists[command] = name, entries

    def answer(self, line: str) -> Answer | None:
        """What is answered to a request; None: it is not for this server."""
        if self.going_on is not None:
            return next(self.going_on)
        command, *arguments = line.split(" ")
        begin = 0
        if command == "more":
            self.asked.append(line)
            command, _, position = arguments[1].partition(":")
            begin = int(position)
        elif command not in self._lists:
            return None
        return self.meddle(line, self._part(command, begin))

    def _part(self, command: str, begin: int) -> Answer:
        name, entries = self._lists[command]
        end = begin + self._a_part
        if name in ("post", "history"):
            part = entries[max(0, len(entries) - end) : len(entries) - begin]
        else:
            part = entries[begin:end]
        cursor = {"more": f"{command}:{end}"} if end < len(entries) else {}
        return {"status": 0, name: [*part], **cursor}

    # Each request has a reply by the real server, in whose place this one's goes.

    def _request(self, link: Link, line: str) -> str | None:
        answer = self.answer(line)
        self._mine.setdefault(link, []).append(answer)
        return self._to_servers(link, line) if answer is None else "ping"

    def _reply(self, link: Link, line: str) -> str | None:
        members = json.loads(line)
        waiting = self._mine.get(link)
        if "status" in members and waiting:
            answer = waiting.pop(0)
            if answer is not None:
                return json.dumps(answer)
        return self._to_clients(link, line)
