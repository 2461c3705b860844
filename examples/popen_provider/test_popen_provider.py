"""The provider with real processes: the contract of all providers, and what is its own.

Nothing here waits for a time, but for what is true in the end; `timeout` is the end of patience.
"""

import os
import signal
import sys
from pathlib import Path

from popen_provider import PopenProvider, Section, popen
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.providers import LaunchFailed, LaunchKit
from bbs.testing import ProviderContract

# Lives until its standard input ends.
CHILD = [sys.executable, "-ISc", "import sys; sys.stdin.read()"]
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
        process, ended = provider._servers["a"]
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
