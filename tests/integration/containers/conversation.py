"""What is done with the containers: up, two people talk, an app server is killed, down."""

from __future__ import annotations

import json
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.containers import standins
from tests.integration.containers.podman import CHECKOUT, COMPOSE, PATIENCE, Failed, Podman, run

APPS = {22301: "app-1", 22302: "app-2"}
"""The app servers' names, by the ports at which people reach them."""

BBS = ["login", "app-1", "app-2", "telnet"]


def hold(podman: Podman, *, built: bool) -> None:
    """Hold the conversation, in a network of its own; `built`: with the image that was built."""
    run(["ip", "link", "set", "lo", "up"])
    # podman keeps networks and names here, wherever the rest is; the machine's own are not ours.
    for folder in ("/run/netns", "/run/containers"):
        Path(folder).mkdir(exist_ok=True)
        run(["mount", "-t", "tmpfs", "tmpfs", folder])
    standins.build(podman, bbs=not built)
    shutil.copytree(COMPOSE, podman.folder / "compose")
    run([podman.folder / "compose" / "make-secrets"])
    if built:
        is_bare(podman)
    podman.serve()
    service = Service(podman)
    told("up", service.up)
    is_hardened(service)
    has_driver_in_c(service)
    talk(service)
    service.stop()
    told("down", lambda: service.compose("down", "--volumes"))
    left = podman("ps", "--all", "--quiet") + podman("volume", "ls", "--quiet")
    if left:
        raise Failed(f"left behind: {left}")
    print("nothing is left", flush=True)


class Service:
    """The service of compose.yaml, over the stand-ins."""

    def __init__(self, podman: Podman) -> None:
        self.podman = podman
        self._folder = podman.folder / "compose"
        self._environment = {
            **podman.environment,
            "BBS_DATABASE_IMAGE": "localhost/standin",
            "BBS_BROKER_IMAGE": "localhost/standin",
        }

    def compose(self, *words: str, **options: Any) -> str:
        """What a command of Compose's says; it must succeed."""
        files = ["--file", "compose.yaml", "--file", str(self.podman.folder / "override.yaml")]
        return run(
            ["docker-compose", "--ansi=never", *files, *words],
            cwd=self._folder,
            env=self._environment,
            within=3 * PATIENCE,
            **options,
        )

    def up(self, *options: str) -> None:
        """Have every server run and be healthy."""
        with looking(self.podman):
            self.compose("up", "--detach", "--wait", *options)

    def stop(self) -> None:
        """End the servers of bbs: each in order, and none that has to be killed."""
        for name in BBS:
            began = time.monotonic()
            self.compose("stop", name)
            state = self.podman.inspect(f"bbs-{name}-1")["State"]
            if state["ExitCode"] not in (0, 143):  # 137 is SIGKILL's.
                raise Failed(f"{name} ended with {state['ExitCode']}: {self.log(name)}")
            print(f"{name} ended {time.monotonic() - began:.1f} s after SIGTERM", flush=True)

    def log(self, name: str) -> str:
        return self.podman("logs", f"bbs-{name}-1")

    def fleet(self) -> dict[int, int]:
        """How many people are at each app server, by its port."""
        said = self.compose(
            *("exec", "-T", "login", "bbs", "fleet", "list"),
            *("--config", "/etc/bbs/bbs.toml", "--json"),
        )
        ready = {
            each["address"]: each["taken"] for each in json.loads(said) if each["state"] == "ready"
        }
        if not ready.keys() <= {f"127.0.0.1:{port}" for port in APPS}:
            raise Failed(f"people are not told what is published: {ready}")
        return {int(address.rpartition(":")[2]): taken for address, taken in ready.items()}


class Person:
    """Somebody at `bbs client --json`, on the machine and not in a container."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: queue.Queue[str] = queue.Queue()
        self._seen: list[str] = []
        argv = [sys.executable, "-m", "bbs", "client", "--json", "127.0.0.1", "22222"]
        self._process = subprocess.Popen(
            argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.asks(f"register {name} {name}-and-{name}")
        self.asks(f"login {name} {name}-and-{name}")

    def asks(self, line: str) -> None:
        """Give a command, which must succeed."""
        self.says(line)
        reply = self.hears(lambda said: "status" in said)
        if reply["status"] != 0:
            raise Failed(f"{self.name}: {line}: {reply}")

    def says(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")

    def hears(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next line that is wanted."""
        while True:
            try:
                line = self.lines.get(timeout=PATIENCE)
            except queue.Empty:
                raise Failed(f"{self.name} heard only {self._seen}") from None
            self._seen.append(line)
            said: dict[str, Any] = json.loads(line)
            if wanted(said):
                return said

    def leaves(self) -> None:
        """End of input: the client ends, and everything that was asked has been done."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(PATIENCE) != 0:
            raise Failed(f"{self.name} ended with {self._process.returncode}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line)


def talk(service: Service) -> None:
    """Two people talk through published ports, a third one by telnet; the two go over when their
    app server dies, and when the next one is replaced."""
    ann, bob = Person("ann"), Person("bob")
    ann.asks("invite ann bob")
    bob.asks("accept-invite bob ann")
    exchange(ann, bob, "hello")
    by_telnet("carol")
    first = where(service)
    service.compose("kill", APPS[first])
    began = time.monotonic()
    exchange(ann, bob, "still there?")
    exchange(bob, ann, "yes, elsewhere")
    print(f"talked on {time.monotonic() - began:.1f} s after {first} was killed", flush=True)
    second = where(service)
    told("the one that was killed is back", service.up)
    # As another image is rolled out: Compose ends it in order, and begins another container.
    service.up("--no-deps", "--force-recreate", APPS[second])
    exchange(ann, bob, "and now?")
    exchange(bob, ann, "there again")
    if (second, where(service)) != (22301 + 22302 - first, first):
        raise Failed(f"people were at {first} and {second}, and then at {service.fleet()}")
    print(f"talked on after {second} was replaced", flush=True)
    for each in (ann, bob):
        each.leaves()


def where(service: Service) -> int:
    """The port of the app server at which ann and bob are."""
    fleet = service.fleet()
    port = max(fleet, key=lambda each: fleet[each])
    if fleet[port] < 2:
        raise Failed(f"people are where nobody is: {fleet}")
    return port


def exchange(sender: Person, reader: Person, text: str) -> None:
    """One sends a text to the other, who hears it once."""
    sender.asks(f"send {sender.name} {reader.name} {text}")
    reader.hears(lambda said: said.get("event") == "message" and said["message"] == text)


def by_telnet(name: str) -> None:
    """Somebody registers and asks something at the gateway, which asks the app server."""
    password = f"{name}-and-{name}"
    lines = (f"register {name}", password, password, f"login {name}", password, "list-friend")
    with socket.create_connection(("127.0.0.1", 2323), PATIENCE) as connection:
        connection.sendall("".join(f"{line}\n" for line in lines).encode())
        heard = b""
        while b"no friends" not in heard.lower():
            more = connection.recv(4096)
            heard += more
            if not more:
                raise Failed(f"telnet: {heard!r}")


def told(what: str, act: Callable[[], Any]) -> None:
    began = time.monotonic()
    act()
    print(f"{what} after {time.monotonic() - began:.1f} s", flush=True)


def is_bare(podman: Podman) -> None:
    """Nothing is in the image that installs or builds anything."""
    place = ("--rm", "--network=none", "--entrypoint=/opt/bbs/bin/python", "localhost/bbs")
    found = podman("run", *place, "-c", _TOOLS).strip()
    if found != "[]":
        raise Failed(f"the image has {found}")


_TOOLS = """
import importlib.util, shutil
modules = filter(importlib.util.find_spec, ("pip", "setuptools", "ensurepip"))
print([*modules, *filter(shutil.which, ("pip", "pip3", "gcc", "cc", "make"))])
"""


def is_hardened(service: Service) -> None:
    """The servers can do what they need to, and no more."""
    for name in BBS:
        status = service.compose("exec", "-T", name, "python", "-c", _WHO)
        if status.strip() != "10001 0000000000000000 1 read-only":
            raise Failed(f"{name}: {status}")


_WHO = """
import os
status = dict(line.rstrip().split(":", 1) for line in open("/proc/1/status"))
try:
    open("/etc/new", "w")
except OSError as error:
    root = "read-only" if error.errno == 30 else error
print(os.getuid(), status["CapBnd"].strip(), status["NoNewPrivs"].strip(), root)
"""


def has_driver_in_c(service: Service) -> None:
    """The database is reached in the fastest way, though its URL does not ask for it."""
    for name in ("login", *APPS.values()):
        if "the database's driver is mysql-connector-python" not in service.log(name):
            raise Failed(f"{name}: {service.log(name)}")


@contextmanager
def looking(podman: Podman) -> Iterator[None]:
    """Health checks are carried out meanwhile."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            podman.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
