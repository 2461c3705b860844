"""Boots instances: what happens to a machine between its launch and its end.

An instance is pending for its boot time; then it runs its user data, as a process on this machine,
with a folder, a home and a PATH of its own. The process is the machine: when it ends, the machine
has powered itself off, and when the machine is terminated or stopped, the process is ended.

As cloud-init does, a machine runs its user data on its first boot only. On each later one it runs
`boot`, an executable file that the user data may have left in its folder, as systemd would run a
unit that is enabled.
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
from tests.cloud.metadata import Metadata
from tests.standins.instances import BY_ITSELF, POWER_LOST

SOON = 0.05
"""Seconds until an instance ends whose launch comes to nothing, and until a signal is sent anew."""

LATER_BOOTS = "boot"
"""The file in a machine's folder that runs on each boot but the first."""

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
    :param boot_seconds: how long an instance is pending after its launch.
    :param start_seconds: how long it is pending after a start.
    :param grace: seconds between SIGTERM and SIGKILL for one that is terminated or stopped.
    :param fault: what goes wrong with a boot.
    :param metadata: what instances ask about themselves.
    :param on_terminated: told of each machine that has ended for good.
    """

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        environ: Mapping[str, str],
        boot_seconds: float,
        start_seconds: float,
        grace: float,
        fault: Callable[[Machine], Fault | None],
        metadata: Metadata,
        on_terminated: Callable[[Machine], None],
    ) -> None:
        self.boot_seconds = boot_seconds
        self.start_seconds = start_seconds
        self.grace = grace
        self._reactor = reactor
        self._folder = folder
        self._environ = environ
        self._fault = fault
        self._metadata = metadata
        self._on_terminated = on_terminated
        self._boots: dict[str, Any] = {}
        self._runs: dict[str, _Run] = {}
        # What becomes of those that are being ended, and the call that kills them at last.
        self._ending: dict[str, tuple[str, Any]] = {}
        self._lost: set[str] = set()
        # The calls that send signals to machines that were not ready for them.
        self._again: dict[str, Any] = {}

    def boot(self, machine: Machine) -> None:
        """Begin with an instance that has been launched."""
        self._boot(machine, self.boot_seconds)

    def start(self, machine: Machine) -> None:
        """Boot an instance that was stopped; one that is not stopped stays as it is."""
        if machine.state == "stopped":
            self._is(machine, "pending", "")
            self._boot(machine, self.start_seconds)

    def end(self, machine: Machine, reason: str) -> None:
        """Terminate an instance: SIGTERM, and SIGKILL after a while."""
        self._end(machine, "shutting-down", "terminated", reason)

    def stop(self, machine: Machine, reason: str) -> None:
        """Stop an instance that runs, in the same way."""
        if machine.state == "running":
            self._end(machine, "stopping", "stopped", reason)

    def kill(self, machine: Machine) -> None:
        """An instance loses its power."""
        self._forget_boot(machine)
        if machine.instance_id in self._runs:
            self._lost.add(machine.instance_id)
            self.signal(machine, signal.SIGKILL)
        elif machine.alive and machine.state != "stopped":
            self._is(machine, machine.stops_as, POWER_LOST)

    def signal(self, machine: Machine, number: int) -> None:
        """Send a signal to all processes of a machine that runs."""
        id = machine.instance_id
        if not machine.pid or id not in self._runs:
            return
        try:
            os.killpg(machine.pid, number)
        except ProcessLookupError:
            # It has not got as far as its own session, and handles signals as this process does.
            if number == signal.SIGKILL:
                with suppress(ProcessLookupError):
                    os.kill(machine.pid, number)
            else:
                self._again[id] = self._reactor.callLater(SOON, self.signal, machine, number)

    async def close(self, machines: list[Machine]) -> None:
        """End all machines, and wait until they have."""
        runs = list(self._runs.values())
        for machine in machines:
            self.end(machine, POWER_LOST)
        await DeferredList([run.ended for run in runs])

    # States

    def _is(self, machine: Machine, state: str, reason: str | None = None) -> None:
        ended = machine.state == "terminated"
        machine.becomes(state, self._reactor.seconds(), reason)
        if machine.state == "terminated" and not ended:
            self._on_terminated(machine)

    def _end(self, machine: Machine, while_it_runs: str, at_last: str, reason: str) -> None:
        id = machine.instance_id
        self._forget_boot(machine)
        if id not in self._runs:
            self._is(machine, at_last, reason)
            return
        self._is(machine, while_it_runs, reason)
        if id in self._ending:
            self._ending[id] = (at_last, self._ending[id][1])
            return
        self.signal(machine, signal.SIGTERM)
        kill = self._reactor.callLater(self.grace, self.signal, machine, signal.SIGKILL)
        self._ending[id] = (at_last, kill)

    def _forget_boot(self, machine: Machine) -> None:
        boot = self._boots.pop(machine.instance_id, None)
        if boot:
            boot.cancel()

    # Boots

    def _boot(self, machine: Machine, seconds: float) -> None:
        fault = self._fault(machine)
        if fault and fault.kind == "error":
            seconds = min(seconds, SOON)
        elif fault and fault.kind == "delay":
            seconds += fault.seconds
        self._boots[machine.instance_id] = self._reactor.callLater(
            seconds, self._booted, machine, fault
        )

    def _booted(self, machine: Machine, fault: Fault | None) -> None:
        del self._boots[machine.instance_id]
        if fault and fault.kind == "error":
            self._is(machine, "terminated", fault.code)
            return
        self._is(machine, "running")
        if fault and fault.kind == "hang":
            return
        if fault and fault.kind == "cut":
            self._is(machine, machine.stops_as, BY_ITSELF)
        elif script := self._script(machine):
            self._run(machine, script)

    def _script(self, machine: Machine) -> Path | None:
        """What this boot runs."""
        folder = self._folder / machine.instance_id
        if machine.booted:
            later = folder / LATER_BOOTS
            return later if os.access(later, os.X_OK) else None
        machine.booted = True
        if not machine.user_data.startswith("#!"):
            return None
        folder.mkdir(mode=0o700, parents=True)
        script = folder / "user-data"
        script.write_text(machine.user_data)
        script.chmod(0o700)
        return script

    def _run(self, machine: Machine, script: Path) -> None:
        folder = script.parent
        run = _Run(lambda: self._ended(machine))
        console_log = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(os.devnull) as nothing, open(console_log, "w") as console:
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
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._metadata.open(machine),
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
        id = machine.instance_id
        self._metadata.close(machine)
        del self._runs[id]
        again = self._again.pop(id, None)
        if again and again.active():
            again.cancel()
        lost = id in self._lost
        self._lost.discard(id)
        if id in self._ending:
            state, kill = self._ending.pop(id)
            if kill.active():
                kill.cancel()
            self._is(machine, state)
        else:
            self._is(machine, machine.stops_as, POWER_LOST if lost else BY_ITSELF)
