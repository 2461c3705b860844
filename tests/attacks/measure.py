"""One attack, from the start of its server to its end."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tests.attacks import watch
from tests.attacks.filling import PASSWORD, Template
from tests.attacks.server import Target, attacked
from tests.attacks.tools import tool
from tests.attacks.values import KINDS, Attack, Memory, Outcome, Plan, Waits

WARM_UP = 1.0
"""Seconds that the honest peer asks before it is measured, so that everything is there that anybody
will need."""

LEAD = 0.3
"""Seconds from the beginning of an attack until the honest peer is measured."""

SETTLING = 10.0
"""Seconds at most until a server has given back what an attack took."""


def run(attack: Attack, plan: Plan, folder: Path, template: Template) -> Outcome:
    """Carry out `attack`; `folder` is an empty one of its own."""
    fill = partial(template.copy, posts=attack.posts, crowd=attack.crowd)
    starting = attacked(folder, fill, attack.options, plan.without, attack.descriptors)
    with starting as target, tool(folder, "honest") as honest, tool(folder, attack.tool) as attacker:

        def ask(seconds: float) -> dict[str, Any]:
            return honest.ask({"login": target.login, "seconds": seconds})

        job = _job(attack, plan, target)
        ask(WARM_UP)
        before = ask(plan.before)
        pid = target.child.pid
        there = watch.memory(pid)
        ready = _ready(target)
        with watch.Watch(pid) as watched:
            attacker.begin({**job, "seconds": plan.during + 2 * LEAD})
            time.sleep(LEAD)
            during = ask(plan.during)
            found = attacker.finish()
        after = _settled(pid, there)
        ask(WARM_UP)
        launched, ended = _ready(target) - ready, len(there.keys() - after.keys())
    return Outcome(
        attack,
        plan,
        _waits(before),
        _waits(during),
        during["failed"],
        found["floods"],
        [Memory(size, watched.most.get(p, 0), after.get(p, 0)) for p, size in there.items()],
        watched.cpu,
        ended,
        launched,
        target.trouble(),
    )


def _waits(found: Mapping[str, Any]) -> dict[str, Waits]:
    return {kind: Waits.of(found[kind]) for kind in KINDS}


def _job(attack: Attack, plan: Plan, target: Target) -> dict[str, Any]:
    """What the attackers are told."""
    ports = {"login": target.login, "telnet": target.telnet, "page": target.page}
    words = {}
    for user in attack.users:
        body = ask_once(target.login, f"login {user} {PASSWORD}")
        ports.setdefault("app", body["app_server"]["port"])
        words.setdefault("token", body["token"])
    floods = []
    for each in attack.floods:
        flood = {**each, "port": ports[each["port"]]}
        for key in ("opening", "payload"):
            flood[key] = flood.get(key, "").replace("{token}", words.get("token", ""))
        floods.append(flood)
    return {"floods": floods, "seed": plan.seed, "inputs": plan.inputs}


def ask_once(port: int, line: str) -> dict[str, Any]:
    """The reply to one line."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(line.encode() + b"\n")
        body: dict[str, Any] = json.loads(connection.makefile().readline())
    if body["status"]:
        raise ConnectionError(f"{line.split()[0]}: {body['message']}")
    return body


def _settled(pid: int, before: Mapping[int, int]) -> dict[int, int]:
    """The memory of each process once it has given back what it will."""
    deadline = time.monotonic() + SETTLING

    def is_back(now: Mapping[int, int]) -> bool:
        return all(now.get(each, 0) <= 1.1 * size for each, size in before.items())

    while not is_back(now := watch.memory(pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


def _ready(target: Target) -> int:
    """App servers that have begun to listen, by their logs."""
    logs = [*target.data.rglob("app-*.log")]
    return sum("LineFactory starting" in each.read_text(errors="replace") for each in logs)


Progress = Callable[[str], None]
