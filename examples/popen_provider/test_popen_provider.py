"""The provider with real processes: the contract of all providers, and what is its own.

Nothing here waits for a time, but for what is true in the end; `timeout` is the end of patience.
"""

import os
import signal
import sys
from pathlib import Path

from popen_provider import Machine, PopenProvider, Section, machine, popen
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from bbs.providers import LaunchFailed, LaunchKit, MachineKit, MachineNotice
from bbs.testing import BatchesContract, MachineContract, PoolsContract, ProviderContract

# Lives until its standard input ends.
CHILD = [sys.executable, "-ISc", "import sys; sys.stdin.read()"]
PROCESSOR = min(os.sched_getaffinity(0))
# A SIGTERM does not end it. Makes a file, which its argument names, when it is there.
STUBBORN = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "x").close()
sys.stdin.read()
"""


class PopenCase(TestCase):
    """What the tests below share."""

    timeout = 30

    def setUp(self):
        self.environment = dict(os.environ)

    def kit(self, argv=CHILD, **section):
        """What a login server would give to the provider, but for the command."""
        return LaunchKit(
            reactor=reactor,
            section=Section(**section),
            scope="popen:test",
            command=lambda server_id: [*argv, server_id],
            environment=self.environment,
            configuration=lambda server_id: "",
            on_stop=lambda stop: None,
        )

    def running(self, argv=CHILD, **section):
        provider = popen.make(self.kit(argv, **section))
        assert isinstance(provider, PopenProvider)
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    def pid_of(self, provider, launch_id):
        """The process id that the provider tells operators."""
        return int(self.successResultOf(provider.list())[launch_id].detail.split()[1])


class Contract(ProviderContract, PopenCase):
    """It keeps the promises of every provider."""

    def make_provider(self):
        return PopenProvider(self.kit())

    def end_instance(self, provider, launch_id):
        os.kill(self.pid_of(provider, launch_id), signal.SIGKILL)

    def break_launches(self, provider):
        self.environment["PATH"] = "/no/such/folder"


class InPools(Contract, PoolsContract, BatchesContract):
    """And those of one with pools, which launches several at a time: here on one processor, under
    two names."""

    many = 4

    def make_provider(self):
        processors = (f"{PROCESSOR}", f"{PROCESSOR}-{PROCESSOR}")
        return PopenProvider(self.kit(processors=processors))

    async def test_where_they_run(self):
        provider = self.started()
        await provider.launch("a")
        pid = self.pid_of(provider, "a")
        while os.sched_getaffinity(pid) != {PROCESSOR}:
            await deferToThread(os.sched_yield)  # Until `taskset` has done its work.

    async def test_all_of_a_batch_begin_with_the_first(self):
        provider = self.started()
        written = dict(provider.batches(provider.choose_strategies(3)))
        provider.know_strategies(written, ())
        await provider.launch(min(written))
        self.assertEqual({*await provider.list()}, {*written})


class Notices(MachineContract, TestCase):
    """What an app server asks keeps the promises too."""

    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def make_machine(self):
        kit = MachineKit(reactor, Section(notices=str(self.folder)), "a", os.environ, print)
        made = machine(kit)
        assert isinstance(made, Machine)
        return made

    def announce(self, machine):
        (self.folder / "a").write_text("a reboot at noon\n")

    def break_answers(self, machine):
        (self.folder / "a").mkdir()

    async def test_a_hint(self):
        (self.folder / "a").write_text("perhaps a reboot\n")
        notice = await self.make_machine().notice()
        self.assertEqual(notice, MachineNotice("perhaps a reboot", certain=False))

    async def test_of_another(self):
        (self.folder / "b").write_text("a reboot at noon\n")
        self.assertIs(await self.make_machine().notice(), None)

    def test_no_folder(self):
        """Then there is nothing to ask."""
        self.assertIs(popen.machine, machine)
        self.assertIs(machine(MachineKit(reactor, Section(), "a", {}, print)), None)


class Own(PopenCase):
    """Its section, and how its processes end."""

    async def test_section(self):
        """It stands back as far as it is told to."""
        provider = self.running(nice=3)
        await provider.launch("a")
        pid, own = self.pid_of(provider, "a"), os.getpriority(os.PRIO_PROCESS, 0)
        while os.getpriority(os.PRIO_PROCESS, pid) != min(own + 3, 19):
            await deferLater(reactor, 0.01)  # Until `nice` has done its work.

    async def test_ends_when_it_is_told_to(self):
        provider = self.running()
        await provider.launch("a")
        await provider.terminate("a")
        self.assertIn(f"return code {-signal.SIGTERM}", (await provider.list())["a"].detail)

    async def test_grace(self):
        """One that does not end by itself is ended."""
        ready = Path(self.mktemp())
        provider = self.running([sys.executable, "-ISc", STUBBORN, str(ready)], grace=0.1)
        await provider.launch("a")
        while not ready.exists():
            await deferLater(reactor, 0.01)
        await provider.terminate("a")
        self.assertIn(f"return code {-signal.SIGKILL}", (await provider.list())["a"].detail)

    async def test_all_end_with_it(self):
        """One whose launch is under way as well."""
        provider = self.running()
        await provider.launch("a")
        launch = provider.launch("b")
        await provider.stopService()
        await launch
        alive = [each for each in (await provider.list()).values() if each.alive]
        self.assertEqual(alive, [])

    async def test_ends_without_this_process(self):
        """The end of its standard input is what tells an app server."""
        provider = self.running()
        await provider.launch("a")
        process, ended, _ = provider._servers["a"]
        process.stdin.close()
        await ended
        self.assertIn("return code 0", (await provider.list())["a"].detail)

    async def test_memory(self):
        """It does not list all that have ever ended, but all that live."""
        provider = self.running()
        await gatherResults([provider.launch(f"a-{each}") for each in range(101)])
        await gatherResults([provider.terminate(f"a-{each}") for each in range(1, 101)])
        await provider.launch("b")
        await provider.launch("c")
        listed = await provider.list()
        self.assertEqual({each for each in listed if listed[each].alive}, {"a-0", "b", "c"})
        self.assertLessEqual(len(listed), 3 + 100)
        self.assertIn("a-100", listed)
        self.assertNotIn("a-1", listed)

    async def test_reason(self):
        """Operators read why there is no app server."""
        self.environment["PATH"] = "/no/such/folder"
        with self.assertRaises(LaunchFailed) as caught:
            await self.running().launch("a")
        self.assertIn("No such file", str(caught.exception))
