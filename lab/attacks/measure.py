"""Attacks, from the start of their server to its end."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.attacks import page, watch
from lab.attacks.filling import PASSWORD, Template
from lab.attacks.forging import FORGING
from lab.attacks.server import Target, attacked
from lab.attacks.tools import Tool, tool
from lab.attacks.values import (
    EVERY_APP,
    HOSTILE,
    KINDS,
    RETURNING,
    YARDSTICK,
    Attack,
    Memory,
    Outcome,
    Plan,
    Waits,
)
from lab.bench.processes import Failed, echo

LYING = "lying broker"

CLONE_NEWNET = 0x40000000
"""Of <linux/sched.h>; Python has `os.unshare` from 3.12 on."""

WARM_UP = 1.0
"""Seconds that the honest peer asks before it is measured, so that everything is there that anybody
will need."""

PATIENCE = 120.0
"""Seconds that an attacker may be late. It has the least priority, and one that never ends would
hold up all that comes after it."""

SLACK = 0.3
"""Seconds that an attack goes on after the honest peer was measured."""


def run(attack: Attack, plan: Plan, folder: Path, template: Template) -> Outcome:
    """Carry out `attack` on a server of its own; `folder` is an empty one of its own."""
    if attack.routes:
        _enter_namespace(attack.routes)
    with besieged([attack], folder, template, plan.without) as siege:
        return siege.carry_out(attack, plan)


@contextlib.contextmanager
def besieged(
    attacks: Sequence[Attack], folder: Path, template: Template, without: Sequence[str] = ()
) -> Iterator[Siege]:
    """A server for `attacks` that are carried out one after the other, with what each of them needs
    of it, and without the limits of these names."""
    fill = partial(
        template.copy,
        posts=any(attack.posts for attack in attacks),
        crowd=any(attack.crowd for attack in attacks),
        riches=any(attack.riches for attack in attacks),
    )
    with contextlib.ExitStack() as stack:
        attackers = {
            name: stack.enter_context(tool(folder, name))
            for name in sorted({attack.tool for attack in attacks})
        }
        options: dict[str, object] = {}
        for attack in attacks:
            options |= {**attack.options, **_broker(attack, attackers)}
        limits = [attack.descriptors for attack in attacks if attack.descriptors]
        host = "::" if any(attack.routes for attack in attacks) else "127.0.0.1"
        hastened = sorted({name for attack in attacks for name in attack.patched})
        least = min(limits, default=None)
        tls = any(attack.tls for attack in attacks)
        starting = attacked(folder, fill, options, without, least, host, hastened, tls=tls)
        target = stack.enter_context(starting)
        honest = stack.enter_context(tool(folder, "honest"))
        yardstick = stack.enter_context(echo(folder))
        names = min(attack.names for attack in attacks)
        asking = _Asking(honest, target.login, yardstick.port, names)
        asking.ask(WARM_UP, warms_up=True)
        yield Siege(target, asking, attackers)


def _enter_namespace(routes: Sequence[str]) -> None:
    """Give this process, and all that it starts from now on, a network of its own, which has
    loopback only: nothing leaves it. All addresses of `routes` are loopback's too."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise Failed(f"no network namespace: {os.strerror(ctypes.get_errno())}; only root has one")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for route in routes:
        version = "-6" if ":" in route else "-4"
        subprocess.run(["ip", version, "route", "add", "local", route, "dev", "lo"], check=True)


@dataclass(frozen=True)
class Siege:
    """A server with an honest peer, who has asked for a while, and attackers."""

    target: Target
    honest: _Asking
    attackers: Mapping[str, Tool]
    """By the names of their tools."""

    def carry_out(self, attack: Attack, plan: Plan) -> Outcome:
        """Attack, and say what came of it. What was wrong in the logs before is said again."""
        return _measured(attack, plan, self.target, self.honest, self.attackers[attack.tool])


@dataclass(frozen=True)
class _Asking:
    """The honest peer of a server, and an echo."""

    peer: Tool
    login: int
    echo: int
    names: int

    def ask(self, seconds: float, **how: bool) -> dict[str, Any]:
        job = {"login": self.login, "echo": self.echo, "names": self.names, "seconds": seconds}
        kinds = ("warms_up", "newcomers", "strangers", "devices")
        return self.peer.ask({**job, **dict.fromkeys(kinds, False), **how})


def _broker(attack: Attack, attackers: Mapping[str, Tool]) -> Mapping[str, object]:
    """Options for a server whose broker is the attacker."""
    if attack.dialect != LYING:
        return {}
    port = attackers[attack.tool].ask({"dialect": LYING, "listens": True})["port"]
    return {"broker.url": f"stomp://somebody:something@127.0.0.1:{port}"}


def _measured(
    attack: Attack, plan: Plan, target: Target, honest: _Asking, attacker: Tool
) -> Outcome:
    job = _job(attack, plan, target)
    before = honest.ask(plan.before)
    pid = target.child.pid
    there = watch.memory(pid)
    ready = _ready(target)
    with watch.Watch(pid) as watched:
        attacker.begin(job)
        time.sleep(attack.lead)
        how = {each: getattr(attack, each) for each in ("newcomers", "strangers", "devices")}
        during = honest.ask(plan.during, **how)
        deadline = time.monotonic() + job["seconds"] + PATIENCE
        while not attacker.is_done(SLACK):
            if time.monotonic() > deadline:
                raise Failed(f"{attack.name}: the attacker has not ended within {PATIENCE:.0f} s")
            for key, more in honest.ask(1.0, **how).items():
                during[key] += more
        found = attacker.finish()
    after = _settled(pid, there, plan.settling)
    return Outcome(
        attack,
        plan,
        _waits(before),
        _waits(during),
        during["failed"],
        found["floods"],
        [Memory(size, watched.most.get(p, 0), after.get(p, 0)) for p, size in there.items()],
        watched.seconds,
        watched.cpu,
        len(there.keys() - after.keys()),
        _ready(target) - ready,
        target.trouble(),
    )


def _waits(found: Mapping[str, Any]) -> dict[str, Waits]:
    return {kind: Waits.of(found[kind]) for kind in (*KINDS, YARDSTICK)}


def _job(attack: Attack, plan: Plan, target: Target) -> dict[str, Any]:
    """What the attackers are told."""
    ports = {"login": target.login, "telnet": target.telnet, "page": target.page}
    tokens = []
    for user in attack.users:
        body = ask_once(target.login, f"login {user} {PASSWORD}")
        ports.setdefault("app", body["app_server"]["port"])
        tokens.append(body["token"])
    job: dict[str, Any] = {"seed": plan.seed, "seconds": plan.during + attack.lead + SLACK}
    if not attack.dialect:
        floods = [_flood(each, ports, tokens) for each in _spread(attack.floods, target)]
        return {**job, "floods": page.filled_in(floods, target)}
    if attack.dialect == RETURNING:
        told, token = attack.floods[0], tokens[0]
        return {**job, **told, "login": target.login, "app": ports["app"], "token": token}
    if attack.dialect == FORGING:
        job["credential"], job["broker"] = target.broker()
        return {**job, "dialect": FORGING, "database": target.database(), "port": target.login}
    job |= {"dialect": attack.dialect, "inputs": plan.inputs}
    job["seconds"] = plan.during if attack.tool == "copies" else plan.patience
    if attack.dialect == "stomp":
        job["credential"], ports["stomp"] = target.broker()
    if attack.dialect == HOSTILE:
        return {**job, "without": [*plan.without]}
    port = ports["app"] if attack.dialect == LYING else ports.get(attack.dialect)
    return {**job, "tokens": tokens, "port": port, "without": [*plan.without]}


def _spread(floods: Sequence[Mapping[str, Any]], target: Target) -> Iterator[Mapping[str, Any]]:
    """`floods`, those of every app server once for each."""
    for flood in floods:
        if flood["port"] == EVERY_APP:
            yield from ({**flood, "port": port} for port in target.apps())
        else:
            yield flood


def _flood(
    flood: Mapping[str, Any], ports: Mapping[str, int], tokens: Sequence[str]
) -> Mapping[str, Any]:
    token = tokens[flood.get("user", 0)] if tokens else ""
    words = {key: flood.get(key, "").replace("{token}", token) for key in ("opening", "payload")}
    port = flood["port"]
    return {**flood, **words, "port": ports.get(port, port)}


def ask_once(port: int, line: str) -> dict[str, Any]:
    """The reply to one line."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(line.encode() + b"\n")
        body: dict[str, Any] = json.loads(connection.makefile().readline())
    if body["status"]:
        raise ConnectionError(f"{line.split()[0]}: {body['message']}")
    return body


def _settled(pid: int, before: Mapping[int, int], within: float) -> dict[int, int]:
    """The memory of each process once it has given back what it will."""
    deadline = time.monotonic() + within

    def is_back(now: Mapping[int, int]) -> bool:
        return all(now.get(each, 0) <= 1.1 * size for each, size in before.items())

    while not is_back(now := watch.memory(pid)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


def _ready(target: Target) -> int:
    """App servers that have begun to listen."""
    return len(target.apps())
