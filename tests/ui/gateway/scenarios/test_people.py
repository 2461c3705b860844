"""What the gateway shows of people: times, talks, who is there, what waits."""

from __future__ import annotations

from datetime import datetime

from bbs.storage.models import User
from tests.ui.gateway.case import GatewayCase, window

DAY = 86400.0


class LookalikeTests(GatewayCase):
    def test_a_warning_is_a_line_of_its_own(self) -> None:
        self.befriend("ann", "bob")
        nc, telnet = self.pipe("login ann 1"), self.telnet("login ann 1")
        nc.forget()
        self.announce("ann", {"event": "invite", "from": "BOB", "text": "BOB invites you"})
        warning = "BOB is not your friend bob."
        self.assertTrue(
            nc.text.endswith(f" * BOB wants to be your friend. Type: accept NAME\n{warning}\nann> ")
        )
        self.assertEqual(telnet.shown()[-2:], [warning, "ann>"])


class TimesTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.befriend("ann", "bob")
        self.pipe("login bob 1")

    def test_with_each_message(self) -> None:
        nc, telnet = self.pipe("login ann 1"), self.telnet("login ann 1")
        self.send("bob", "ann", "hello")
        line = f"{self.time()} bob  hello"
        self.assertTrue(nc.text.endswith(f"{line}\nann> "))
        self.assertEqual(telnet.shown()[-2:], [line, "ann>"])

    def test_off(self) -> None:
        nc = self.pipe("login ann 1", "times off")
        self.send("bob", "ann", "hello")
        self.assertTrue(nc.text.endswith("\nbob  hello\nann> "))
        nc.send("times\ntimes on\ntimes of\n")
        shown = "Times: off\nTimes: on\nUsage: times [on|off]\nann> "
        self.assertEqual(nc.text, shown)
        self.send("bob", "ann", "hello")
        self.assertIn(f"{self.time()} bob  ", nc.text)

    def test_a_day_begins(self) -> None:
        nc = self.pipe("login ann 1")
        self.service.set_ahead += DAY
        nc.forget()
        self.send("bob", "ann", "hello")
        today = datetime.fromtimestamp(self.service.wall())
        self.assertEqual(
            nc.text.split("\n")[1:3],
            [f"--- {today:%A %-d %B %Y} ---", f"{self.time()} bob  hello"],
        )

    def test_of_posts(self) -> None:
        self.pipe("login bob 1", "post good morning")
        nc = self.pipe("login ann 1")
        nc.forget()
        nc.send("receive-post\n")
        self.assertEqual(nc.text, f"{self.time()} bob: good morning\nann> ")

    def test_none_that_an_older_server_does_not_tell(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        self.tell(
            "ann", {"event": "message", "id": 99, "from": "bob", "to": "ann", "message": "hi"}
        )
        self.assertEqual(nc.text, "\nbob  hi\nann> ")

    def test_the_bell(self) -> None:
        nc = self.pipe("login ann 1")
        self.send("bob", "ann", "hello")
        self.assertNotIn("\a", nc.text)
        nc.send("bell on\n")
        self.assertEqual(nc.text, "Bell: on\nann> ")
        self.send("bob", "ann", "hello")
        self.assertEqual(nc.text.count("\a"), 1)
        self.send("bob", "ann", "\a")
        self.assertEqual(nc.text.count("\a"), 1)


class TalkTests(GatewayCase):
    def setUp(self) -> None:
        super().setUp()
        self.befriend("ann", "bob")

    def test_begins_with_what_was_said(self) -> None:
        nc = self.pipe("login ann 1")
        self.pipe("login bob 1", "send ann hello")
        nc.forget()
        nc.send("talk bob\n")
        said = f"{self.time()} bob  hello\nann>bob> "
        self.assertTrue(nc.text.endswith(said))

    def test_what_waited(self) -> None:
        self.pipe("login ann 1").leave()
        self.pipe("login bob 1", "send ann hello")
        self.network.advance(60)
        nc = self.pipe("login ann 1")
        self.assertIn("Success!\n1 message came while you were away\n", nc.text)

    def test_who(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        nc.send("who\n")
        self.assertEqual(nc.text, "bob is out\nann> ")
        bob = self.pipe("login bob 1")
        nc.send("w\n")
        self.assertEqual(nc.text, "bob is here\nann> ")
        bob.send("logout\n")
        now = self.time()
        seen = User.update(seen=self.service.wall()).where(User.name == "bob")
        self.run_rule(seen.execute)
        self.network.advance(120)
        nc.send("w\n")
        self.assertEqual(nc.text, f"bob is out, last here {now}\nann> ")

    def test_own_lines_of_another_visit(self) -> None:
        nc, other = self.pipe("login ann 1"), self.pipe("login ann 1")
        self.pipe("login bob 1")
        nc.forget()
        other.send("send bob hello\n")
        self.assertEqual(nc.text, f"\n{self.time()} ann → bob  hello\nann> ")
        self.assertNotIn("  hello", other.text)

    def test_own_lines_have_their_time(self) -> None:
        self.log_in("bob")
        telnet = self.telnet("login ann 1", "talk bob", "hello", "//me")
        now = self.time()
        shown = telnet.shown()
        self.assertEqual(shown[-3:], [f"{now} ann  hello", f"{now} ann  /me", "ann>bob>"])
        telnet.send("/ping\r\0")
        self.assertEqual(telnet.shown()[-3:], ["ann>bob> /ping", "Pong!", "ann>bob>"])

    def test_words_stay_whole_under_the_text(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send(window(40))
        self.send("bob", "ann", "one two three four five six\u2028seven")
        telnet.settle()
        first = f"{self.time()} bob  "
        blank = " " * len(first)
        rows = [f"{first}one two three four five six", f"{blank}seven", "ann>"]
        self.assertEqual(telnet.shown()[-3:], rows)
        self.send("bob", "ann", "seven eight nine ten eleven twelve")
        telnet.settle()
        rows = [f"{first}seven eight nine ten eleven", f"{blank}twelve", "ann>"]
        self.assertEqual(telnet.shown()[-3:], rows)

    def test_with_nc_only_the_line_ends_of_the_text_end_lines(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        self.send("bob", "ann", f"{'one ' * 50}\u20281970")
        nc.settle()
        first = f"{self.time()} bob  "
        self.assertEqual(nc.text, f"\n{first}{'one ' * 50}\n{' ' * len(first)}1970\nann> ")

    def test_exit_in_a_talk(self) -> None:
        nc = self.pipe("login ann 1", "talk bob", "exit")
        self.assertTrue(
            nc.text.endswith("Type end to stop talking, or exit again to leave.\nann>bob> ")
        )
        self.assertFalse(nc.is_over)
        nc.send("exit\n")
        self.assertTrue(nc.is_over)

    def test_an_invitation(self) -> None:
        self.register("cat")
        nc, cat = self.pipe("login ann 1"), self.pipe("login cat 1")
        nc.forget()
        cat.send("invite ann\n")
        self.assertEqual(
            nc.text, f"\n{self.time()}  * cat wants to be your friend. Type: accept NAME\nann> "
        )
        nc.send("times off\naccept-invite cat\n")
        self.assertTrue(cat.text.endswith(f"{self.time()}  * ann is your friend now\ncat> "))
        self.register("dan")
        nc.forget()
        self.pipe("login dan 1", "invite ann")
        self.assertEqual(nc.text, "\n * dan wants to be your friend. Type: accept NAME\nann> ")


class PasswordTests(GatewayCase):
    def test_a_new_one_does_not_show(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("change-password\r\0")
        self.assertEqual(telnet.last(), "Old password for ann:")
        telnet.send("1\r\0SECRET\r\0SECRET\r\0")
        self.assertEqual(
            telnet.shown()[-2:],
            ["The password is changed. Your other sessions have ended.", "ann>"],
        )
        self.assertNotIn(b"SECRET", telnet.socket.value())
        self.assertTrue(self.is_password("ann", "SECRET"))

    def test_nor_when_it_is_typed_before_it_is_asked_for(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("change-password\r\0" + "1\r\0SECRET\r\0SECRET\r\0ping")
        self.assertNotIn(b"SECRET", telnet.socket.value())
        self.assertTrue(self.is_password("ann", "SECRET"))
        self.assertEqual(telnet.last(), "ann> ping")

    def test_it_cannot_be_called_back(self) -> None:
        telnet = self.telnet("login ann 1", "change-password 1 SECRET")
        telnet.send("\x10")
        self.assertEqual(telnet.last(), "ann> change-password")
