"""How a person at a terminal reaches a service, and leaves it when the terminal is closed."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as system_reactor

from tests.certificates import certificate
from tests.integration.service import Service
from tests.integration.shared import SharedCase
from tests.integration.terminal import Terminal

reactor: Any = system_reactor


class Reaching(SharedCase):
    service_up: Service

    def terminal(self, *arguments: str, **options: Any) -> Terminal:
        return Terminal(self.service_up, *arguments, **options)

    async def test_the_terminal_is_closed(self) -> None:
        """It ends by itself, in order, and nothing is left of it."""
        self.service_up = await self.shared()
        for environ in ({}, {"TERM": "dumb"}):
            terminal = self.terminal(environ=environ)
            await terminal.shows("no user>")
            terminal.type("half")
            await terminal.shows("half")
            terminal.hang_up()
            await terminal.ended()
            self.assertEqual(terminal.exit_code, 1)

    async def test_the_last_service(self) -> None:
        """Who names none goes on with that one; and what answers nothing is said to be none."""
        self.service_up = await self.shared()
        terminal = self.terminal()
        await terminal.prompts(".*no user>")
        terminal.enter("exit")
        await terminal.ended()
        terminal = self.terminal(named=False)
        await terminal.shows(f"Connected to 127.0.0.1:{self.service_up.port}.")
        terminal.enter("exit")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)

    async def test_by_tls(self) -> None:
        """With a certificate for the address that was typed; and without, in one line."""
        os.makedirs(folder := os.path.abspath(self.mktemp()))
        key = os.path.join(folder, "key.pem")
        certificate(key, ("127.0.0.1",))
        service = self.service_up = self.service()
        where = f"ssl:{service.port}:interface=127.0.0.1:privateKey={key}"
        service.write_config(login__listen=where)
        up = service.bbs("up", "--data", service.data, "--config", service.config)
        await up.says(f"bbs is ready: bbs client --tls 127.0.0.1 {service.port}\n")
        terminal = self.terminal("--tls", "--ca", key)
        await terminal.prompts(".*no user>")
        for line in ("register ann", "login ann"):
            terminal.enter(line)
            await terminal.shows("Password for ann:")
            terminal.enter("pw")
            if line == "register ann":
                await terminal.shows("Repeat the password:")
                terminal.enter("pw")
        await terminal.prompts("ann@127.*>")
        terminal.enter("locate")
        await terminal.shows("127.0.0.1:")
        terminal.enter("exit")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 0)
        terminal = self.terminal("--tls")
        await terminal.shows("its certificate is self-signed")
        await terminal.ended()
        self.assertEqual(terminal.exit_code, 1)
