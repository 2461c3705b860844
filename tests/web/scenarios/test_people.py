"""What operators see of people by the page, and do to them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from bbs.board import board
from bbs.core import audit
from bbs.rules.user_admin import search
from bbs.storage.models import Action, Session, Suspension, User
from tests.web.case import Answer, AwayCase, Browser, PageCase

DEEDS = ("suspend", "resume", "kick", "password", "delete")


class PeopleCase(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.tokens = self.service.people("ann", "bob")
        self.liz = self.operator()

    def do(self, deed: str, browser: Browser | None = None, **fields: Any) -> Answer:
        """Ask for something, as the page does."""
        return (browser or self.liz).post(
            f"/people/{deed}", json.dumps(fields).encode(), Content_Type="application/json"
        )

    def found(self, query: str = "") -> list[dict[str, Any]]:
        """What a search finds."""
        people: list[dict[str, Any]] = self.liz.get(f"/people?{query}").json["people"]
        return people

    def names(self, query: str = "") -> list[str]:
        """Who is found."""
        return [each["name"] for each in self.found(query)]

    def person(self, name: str) -> dict[str, Any]:
        """One person."""
        shown: dict[str, Any] = self.liz.get(f"/people/show?name={quote(name)}").json
        return shown

    def reply(self, line: str) -> dict[str, Any]:
        """What the login server answers."""
        peer = self.service.peer()
        peer.say(line)
        self.service.settle()
        (reply,) = peer.heard()
        return reply


class Seeing(PeopleCase):
    def test_searching(self) -> None:
        self.assertEqual(self.names(), ["ann", "bob"])
        self.assertEqual(self.names("search=o"), ["bob"])
        self.assertEqual(self.names("search=nobody"), [])
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        self.pass_time(2)
        self.assertEqual(self.names("online=1"), ["ann"])
        self.assertEqual(self.names("behind=ann"), ["bob"])

    def test_a_part_at_a_time(self) -> None:
        User.insert_many(
            {"name": f"x{number:03}", "password_hash": "", "channel": str(number), "created": 1.0}
            for number in range(60)
        ).execute()
        answer = self.liz.get("/people?search=x").json
        self.assertEqual((len(answer["people"]), answer["more"]), (50, "x049"))
        rest = self.liz.get("/people?search=x&behind=x049").json
        self.assertEqual((len(rest["people"]), rest["more"]), (10, None))

    def test_one_person(self) -> None:
        shown = self.person("ann")
        self.assertEqual((shown["name"], shown["state"], shown["sessions"]), ("ann", "online", 1))
        self.assertEqual(shown["server"], *self.server_ids())
        self.assertEqual(shown["counts"]["friends"], 0)
        self.assertEqual(shown["created"], shown["seen"])
        self.assertNotIn("id", shown)
        self.assertNotIn("password", json.dumps(shown))

    def test_names_with_anything_in_them(self) -> None:
        name = "a/b?c&d=e#<b>"
        self.service.people(name)
        self.assertEqual(self.person(name)["name"], name)
        self.assertEqual(self.do("kick", name=name).code, 200)

    def test_nobody_of_that_name(self) -> None:
        for query in ("name=nobody", "", "name=%FF"):
            answer = self.liz.get(f"/people/show?{query}")
            self.assertEqual((answer.code, answer.json["message"]), (404, "Nobody has this name"))

    def test_it_is_for_operators(self) -> None:
        for path in ("/people", "/people?search=a", "/people/show?name=ann"):
            answer = self.browser().get(path)
            self.assertEqual(
                (answer.code, answer.json["message"]), (401, "Log in as an operator first")
            )

    def test_a_search_is_made_once_a_second(self) -> None:
        for _ in range(6):
            self.names("search=a")
        self.assertEqual(len(self.database.calls(search)), 1)
        self.clock.advance(1)
        self.names("search=a")
        self.names("search=b")
        self.assertEqual(len(self.database.calls(search)), 3)


class Doing(PeopleCase):
    def test_kicking(self) -> None:
        reply = self.do("kick", name="ann")
        self.assertEqual((reply.code, reply.json["message"]), (200, "ann: 1 session ended"))
        self.assertEqual(self.person("ann")["state"], "offline")
        self.assertEqual(self.do("kick", name="ann").json["message"], "ann: nobody was logged in")
        self.assertEqual(self.reply("login ann pw")["status"], 0)

    def test_who_listens_is_told_within_a_second_or_two(self) -> None:
        listener = self.service.listening(self.tokens["ann"])
        other = self.service.listening(self.tokens["bob"])
        self.do("kick", name="ann")
        self.pass_time(2)
        self.assertEqual([each["event"] for each in listener.events()], ["logout"])
        self.assertEqual(other.events(), [])

    def test_suspending_and_resuming(self) -> None:
        reply = self.do("suspend", None, name="ann", **{"for": 3600, "reason": "spam <b>"})
        self.assertEqual(
            (reply.code, reply.json["message"]), (200, "ann is suspended; 1 session ended")
        )
        shown = self.person("ann")
        self.assertEqual(shown["state"], "suspended")
        self.assertEqual(shown["suspended"]["reason"], "spam <b>")
        self.assertEqual(shown["suspended"]["until"] - shown["suspended"]["since"], 3600)
        reply = self.do("resume", name="ann")
        self.assertEqual((reply.code, reply.json["message"]), (200, "ann may log in again"))
        reply = self.do("resume", name="ann")
        self.assertEqual(
            (reply.code, reply.json["message"]), (409, "Nobody with this name is suspended")
        )

    def test_until_resumed(self) -> None:
        self.assertEqual(self.do("suspend", name="ann").code, 200)
        self.assertIsNone(Suspension.get().until)

    def test_how_long_is_none(self) -> None:
        wrong: tuple[Any, ...] = (0, -1, "x", True, [], 1e12, float("nan"), float("inf"))
        for seconds in wrong:
            reply = self.do("suspend", None, name="ann", **{"for": seconds})
            self.assertEqual(reply.code, 400, seconds)
        self.assertEqual(self.do("suspend", name="ann", reason=["x"]).code, 400)
        self.assertEqual(Suspension.select().count(), 0)

    def test_a_new_password(self) -> None:
        reply = self.do("password", name="ann", password="new-one")
        self.assertEqual(
            (reply.code, reply.json["message"]), (200, "ann has the new password; 1 session ended")
        )
        self.assertEqual(self.reply("login ann pw")["code"], "wrong-credentials")
        self.assertEqual(self.reply("login ann new-one")["status"], 0)
        self.assertNotIn("new-one", str([*Action.select().dicts()]))

    def test_passwords_that_are_none(self) -> None:
        for password, message in (
            ("new", "Password too short"),
            ("x" * 1025, "Password too long"),
            ("new one", "A password is one word, without spaces"),
            ("new\none", "A password is one word, without spaces"),
            (None, "A password is needed"),
            (7, "A password is needed"),
        ):
            reply = self.do("password", name="ann", password=password)
            self.assertEqual((reply.code, reply.json["message"]), (400, message))
        reply = self.liz.post("/people/password?name=ann&password=secret")
        self.assertEqual(reply.code, 400)
        self.assertEqual(self.reply("login ann pw")["status"], 0)

    def test_deleting(self) -> None:
        for again in ("an", None, ""):
            reply = self.do("delete", name="ann", again=again)
            self.assertEqual(
                (reply.code, reply.json["message"]),
                (400, "Type the name once more: the two differ"),
            )
        reply = self.do("delete", name="ann", again="ann")
        self.assertEqual(
            (reply.code, reply.json["message"]), (200, "ann is deleted; 1 session ended")
        )
        self.assertEqual(self.names(), ["bob"])

    def test_nobody_of_that_name(self) -> None:
        for deed in DEEDS:
            reply = self.do(deed, name="eve", again="eve", password="secret")
            self.assertEqual((reply.code, reply.json["message"]), (404, "Nobody has this name"))
            for fields in ({}, {"name": ""}, {"name": ["ann"]}, {"name": 1}):
                self.assertEqual(self.do(deed, **fields, password="secret").code, 400, deed)
        self.assertEqual(Action.select().count(), 0)

    def test_nobody_but_operators(self) -> None:
        for deed in DEEDS:
            self.assertEqual(self.do(deed, self.browser(), name="ann", again="ann").code, 401)
            body = json.dumps({"name": "ann", "again": "ann", "password": "secret"}).encode()
            for headers in ({}, {"X_BBS": "1", "Origin": "https://evil.example"}):
                reply = self.liz.ask(
                    "POST", f"/people/{deed}", body, Content_Type="application/json", **headers
                )
                self.assertEqual(reply.code, 403, (deed, headers))
        self.assertEqual((Action.select().count(), Session.select().count()), (0, 2))

    def test_everything_is_recorded_and_told(self) -> None:
        told: list[dict[str, str]] = []
        observer: Any = told.append
        audit.publisher.addObserver(observer)
        self.addCleanup(audit.publisher.removeObserver, observer)
        self.do("suspend", name="ann", reason="spam")
        self.do("password", name="bob", password="new-one")
        password, suspend = self.liz.get("/actions").json
        self.assertEqual(
            (suspend["action"], suspend["person"], suspend["detail"]),
            ("suspend", "ann", "until resumed: spam"),
        )
        self.assertEqual((password["action"], password["operator"]), ("password", "liz"))
        who = {"outcome": "done", "address": "192.0.2.1", "by": "liz"}
        self.assertEqual(
            told,
            [{"what": "suspend", "name": "ann", **who}, {"what": "password", "name": "bob", **who}],
        )
        self.assertEqual(self.asked, 2)

    def test_other_operators_hear_of_it(self) -> None:
        """By a number that says that there is something new in the record; others hear nothing."""
        mine, others = self.watcher(self.operator()), self.watcher()
        self.pass_time(6)
        before = mine.last_state()["last_action"]
        others.events()
        self.do("kick", name="ann")
        self.pass_time(2)
        state = mine.last_state()
        self.assertGreater(state["last_action"], before)
        told = others.events()
        self.assertNotIn("last_action", json.dumps(told))
        self.assertEqual([each for each in told if each[0] == "news"], [])

    def test_they_hear_of_it_at_once(self) -> None:
        """Also where nothing else changes: a second after a state that told of everything."""
        self.do("suspend", name="ann")
        mine = self.watcher(self.operator())
        self.pass_time(1)
        mine.events()
        while not mine.events("state"):
            self.pass_time(1)
        self.do("resume", name="ann")
        self.pass_time(1)
        self.assertEqual(len(mine.events("state")), 1)


class OneWhoHasMuch(PeopleCase):
    def setUp(self) -> None:
        self.left = [3, 2, 0]
        self.offered = replace(board, on_delete=lambda user: self.left.pop(0))
        super().setUp()

    def test_deleting(self) -> None:
        self.assertEqual(self.do("delete", name="ann", again="ann").code, 200)
        self.assertEqual((self.left, self.names()), ([], ["bob"]))


class WithoutADatabase(PeopleCase, AwayCase):
    def test_nothing_is_done(self) -> None:
        self.go()
        for deed in DEEDS:
            reply = self.do(deed, name="ann", again="ann", password="secret")
            self.assertEqual((reply.code, self.asked), (503, 0), deed)
        self.assertEqual(self.liz.get("/people?search=z").code, 503)
