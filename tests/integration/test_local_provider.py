"""The local provider with real child processes."""

import os
import signal
import stat
import sys
from typing import Any

from twisted.internet import reactor as system_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from bbs.scaling.interfaces import LaunchRefused
from bbs.scaling.local import LocalProvider
from bbs.scaling.providers import LaunchKit
from bbs.testing.provider_contract import KeepsLogsContract, ProviderContract

reactor: Any = system_reactor

# It lives until its standard input ends.
CHILD = ("cat",)
# It says when it is there, and a SIGTERM does not end it.
STUBBORN = (
    sys.executable,
    "-ISc",
    """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
sys.exit(3)
""",
)


# It launches two children, each of which writes to its log when its input ends.
PARENT = """
import os, sys
from twisted.internet import reactor
from bbs.scaling.local import LocalProvider
from bbs.scaling.providers import LaunchKit
# Children get the pipe of our output too, so that its reader sees the last of them end.
child = f"exec 9>/proc/{os.getpid()}/fd/1; cat; echo cut"
provider = LocalProvider(LaunchKit(
    reactor, None, "local:parent", lambda launch_id: ["sh", "-c", child], os.environ,
    lambda launch_id: "", lambda stop: None, data_folder=sys.argv[1],
))
provider.startService()
provider.launch("a")
provider.launch("b")
reactor.callWhenRunning(print, "launched", flush=True)
reactor.run()
"""


class Parent(ProcessProtocol):
    """Tells when the process has spoken, and when it and all who share its output have ended."""

    transport: Any

    def __init__(self):
        self.said: Deferred[bytes] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data):
        self.said.callback(data)

    def processEnded(self, reason):
        self.ended.callback(None)


class InReactorTestCase(TestCase):
    """Its tests begin inside the running reactor, as trial does not by itself.

    A child that ends before would be noticed while the reactor starts, and a test that finishes
    then cannot stop it.
    """

    timeout = 300

    def setUp(self):
        return deferLater(reactor, 0)


def kit(command, data_folder, environ=os.environ):
    """What a provider of children that run `command` is made of."""
    return LaunchKit(
        reactor,
        None,
        "local:test",
        command,
        environ,
        lambda launch_id: "",
        lambda stop: None,
        data_folder=data_folder,
    )


def pid_of(provider, launch_id):
    """The process id that the provider tells operators."""
    return int(provider.list().result[launch_id].detail.removeprefix("process "))


def descriptors():
    return sorted(os.listdir("/proc/self/fd"))


class LocalProviderContractTests(KeepsLogsContract, ProviderContract, InReactorTestCase):
    """It keeps the promises of every provider."""

    def make_provider(self):
        self.program = CHILD
        return LocalProvider(kit(lambda launch_id: self.program, self.mktemp()))

    def end_instance(self, provider, launch_id):
        os.kill(pid_of(provider, launch_id), signal.SIGKILL)

    def break_launches(self, provider):
        self.program = ("/no/such/program",)


class LocalProviderTests(InReactorTestCase):
    """What is its own."""

    def provider(self, *argv, grace=5.0, data_folder=None, environ=os.environ):
        data_folder = data_folder or self.mktemp()
        self.log_folder = os.path.join(data_folder, "logs")
        given = kit(lambda launch_id: argv, data_folder, environ)
        provider = LocalProvider(given, grace=grace)
        provider.startService()
        self.addCleanup(provider.stopService)
        return provider

    def log_of(self, launch_id):
        with open(os.path.join(self.log_folder, f"app-{launch_id}.log")) as log:
            return log.read()

    async def ended(self, provider, *launch_ids):
        """Wait until the provider has told that they ended; their details."""
        while True:
            told: Deferred[None] = Deferred()
            provider.when_changed = lambda told=told: told.called or told.callback(None)
            listed = await provider.list()
            if not any(listed[launch_id].alive for launch_id in launch_ids):
                return [listed[launch_id].detail for launch_id in launch_ids]
            await told

    async def logged(self, provider, launch_id, text):
        """Wait until a child has written a text to its log."""
        await self.until(lambda: text in self.log_of(launch_id))

    async def until(self, holds):
        """Wait for what nobody tells of; the test's time-out is its end."""
        while not holds():
            await deferLater(reactor, 0.002)

    async def test_output_goes_to_a_private_log(self):
        """Both outputs are appended to one file that only this user reads, whatever the umask."""
        self.addCleanup(os.umask, os.umask(0))
        provider = self.provider("sh", "-c", "echo out; echo err >&2")
        os.makedirs(self.log_folder)
        path = os.path.join(self.log_folder, "app-a.log")
        with open(path, "w") as log:
            log.write("before\n")
        os.chmod(path, 0o644)
        await provider.launch("a")
        await self.ended(provider, "a")
        self.assertEqual(self.log_of("a"), "before\nout\nerr\n")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    async def test_new_log(self):
        """A folder that is missing is made, for this user alone, and so is the file."""
        self.addCleanup(os.umask, os.umask(0))
        provider = self.provider(*CHILD)
        await provider.launch("a")
        path = os.path.join(self.log_folder, "app-a.log")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.log_folder).st_mode), 0o700)

    async def test_environment_and_descriptors_of_a_child(self):
        """A child has the environment it was given, three descriptors, and nothing else of ours."""
        with open(__file__) as inheritable:
            os.set_inheritable(inheritable.fileno(), True)
            provider = self.provider(
                "/bin/sh", "-c", "env; ls /proc/$$/fd", environ={"BBS_X": "1", "PATH": "/bin"}
            )
            await provider.launch("a")
            await self.ended(provider, "a")
        lines = self.log_of("a").split()
        self.assertEqual([line for line in lines if line.isdigit()], ["0", "1", "2"])
        self.assertIn("BBS_X=1", lines)
        self.assertFalse([line for line in lines if line.startswith("HOME=")])

    async def test_leaves_no_descriptor(self):
        """Launches, ends and failed launches give back every descriptor."""
        provider = self.provider(*CHILD)
        await provider.launch("first")
        await provider.terminate("first")
        before = descriptors()
        await gatherResults([provider.launch(f"a-{n}") for n in range(20)])
        self.assertEqual(len(descriptors()), len(before) + 20)
        await provider.stopService()
        broken = self.provider("/no/such/program")
        for n in range(20):
            await self.assertFailure(broken.launch(f"b-{n}"), LaunchRefused)
        await self.until(lambda: descriptors() == before)

    async def test_input_of_a_grandchild(self):
        """A grandchild that lives on keeps neither the end of its parent nor a pipe of ours."""
        provider = self.provider("sh", "-c", "exec 3<&0; sh -c 'cat <&3; echo cut' & exit 4")
        before = len(descriptors())
        await provider.launch("a")
        self.assertEqual(await self.ended(provider, "a"), ["exited with 4"])
        await self.logged(provider, "a", "cut")
        await self.until(lambda: len(descriptors()) == before)

    async def test_how_it_ended(self):
        """Operators are told how a child ended."""
        provider = self.provider("sh", "-c", "exit 0")
        await provider.launch("a")
        self.assertEqual(await self.ended(provider, "a"), ["exited with 0"])

    async def test_no_such_program(self):
        """A program that is not there, or is none, is refused and not listed."""
        for program in ("/no/such/program", __file__, "/"):
            provider = self.provider(program)
            failure = await self.assertFailure(provider.launch("a"), LaunchRefused)
            self.assertIn(program, str(failure))
            self.assertEqual(await provider.list(), {})

    async def test_log_folder_that_cannot_be(self):
        provider = self.provider(*CHILD, data_folder=__file__)
        failure = await self.assertFailure(provider.launch("a"), LaunchRefused)
        self.assertIn("logs", str(failure))

    async def test_stubborn_child(self):
        """One that does not heed SIGTERM is killed after the grace."""
        provider = self.provider(*STUBBORN, grace=0.05)
        await provider.launch("a")
        await self.logged(provider, "a", "ready")
        await provider.terminate("a")
        self.assertEqual(await self.ended(provider, "a"), ["killed by SIGKILL"])

    async def test_stop(self):
        """Stopping ends every child, also one that is ending and one that does not want to."""
        provider = self.provider(*STUBBORN, grace=0.05)
        await gatherResults([provider.launch(launch_id) for launch_id in "abc"])
        for launch_id in "abc":
            await self.logged(provider, launch_id, "ready")
        ending = provider.terminate("b")
        await provider.stopService()
        self.successResultOf(ending)
        listed = await provider.list()
        self.assertEqual({one.detail for one in listed.values()}, {"killed by SIGKILL"})

    async def test_children_of_a_killed_parent(self):
        """Each child reads the end of its input when its parent is killed, and not before."""
        data_folder = self.mktemp()
        self.log_folder = os.path.join(data_folder, "logs")
        parent = Parent()
        reactor.spawnProcess(
            parent,
            sys.executable,
            [sys.executable, "-c", PARENT, data_folder],
            {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        await parent.said
        for launch_id in "ab":
            self.assertEqual(self.log_of(launch_id), "")
        parent.transport.signalProcess("KILL")
        # The children share the parent's output: it ends with the last of them.
        await parent.ended
        for launch_id in "ab":
            self.assertEqual(self.log_of(launch_id), "cut\n")
