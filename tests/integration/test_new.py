"""What `bbs new` makes, by the commands that it prints: installed, tested, and used by people.

One project of each kind is in an environment with our wheel alone.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.environments import environment, install, once, run, wheel
from tests.integration.service import BIN, START_TIMEOUT, eventually
from tests.integration.shared import SharedCase
from tests.integration.test_examples import ExamplesCase
from tests.integration.test_telnet_gateway import Piped, Program
from tests.paths import CHECKOUT

PROJECTS = {"service": "auctions", "commands": "notes", "provider": "machines"}

OFFLINE = "export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_DISABLE_PIP_VERSION_CHECK=1"
"""pip finds nothing but what is here, and builds with that (0 means no isolation)."""

_environments = ExitStack()
atexit.register(_environments.close)


@once
def workplace() -> tuple[Path, Path, dict[str, str]]:
    """Where somebody has made the projects, by our wheel: the `bin` folder of the environment, the
    folder with the projects, and what the printed commands said, but for the last, which runs."""
    folder = Path(tempfile.mkdtemp(prefix="bbs-new-"))
    atexit.register(shutil.rmtree, folder)
    bin_folder = _environments.enter_context(environment())
    install(bin_folder, "--no-index", wheel())
    said = {}
    for kind, name in PROJECTS.items():
        lines = run(bin_folder / "bbs", "new", name, "--kind", kind, cwd=folder).splitlines()
        assert len(lines) <= 5, lines
        said[kind] = run("sh", "-ec", "\n".join([OFFLINE, *lines[:-1]]), cwd=folder)
    return bin_folder, folder, said


class Projects(SynchronousTestCase):
    def test_their_tests_pass(self) -> None:
        for kind, said in workplace()[2].items():
            self.assertRegex(said.splitlines()[-1], r"^PASSED \(successes=\d+\)$", kind)

    def test_twistd_has_the_servers(self) -> None:
        bin_folder, folder, _ = workplace()
        offered = run(bin_folder / "twistd", "--help", cwd=folder)
        self.assertNotIn("Traceback", offered)
        for name in ("auctions-login", "auctions-app", "auctions-telnet"):
            self.assertRegex(offered, rf"\n +{name} ")

    def test_a_name_that_is_installed(self) -> None:
        bin_folder, folder, _ = workplace()
        again = f"! {bin_folder}/bbs new notes 2>&1"
        command = f"{again}; mkdir elsewhere; cd elsewhere; {again}"
        here, installed = run("sh", "-ec", command, cwd=folder).splitlines()
        self.assertIn("notes is here already", here)
        self.assertIn("notes is installed here already", installed)

    def test_mypy_finds_nothing(self) -> None:
        """With the configuration that is made."""
        flags = ("--follow-imports=silent", "--cache-dir", CHECKOUT / ".mypy_cache/new")
        for name in PROJECTS.values():
            argv = ("env", f"MYPYPATH={CHECKOUT}", BIN / "mypy", *flags)
            self.assertIn("no issues found", run(*argv, cwd=workplace()[1] / name))


class NewCase(ExamplesCase):
    def setUp(self) -> Any:
        self.bin, self.folder, _ = workplace()
        return SharedCase.setUp(self)


class Auctions(NewCase):
    async def test_by_its_client(self) -> None:
        service = await self.up("auctions")
        ann, bob = (self.client(service, name="auctions") for _ in range(2))
        for client, name in ((ann, "ann"), (bob, "bob")):
            client.enter(f"register {name} secret", f"login {name} secret")
            await client.says("Success!\nSuccess!\n")
        ann.enter("offers ann", "offer ann a  lamp")
        await ann.says("Nobody offers anything.\n")
        await bob.says("ann offers a  lamp (take 1)\n")
        bob.enter("offers bob", "take bob 1", "take bob 1")
        await bob.says("1: a  lamp (ann)\n")
        await ann.says("bob takes a  lamp\n")
        await bob.says("There is no such offer\n")

    async def test_by_telnet_and_nc(self) -> None:
        service = await self.up("auctions")
        telnet = Program(service, service.telnet_port, "telnet")
        await telnet.prompts("auctions>")
        telnet.enter("register ann")
        for prompt in ("Password for ann:", "Repeat the password:"):
            await telnet.prompts(prompt)
            telnet.enter("secret")
        await telnet.shows("Welcome to auctions. Press Enter to begin.")
        telnet.enter("login ann secret")
        await telnet.prompts("ann>")
        nc = Piped(service, service.telnet_port, "nc")
        nc.transport.write(b"register bob secret\nlogin bob secret\noffer a chair\n")
        await telnet.shows("bob offers a chair")
        telnet.enter("offers")
        await telnet.shows("a chair (bob)")
        telnet.enter("help")
        await telnet.shows("Offers:")
        await telnet.shows("Takes what somebody else offers.")
        [number] = [line.split(":")[0] for line in telnet.lines if line.endswith(": a chair (bob)")]
        telnet.enter(f"take {number}")
        await nc.says(b"ann takes a chair")


class Notes(NewCase):
    async def test_on_the_board(self) -> None:
        run("sh", "-ec", f"{OFFLINE}; {self.bin}/pip install ./notes", cwd=self.folder)
        service = await self.up("bbs")
        ann = self.client(service)
        ann.enter("register ann secret", "login ann secret", "notes ann", "notes-add ann buy tea")
        await ann.says("You have no notes.\n")
        ann.enter("notes ann", "help", "notes-remove ann 1", "notes-remove ann 1")
        await ann.says("1: buy tea\n")
        await ann.says("notes <user>\nnotes-add <user> <text>\nnotes-remove <user> <number>\n")
        await ann.says("There is no such note\n")


class Machines(NewCase):
    async def test_it_launches_app_servers(self) -> None:
        run("sh", "-ec", f"{OFFLINE}; {self.bin}/pip install ./machines", cwd=self.folder)
        service = self.service()
        environ = {"BBS_FLEET_PROVIDER": "machines", "BBS_MACHINES_GRACE": "20"}
        up = self.start_up("bbs", service, environ=environ)
        await up.says("bbs is ready")
        ann = self.client(service)
        ann.enter("register ann secret", "login ann secret", "list-friend ann")
        await ann.says("Success!\nSuccess!\n")
        fleet = service.start(self.bin / "bbs", "fleet", "list", "--json", "--data", service.data)
        await fleet.ended(START_TIMEOUT)
        [server] = json.loads(fleet.output)
        self.assertEqual(server["state"], "ready")
        [child] = up.children()
        await up.end()
        self.assertEqual(up.exit_code, 0, up.errors)
        await eventually(lambda: not os.path.exists(f"/proc/{child}"), "the app server has ended")
