"""What is written for clients, judged by others: mypy, AsyncAPI's validator, and asyncio."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import certificate
from tests.integration.service import START_TIMEOUT, Process, Service
from tests.integration.shared import SharedCase
from tests.paths import CHECKOUT

LOBBY = CHECKOUT / "examples/lobby/src"
SERVICES = ("bbs", "lobby:lobby", "tests.cli.test_description:odds")

ENVIRON = {"PYTHONPATH": os.pathsep.join(map(str, (CHECKOUT, LOBBY)))}


def printed(*arguments: str) -> str:
    """What `bbs` prints."""
    return subprocess.run(
        [sys.executable, "-m", "bbs", *arguments],
        env={**os.environ, **ENVIRON},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


class Typed(SynchronousTestCase):
    deterministic = True

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def mypy(self, *files: str) -> str:
        """What `mypy --strict` says of files in the test's folder."""
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, *files],
            cwd=self.folder,
            env={**os.environ, **ENVIRON},
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    def test_strictly(self) -> None:
        """Each written client, as a module and as a stub, and the bots that use them."""
        files = ["doorman.py", "greeter_asyncio.py", "wrong.py"]
        for name in files[:2]:
            shutil.copy(CHECKOUT / "examples/greeter" / name, self.folder)
        for service in SERVICES:
            name = service.rpartition(":")[2]
            for kind, *options in (("client",), ("aio", "--asyncio")):
                ends = ".pyi" if name == "lobby" else ".py"
                files.append(f"{name}_{kind}{ends}")
                written = printed("stubs", service, *options)
                (self.folder / files[-1]).write_text(written)
        (self.folder / "wrong.py").write_text(
            "from bbs_aio import BbsClient\n"
            "async def main(client: BbsClient) -> int:\n"
            "    await client.send('ann', 'bob')\n"
            "    return (await client.who('ann')).friend[0].status\n"
        )
        *errors, last = self.mypy(*files).splitlines()
        self.assertEqual(
            errors,
            [
                'wrong.py:3: error: Missing positional argument "message" in call to "send" of'
                ' "BbsClient"  [call-arg]',
                "wrong.py:4: error: Incompatible return value type"
                ' (got "str", expected "int")  [return-value]',
            ],
        )
        self.assertEqual(last, f"Found 2 errors in 1 file (checked {len(files)} source files)")


PARSER = "@asyncapi/parser@3.6.6"
"""AsyncAPI's validator, of npm."""


@cache
def validator() -> Path:
    """A folder with the validator, which is installed once."""
    folder = CHECKOUT / ".services" / "asyncapi"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run in several processes.
        if not (folder / "installed").exists():
            quietly = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save")
            command = ["npm", "install", *quietly, "--prefix", str(folder), PARSER]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            shutil.copy(CHECKOUT / "tests/integration/asyncapi.js", folder)
            (folder / "installed").touch()
    return folder / "asyncapi.js"


def diagnostics(document: str) -> dict[str, str]:
    """The errors and warnings about a document, by their places; nothing that is only advice."""
    done = subprocess.run(
        ["node", validator()], input=document, check=True, stdout=subprocess.PIPE, text=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return {
        "/".join(map(str, each["path"])): each["message"] for each in found if each["severity"] < 2
    }


class Described(SynchronousTestCase):
    def test_asyncapi_says_so(self) -> None:
        for service in SERVICES:
            self.assertEqual(diagnostics(printed("spec", service)), {}, service)

    def test_it_finds_mistakes(self) -> None:
        document = json.loads(printed("spec"))
        document["operations"]["command.send"]["action"] = "sends"
        document["operations"]["event.message"]["channel"] = {"$ref": "#/channels/nowhere"}
        found = diagnostics(json.dumps(document))
        self.assertIn("operations/command.send/action", found)
        self.assertIn("operations/event.message/channel/$ref", found)


class Asyncio(SharedCase):
    """Programs that know asyncio alone, each in a process of its own."""

    async def run_program(self, service: Service, text: str, **environ: str) -> Process:
        file = service.folder / "program.py"
        file.write_text(HEAD + text)
        process = service.start(
            *(sys.executable, "-X", "dev", file, str(service.port)),
            environ={**ENVIRON, **environ},
        )
        await process.ended(START_TIMEOUT)
        self.assertEqual((process.exit_code, process.errors), (0, ""))
        return process

    async def test_people_talk(self) -> None:
        process = await self.run_program(await self.shared(), TALK)
        talk = ["invite from ann", "friend with bob", "ann: hello bob", "ann: again"]
        again = ["friends: bob", "bob logs out: 0 left", "refused: Not login yet"]
        self.assertEqual(process.output.splitlines(), [*talk, *again] * 2)

    async def test_what_fails(self) -> None:
        process = await self.run_program(await self.shared(), FAILURES)
        self.assertEqual(
            process.output.splitlines(),
            [
                "Refused: No such user or password error",
                "TimeoutError: ",
                "the next request: Pong!",
                "ValueError: another iteration waits for the events of this user",
                "Overrun: more than 3 events waited to be taken",
                "closed",
                "Unreachable",
                "Unreachable",
            ],
        )

    async def test_by_tls(self) -> None:
        """Nothing waits for a reactor that does not run."""
        service = self.service()
        key = str(service.folder / "key.pem")
        certificate(key, ("localhost",))
        where = f"ssl:{service.port}:interface=127.0.0.1:privateKey={key}"
        service.write_config(login__listen=where)
        up = service.bbs("up", "--data", service.data, "--config", service.config)
        await up.says(f"bbs is ready: bbs client --tls localhost {service.port}\n")
        process = await self.run_program(service, BY_TLS, CA=key)
        self.assertEqual(process.output.splitlines(), ["Pong!", "friends:", "NotSecure"])


HEAD = """
import asyncio
import os
import sys

from bbs.client import ChatMessage, ClientError, Refused, aio

PORT = int(sys.argv[1])


def end():
    assert "twisted.internet.reactor" not in sys.modules


async def tried(coroutine):
    try:
        await coroutine
    except (ClientError, ValueError, TimeoutError) as error:
        return error
"""

TALK = """
async def hear(client, count):
    async for event in client.events("bob"):
        if isinstance(event, ChatMessage):
            print(f"{event.sender}: {event.text}")
        elif event.members["event"] in ("invite", "friend"):
            print(event.members["event"], *[f"{name} {event.members[name]}"
                for name in ("from", "with") if name in event.members])
        count -= 1
        if not count:
            break


async def main(host):
    async with aio.connect(host, PORT) as client:
        for name in ("ann", "bob"):
            await client.register(name, "1")
            await client.login(name, "1")
        await client.listen("bob")
        await client.ask("invite", "ann", "bob")
        await hear(client, 1)
        await client.ask("accept-invite", "bob", "ann")
        print("friend with bob")
        # What comes between two iterations waits.
        hearing = asyncio.create_task(hear(client, 1))
        await client.ask("send", "ann", "bob", "hello bob")
        await hearing
        await client.ask("send", "ann", "bob", "again")
        await hear(client, 1)
        print("friends:", *(await client.ask("list-friend", "ann")).names("friend"))
        left = []

        async def rest():
            async for event in client.events("bob"):
                left.append(event)

        hearing = asyncio.create_task(rest())
        await asyncio.sleep(0)
        token = client.token("bob")
        await client.logout("bob")
        await hearing
        print(f"bob logs out: {len(left)} left")
        print("refused:", await tried(client.resume("bob", token)))
        await client.login("bob", "1")
        await client.delete("ann")
        await client.delete("bob")
        assert client.users == ()


asyncio.run(main("127.0.0.1"))
end()
asyncio.run(main("localhost"))  # a second loop, and a name that is looked up
"""

FAILURES = """
aio.MOST_WAITING = 3


async def rest(client):
    async for event in client.events("ann"):
        pass
    return "closed"


async def main():
    async with aio.connect("127.0.0.1", PORT) as client:
        error = await tried(client.login("nobody", "1"))
        print(f"{type(error).__name__}: {error}")
        await client.register("ann", "1")
        await client.login("ann", "1")
        error = await tried(asyncio.wait_for(client.ask("list-friend", "ann"), 0))
        print(f"{type(error).__name__}: {error}")
        print("the next request:", (await client.request("ping")).message)
        await client.listen("ann")
        await client.ask("create-group", "ann", "chess")
        for number in range(2):
            await client.ask("send-group", "ann", "chess", str(number))
        async for event in client.events("ann"):
            break
        taken = client.events("ann")  # A loop that was left is over at once.
        await anext(taken)
        taking = asyncio.create_task(anext(taken))
        await asyncio.sleep(0)
        error = await tried(anext(client.events("ann")))
        print(f"{type(error).__name__}: {error}")
        for number in range(6):
            await client.ask("send-group", "ann", "chess", str(number))
        await taking
        error = None
        while error is None:
            error = await tried(anext(taken))
        print(f"{type(error).__name__}: {error}")
        ends = asyncio.create_task(rest(client))
        await asyncio.sleep(0)
    print(await ends)
    for host in ("127.0.0.1", "nowhere.invalid"):
        try:
            async with aio.connect(host, 1):
                print("connected")
        except ClientError as error:
            print(type(error).__name__)


asyncio.run(main())
"""

BY_TLS = """
async def main():
    async with aio.connect("localhost", PORT, ca=os.environ["CA"]) as client:
        print((await client.request("ping")).message)
        await client.register("ann", "1")
        await client.login("ann", "1")
        print("friends:", *(await client.ask("list-friend", "ann")).names("friend"))
    try:
        async with aio.connect("localhost", PORT, tls=True):
            print("connected")
    except ClientError as error:
        print(type(error).__name__)


asyncio.run(main())
"""
