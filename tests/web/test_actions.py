"""What operators do by the page, and who else may not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from bbs import __version__
from bbs.core import audit
from bbs.core.values import State
from bbs.storage.models import Action, Server
from bbs.web.auth import IDLE
from tests.memory_service import POLICY
from tests.web.case import AwayCase, Browser, PageCase

NOT_THE_PAGE = "Refused: this is not the page's own request (header X-BBS)"
UNKNOWN = "No such operator or password error"


class LoggingIn(PageCase):
    def test_by_form_and_by_json(self) -> None:
        reply = self.browser().log_in()
        self.assertEqual((reply.code, reply.json), (200, {"status": 0, "message": "Welcome!"}))
        browser = self.browser()
        body = json.dumps({"name": "liz", "password": "secret"}).encode()
        self.assertEqual(browser.post("/login", body, Content_Type="application/json").code, 200)
        self.assertEqual(browser.get("/state").json["operator"], "liz")

    def test_the_cookie(self) -> None:
        cookie = self.browser().log_in().headers["set-cookie"]
        self.assertRegex(
            cookie,
            "^bbs_operator_12345=[0-9a-f]{40}; Path=/; HttpOnly; SameSite=Strict$",
        )

    def test_by_a_form_in_parts(self) -> None:
        def part(name: str, value: str) -> str:
            return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'

        kind = "multipart/form-data; boundary=x"
        body = f"{part('name', 'liz')}{part('password', 'secret')}--x--\r\n".encode()
        self.assertEqual(self.browser().post("/login", body, Content_Type=kind).code, 200)
        for kind, malformed in (
            ("multipart/form-data", body),
            ("multipart/form-data; boundary*" + "9" * 5000 + "=x", body),
            (
                "multipart/form-data; boundary=x",
                b"--x\r\nContent-Disposition: ;name*=%ff''\r\n\r\n",
            ),
        ):
            reply = self.browser().post("/login", malformed, Content_Type=kind)
            self.assertEqual(reply.code, 400, kind[:50])

    def test_strangers_who_guess_do_not_keep_a_known_browser_out(self) -> None:
        known, other = self.operator(), self.browser("203.0.113.99")
        for number in range(30):
            guess = self.browser(f"203.0.113.{number}").log_in("liz", "wrong")
            self.assertEqual(guess.code, 401)
        self.assertEqual(other.log_in().code, 429)
        for host in ("192.0.2.1", "203.0.113.1"):
            again = self.browser(host)
            again.device = known.device
            self.assertEqual(again.log_in().code, 200)
        # It is known for one operator, and may not guess without end.
        for _ in range(3):
            self.assertEqual(known.log_in("liz", "wrong").code, 401)
        self.assertEqual(known.log_in().code, 429)

    def test_the_cookie_of_a_browser(self) -> None:
        browser = self.browser()
        browser.send(
            "POST", "/login", b"name=liz&password=secret", X_BBS="1",
            Content_Type="application/x-www-form-urlencoded",
        )  # fmt: skip
        self.assertRegex(
            browser.transport.value().decode(),
            r"Set-Cookie: bbs_device_12345=[0-9]+\.6c697a\.[0-9a-f]{64}; Max-Age=15552000;"
            r" Path=/; HttpOnly; SameSite=Strict\r\n",
        )

    def test_a_login_that_failed_makes_no_browser_known(self) -> None:
        browser = self.browser()
        browser.log_in("liz", "wrong")
        self.assertEqual(browser.device, "")

    def test_wrong_ones_are_not_told_apart(self) -> None:
        for name, password in (("liz", "wrong"), ("nobody", "secret"), ("l%C3%AFz", "secret")):
            reply = self.browser().log_in(name, password)
            self.assertEqual((reply.code, reply.json["message"]), (401, UNKNOWN))
            self.assertNotIn("set-cookie", reply.headers)

    def test_without_a_name_it_is_the_lone_operator(self) -> None:
        reply = self.browser().post("/login", b"password=secret")
        self.assertEqual((reply.code, reply.json["message"]), (401, UNKNOWN))

    def test_what_is_no_login(self) -> None:
        for body, kind in (
            (b"", "application/x-www-form-urlencoded"),
            (b"name=liz", "application/x-www-form-urlencoded"),
            (b"{", "application/json"),
            (b"[1]", "application/json"),
            (b"[" * 4096, "application/json"),
            (b"\xff", "application/json"),
            (b'{"name": "liz", "password": "\\ud800"}', "application/json"),
            (b'{"name": "\\udfff", "password": "secret"}', "application/json"),
            (b'{"name": "liz", "password": 1}', "application/json"),
            (b'{"name": ["liz"], "password": "secret"}', "application/json"),
            (b"name=liz&password=secret", "text/plain"),
        ):
            reply = self.browser().post("/login", body, Content_Type=kind)
            self.assertEqual((reply.code, reply.json["status"]), (400, 1), body)

    def test_five_wrong_ones(self) -> None:
        """The tests' limit is three for an account from one address."""
        for _ in range(3):
            self.assertEqual(self.browser().log_in("liz", "wrong").code, 401)
        for _ in range(2):
            reply = self.browser().log_in("liz", "wrong")
            self.assertEqual(
                (reply.code, reply.json["message"], reply.headers["retry-after"]),
                (429, "Too many attempts, try again in 20 s", "20"),
            )
        self.assertEqual(self.browser().log_in().code, 429)
        self.assertEqual(self.browser("192.0.2.2").log_in().code, 200)
        self.clock.advance(20)
        self.assertEqual(self.browser().log_in().code, 200)

    def test_many_names_from_one_address(self) -> None:
        codes = [self.browser().log_in(f"name{number}").code for number in range(31)]
        self.assertEqual(codes, [401] * 30 + [429])
        self.assertEqual(self.browser("192.0.2.2").log_in().code, 200)

    def test_a_password_in_the_address(self) -> None:
        for body in (b"", b"name=liz&password=secret"):
            reply = self.browser().post("/login?name=liz&password=secret", body)
            self.assertEqual((reply.code, reply.json["status"]), (400, 1))
            self.assertNotIn("set-cookie", reply.headers)

    def test_log_out(self) -> None:
        browser = self.operator()
        reply = browser.post("/logout")
        self.assertEqual((reply.code, reply.json["message"]), (200, "Bye!"))
        self.assertIn("Max-Age=0", reply.headers["set-cookie"])
        self.assertIsNone(browser.get("/state").json["operator"])

    def test_a_session_ends_where_it_was_begun(self) -> None:
        browser = self.operator()
        kept = browser.cookie
        browser.post("/logout")
        browser.cookie = kept
        self.assertIsNone(browser.get("/state").json["operator"])

    def test_an_idle_session_ends(self) -> None:
        browser = self.operator()
        for seconds, code in ((IDLE - 10, 404), (IDLE - 10, 404), (IDLE + 10, 401)):
            self.clock.advance(seconds)
            browser.connect()
            self.assertEqual(browser.post("/servers/none/drain").code, code)

    def test_reading_keeps_no_session_alive(self) -> None:
        browser = self.operator()
        for seconds, code in ((IDLE - 10, 200), (20, 401)):
            self.clock.advance(seconds)
            browser.connect()
            self.assertEqual(browser.get("/actions").code, code)


class FromElsewhere(PageCase):
    def test_only_from_the_page_itself(self) -> None:
        browser = self.operator()
        for path in ("/login", "/logout", "/servers", "/servers/a/drain", "/servers/replace"):
            for headers in (
                {"X_BBS": "1", "Origin": "https://evil.example"},
                {"X_BBS": "1", "Origin": "null"},
                {"X_BBS": "1", "Origin": "http://["},
                {"X_BBS": "1", "Origin": ""},
                {"X_BBS": "1", "Origin": "http://bbs.example:81"},
                {},
                {"Origin": "http://bbs.example"},
            ):
                reply = browser.ask("POST", path, b"", **headers)
                self.assertEqual((reply.code, reply.json["message"]), (403, NOT_THE_PAGE), headers)
        self.assertEqual(browser.get("/state").json["operator"], "liz")

    def test_the_pages_own_origin(self) -> None:
        browser = self.operator()
        for origin in ("http://bbs.example", "https://bbs.example"):
            self.assertEqual(browser.post("/servers", Origin=origin).code, 200)


class Acting(PageCase):
    def only_server(self) -> str:
        (server,) = self.server_ids()
        return server

    def test_nobody_but_operators(self) -> None:
        for path in ("/servers", f"/servers/{self.only_server()}/drain"):
            reply = self.browser().post(path)
            self.assertEqual(
                (reply.code, reply.json["message"]), (401, "Log in as an operator first")
            )
        self.assertEqual(self.browser().get("/actions").code, 401)
        self.assertEqual((Action.select().count(), Server.select().count()), (0, 1))

    def test_starting_one(self) -> None:
        browser = self.operator()
        reply = browser.post("/servers")
        self.assertEqual((reply.code, self.asked), (200, 1))
        self.service.settle()
        _, second = self.server_ids()
        self.assertEqual(reply.json["message"], f"Server {second} is being started")
        self.pass_time(1)
        states = [each["state"] for each in browser.get("/state").json["servers"]]
        self.assertEqual(states, ["ready", "ready"])

    def test_draining_one(self) -> None:
        browser, server = self.operator(), self.only_server()
        reply = browser.post(f"/servers/{server}/drain")
        self.assertEqual(
            (reply.code, reply.json["message"]), (200, f"Server {server} is being drained")
        )
        self.pass_time(3)
        gone = browser.get("/state").json["servers"][0]
        self.assertEqual((gone["id"], gone["state"], gone["reason"]), (server, "gone", "drained"))

    def test_draining_one_that_is_not_there(self) -> None:
        browser, server = self.operator(), self.only_server()
        for id in ("nobody", server[:-1], server[:4], f"{server}0", "%FF"):
            reply = browser.post(f"/servers/{id}/drain")
            self.assertEqual(
                (reply.code, reply.json["message"]), (404, "Unknown server, or it is gone")
            )
        self.assertEqual(Action.select().count(), 0)
        self.assertFalse(Server.get().drain_asked)

    def test_everything_is_recorded(self) -> None:
        browser, server = self.operator(), self.only_server()
        browser.post(f"/servers/{server}/drain")
        self.clock.advance(1)
        browser.post("/servers")
        started, drained = browser.get("/actions").json
        self.assertEqual(
            drained,
            {
                "id": drained["id"],
                "at": self.clock.seconds() - 1,
                "operator": "liz",
                "address": "192.0.2.1",
                "action": "drain",
                "target": server,
                "person": None,
                "detail": None,
            },
        )
        self.assertEqual((started["action"], started["at"]), ("launch", self.clock.seconds()))
        self.assertNotEqual(started["target"], server)
        self.assertEqual(Server.get_by_id(started["target"]).created, self.clock.seconds())

    def test_everything_is_told(self) -> None:
        """To the security log, whoever writes it."""
        told: list[dict[str, str]] = []
        observer: Any = told.append
        browser = self.operator()
        audit.publisher.addObserver(observer)
        self.addCleanup(audit.publisher.removeObserver, observer)
        server = self.only_server()
        browser.post(f"/servers/{server}/drain")
        browser.post("/servers")
        who = {"outcome": "done", "address": "192.0.2.1", "by": "liz"}
        launched = browser.get("/actions").json[0]["target"]
        self.assertEqual(
            told,
            [{"what": "drain", "name": server, **who}, {"what": "launch", "name": launched, **who}],
        )


class WithoutADatabase(AwayCase):
    def test_nothing_is_done(self) -> None:
        browser = self.operator()
        self.go()
        reply = browser.post("/servers")
        self.assertEqual((reply.code, self.asked), (503, 0))
        self.assertEqual(reply.json["message"], "Service unavailable, try again")


class Outdated(PageCase):
    """A fleet of three, of which two run an older version."""

    policy = replace(POLICY, minimum=3, maximum=5)

    def setUp(self) -> None:
        super().setUp()
        self.pass_time(2)
        self.newest, self.old, self.oldest = self.server_ids()
        for id, version in ((self.old, "0.2.0"), (self.oldest, "")):
            Server.update(version=version).where(Server.id == id).execute()
        self.assertEqual(Server.get_by_id(self.newest).version, __version__)
        self.liz = self.operator()

    def marked(self) -> list[str]:
        return [row.id for row in Server.select().where(Server.replace_asked)]

    def replacing(self) -> Any:
        """What the page is told of it."""
        self.clock.advance(1)
        return self.liz.get("/state").json["replacing"]

    def test_nobody_but_operators(self) -> None:
        for path in ("/servers/replace", "/servers/replace/cancel"):
            self.assertEqual(self.browser().post(path).code, 401)
            self.assertEqual(self.liz.ask("POST", path, b"").code, 403)
        self.assertEqual((self.marked(), Action.select().count()), ([], 0))

    def test_all_of_them(self) -> None:
        self.assertEqual(self.replacing(), {"outdated": 2, "asked": 0, "waits_for": None})
        reply = self.liz.post("/servers/replace")
        self.assertEqual(
            (reply.code, reply.json["message"], self.asked),
            (200, "To be replaced, one after the other: 2 servers", 1),
        )
        self.assertEqual({*self.marked()}, {self.old, self.oldest})
        self.assertEqual(self.replacing(), {"outdated": 0, "asked": 2, "waits_for": None})
        [deed] = self.liz.get("/actions").json
        self.assertEqual(
            (deed["operator"], deed["address"], deed["action"], deed["target"], deed["detail"]),
            ("liz", "192.0.2.1", "replace", "", f"2 servers of other versions than {__version__}"),
        )

    def test_some_of_them(self) -> None:
        for body, kind in (
            (b"most=1", "application/x-www-form-urlencoded"),
            (b'{"most": 1}', "application/json"),
            (b'{"most": "1"}', "application/json"),
        ):
            Server.update(replace_asked=False).execute()
            reply = self.liz.post("/servers/replace", body, Content_Type=kind)
            self.assertIn("other: 1 server", reply.json["message"])
            self.assertEqual(self.marked(), [self.oldest])
        self.liz.post("/servers/replace", b'{"most": ""}', Content_Type="application/json")
        self.assertEqual({*self.marked()}, {self.old, self.oldest})

    def test_what_is_no_number(self) -> None:
        for most in ("0", "-1", '"x"', "1.5", "true", "[1]", "1e3", "1234567890", '"\u0661"'):
            body = f'{{"most": {most}}}'.encode()
            reply = self.liz.post("/servers/replace", body, Content_Type="application/json")
            self.assertEqual(
                (reply.code, reply.json["message"]),
                (400, "most: must be a number from 1 to 999999999"),
                most,
            )
        self.assertEqual((self.marked(), self.asked), ([], 0))

    def test_what_else_is_to_be_known(self) -> None:
        Server.update(scope="operator").where(Server.id == self.old).execute()
        Server.update(version=__version__).where(Server.id == self.oldest).execute()
        self.assertEqual(self.replacing()["outdated"], 0)
        reply = self.liz.post("/servers/replace")
        self.assertEqual(
            reply.json,
            {
                "status": 0,
                "message": "Nothing is to be replaced. 1 server that an operator runs by hand"
                " stays",
            },
        )
        self.assertEqual((self.marked(), self.asked, Action.select().count()), ([], 0, 0))

    def test_taken_back(self) -> None:
        self.liz.post("/servers/replace")
        reply = self.liz.post("/servers/replace/cancel")
        self.assertEqual(
            (reply.code, reply.json["message"], self.asked),
            (200, "Not to be replaced any more: 2 servers", 2),
        )
        self.assertEqual(self.marked(), [])
        deed = self.liz.get("/actions").json[0]
        self.assertEqual((deed["action"], deed["detail"]), ("replace-cancel", "2 servers"))
        reply = self.liz.post("/servers/replace/cancel")
        self.assertEqual(
            (reply.code, reply.json["message"]), (200, "Nothing is to be replaced any more")
        )
        self.assertEqual(Action.select().count(), 2)

    def test_it_is_told(self) -> None:
        """To the security log, as from the shell."""
        told: list[dict[str, str]] = []
        observer: Any = told.append
        audit.publisher.addObserver(observer)
        self.addCleanup(audit.publisher.removeObserver, observer)
        self.liz.post("/servers/replace", b"most=1")
        self.liz.post("/servers/replace/cancel")
        who = {"outcome": "done", "address": "192.0.2.1", "by": "liz", "name": "1 server"}
        self.assertEqual(told, [{"what": "replace", **who}, {"what": "replace-cancel", **who}])

    def test_it_is_done(self) -> None:
        """By the fleet's controller, and each server once."""
        self.liz.post("/servers/replace")
        self.pass_time(60)
        self.liz.connect()
        rows = Server.select().where(Server.state != State.GONE)
        self.assertNotIn(self.old, [row.id for row in rows])
        self.assertNotIn(self.oldest, [row.id for row in rows])
        self.assertEqual({row.version for row in rows}, {__version__})
        self.assertEqual(self.replacing(), {"outdated": 0, "asked": 0, "waits_for": None})


class WhoeverWaits(PageCase):
    def test_what_has_begun_is_done(self) -> None:
        """Somebody who does not wait for the answer has asked all the same."""
        browser = self.operator()
        self.database.hold()
        browser.send("POST", "/servers", X_BBS="1")
        browser.close()
        browser.transport.clear()
        self.database.go_on()
        self.assertEqual((self.asked, browser.transport.value()), (1, b""))


class AtTheMaximum(PageCase):
    policy = replace(POLICY, maximum=1)

    def test_no_more(self) -> None:
        reply = self.operator().post("/servers")
        self.assertEqual(
            (reply.code, reply.json["message"]),
            (409, "fleet.maximum (1) is reached: raise it, or drain a server first"),
        )
        self.assertEqual((Action.select().count(), self.asked), (0, 0))

    def test_others_are_replaced_when_there_is_room(self) -> None:
        Server.update(version="0.2.0").execute()
        self.assertEqual(
            self.operator().post("/servers/replace").json["message"],
            "To be replaced, one after the other: 1 server. fleet.maximum (1) is"
            " reached: each server is replaced once its people fit on the others",
        )


class WithoutProvider(PageCase):
    policy = replace(POLICY, minimum=0, maximum=0)

    def test_none_is_started(self) -> None:
        reply = self.operator().post("/servers")
        self.assertEqual(
            (reply.code, reply.json["message"]),
            (409, "fleet.provider is none: run twistd bbs-app yourself"),
        )


class OverTLS(PageCase):
    def test_the_cookie_is_for_tls_too(self) -> None:
        browser = Browser(self.page, tls=True)
        self.assertTrue(browser.log_in().headers["set-cookie"].endswith("; Secure"))
