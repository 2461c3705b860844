"""The server that is attacked: a `bbs up` of its own."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from bbs.config.loading import write
from lab.attacks import patches
from lab.attacks.limits import LIMITS
from lab.bench.processes import Failed, environment
from tests.certificates import certificate
from tests.paths import CHECKOUT
from tests.services.servers import free_port, write_private

PATIENCE = 60.0
"""Seconds until a server that is not ready has failed."""

DEFENDED: Mapping[str, object] = {
    # The addresses of loopback count as anybody's.
    "limits.trusted": (),
    "app.capacity": 2000,
    "fleet.minimum": 1,
    "fleet.maximum": 1,
    "fleet.spare": 0,
}
"""The configuration; everything else is as operators have it who say nothing."""

NO_DESCRIPTOR = "Could not reserve EMFILE recovery file descriptor"
"""What Twisted logs when all descriptors are in use and another thread was quicker to take the one
that it had kept: it turns newcomers away with the next."""

TROUBLE = ("Traceback", "Unhandled", "Internal error")
"""What no log may have in it."""

LISTENS = re.compile(r"LineFactory starting on (\d+)")

ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\dT)", re.M)
"""Where an entry of a log begins; a traceback is a part of one."""


@dataclass(frozen=True)
class Target:
    """A server that runs, and its ports. The one of an app server is told at a login."""

    folder: Path
    child: subprocess.Popen[str]
    login: int
    telnet: int
    page: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def broker(self) -> tuple[tuple[str, str], int]:
        """The credential of the embedded broker, as its app servers have it, and its port."""
        for each in self.data.rglob("*.toml"):
            if found := re.search(r"stomp://(\w+):([^@]+)@[\w.]+:(\d+)", each.read_text()):
                return (found[1], unquote(found[2])), int(found[3])
        raise Failed("nobody knows the broker")

    def database(self) -> str:
        """The path of its database."""
        return str(self.data / "bbs.sqlite3")

    def apps(self) -> list[int]:
        """The ports at which app servers have begun to listen, by their logs."""
        logs = [each.read_text(errors="replace") for each in self.data.rglob("app-*.log")]
        return [int(found[1]) for log in logs if (found := LISTENS.search(log))]

    def logs(self) -> str:
        """Everything that its processes have logged."""
        found = [*self.data.rglob("*.log*"), self.folder / "up.log"]
        return "\n".join(each.read_text(errors="replace") for each in found if each.is_file())

    def trouble(self) -> list[str]:
        """What no log may have in it: how each such entry begins, and how it ends."""
        entries = ENTRY.split(self.logs())
        found = [
            each.split()
            for each in entries
            if any(word in each for word in TROUBLE) and NO_DESCRIPTOR not in each
        ]
        return [" ".join([*words[:12], "…", *words[-50:]]) for words in found]


@contextlib.contextmanager
def attacked(
    folder: Path,
    fill: Callable[[Path], None],
    options: Mapping[str, object],
    without: Sequence[str] = (),
    descriptors: int | None = None,
    host: str = "127.0.0.1",
    hastened: Sequence[str] = (),
    *,
    tls: bool = False,
) -> Iterator[Target]:
    """Start it: with a database that `fill` makes, without the limits of these names, and with so
    many `descriptors` at most; `host` is the address to listen on, and `hastened` names what takes
    less time than elsewhere; the page is served by TLS if `tls` is true."""
    data, login, telnet, page = folder / "data", free_port(), free_port(), free_port()
    data.mkdir(mode=0o700)
    fill(data / "bbs.sqlite3")
    wanted = {**DEFENDED, **options}
    for name in without:
        wanted |= LIMITS[name].options
    wanted["telnet.listen"] = f"tcp:{telnet}:interface=127.0.0.1"
    wanted["web.listen"] = f"tcp:{page}:interface=127.0.0.1"
    if tls:
        key = certificate(str(folder / "key.pem"), ("localhost",)).path
        wanted["web.listen"] = f"ssl:{page}:interface=127.0.0.1:privateKey={key}"
    write_private(folder / "bbs.toml", as_toml(wanted))
    command = [sys.executable, "-m", "bbs", "up", "--port", str(login), "--data", str(data)]
    command += ["--config", str(folder / "bbs.toml"), "--host", host]
    patched = ",".join([*hastened, *(name for name in without if LIMITS[name].patched)])
    path = os.pathsep.join([str(Path(__file__).parent / "without"), str(CHECKOUT)])
    environ = environment(PYTHONPATH=path, **{patches.VARIABLE: patched})
    with (folder / "up.log").open("a") as log, (folder / "up.out").open("w+") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=log,
            text=True,
            preexec_fn=lambda: _allow(descriptors),
        )
        try:
            _await_ready(child, folder)
            yield Target(folder, child, login, telnet, page)
        finally:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def as_toml(options: Mapping[str, object]) -> str:
    """A configuration file of dotted keys."""
    return "".join(f"{key} = {write(value)}\n" for key, value in options.items())


def _allow(descriptors: int | None) -> None:
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))


def _await_ready(child: subprocess.Popen[str], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and child.poll() is None:
        if " is ready: " in (folder / "up.out").read_text():
            return
        time.sleep(0.02)
    said = (folder / "up.log").read_text()[-2000:]
    raise Failed(f"bbs up did not start:\n{said}")
