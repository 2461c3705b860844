"""The operators' page over HTTP: what everybody may read, and how much anybody may ask."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import getChildForRequest
from twisted.web.test.requesthelper import DummyRequest

from bbs import __version__
from bbs.config import load
from bbs.core.addresses import ListeningPlace
from bbs.daemons.login import url_of
from bbs.limits.password_hashing import Hasher
from bbs.testing.threads import Inline
from bbs.web.auth import PasswordFileUnusable
from bbs.web.http_limits import MAX_BODY, REQUEST_TIMEOUT
from bbs.web.page import OperatorsPage, make
from tests.memory_service import POLICY, QUICK
from tests.paths import STATIC
from tests.web.case import Browser, PageCase


class Reading(PageCase):
    def test_state(self) -> None:
        state = self.browser().get("/state").json
        (server,) = state["servers"]
        self.assertEqual(server["id"], *self.server_ids())
        self.assertEqual((server["state"], server["people"], server["capacity"]), ("ready", 0, 2))
        self.assertEqual((state["database"], state["broker"], state["refusal"]), (True, True, None))
        self.assertEqual(state["brokers"], {"connected": 1, "wanted": 1})
        self.assertEqual((state["operator"], state["may_act"]), (None, True))
        self.assertEqual((state["free_places"], state["maximum"]), (2, 20))
        self.assertEqual(state["login_server"], self.service.me.id)

    def test_names_are_for_operators(self) -> None:
        self.service.people("ann", "bob")
        self.pass_time(1)
        everybody = self.browser().get("/state").json
        self.assertEqual(everybody["people"], 2)
        self.assertNotIn("ann", str(everybody))
        mine = self.operator().get("/state").json
        self.assertEqual([each.get("who") for each in mine["servers"]], [["ann", "bob"]])
        self.assertEqual((mine["operator"], mine["waiting"]["who"]), ("liz", []))
        self.assertNotIn("ann", str(self.browser().get("/state").json))

    def test_what_costs_is_asked_once_a_second(self) -> None:
        self.pass_time(1)
        self.browser().get("/state")
        self.database.asked.clear()
        for _ in range(5):
            self.browser().get("/state")
        self.assertEqual(self.database.asked, [])

    def test_files(self) -> None:
        page = self.browser().get("/")
        self.assertEqual(page.code, 200)
        self.assertEqual(page.headers["content-type"], "text/html; charset=utf-8")
        self.assertEqual(page.headers["cache-control"], "no-cache")
        css = self.browser().get("/page.css")
        self.assertEqual(css.headers["content-type"], "text/css; charset=utf-8")
        self.assertEqual(self.browser().get("/icon.svg").headers["content-type"], "image/svg+xml")

    def test_what_the_page_says_before_any_script(self) -> None:
        self.service.people("ann")
        self.pass_time(11)
        body = self.browser().get("/").body
        server = self.service.me.id[:8]
        self.assertTrue(body.startswith("<!doctype html>\n<html>"))
        self.assertIn(f"<p>Version {__version__}, login server {server}</p>", body)
        self.assertIn(
            "servers: 1 ready; people online: 1; free places: 1; people waiting: 0.", body
        )
        self.assertIn("<button>Log in</button>", body)

    def test_a_file_that_the_browser_has(self) -> None:
        browser = self.browser()
        tag = browser.get("/page.css").headers["etag"]
        again = browser.get("/page.css", If_None_Match=tag)
        self.assertEqual((again.code, again.body), (304, ""))
        self.assertEqual(browser.get("/page.css", If_None_Match='"other"').code, 200)

    def test_health_and_readiness(self) -> None:
        browser = self.browser()
        self.assertEqual(browser.get("/health").body, "ok\n")
        self.assertEqual((browser.get("/ready").code, browser.get("/ready").body), (200, "ready\n"))
        self.trouble = "the database is away"
        unready = browser.get("/ready")
        self.assertEqual((unready.code, unready.body), (503, "the database is away\n"))
        self.assertEqual(browser.get("/health").code, 200)

    def test_headers_that_are_no_text(self) -> None:
        for name in ("Accept", "Cookie", "Host", "Origin", "Content_Type", "If_None_Match"):
            for path in ("/", "/page.css", "/state", "/metrics"):
                answer = self.browser().get(path, **{name: "\udcff"})
                self.assertEqual(answer.code, 200, (name, path))
            self.assertLess(self.browser().post("/login", b"", **{name: "\udcff"}).code, 500, name)

    def test_what_is_not_there(self) -> None:
        for path in ("/nothing", "/page.html", "/../bbs", "/nothing/at/all", "/state/x", "/state/"):
            self.assertEqual(self.browser().get(path).code, 404, path)
            # Of the same headers, and no body, which Twisted would log.
            reply = self.browser().ask("HEAD", path)
            self.assertEqual((reply.code, reply.body), (404, ""), path)
        for path in ("/servers/a", "/servers/", "/servers/a/drain/b"):
            self.assertEqual(self.browser().post(path).code, 404, path)

    def test_a_path_of_many_parts_costs_what_one_of_few_does(self) -> None:
        """A stranger may ask for one: no resource is made for each part."""
        request = DummyRequest([b"a"] * 8000)
        found = getChildForRequest(self.page.site.resource, request)
        self.assertTrue(found.isLeaf)
        self.assertEqual(len(request.postpath), 7999)

    def test_methods(self) -> None:
        for path, method, allow in (
            ("/state", "POST", "GET, HEAD"),
            ("/", "POST", "GET, HEAD"),
            ("/login", "GET", "POST"),
            ("/login", "HEAD", "POST"),
            ("/servers", "GET", "POST"),
            ("/servers/a/drain", "GET", "POST"),
            ("/stream", "HEAD", "GET"),
            ("/state", "BREW", "GET, HEAD"),
        ):
            answer = self.browser().ask(method, path)
            self.assertEqual((answer.code, answer.headers["allow"]), (405, allow), path)

    def test_head(self) -> None:
        full, head = self.browser().get("/health"), self.browser().ask("HEAD", "/health")
        self.assertEqual((head.code, head.body), (200, ""))
        self.assertEqual(head.headers["content-length"], full.headers["content-length"])

    def test_headers_of_every_answer(self) -> None:
        for path in ("/", "/state", "/metrics", "/nothing", "/login"):
            headers = self.browser().get(path).headers
            self.assertTrue(headers["content-security-policy"].startswith("default-src 'none'; "))
            self.assertNotIn("unsafe", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertEqual(headers["referrer-policy"], "no-referrer")
            self.assertIn(headers["cache-control"], ("no-store", "no-cache"))

    def test_a_bug_is_logged_and_says_nothing(self) -> None:
        browser = self.browser()
        self.look_no_more()
        browser.send("GET", "/state")
        self.database.waiting.pop().fail(ZeroDivisionError())
        answer = browser.heard()
        self.assertEqual((answer.code, answer.body), (500, "Internal error\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_somebody_who_does_not_wait_for_the_answer(self) -> None:
        gone, stays = self.browser(), self.browser()
        self.look_no_more()
        gone.send("GET", "/state")
        stays.send("GET", "/state")
        gone.close()
        gone.transport.clear()
        self.database.go_on()
        self.assertEqual(stays.heard().code, 200)
        self.assertEqual(gone.transport.value(), b"")

    def look_no_more(self) -> None:
        """Nothing looks but for those who ask, what was seen is old, and the database slow."""
        self.stop_page()
        self.clock.advance(10)
        self.database.hold()


class Limits(PageCase):
    def test_a_body_that_is_too_long(self) -> None:
        browser = self.browser()
        browser.send("POST", "/login", Content_Length=str(MAX_BODY + 1))
        self.assertEqual(browser.heard().code, 413)
        self.assertTrue(browser.transport.disconnecting)

    def test_a_body_of_unknown_length(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(
            b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        self.assertEqual(browser.heard().code, 411)
        self.assertTrue(browser.transport.disconnecting)

    def test_a_body_as_long_as_may_be(self) -> None:
        self.assertEqual(self.browser().post("/login", b"a" * MAX_BODY).code, 400)

    def test_what_follows_bad_requests_is_not_looked_at(self) -> None:
        """Also where the transport has not taken note that it is closed: by TLS, of a peer that
        has gone."""
        for bad in (b"GET\r\n", b"GET / HTTP/1.1\r\nContent-Length: %d\r\n" % (MAX_BODY + 1)):
            browser = Browser(self.page, tls=True)
            browser.channel.dataReceived(bad + b"\r\n" + b"GET /health HTTP/1.1\r\n\r\n" * 300)
            browser.channel.dataReceived(b"GET /health HTTP/1.1\r\n\r\n" * 300)
            browser.turn()
            self.assertRegex(browser.transport.value(), rb"^HTTP/1\.1 4\d\d [^\r]*\r\n")
            self.assertNotIn(b"200", browser.transport.value())

    def test_one_byte_a_second(self) -> None:
        browser = self.browser()
        for _ in range(round(REQUEST_TIMEOUT) - 1):
            browser.channel.dataReceived(b"G")
            self.clock.advance(1)
        self.assertFalse(browser.transport.disconnecting)
        browser.channel.dataReceived(b"G")
        self.clock.advance(1)
        self.assertTrue(browser.transport.disconnecting)

    def test_a_request_that_does_not_come_to_its_end(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(b"POST /login HTTP/1.1\r\nContent-Length: 2\r\n\r\na")
        self.clock.advance(REQUEST_TIMEOUT)
        answer = browser.heard()
        self.assertEqual((answer.code, answer.body), (408, "Request timed out\n"))
        self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
        self.assertTrue(browser.transport.disconnecting)

    def test_who_is_idle_between_two_requests(self) -> None:
        browser = self.browser()
        browser.get("/health")
        browser.turn()
        self.clock.advance(REQUEST_TIMEOUT)
        self.assertEqual(browser.transport.value(), b"")
        self.assertTrue(browser.transport.disconnecting)

    def test_a_response_may_take_its_time(self) -> None:
        watcher = self.watcher()
        self.pass_time(REQUEST_TIMEOUT + 5)
        self.assertFalse(watcher.browser.transport.disconnecting)

    def test_closing_them_all(self) -> None:
        browsers = [self.browser() for _ in range(3)]
        self.page.site.close_all()
        self.assertTrue(all(browser.transport.disconnecting for browser in browsers))

    def test_nobody_reads_who_reads(self) -> None:
        log: Any = self.page.site.log
        self.assertIsNone(log(None))


class Malformed(PageCase):
    """Requests that are not quite HTTP get an answer, and no traceback."""

    def status(self, *lines: str, at: Any = None, body: bytes = b"") -> int:
        browser = Browser(self.page, at=at)
        browser.channel.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return browser.heard().code

    def test_two_hosts(self) -> None:
        for other in ("bbs.example", "other.example"):
            lines = ("GET /health HTTP/1.1", "Host: bbs.example", f"Host: {other}")
            browser = self.browser()
            browser.channel.dataReceived("\r\n".join([*lines, "", ""]).encode())
            answer = browser.heard()
            self.assertEqual(
                (answer.code, answer.body), (400, "There is more than one header Host\n")
            )
            self.assertTrue(browser.transport.disconnecting)

    def test_a_target_in_absolute_form(self) -> None:
        for target, host, code in (
            ("http://bbs.example/health", "bbs.example", 200),
            ("HTTPS://BBS.example/health?x", "bbs.EXAMPLE", 200),
            ("http://bbs.example", "bbs.example", 200),
            ("http://other.example/health", "bbs.example", 400),
            ("http://bbs.example:8080/health", "bbs.example", 400),
            ("http://a@bbs.example/health", "bbs.example", 400),
        ):
            code_now = self.status(f"GET {target} HTTP/1.1", f"Host: {host}")
            self.assertEqual(code_now, code, target)
        self.assertEqual(self.status("GET http://bbs.example/health HTTP/1.0"), 200)
        at = IPv4Address("TCP", "127.0.0.1", 8080)
        self.assertEqual(self.status("GET http://evil.example/state HTTP/1.0", at=at), 421)

    def test_lengths(self) -> None:
        for length in ("+5", "-1", "5, 5", "0x5", "0" * 5000 + "5", "9" * 5000):
            code = self.status(
                "POST /login HTTP/1.1", "Host: bbs.example", f"Content-Length: {length}"
            )
            self.assertEqual(code, 400, length[:20])

    def test_a_line_that_does_not_end(self) -> None:
        browser = self.browser()
        browser.channel.dataReceived(b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000)
        self.assertEqual(browser.heard().code, 431)
        self.assertTrue(browser.transport.disconnecting)

    def test_no_host_by_a_unix_socket(self) -> None:
        browser = Browser(self.page, "", at=UNIXAddress("/run/bbs"))
        for host in ("", "Host: \r\n", "Host: a:b:c\r\n"):
            browser.connect()
            browser.channel.dataReceived(f"GET /state HTTP/1.0\r\n{host}\r\n".encode())
            self.assertEqual(browser.heard().code, 200, host)

    def test_media_types_of_forms(self) -> None:
        for kind in ("a\x0cb", "", "a", "a/b/c", "\udcff/x", "text/html\x7f"):
            reply = self.browser().post("/login", b"a=b", Content_Type=kind)
            self.assertEqual(reply.code, 400, kind)


class WithoutPasswords(PageCase):
    operators = None

    def test_it_shows_and_changes_nothing(self) -> None:
        browser = self.browser()
        self.assertFalse(browser.get("/state").json["may_act"])
        reply = browser.log_in()
        self.assertEqual(
            (reply.code, reply.json["message"]),
            (409, "Nobody may act here: web.password_file is not set"),
        )
        self.assertEqual(browser.post("/servers").code, 401)
        self.assertIn('<button hidden="hidden">Log in</button>', browser.get("/").body)


class Policies(PageCase):
    policy = POLICY

    def test_figures_of_the_configuration(self) -> None:
        state = self.browser().get("/state").json
        self.assertEqual((state["minimum"], state["spare"], state["capacity"]), (1, 0, 2))


class PuttingTogether(PageCase):
    def make(self, **options: object) -> Deferred[OperatorsPage]:
        """The page of a configuration with these keys of `[web]`."""
        config = load(None, {}, {f"web.{key}": value for key, value in options.items()})
        return Deferred.fromCoroutine(
            make(
                replace(self.parts, database=self.service.database),
                password_file=config.web.password_file,
                failed_logins=config.limits.failed_logins,
                hasher=Hasher(Inline(), QUICK),
                queue=self.service.login.home.login.limits.queue,
                in_thread=Inline().run,
            )
        )

    def test_with_its_own_files_and_passwords(self) -> None:
        path = Path(self.mktemp())
        path.write_text("max:secret\n")
        path.chmod(0o600)
        browser = Browser(self.successResultOf(self.make(password_file=str(path))))
        body = browser.get("/").body
        self.assertTrue(body.startswith('<!doctype html>\n<html lang="en">\n'))
        for without_script in re.findall("(?s)<noscript>(.*?)</noscript>", body):
            body = body.replace(without_script, "")
            self.assertRegex(without_script, 'content="10"|servers: none; people online: 0;')
        self.assertNotIn("people online", body)
        self.assertRegex(body, '<button id="log-in-or-out" type="button">')
        self.assertEqual(browser.log_in("max").code, 200)

    def test_without_passwords(self) -> None:
        browser = Browser(self.successResultOf(self.make()))
        self.assertEqual(browser.log_in("max").code, 409)

    def test_passwords_that_cannot_be_used(self) -> None:
        self.failureResultOf(self.make(password_file="/nowhere"), PasswordFileUnusable)


class Names(PageCase):
    """By which names somebody who is on the page's own machine may ask for it."""

    def code(self, host: str, *, at: str = "127.0.0.1") -> int:
        """The status of what is asked for as `host` of the address `at`."""
        kind = IPv6Address if ":" in at else IPv4Address
        browser = Browser(self.page, "127.0.0.1", kind("TCP", at, 8080))
        return browser.get("/state", Host=host).code

    def test_its_own(self) -> None:
        for host in ("localhost", "LocalHost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]"):
            self.assertEqual(self.code(host), 200, host)
            self.assertEqual(self.code(host, at="::1"), 200, host)

    def test_others_that_may_be_made_to_mean_it(self) -> None:
        for host in (
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "192.0.2.1",
            "x]",
        ):
            self.assertEqual(self.code(host), 421, host)
            self.assertEqual(self.code(host, at="::1"), 421, host)

    def test_actions_too(self) -> None:
        browser = Browser(self.page, at=IPv4Address("TCP", "127.0.0.1", 8080))
        reply = browser.post("/login", b"name=liz&password=secret", Host="evil.example")
        self.assertEqual((reply.code, reply.body), (421, "Ask for localhost, 127.0.0.1 or [::1]\n"))

    def test_elsewhere_any_name_will_do(self) -> None:
        self.assertEqual(self.code("bbs.example", at="192.0.2.1"), 200)
        browser = Browser(self.page, at=UNIXAddress("/run/bbs"))
        self.assertEqual(browser.get("/state", Host="bbs.example").code, 200)

    def test_none_at_all(self) -> None:
        """No browser says none."""
        browser = Browser(self.page, at=IPv4Address("TCP", "127.0.0.1", 8080))
        browser.channel.dataReceived(b"GET /health HTTP/1.0\r\n\r\n")
        self.assertEqual(browser.heard().code, 200)


class Addresses(SynchronousTestCase):
    """What `bbs up` tells people to open."""

    def test_where_a_browser_finds_it(self) -> None:
        for address, url in (
            (IPv4Address("TCP", "127.0.0.1", 80), "http://127.0.0.1:80/"),
            (IPv4Address("TCP", "0.0.0.0", 80), "http://127.0.0.1:80/"),
            (IPv6Address("TCP", "::", 80), "http://[::1]:80/"),
            (UNIXAddress("/run/bbs"), None),
        ):
            port: Any = SimpleNamespace(getHost=lambda address=address: address)
            self.assertEqual(url_of(ListeningPlace("tcp:80"), port), url)
            https = url_of(ListeningPlace("ssl:80"), port)
            self.assertEqual(https, url and url.replace("http", "https"))


class Size(SynchronousTestCase):
    """What the page costs to fetch."""

    def test_it_is_under_100_kilobytes_and_its_own(self) -> None:
        files = [path for path in STATIC.iterdir() if path.is_file()]
        self.assertLess(sum(path.stat().st_size for path in files), 100_000)
        for path in files:
            text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
            text = text.replace("http://twistedmatrix.com/ns/twisted.web.template/0.1", "")
            self.assertNotRegex(text, r"https?://|//cdn|innerHTML|\bstyle=|\bon\w+=", path.name)
