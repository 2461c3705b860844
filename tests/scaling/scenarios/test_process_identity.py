"""Who a process is, and whether it is certainly dead."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.identity import is_certainly_alive, is_certainly_dead, process_identity

# With a name that is hard to read, it says who it is, and lives until its input ends.
PROCESS = """
import sys
with open("/proc/self/comm", "w") as name:
    name.write("a) Z 1 (b")
from bbs.scaling.identity import process_identity
print(process_identity(), flush=True)
sys.stdin.read()
"""

# The thread that the process began with ends, and another lives on.
HEADLESS = """
import ctypes, sys, threading
from pathlib import Path
from bbs.scaling.identity import process_identity

def live():
    while Path("/proc/self/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        pass
    print(process_identity(), flush=True)
    sys.stdin.read()

threading.Thread(target=live).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[sys.argv[1]], 0)
"""


class OwnIdentityTests(SynchronousTestCase):
    def test_stays_the_same(self):
        self.assertEqual(process_identity(), process_identity())

    def test_names_this_process(self):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertTrue(process_identity().startswith(f"linux:{boot}:"))
        self.assertIn(f":{os.getpid()}:", process_identity())

    def test_alive(self):
        self.assertFalse(is_certainly_dead(process_identity()))
        self.assertTrue(is_certainly_alive(process_identity()))

    def test_not_certainly_alive(self):
        machine, pid, started = process_identity().rsplit(":", 2)
        for text in (f"{machine}:{pid}:{int(started) - 1}", f"x{machine}:{pid}:{started}", ""):
            self.assertFalse(is_certainly_alive(text), text)
        self.assertFalse(is_certainly_alive(f"linux:other:1:{pid}:{started}"))


class CertaintyTests(SynchronousTestCase):
    def setUp(self):
        self.machine, self.pid, self.started = process_identity().rsplit(":", 2)

    def test_pid_that_another_process_has_now(self):
        self.assertTrue(is_certainly_dead(f"{self.machine}:{self.pid}:{int(self.started) - 1}"))

    def test_pid_that_nobody_has(self):
        pid_max = Path("/proc/sys/kernel/pid_max").read_text().strip()
        self.assertTrue(is_certainly_dead(f"{self.machine}:{pid_max}:{self.started}"))

    def test_another_boot(self):
        """Of another machine, or this one before it was started again, nothing is known."""
        _, boot, namespace = self.machine.split(":")
        other = boot[::-1]
        self.assertFalse(is_certainly_dead(f"linux:{other}:{namespace}:{self.pid}:1"))

    def test_another_pid_namespace(self):
        _, boot, _ = self.machine.split(":")
        self.assertFalse(is_certainly_dead(f"linux:{boot}:1:{self.pid}:1"))

    def test_no_identity(self):
        for text in (
            "",
            "garbage",
            ":::",
            f"{self.machine}:{self.pid}:",
            f"{self.machine}:{self.pid}:x",
            f"{self.machine}:x:1",
            f"{self.machine}:-1:1",
            f"{self.machine}:{2**80}:1",
            f"{self.machine}:{self.pid}:1\n",
        ):
            self.assertFalse(is_certainly_dead(text), text)

    def test_process_of_another_user(self):
        """Not being allowed to signal it means that it is there."""

        def kill(pid, number):
            raise PermissionError

        self.patch(os, "kill", kill)
        self.assertFalse(is_certainly_dead(process_identity()))
        self.assertTrue(is_certainly_dead(f"{self.machine}:{self.pid}:1"))

    def test_process_that_is_hidden(self):
        """A /proc that does not show it leaves doubt."""
        dead = f"{self.machine}:{self.pid}:1"
        shown, hidden = (a_proc(self.mktemp(), shows=shows) for shows in (True, False))
        self.assertTrue(is_certainly_dead(dead, shown))
        self.assertFalse(is_certainly_dead(dead, hidden))


def a_proc(folder, shows=True):
    """A folder that is as `/proc`, and `shows` this process or not."""
    proc, own = Path(folder), Path(folder, str(os.getpid()))
    random = "sys/kernel/random"
    (proc / random).mkdir(parents=True)
    (proc / random / "boot_id").write_text(Path("/proc", random, "boot_id").read_text())
    (own / "ns").mkdir(parents=True)
    (own / "ns/pid").symlink_to("/proc/self/ns/pid")
    if shows:
        (own / "stat").symlink_to("/proc/self/stat")
    (proc / "self").symlink_to(own.name)
    return proc


class WithoutProcTests(SynchronousTestCase):
    """On systems without Linux's `/proc` an identity proves nothing."""

    def setUp(self):
        self.linux = process_identity()
        self.dead = self.linux.rsplit(":", 1)[0] + ":1"
        self.nothing = Path(self.mktemp())

    def test_identity(self):
        text = process_identity(self.nothing)
        self.assertTrue(text.startswith("host:"))
        self.assertEqual(process_identity(self.nothing), text)
        self.assertIn(f":{os.getpid()}:", text)

    def test_nobody_is_certainly_dead(self):
        self.assertFalse(is_certainly_dead(process_identity(self.nothing), self.nothing))
        self.assertFalse(is_certainly_dead(self.dead, self.nothing))
        self.assertFalse(is_certainly_alive(self.linux, self.nothing))

    def test_proc_of_another_namespace(self):
        """There, pids would be other processes."""
        proc = a_proc(self.mktemp())
        self.assertEqual(process_identity(proc), self.linux)
        self.assertTrue(is_certainly_dead(self.dead, proc))
        (proc / "elsewhere").symlink_to(str(os.getpid()))
        (proc / "self").unlink()
        (proc / "self").symlink_to("elsewhere")
        self.assertTrue(process_identity(proc).startswith("host:"))
        self.assertFalse(is_certainly_dead(self.dead, proc))

    def test_proc_without_stat(self):
        """A /proc that lacks what it takes is none."""
        self.assertTrue(process_identity(a_proc(self.mktemp(), shows=False)).startswith("host:"))


class RealProcessTests(SynchronousTestCase):
    def start(self, program, *arguments):
        """A process, and the identity that it says."""
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            text=True,
        )
        self.addCleanup(process.communicate)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    def test_life_and_death(self):
        """It lives until it is killed; from then on it is dead, waited for or not."""
        process, text = self.start(PROCESS)
        self.assertFalse(is_certainly_dead(text))
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertTrue(is_certainly_dead(text))
        process.wait()
        self.assertTrue(is_certainly_dead(text))

    def test_stopped_process(self):
        """One that was only halted is not dead."""
        process, text = self.start(PROCESS)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        self.assertFalse(is_certainly_dead(text))
        process.send_signal(signal.SIGCONT)

    def test_first_thread_ended(self):
        """A process whose first thread has ended lives as long as another does."""
        if os.uname().machine not in ("x86_64", "aarch64"):
            self.skipTest("the number of a system call is known for two machines")
        process, text = self.start(HEADLESS, os.uname().machine)
        self.assertIn(f":{process.pid}:", text)
        self.assertFalse(is_certainly_dead(text))

    def test_fork(self):
        """A fork is another process."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writing, process_identity().encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        text = os.read(reading, 200).decode()
        os.close(reading)
        os.close(writing)
        self.assertIn(f":{pid}:", text)
        self.assertTrue(is_certainly_dead(text))
