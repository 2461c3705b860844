"""Lines typed while servers die: each comes once, or its person reads that it may not have."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.service import START_TIMEOUT, Process
from tests.integration.terminal import Terminal
from tests.integration.test_telnet_gateway import GatewayCase
from tests.integration.test_terminal import TerminalCase

LINES = int(os.environ.get("BBS_TEST_LINES", "60"))

PAUSE = 0.03  # seconds between two lines: quick, but slower than the service

MAY_BE_LOST = re.compile(r"May not have been sent: (line \d+) \(")
NOT_SENT = re.compile(r"^Not sent: (line \d+)(?: \(|$)", re.MULTILINE)

FATES = {
    (1, False, False),  # it came
    (0, True, False),  # not sent, and said so
    (0, False, True),  # nobody knows
    (1, False, True),
}
"""How often a line came, whether it was said not to be sent, and whether that was not known."""


class UnsentCase(TerminalCase):
    process: Process

    async def serve(self) -> None:
        """Have a service of the test's own, with which it may do what it likes."""
        self.service_up = self.service()
        self.process = await self.service_up.up()

    async def arrived(self) -> Counter[str]:
        """What bob has got of ann, and how often."""
        await self.service_up.find_again(self.bob)
        reply = await self.bob.asks("history", "ann")
        found = [*reply["history"]]
        while reply.get("more"):
            reply = await self.bob.asks("more", reply["more"])
            found += reply["history"]
        return Counter(each["message"] for each in found)

    async def kill_server(self) -> None:
        """Kill the app server that serves ann, if there is one at the moment."""
        for server in await self.service_up.fleet():
            if "ann" in server["people"]:
                os.kill(self.service_up.pid_of(server["id"]), signal.SIGKILL)

    async def type_while_servers_die(self, terminal: Terminal) -> None:
        """Type lines in a talk while the app server is killed twice; find what became of each."""
        lines = [f"line {number}" for number in range(LINES)]
        for number, line in enumerate(lines):
            if number in (LINES // 4, LINES // 2):
                await self.kill_server()
            terminal.enter(line)
            await deferLater(reactor, PAUSE)  # type: ignore[arg-type]
        terminal.enter("/ping")
        await terminal.shows("Pong!", 3 * START_TIMEOUT)
        await self.account_for(lines, terminal)

    async def account_for(self, lines: list[str], terminal: Terminal) -> None:
        """Find that each line came, or was shown."""
        came, shown = await self.arrived(), "\n".join(terminal.lines)
        told, unknown = NOT_SENT.findall(shown), MAY_BE_LOST.findall(shown)
        fates = {line: (came[line], line in told, line in unknown) for line in lines}
        self.assertEqual({line: fate for line, fate in fates.items() if fate not in FATES}, {})
        self.assertEqual(len({*told}), len(told))
        self.assertGreater(sum(came.values()), LINES // 2, fates)


class AtATerminal(UnsentCase):
    async def talking(self) -> Terminal:
        terminal = self.terminal()
        await terminal.log_in("ann")
        terminal.enter("talk bob")
        await terminal.talks_to("bob")
        return terminal

    async def test_a_server_is_killed(self) -> None:
        await self.friends()
        await self.type_while_servers_die(await self.talking())

    async def test_the_client_is_ended_while_nothing_can_be_reached(self) -> None:
        """The terminal shows it, or the next client if the terminal is closed."""
        await self.friends()
        ended, closed = [await self.talking() for _ in range(2)]
        await self.process.end()
        for terminal in (ended, closed):
            await terminal.shows("Connection lost. Reconnecting…")
            terminal.enter("one\rtwo")
            await terminal.shows("ann  two")
        os.kill(ended.pid, signal.SIGTERM)
        await ended.ended()
        for words in ("Not sent: one (given up)", "Not sent: two"):
            await ended.shows(words)
        closed.type("half")
        await closed.shows("> half")
        closed.hang_up()
        await closed.ended()
        await self.service_up.up()
        anew = self.terminal()
        for words in ("Not sent: one (given up)", "Not sent: two", "Not sent: half"):
            await anew.shows(words)
        self.assertFalse((anew.state / "bbs" / "unsent").exists())
        self.assertEqual(await self.arrived(), Counter())


class AtTheGateway(UnsentCase, GatewayCase):
    async def serve(self) -> None:
        self.service_up = await self.started_alone()

    async def talking(self) -> Terminal:
        await self.friends()
        telnet = await self.telnet_of(self.service_up, "ann")
        telnet.enter("talk bob")
        await telnet.prompts("ann>bob>")
        return telnet

    async def test_a_server_is_killed(self) -> None:
        await self.type_while_servers_die(await self.talking())

    async def test_the_gateway_stops(self) -> None:
        """While the app server hangs, so that a line has no reply and another waits."""
        await self.friends()
        gateway = await self.gateway(self.service_up)
        telnet = await self.telnet_of(self.service_up, "ann")
        telnet.enter("talk bob")
        await telnet.prompts("ann>bob>")
        (server,) = await self.service_up.fleet()
        pid = self.service_up.pid_of(server["id"])
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(os.kill, pid, signal.SIGCONT)
        telnet.enter("one\rtwo")
        await deferLater(reactor, 0.5)  # type: ignore[arg-type]
        await gateway.end()
        for words in (
            "May not have been sent: one (given up)",
            "Not sent: two",
            "The gateway stops. Bye!",
        ):
            await telnet.shows(words)
