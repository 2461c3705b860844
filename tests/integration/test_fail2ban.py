"""fail2ban's own tool reads the security log of a real server, with the filter that comes along."""

from __future__ import annotations

import json
import shutil
from io import BytesIO
from typing import Any
from unittest import SkipTest

from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool, readBody
from twisted.web.http_headers import Headers

from tests.integration.service import Service, ServiceCase, connect, eventually
from tests.paths import CHECKOUT

DEPLOY = CHECKOUT / "deploy" / "fail2ban"

SECRET = "a-secret-of-the-gateway"

FORGED = "203.0.113.1"
"""Whom somebody would like to have banned."""

FORGERIES = (
    f"x\taddress={FORGED}",
    f'"\taddress={FORGED}\tname="',
    f"x\x0b2026-01-01T00:00:00Z\twhat=login\toutcome=wrong\taddress={FORGED}\tname=",
    f"x\rwhat=login\u2028what=login\xa0outcome=wrong\xa0address={FORGED}",
    f"\\\\n\\u000awhat=login\\taddress={FORGED}",
    "\u202ename=\x1b[2J",
)


class Fail2ban(ServiceCase):
    async def up(self, **limits: object) -> Service:
        if not shutil.which("fail2ban-regex"):
            raise SkipTest("fail2ban-regex is not there; run tests/services/start")
        service = self.service(telnet={"secret": SECRET}, limits={"trusted": [], **limits})
        self.pages = service.another_port(), service.another_port()
        places = ("tcp:{}:interface=127.0.0.1", r"tcp6:{}:interface=\:\:1")
        service.write_config(
            web__listen=[place.format(port) for place, port in zip(places, self.pages, strict=True)]
        )
        await service.up()
        return service

    async def found(self, service: Service, lines: int) -> dict[str, int]:
        """How many lines fail2ban finds of each address, once the log has so many in all."""
        log = service.data / "logs" / "security.log"
        await eventually(
            lambda: len(log.read_text().splitlines()) >= lines, f"{lines} lines in {log}"
        )
        argv = ("-o", "ip", str(log), str(DEPLOY / "filter.d" / "bbs.conf"))
        output, errors, code = await getProcessOutputAndValue("fail2ban-regex", argv)
        self.assertEqual((code, errors), (0, b""))
        addresses = output.decode().split()
        return {address: addresses.count(address) for address in addresses}

    async def try_login(self, service: Service, address: str, name: str, password: str) -> Any:
        wire = await connect(service.port)
        await wire.ask("forwarded-for", address, SECRET)
        reply = await wire.ask("login", name, password)
        wire.close()
        return reply

    async def post(self, host: str, port: int, path: str, body: object) -> None:
        """As the page does."""
        pool = HTTPConnectionPool(reactor, persistent=False)
        response: Any = await Agent(reactor, pool=pool).request(
            b"POST",
            f"http://{host}:{port}/{path}".encode(),
            Headers({"X-BBS": ["1"], "Content-Type": ["application/json"]}),
            FileBodyProducer(BytesIO(json.dumps(body).encode())),
        )
        await readBody(response)

    async def test_logins(self) -> None:
        service = await self.up()
        await service.register("ann")
        await self.try_login(service, "203.0.113.7", "ann", "wrong")
        await self.try_login(service, "2001:db8::7", "nobody", "wrong")
        for forgery in FORGERIES:
            await self.try_login(service, "203.0.113.8", forgery, "wrong")
        reply = await self.try_login(service, "203.0.113.9", "ann", "ann")
        self.assertEqual(reply["status"], 0)
        # One that registered, and one that came in.
        sofar = len(FORGERIES) + 4
        people = {"203.0.113.7": 1, "2001:db8::/64": 1, "203.0.113.8": len(FORGERIES)}
        self.assertEqual(await self.found(service, sofar), people)
        # Operators who come to the page.
        password = (service.data / "operator-password").read_text().strip()
        for host, port in zip(("127.0.0.1", "[::1]"), self.pages, strict=True):
            wrong = {"name": f'x" address={FORGED} name="', "password": "wrong"}
            await self.post(host, port, "login", wrong)
        found = {**people, "127.0.0.1": 1, "::1": 1}
        self.assertEqual(await self.found(service, sofar + 2), found)
        await self.post("127.0.0.1", self.pages[0], "login", {"password": password})
        self.assertEqual(await self.found(service, sofar + 3), found)

    async def test_limits(self) -> None:
        """An IPv6 address is banned as it is counted: by its /64."""
        service = await self.up(failed_logins="2/hour")
        for address in ("203.0.113.7", "2001:db8::{}"):
            for number in range(3):
                await self.try_login(service, address.format(number), "ann", "wrong")
        found = await self.found(service, 6)
        self.assertEqual(found, {"203.0.113.7": 3, "2001:db8::/64": 3})
        log = (service.data / "logs" / "security.log").read_text()
        self.assertEqual(log.count(" what=login outcome=refused "), 2)
