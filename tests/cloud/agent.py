"""Boots instances: what happens to a machine between its launch and its end.

An instance is pending for its boot time; then it runs its user data, as a process on this machine,
with a folder, a home and a PATH of its own. The process is the machine: when it ends, the machine
has powered itself off, and when the machine is terminated, the process is ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import ProcessProtocol

from tests.cloud.faults import Fault
from tests.cloud.machines import Machine

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a machine that is terminated."""

PATH = f"{Path(sys.executable).parent}:/usr/bin:/bin"
"""What a machine finds: the image has bbs installed."""


class _Run(ProcessProtocol):
    """The process that is a machine."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        self.ended: Deferred[None] = Deferred()
        self._on_end = on_end

    def processEnded(self, reason: Any) -> None:
        self._on_end()
        self.ended.callback(None)


class Agent:
    """Runs machines.

    :param folder: gets a folder for each instance, with its user data and its console.
    :param environ: what every instance's environment has beside its own.
    :param boot_seconds: how long an instance is pending.
    :param on_power_off: told of a machine that has ended by itself.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        environ: Mapping[str, str],
        boot_seconds: float,
        on_power_off: Callable[[Machine], None],
    ) -> None:
        self.boot_seconds = boot_seconds
        self._reactor = reactor
        self._folder = folder
        self._environ = environ
        self._on_power_off = on_power_off
        self._boots: dict[str, Any] = {}
        self._runs: dict[str, _Run] = {}
        self._ending: dict[str, Any] = {}

    def boot(self, machine: Machine, fault: Fault | None) -> None:
        """Begin with an instance that has been launched."""
        late = fault.seconds if fault and fault.kind == "delay" else 0.0
        self._boots[machine.instance_id] = self._reactor.callLater(
            self.boot_seconds + late, self._booted, machine, fault
        )

    def end(self, machine: Machine, grace: float = GRACE) -> None:
        """Terminate an instance: SIGTERM, and SIGKILL after `grace`."""
        id = machine.instance_id
        boot, run = self._boots.pop(id, None), self._runs.get(id)
        if boot:
            boot.cancel()
        if run is None:
            self._is(machine, "terminated")
        elif id not in self._ending:
            self._is(machine, "shutting-down")
            self.signal(machine, signal.SIGTERM)
            self._ending[id] = self._reactor.callLater(grace, self.signal, machine, signal.SIGKILL)

    def kill(self, machine: Machine) -> None:
        """An instance loses its power."""
        boot = self._boots.pop(machine.instance_id, None)
        if boot:
            boot.cancel()
        if machine.instance_id in self._runs:
            self.signal(machine, signal.SIGKILL)
        else:
            self._on_power_off(machine)

    def signal(self, machine: Machine, number: int) -> None:
        """Send a signal to all processes of a machine that runs."""
        if machine.pid and machine.instance_id in self._runs:
            try:
                os.killpg(machine.pid, number)
            except ProcessLookupError:  # It has not got as far as its own session.
                with suppress(ProcessLookupError):
                    os.kill(machine.pid, number)

    async def stop(self, machines: list[Machine]) -> None:
        """End all machines, and wait until they have."""
        runs = list(self._runs.values())
        for machine in machines:
            self.end(machine)
        await DeferredList([run.ended for run in runs])

    def _is(self, machine: Machine, state: str) -> None:
        machine.becomes(state, self._reactor.seconds())

    def _booted(self, machine: Machine, fault: Fault | None) -> None:
        del self._boots[machine.instance_id]
        self._is(machine, "running")
        if fault and fault.kind == "hang":
            return
        if fault and fault.kind == "cut":
            self._on_power_off(machine)
        elif machine.user_data.startswith("#!"):
            self._run(machine)

    def _run(self, machine: Machine) -> None:
        folder = self._folder / machine.instance_id
        folder.mkdir(mode=0o700, parents=True)
        script = folder / "user-data"
        script.write_text(machine.user_data)
        script.chmod(0o700)
        run = _Run(lambda: self._ended(machine))
        with (
            open(os.devnull) as nothing,
            open(os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT, 0o600), "w") as console,
        ):
            transport = self._reactor.spawnProcess(
                run,
                "/usr/bin/setpriv",
                # A session of its own, so that all its processes can be ended; and they end with
                # this process, however it does.
                ["setpriv", "--pdeathsig", "KILL", "setsid", str(script)],
                env={
                    **self._environ,
                    "PATH": PATH,
                    "HOME": str(folder),
                    "LANG": "C.UTF-8",
                    "INSTANCE_ID": machine.instance_id,
                    "INSTANCE_ADDRESS": machine.address,
                },
                path=str(folder),
                childFDs={0: nothing.fileno(), 1: console.fileno(), 2: console.fileno()},
            )
        machine.pid = transport.pid
        self._runs[machine.instance_id] = run

    def _ended(self, machine: Machine) -> None:
        if machine.pid:
            # What it has started ends with it.
            with suppress(ProcessLookupError):
                os.killpg(machine.pid, signal.SIGKILL)
        del self._runs[machine.instance_id]
        ending = self._ending.pop(machine.instance_id, None)
        if ending:
            if ending.active():
                ending.cancel()
            self._is(machine, "terminated")
        else:
            self._on_power_off(machine)
