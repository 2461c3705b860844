"""The local provider against a reactor that starts nothing."""

import errno
import fcntl
import os
import signal
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.interfaces import LaunchFailed, LaunchRefused
from bbs.scaling.local import LocalProvider
from bbs.scaling.providers import LaunchKit
from tests.core.tracing.case import SOMEBODYS


class Process:
    """A process that does what the test says."""

    def __init__(self, protocol, pid):
        self.protocol = protocol
        self.pid = pid
        self.signals = []
        self.closed = False
        self.exited = False

    def signalProcess(self, name):
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(name)

    def loseConnection(self):
        self.closed = True

    def exit(self, status=0, signal_number=None):
        reason = ProcessTerminated(status, signal_number) if signal_number or status else None
        self.exited = True
        self.protocol.processExited(Failure(reason or ProcessDone(status)))


class Reactor(Clock):
    """A clock that keeps what it is asked to spawn."""

    def __init__(self):
        super().__init__()
        self.processes = []
        self.spawned = []
        self.error = None
        self.exit_at_once = False

    def spawnProcess(self, protocol, executable, args=(), env=None, **options):
        if self.error:
            raise self.error
        self.spawned.append((executable, args, env, options))
        process = Process(protocol, 100 + len(self.processes))
        self.processes.append(process)
        protocol.makeConnection(process)
        if self.exit_at_once:
            process.exit(7)


class LocalProviderTests(SynchronousTestCase):
    reactor: Any

    def setUp(self):
        self.reactor = Reactor()
        self.data_folder = self.mktemp()
        self.log_folder = os.path.join(self.data_folder, "logs")
        self.begin()

    def begin(self, grace=5.0, own_logs=False, ended_kept=1000, **given):
        """Have another provider, with these options, and a kit in which this is given."""
        kit = LaunchKit(
            self.reactor,
            None,
            "local:here",
            lambda launch_id: ["bbs-app", "--server-id", launch_id],
            {"BBS_X": "1"},
            lambda launch_id: "",
            lambda stop: None,
            host="192.0.2.1",
            data_folder=self.data_folder,
            **given,
        )
        self.provider = LocalProvider(kit, grace=grace, own_logs=own_logs, ended_kept=ended_kept)
        self.provider.startService()

    def launch(self, *launch_ids):
        """Launch each; the process of the last."""
        for launch_id in launch_ids:
            self.successResultOf(self.provider.launch(launch_id))
        return self.reactor.processes[-1]

    def details(self):
        listed = self.successResultOf(self.provider.list())
        return {launch_id: (one.alive, one.detail) for launch_id, one in listed.items()}

    def test_spawns_what_it_was_told(self):
        """The command for that id, the given environment, input from a pipe, output to the log."""
        self.launch("a")
        [(executable, args, env, options)] = self.reactor.spawned
        self.assertEqual(executable, "bbs-app")
        self.assertEqual(args, ["bbs-app", "--server-id", "a"])
        self.assertEqual(env, {"BBS_X": "1"})
        fds = options.pop("childFDs")
        self.assertEqual(options, {})
        self.assertEqual(set(fds), {0, 1, 2})
        self.assertEqual(fds[0], "w")
        self.assertEqual(fds[1], fds[2])

    def test_traces_of_launches(self):
        traces = {"a": SOMEBODYS}
        self.begin(traceparent=lambda launch_id: traces.get(launch_id, ""))
        self.launch("a", "b")
        environments = [env for _, _, env, _ in self.reactor.spawned]
        self.assertEqual(environments, [{"BBS_X": "1", "TRACEPARENT": SOMEBODYS}, {"BBS_X": "1"}])

    def test_host(self):
        self.launch("a")
        self.assertEqual(self.successResultOf(self.provider.list())["a"].host, "192.0.2.1")

    def test_bad_id(self):
        """An id that could leave the log folder is a bug of the caller's."""
        for bad in ("", "../x", "a/b", "a b", "a\n", "x" * 65, "é"):
            self.assertRaises(ValueError, self.provider.launch, bad)
        self.assertEqual(self.reactor.processes, [])

    def test_out_of_processes(self):
        """What runs out may come back: such a launch failed, and the id can be asked for again."""
        self.reactor.error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
        failure = self.failureResultOf(self.provider.launch("a"), LaunchFailed)
        self.assertNotIsInstance(failure.value, LaunchRefused)
        self.assertIn("temporarily unavailable", str(failure.value))
        self.assertEqual(self.details(), {})
        self.reactor.error = None
        self.launch("a")
        self.assertEqual(self.details(), {"a": (True, "process 100")})

    def test_no_such_program(self):
        """An operator has to see to that."""
        self.reactor.error = FileNotFoundError(errno.ENOENT, "No such file", "bbs-app")
        failure = self.failureResultOf(self.provider.launch("a"), LaunchRefused)
        self.assertIn("bbs-app", str(failure.value))

    def test_closes_the_log(self):
        """The log's descriptor is the child's alone, whether it started or not."""
        before = os.listdir("/proc/self/fd")
        self.launch("a")
        self.reactor.error = FileNotFoundError(errno.ENOENT, "No such file", "bbs-app")
        self.failureResultOf(self.provider.launch("b"), LaunchRefused)
        self.assertEqual(os.listdir("/proc/self/fd"), before)

    def test_exit_within_launch(self):
        """A child that the reactor finds ended while it starts it is not alive for ever."""
        self.reactor.exit_at_once = True
        self.launch("a")
        self.assertEqual(self.details(), {"a": (False, "exited with 7")})

    def test_how_it_ended(self):
        self.launch("a").exit(0)
        self.launch("b").exit(3)
        self.launch("c").exit(None, signal.SIGSEGV)
        self.assertEqual(
            [detail for _, detail in self.details().values()],
            ["exited with 0", "exited with 3", "killed by SIGSEGV"],
        )

    def test_real_time_signal(self):
        """A signal without a name has a number."""
        self.launch("a").exit(None, 40)
        self.assertEqual(self.details(), {"a": (False, "killed by signal 40")})

    def test_exit_closes_the_pipe(self):
        """Our end of the input is given back, even if a grandchild holds the other."""
        process = self.launch("a")
        process.exit(0)
        self.assertTrue(process.closed)

    def test_terminate_heeded(self):
        """SIGTERM; it fires at the exit, and no SIGKILL follows."""
        process = self.launch("a")
        ended = self.provider.terminate("a")
        self.assertEqual(process.signals, ["TERM"])
        self.assertEqual(self.details(), {"a": (True, "process 100, ending")})
        self.assertNoResult(ended)
        process.exit(0)
        self.successResultOf(ended)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_terminate_not_heeded(self):
        """SIGKILL comes when the grace is over, not before."""
        process = self.launch("a")
        ended = self.provider.terminate("a")
        self.reactor.advance(4.99)
        self.assertEqual(process.signals, ["TERM"])
        self.reactor.advance(0.01)
        self.assertEqual(process.signals, ["TERM", "KILL"])
        self.assertNoResult(ended)
        process.exit(None, signal.SIGKILL)
        self.successResultOf(ended)

    def test_terminate_twice(self):
        """The second waits with the first, and signals nothing."""
        process = self.launch("a")
        first, second = self.provider.terminate("a"), self.provider.terminate("a")
        self.assertEqual(process.signals, ["TERM"])
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        process.exit(0)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_terminate_what_has_just_exited(self):
        """Exited, but the reactor has not told yet: no error, and it fires when it does."""
        process = self.launch("a")
        process.exited = True
        ended = self.provider.terminate("a")
        process.exit(0)
        self.successResultOf(ended)

    def test_stop_waits_for_all(self):
        """All are asked at once; it fires with the last."""
        first, last = self.launch("a"), self.launch("b")
        stopped = self.provider.stopService()
        self.assertEqual((first.signals, last.signals), (["TERM"], ["TERM"]))
        last.exit(0)
        self.assertNoResult(stopped)
        self.reactor.advance(5.0)
        self.assertEqual(first.signals, ["TERM", "KILL"])
        first.exit(None, signal.SIGKILL)
        self.successResultOf(stopped)

    def test_starts_again(self):
        """Stopped and started, it launches again."""
        self.successResultOf(self.provider.stopService())
        self.failureResultOf(self.provider.launch("a"), LaunchFailed)
        self.provider.startService()
        self.launch("a")

    def test_forgets_the_oldest_end(self):
        """It keeps so many that have ended, and every one that lives."""
        self.begin(ended_kept=2)
        self.launch("old", "a", "b", "c", "young")
        processes = self.reactor.processes
        for index in (3, 1, 2):
            processes[index].exit(0)
        self.assertEqual(list(self.details()), ["old", "young", "a", "b"])

    def test_tells_once_for_each_change(self):
        """Starting and ending are told, after `list` knows of them."""
        told = []
        self.provider.when_changed = lambda: told.append(self.details())
        process = self.launch("a", "a")
        process.exit(0)
        self.assertEqual(told, [{"a": (True, "process 100")}, {"a": (False, "exited with 0")}])

    def test_listener_that_terminates(self):
        """`when_changed` may call back."""

        def terminate() -> None:
            self.provider.terminate("a")

        self.provider.when_changed = terminate
        process = self.launch("a")
        self.assertEqual(process.signals, ["TERM"])
        process.exit(0)
        self.assertEqual(self.details(), {"a": (False, "exited with 0")})

    def test_a_log_of_its_own(self):
        """Who keeps a log is told where it is."""
        self.begin(own_logs=True)
        self.launch("a")
        path = os.path.join(self.log_folder, "app-a.log")
        self.assertEqual(self.reactor.spawned[0][1][-1], f"--log={path}")
        self.assertTrue(os.path.exists(path))

    def test_logs_of_those_that_ended(self):
        """So many stay, and each of those that live."""
        self.begin(logs_kept=2)
        self.launch("a", "b", "c", "d")
        in_use = []
        for launch_id in "ad":
            in_use.append(
                os.open(os.path.join(self.log_folder, f"app-{launch_id}.log"), os.O_RDONLY)
            )
            fcntl.flock(in_use[-1], fcntl.LOCK_SH)
        self.launch("e", "f")
        for index in (1, 2, 4, 5):
            self.reactor.processes[index].exit(0)
        left = sorted(os.listdir(self.log_folder))
        self.assertEqual([name[4] for name in left], ["a", "d", "e", "f"])
        for descriptor in in_use:
            os.close(descriptor)

    def test_a_link_is_no_log(self):
        """What somebody has put there leads nowhere."""
        os.makedirs(self.log_folder)
        elsewhere = self.mktemp()
        with open(elsewhere, "w"):
            os.chmod(elsewhere, 0o644)
        os.symlink(os.path.abspath(elsewhere), os.path.join(self.log_folder, "app-a.log"))
        self.failureResultOf(self.provider.launch("a"), LaunchFailed)
        self.assertEqual(os.stat(elsewhere).st_mode & 0o777, 0o644)

    def test_logs_are_reopened(self):
        """Children that keep their logs are told to look, those that live."""
        for own_logs, signals in ((False, [[], []]), (True, [[], ["HUP"]])):
            self.begin(own_logs=own_logs)
            self.launch(f"a{own_logs}", f"b{own_logs}")
            ends, lives = self.reactor.processes[-2:]
            ends.exit(0)
            self.provider.reopen_logs()
            self.assertEqual([ends.signals, lives.signals], signals)
