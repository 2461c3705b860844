"""podman with storage, state and socket in one folder, and without systemd."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.paths import CHECKOUT

COMPOSE = CHECKOUT / "deploy" / "compose"

PATIENCE = 60.0
"""Seconds that one step has, on a machine that may have much else to do."""

_SETTINGS = """\
[containers]
# A container may have more processes than this by itself, which takes a right that we may not have.
default_ulimits = ["nproc=4096:4096", "nofile=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
# crun refuses a machine that has both versions of control groups.
runtime = "runc"
"""


class Failed(Exception):
    """Something did not do what it should; says what, with what was said about it."""


def run(
    argv: Sequence[str | Path], *, within: float = PATIENCE, fails: bool = False, **options: Any
) -> str:
    """What a command says, errors too; it must succeed unless it `fails`."""
    command = [str(word) for word in argv]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within,
        **options,
    )
    if (done.returncode != 0) != fails:
        raise Failed(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


class Podman:
    """podman with everything of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "podman.sock"
        settings = folder / "containers.conf"
        settings.write_text(_SETTINGS)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("BBS_")},
            "CONTAINERS_CONF": str(settings),
            "DOCKER_CONFIG": str(folder),
            "DOCKER_HOST": f"unix://{self.socket}",
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        self._argv = ["podman", "--storage-driver", "overlay"]
        for option in ("root", "runroot", "tmpdir", "network-config-dir"):
            self._argv += [f"--{option}", str(folder / option)]

    def __call__(self, *words: str | Path, **options: Any) -> str:
        """What a command of podman's says; it must succeed."""
        return run([*self._argv, *words], env=self.environment, **options)

    def build(self, tag: str, *words: str | Path, **options: Any) -> None:
        """Build an image under `tag`."""
        place = ("--isolation=chroot", "--format=docker", "--quiet", "--tag", f"localhost/{tag}")
        self("build", *place, *words, **options)

    def serve(self) -> None:
        """Serve the API that Compose speaks; it ends with the namespace."""
        with open(self.folder / "podman.log", "w") as log:
            argv = [*self._argv, "system", "service", "--time=0", f"unix://{self.socket}"]
            subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.socket.exists():
            if time.monotonic() > deadline:
                raise Failed("podman does not serve its API")
            time.sleep(0.05)

    def inspect(self, container: str) -> Any:
        """What podman knows of a container."""
        return json.loads(self("container", "inspect", container))[0]

    def look(self) -> None:
        """Carry out the health checks of those that are not healthy, as timers of systemd's do it
        elsewhere."""
        ailing = ("--filter=health=starting", "--filter=health=unhealthy")
        for container in self("ps", "--quiet", *ailing).split():
            with suppress(Failed):  # It is not well, or has ended meanwhile.
                self("healthcheck", "run", container)


def forget_groups() -> None:
    """Remove the control groups that podman made and leaves."""
    for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        for folder, _, _ in os.walk(parent, topdown=False):
            with suppress(OSError):
                os.rmdir(folder)
