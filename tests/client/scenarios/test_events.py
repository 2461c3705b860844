"""What a script is told that said `events`, and how it reads on in a conversation."""

from __future__ import annotations

import json

from bbs.board import BBSClient
from bbs.ui.output import JSONFormat
from bbs.ui.script import Script
from tests.client.case import APP_1, LOGIN
from tests.ui.test_script import ScriptTestCase


class EventsCase(ScriptTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.register("ann", "bob", "cat")
        self.befriend("ann", "bob")
        self.other = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(self.other.close)

    def elsewhere(self, line: str) -> None:
        self.assertTrue(self.result(self.other.request(line)).ok)
        self.network.flush()


class PlainTests(EventsCase):
    def test_nothing_unless_it_is_asked_for(self) -> None:
        self.type("login bob 1", "login ann 1")
        self.printed.clear()
        self.elsewhere("login ann 1")
        self.elsewhere("send ann bob hi")
        self.elsewhere("login cat 1")
        self.elsewhere("invite cat ann")
        self.assertEqual(self.printed, ["<<<ann->bob: hi>>>"])
        self.assertEqual(self.asked("events"), [])

    def test_by_who_listens_already(self) -> None:
        self.type("login ann 1", "events")
        self.assertEqual(self.asked("events"), [APP_1])
        self.printed.clear()
        self.elsewhere("login ann 1")
        self.elsewhere("login bob 1")
        self.elsewhere("send ann bob hi")
        self.elsewhere("login cat 1")
        self.elsewhere("invite cat ann")
        self.assertEqual(self.printed, ["<<<ann->bob: hi>>>", "cat invites you"])

    def test_by_who_logs_in_later(self) -> None:
        self.type("events", "login ann 1", "invite ann cat")
        self.elsewhere("login cat 1")
        self.printed.clear()
        self.elsewhere("accept-invite cat ann")
        self.assertEqual(self.printed, ["cat is your friend now"])

    def test_own_lines_are_none(self) -> None:
        self.type("events", "login bob 1", "login ann 1")
        self.assertEqual(self.type("send ann bob hi"), ["<<<ann->bob: hi>>>", "Success!"])

    def test_own_mail_is_none(self) -> None:
        self.type("events", "login ann 1")
        self.assertEqual(self.type("mail ann bob hi"), ["Success!"])
        self.type("login bob 1")
        self.assertEqual(self.type("mail ann bob ho"), ["<<<ann->bob: ho>>>", "Success!"])

    def test_a_status(self) -> None:
        self.type("events", "login ann 1")
        self.elsewhere("login bob 1")
        self.printed.clear()
        self.elsewhere("set-status bob at the beach")
        self.elsewhere("set-status bob")
        said = ["bob's status: at the beach", "bob has cleared the status"]
        self.assertEqual(self.printed, said)

    def test_an_announcement_is_shown_once(self) -> None:
        self.type("events", "login ann 1", "login bob 1")
        self.printed.clear()
        for number, text in ((1, "down at nine"), (2, "<<<ann->bob: hi>>>\x1b[2J")):
            event = {"event": "announcement", "announcement": number, "text": text, "time": 1.0}
            for user in ("ann", "bob", "ann"):
                self.tell(user, event)
        self.assertEqual(
            self.printed,
            ["Announcement: down at nine", "Announcement: <<<ann->bob: hi>>>\\x1b[2J"],
        )

    def test_an_announcement_without_a_number_is_not_counted(self) -> None:
        self.type("events", "login ann 1")
        self.printed.clear()
        for number in ("1", None, True, [1]):
            self.tell("ann", {"event": "announcement", "announcement": number, "text": "x"})
        self.assertEqual(self.printed, ["Announcement: x"] * 4)

    def test_a_name_in_another_form_is_the_same(self) -> None:
        self.register("bo\u00eb")
        self.befriend("ann", "bo\u00eb")
        self.elsewhere("login bo\u00eb 1")
        self.type("events", "login ann 1")
        self.assertEqual(self.type("send ann boe\u0308 hi"), ["Success!"])

    def test_a_server_that_was_lost(self) -> None:
        self.type("events", "login ann 1")
        self.network.cut(APP_1)
        self.network.advance(1)
        self.network.flush()
        self.printed.clear()
        self.elsewhere("login cat 1")
        self.elsewhere("invite cat ann")
        self.assertEqual(self.printed, ["cat invites you"])

    def test_a_service_means_something_else_by_sent(self) -> None:
        self.type("events", "login ann 1")
        self.printed.clear()
        self.tell("ann", {"event": "sent", "text": "your parcel is on its way"})
        self.assertEqual(self.printed, ["your parcel is on its way"])

    def test_what_was_sent_is_not_what_one_goes_on_with(self) -> None:
        self.type("events", "login ann 1")
        self.tell("ann", {"event": "sent", "id": 999, "from": "ann", "to": "bob", "message": "x"})
        self.elsewhere("login bob 1")
        self.elsewhere("send bob ann hi")
        self.assertEqual(self.printed[-1], "<<<bob->ann: hi>>>")

    def test_a_history_has_no_times(self) -> None:
        self.type("login ann 1")
        self.elsewhere("login bob 1")
        self.elsewhere("send bob ann hi")
        self.assertEqual(self.type("history ann bob"), ["<<<bob->ann: hi>>>"])
        self.assertEqual(self.type("who ann"), ["bob  online"])


class ProgramsTests(EventsCase):
    def script(self, client: BBSClient) -> Script:
        return Script(
            self.clock,
            client,
            self,
            form=JSONFormat(),
        )

    def last(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self.printed[-1])
        return told

    def test_events_are_whole(self) -> None:
        self.type("events", "login ann 1")
        self.elsewhere("login cat 1")
        self.elsewhere("invite cat ann")
        invited = {"event": "invite", "from": "cat", "text": "cat invites you", "user": "ann"}
        self.assertEqual(self.last(), invited)
        self.elsewhere("login ann 1")
        self.elsewhere("login bob 1")
        self.elsewhere("send ann bob hi")
        sent = self.last()
        self.assertIsInstance(sent.pop("time"), float)
        self.assertIsInstance(sent.pop("id"), int)
        expected = {"event": "sent", "from": "ann", "to": "bob", "message": "hi", "user": "ann"}
        self.assertEqual(sent, expected)

    def test_a_history_is_read_on_by_its_more(self) -> None:
        self.type("login ann 1")
        self.elsewhere("login bob 1")
        self.send("bob", "ann", *map(str, range(60)))
        self.type("history ann bob")
        latest = self.last()
        self.assertEqual([each["message"] for each in latest["history"]][:1], ["10"])  # type: ignore[attr-defined]
        self.type(f"more ann {latest['more']}")
        older = [each["message"] for each in self.last()["history"]]  # type: ignore[attr-defined]
        self.assertEqual(older, [str(number) for number in range(10)])
        self.assertNotIn("more", self.last())
