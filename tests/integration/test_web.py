"""The operators' page of a real login server, by HTTP: what it shows on good days and bad ones."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, ResponseFailed, readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from bbs.storage.engines import IN_C
from tests.database_case import by_driver
from tests.integration.service import (
    BIN,
    START_TIMEOUT,
    Process,
    Service,
    ServiceCase,
    eventually,
    mysql,
)
from tests.services import common_mariadb
from tests.services.servers import free_port

LOOPBACK = "tcp:0:interface=127.0.0.1"

SECRET = "pa55-w0rd"


@implementer(IBodyProducer)
class Body:
    """A request's body."""

    def __init__(self, data: bytes) -> None:
        self.length = len(data)
        self._data = data

    def startProducing(self, consumer: Any) -> Deferred[None]:
        consumer.write(self._data)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def pauseProducing(self) -> None:
        """All was written at once."""

    def resumeProducing(self) -> None:
        """Likewise."""

    def stopProducing(self) -> None:
        """Likewise."""


def goes_on(events: Events) -> bool:
    """Whether the stream has said how things are, and what is new."""
    return bool(events.of("state") and events.of("news"))


class Events(Protocol):
    """The events of a stream, as they come."""

    def __init__(self) -> None:
        self.ended = False
        self._text = ""

    def dataReceived(self, data: bytes) -> None:
        self._text += data.decode()

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = True

    def of(self, kind: str) -> list[Any]:
        """The data of all events of a kind."""
        found = re.findall(rf"^event: {kind}\n(?:id: \d+\n)?data: (.*)\n\n", self._text, re.M)
        return [json.loads(data) for data in found]

    def news(self) -> str:
        """All sentences."""
        return "\n".join(each["text"] for each in self.of("news"))


class Web:
    """A browser at a page."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""
        self._agent = Agent(reactor)

    async def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, Headers]:
        """A request's answer: status, text and headers."""
        response = await self._request(method, path, body, headers)
        text = (await readBody(response)).decode()
        for cookie in response.headers.getRawHeaders("Set-Cookie", ()):
            self.cookie = cookie.partition(";")[0]
        return response.code, text, response.headers

    async def get(self, path: str) -> str:
        """The text of a page that is there."""
        code, text, _ = await self.ask("GET", path)
        assert code == 200, (path, code, text)
        return text

    async def state(self) -> dict[str, Any]:
        """The present."""
        state: dict[str, Any] = json.loads(await self.get("/state"))
        return state

    async def post(self, path: str, body: bytes = b"") -> tuple[int, str]:
        """What an operator is told who asks for something."""
        form = {"X_BBS": "1", "Content_Type": "application/x-www-form-urlencoded"}
        code, text, _ = await self.ask("POST", path, body, **form)
        return code, json.loads(text)["message"]

    async def stream(self, path: str = "/stream") -> Events:
        """Begin to read the events."""
        response = await self._request("GET", path, None, {})
        events = Events()
        response.deliverBody(events)
        return events

    async def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Any:
        fields = {name.replace("_", "-"): [value] for name, value in headers.items()}
        if self.cookie:
            fields["Cookie"] = [self.cookie]
        url = f"http://127.0.0.1:{self.port}{path}".encode()
        producer = None if body is None else Body(body)
        return await self._agent.request(method.encode(), url, Headers(fields), producer)


class WebCase(ServiceCase):
    """A test case with pages."""

    def paged(self, **sections: Mapping[str, object]) -> Service:
        """A service whose login servers have pages, with the operator `liz`."""
        service = self.service(**sections)
        path = service.folder / "passwords"
        path.write_text(f"liz:{SECRET}\n")
        path.chmod(0o600)
        service.write_config(web__listen=LOOPBACK, web__password_file=str(path))
        return service

    async def page_of(self, process: Process) -> Web:
        """The page of a login server that runs."""
        await process.says("BoundedSite starting on ")
        found = re.search(r"BoundedSite starting on (\d+)", process.output)
        assert found is not None
        return Web(int(found[1]))

    async def until(self, web: Web, condition: Any, what: str) -> dict[str, Any]:
        """The present, once it is as `condition` wants it."""

        async def look() -> dict[str, Any] | None:
            state = await web.state()
            return state if condition(state) else None

        return await eventually(look, what, START_TIMEOUT)


class Pages(WebCase):
    async def test_a_day(self) -> None:
        """People come and talk; an operator starts a server and drains another."""
        service = self.paged(fleet={"spare": 0}, app={"capacity": 2})
        process = await service.login_server()
        web = await self.page_of(process)
        await self.until(web, lambda state: state["free_places"] == 2, "a server is ready")
        self.assertEqual(await web.get("/health"), "ok\n")
        self.assertEqual(await web.get("/ready"), "ready\n")
        self.assertIn("<html", await web.get("/"))
        events = await web.stream()
        await service.register("ann", "bob")
        ann, bob = await service.person("ann"), await service.person("bob")
        await service.befriend(ann, bob)
        for _ in range(20):
            await ann.asks("send", "bob", "hello")
        state = await self.until(
            web,
            lambda state: state["messages_per_second"] and state["logins_per_minute"],
            "messages and logins are counted",
        )
        (server,) = state["servers"]
        self.assertEqual((state["people"], server["people"], state["free_places"]), (2, 2, 0))
        self.assertNotIn("ann", json.dumps(state))
        self.assertLess(server["lease"], 10)
        self.assertIn("bbs_logins_total 2.0", await web.get("/metrics"))
        self.assertEqual(await web.post("/servers"), (401, "Log in as an operator first"))
        wrong = await web.post("/login", b"name=liz&password=wrong")
        self.assertEqual(wrong, (401, "No such operator or password error"))
        right = await web.post("/login", f"name=liz&password={SECRET}".encode())
        self.assertEqual(right, (200, "Welcome!"))
        self.assertEqual((await web.state())["servers"][0]["who"], ["ann", "bob"])
        self.assertEqual((await web.post("/servers"))[0], 200)
        await self.until(web, lambda state: state["free_places"] == 2, "another is ready")
        self.assertEqual((await web.post(f"/servers/{server['id']}/drain"))[0], 200)
        await self.until(
            web,
            lambda state: [each["state"] for each in state["servers"]] == ["gone", "ready"],
            "the first one is gone",
        )
        await eventually(
            lambda: "has ended: an operator asked for it." in events.news(), "it is told"
        )
        for words in ("to start server", "is ready after", "to drain server"):
            self.assertIn(words, events.news())
        drained, started = json.loads(await web.get("/actions"))
        self.assertEqual(
            (drained["operator"], drained["address"], drained["action"], drained["target"]),
            ("liz", "127.0.0.1", "drain", server["id"]),
        )
        self.assertEqual(started["action"], "launch")
        self.assertIn(f"operator liz at 127.0.0.1: drain {server['id']!r}", service.log())
        self.assertNotIn(SECRET, service.log())
        self.assertNotIn(web.cookie.partition("=")[2], service.log())
        # It stops in order: whoever watches is told.
        await process.end()
        await eventually(lambda: events.ended, "the stream ends")
        self.assertEqual(events.of("bye"), [{}])

    async def test_a_restart(self) -> None:
        """The page is where it was, and has only what is new for somebody who comes back. So it is
        after SIGKILL: see `test_web_page`."""
        service = self.paged()
        service.write_config(web__listen=f"tcp:{free_port()}:interface=127.0.0.1")
        process = await service.login_server()
        web = await self.page_of(process)
        events = await web.stream()
        await eventually(partial(events.of, "news"), "there is news", 30)
        last = events.of("news")[-1]["id"]
        await process.end()
        await eventually(lambda: events.ended, "the stream ends")
        process = await service.login_server()
        again = await (await self.page_of(process)).stream(f"/stream?after={last}")
        await eventually(partial(goes_on, again), "it goes on", 30)
        self.assertTrue(all(each["id"] > last for each in again.of("news")))
        self.assertEqual(len(again.of("history")[0]["series"]["servers"]), 360)

    async def test_two_login_servers(self) -> None:
        """Each page shows the whole service, whoever keeps the fleet and lets people in."""
        service = self.paged(fleet={"minimum": 1})
        one = await service.login_server()
        other_port = service.another_port()
        other = await service.login_server(other_port)
        mine, theirs = await self.page_of(one), await self.page_of(other)
        await self.until(theirs, lambda state: state["free_places"], "a server is ready")
        await service.register("ann", "bob", "eva")
        for name in ("ann", "bob"):
            await service.person(name)
        await service.person("eva", other_port)

        def complete(state: dict[str, Any]) -> bool:
            return bool(state["logins_per_minute"] == 3 and state["people"] == 3)

        first = await self.until(mine, complete, "the first knows")
        second = await self.until(theirs, complete, "the second knows")
        for key in ("capacity", "people", "free_places", "waiting"):
            self.assertEqual(first[key], second[key])
        self.assertNotEqual(first["login_server"], second["login_server"])
        # What an operator asks for at the one that does not keep the fleet is done as well.
        await theirs.post("/login", f"name=liz&password={SECRET}".encode())
        server = first["servers"][0]["id"]
        self.assertEqual((await theirs.post(f"/servers/{server}/drain"))[0], 200)
        await self.until(
            mine, lambda state: state["servers"][0]["state"] == "gone", "the other does it"
        )


class DatabaseAway(WebCase):
    async def test_a_scrape_meanwhile(self) -> None:
        """Everything answers at once, and says that it is away."""
        mariadb = common_mariadb()
        await mariadb.start()
        name = f"bbs_{secrets.token_hex(6)}"
        mysql(mariadb.url, f"CREATE DATABASE {name}")
        url = by_driver(f"{mariadb.url.rpartition('/')[0]}/{name}", IN_C)
        service = self.paged(database={"url": url, "pool_size": 2})
        process = await service.login_server()
        web = await self.page_of(process)
        await self.until(web, lambda state: state["free_places"], "a server is ready")
        events = await web.stream()
        self.assertIn("bbs_database_up 1.0", await web.get("/metrics"))
        await mariadb.kill()

        async def away() -> bool:
            return "bbs_database_up 0.0" in await web.get("/metrics")

        await eventually(away, "the metric says so", 30)
        for _ in range(20):
            began = reactor.seconds()
            metrics = await web.get("/metrics")
            self.assertLess(reactor.seconds() - began, 10.0)
            self.assertIn('bbs_fleet_servers{state="ready"} 1.0', metrics)
        self.assertEqual(await web.get("/health"), "ok\n")
        code, text, _ = await web.ask("GET", "/ready")
        self.assertEqual((code, text), (503, "the database is away\n"))
        state = await web.state()
        self.assertFalse(state["database"])
        self.assertEqual(state["servers"][0]["state"], "ready")
        self.assertLess(state["fleet_at"], state["at"])
        await eventually(lambda: "database is away" in events.news(), "it is told")
        self.assertFalse(events.of("state")[-1]["database"])
        code, text = await web.post("/login", f"name=liz&password={SECRET}".encode())
        self.assertEqual((code, text), (200, "Welcome!"))
        self.assertEqual(await web.post("/servers"), (503, "Service unavailable, try again"))
        await mariadb.start()
        await self.until(web, lambda state: state["database"], "it is back")
        await eventually(lambda: "The database is back." in events.news(), "that is told too")
        self.assertEqual(await web.get("/ready"), "ready\n")
        self.assertEqual(json.loads(await web.get("/actions")), [])


class Starting(WebCase):
    async def test_a_password_file_that_cannot_be_used(self) -> None:
        """The login server ends with one line. What else may be wrong is in `tests.web.test_auth`,
        and a port that is taken in `test_bad_starts`."""
        service = self.paged()
        service.data.mkdir()
        path = service.folder / "passwords"
        path.write_text(f"liz:{SECRET}\nliz:{SECRET}\n")
        argv = ("--nodaemon", "--pidfile=", "bbs-login", "--config", service.config)
        process = service.start(BIN / "twistd", *argv, "--data", service.data / "login")
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1, process.errors)
        self.assertEqual(len(process.errors.splitlines()), 1, process.errors)
        for word in ("bbs-login: ", "web.password_file", str(path), "line 2"):
            self.assertIn(word, process.errors)
        self.assertNotIn(SECRET, process.errors + process.output)
        self.assertNotIn("Traceback", process.output)

    async def test_ready_when_people_can_log_in(self) -> None:
        service = self.paged()
        process = await service.login_server(environ=service.slow_launches(3))
        web = await self.page_of(process)
        code, text, _ = await web.ask("GET", "/ready")
        self.assertEqual((code, text), (503, "no app server is ready yet\n"))
        self.assertEqual(await web.get("/health"), "ok\n")

        async def ready() -> bool:
            try:
                return (await web.ask("GET", "/ready"))[0] == 200
            except (ConnectError, ResponseFailed):
                return False

        await eventually(ready, "people can log in", START_TIMEOUT)

    async def test_ready_while_somebody_runs_app_servers(self) -> None:
        """None is launched: it is as those who run them have it."""
        service = self.big_service(
            fleet={"provider": "none"},
            app={"listen": "tcp:0:interface=127.0.0.1"},
            web={"listen": LOOPBACK},
        )
        web = await self.page_of(await service.login_server())
        self.assertEqual(
            (await web.ask("GET", "/ready"))[:2], (503, "no app server is ready yet\n")
        )

        async def says(code: int) -> bool:
            return (await web.ask("GET", "/ready"))[0] == code

        server = service.app_server()
        await eventually(partial(says, 200), "people can log in", START_TIMEOUT)
        await server.end()
        await eventually(partial(says, 503), "they cannot", START_TIMEOUT)
        self.assertEqual((await web.ask("GET", "/ready"))[1], "no app server is ready\n")
