"""What the tutorial shows on terminals is what people see who follow it."""

from __future__ import annotations

import re
import shutil
import signal

from tests.docs.tutorial import Block, Project, blocks
from tests.integration.service import START_TIMEOUT, Process, ServiceCase, eventually
from tests.integration.terminal import Terminal
from tests.integration.test_telnet_gateway import Program
from tests.services.servers import free_port

_PROMPT = re.compile(r"(?P<prompt>|ann|lobby|bob)> (?P<typed>.+)")
_SAID = re.compile(r"\d\d:\d\d (?P<name>\w+)  (?P<typed>.+)")
_QUESTION = re.compile(r"(Password for \w+|Repeat the password):")
_WHO = re.compile(r"(?:.* )?(?P<name>\w+)'s terminal")


def usual(text: str) -> str:
    """A text with the same port and time wherever there is one: ports are whichever are free."""
    text = re.sub(r"(?<=127\.0\.0\.1)([: ])\d{4,5}", r"\1PORT", text)
    return re.sub(r"^\d\d:\d\d(?= )", "TIME", text, flags=re.M)


class Tutorial(ServiceCase):
    async def test_step_by_step(self) -> None:
        self.services = self.service()
        self.project = Project(self.services.folder / "lobby")
        self.services.folder = self.project.folder
        self.up: Process | None = None
        self.people: dict[str, Terminal] = {}
        for block in blocks():
            if block.file:
                self.project.write(block)
            elif block.kind == "text":
                await self.talk(block)
            for command, printed in block.commands() if block.kind == "console" else ():
                if command == "rm -r lobby-data":
                    await self.end()
                    shutil.rmtree(self.project.folder / "lobby-data")
                elif command == "lobby up":
                    await self.start(printed)
                elif command.startswith("lobby "):
                    await self.end()
                    said = self.project.run(command)
                    self.assertEqual(self.at_home(said), printed)

    async def start(self, printed: str) -> None:
        """`lobby up`, where nobody else is."""
        await self.end()
        self.services.port, self.telnet = free_port(), free_port()
        place = ("--port", str(self.services.port))
        environ = {
            **self.project.environ,
            "BBS_TELNET_LISTEN": f"tcp:{self.telnet}:interface=127.0.0.1",
        }
        self.up = self.services.start(*self.project.script(), "up", *place, environ=environ)
        *_, last = printed.splitlines(keepends=True)
        await self.up.says(last.partition(":")[0])
        await eventually(lambda: self.up and self.up.output.endswith("\n"), "it says all")
        self.assertEqual(usual(self.at_home(self.up.output)), usual(printed))

    async def end(self) -> None:
        if self.up:
            await self.up.end(signal.SIGINT)

    def at_home(self, text: str) -> str:
        """As if the reader were ann."""
        return text.replace(str(self.project.folder), "/home/ann/lobby")

    async def talk(self, block: Block) -> None:
        """Somebody types what a block shows, and sees what it shows."""
        who = _WHO.match(block.head)
        assert who, block.head
        name, shown = who["name"].lower(), block.text
        if block.text.startswith("$ "):
            command, shown = block.text.removeprefix("$ ").split("\n", 1)
            self.people[name] = self.begin(command)
        terminal = self.people[name]
        sofar: list[str] = []
        for line in shown.splitlines():
            if typed := _PROMPT.fullmatch(line):
                await self.sees(terminal, sofar)
                await terminal.prompts(re.escape(typed["prompt"] + ">"), START_TIMEOUT)
                terminal.enter(typed["typed"])
            elif (said := _SAID.fullmatch(line)) and said["name"] == name:
                await self.sees(terminal, sofar)
                terminal.enter(said["typed"])  # in a talk, in which it leaves the prompt
            elif _QUESTION.fullmatch(line):
                await terminal.prompts(re.escape(line))
                terminal.enter("secret")
            sofar.append(line)
        await self.sees(terminal, sofar)

    def begin(self, command: str) -> Terminal:
        program, *_ = command.split()
        if program == "telnet":
            return Program(self.services, self.telnet, "telnet")
        environ = {**self.project.environ, "XDG_STATE_HOME": str(self.project.folder / "state")}
        argv = (*self.project.script(), "client")
        return Program(self.services, self.services.port, *argv, environ=environ)

    async def sees(self, terminal: Terminal, lines: list[str]) -> None:
        """The terminal shows `lines`, one after the other."""
        wanted = usual("\n".join(lines))
        await eventually(
            lambda: wanted in usual("\n".join(terminal.lines)),
            f"{wanted!r} is shown: see {terminal.dump()}",
        )
