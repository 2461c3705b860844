"""What people at a gateway type, and what they are shown."""

from dataclasses import replace

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import capturedLogs, formatEventAsClassicLogText

from bbs.config import Configuration
from bbs.core.addresses import Address
from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.conversation import GAVE_UP
from bbs.ui.gateway.keyboard import MOST_COMPLETED
from bbs.ui.prompts import FOR_EVER
from tests.client.case import APP_1, LOGIN, SECRET, TRUSTING, failure
from tests.ui.gateway.case import AGREED, REFUSED, WELCOME, GatewayCase, window

BACKSPACE, CTRL_C, CTRL_D, CTRL_L, CTRL_U = "\x7f", "\x03", "\x04", "\x0c", "\x15"
LEFT, UP = "\x1b[D", "\x1b[A"
AWAY = "Server unreachable. Retrying…"


STEPS = "Try: invite NAME, talk NAME or help"


class PipeTests(GatewayCase):
    def test_a_visit(self) -> None:
        nc = self.visitor()
        self.clock.advance(0.2)
        nc.settle()
        self.assertEqual(nc.text, f"{WELCOME}\nbbs> ")
        nc.send("register eve 1\n")
        self.assertEqual(nc.text, "Success!\nSuccess!\neve> ")
        nc.send("login eve 1\n")
        self.assertEqual(nc.text, "Success!\neve> ")
        nc.send("list-friend\n")
        self.assertEqual(nc.text, "No friends\neve> ")
        nc.send("exit\n")
        self.assertEqual(nc.text, "Bye!\n")
        self.assertTrue(nc.is_over)

    def test_all_at_once(self) -> None:
        nc = self.visitor()
        nc.send("login ann 1\nlist-invite\nping\nquit\n")
        self.assertEqual(
            nc.text,
            f"{WELCOME}\nSuccess!\nNo invitations\nPong!\nBye!\n",
        )

    def test_the_last_line_may_lack_its_end(self) -> None:
        nc = self.visitor()
        nc.send("ping\nping")
        nc.close_side()
        self.assertTrue(nc.text.endswith("Pong!\nbbs> \nPong!\nBye!\n"), nc.socket.value())
        self.assertTrue(nc.is_over)

    def test_a_password_is_asked_for_and_shows(self) -> None:
        nc = self.pipe("login ann")
        self.assertTrue(nc.text.endswith("(it will show) Password for ann: "))
        nc.send("1\n")
        self.assertEqual(nc.text, "Success!\nann> ")

    def test_an_end_instead_of_a_password(self) -> None:
        nc = self.pipe("login ann")
        nc.close_side()
        self.assertTrue(nc.text.endswith("Given up.\nBye!\n"))

    def test_no_byte_of_telnet_and_no_cr(self) -> None:
        nc = self.pipe("login ann 1", "list-friend", "nonsense")
        self.befriend("ann", "bob")
        self.pipe("login bob 1", "send ann h\u00e9llo\r")
        nc.settle()
        data = nc.socket.value()
        self.assertIn("bob  héllo".encode(), data)
        self.assertNotIn(b"\r", data)
        self.assertNotIn(b"\xff", data)

    def test_a_message_begins_a_line(self) -> None:
        self.befriend("ann", "bob")
        nc, other = self.pipe("login ann 1"), self.pipe("login bob 1")
        nc.forget()
        self.hold_messages()
        other.send("send ann one\nsend ann two\n")
        self.release("ann")
        nc.settle()
        lines = (f"{self.time()} bob  {text}\n" for text in ("one", "two"))
        self.assertEqual(nc.text, f"\n{''.join(lines)}ann> ")

    def test_big5_from_the_line_behind_on(self) -> None:
        nc = self.visitor()
        nc.send(b"login ann 1\nencoding big5\npost \xa4\xa4\xa4\xe5\n")
        self.assertTrue(nc.text.endswith("Encoding: BIG5\nSuccess!\nann> "))
        self.assertEqual(self.posts(), [("ann", "中文")])

    def test_waiting_is_told_in_lines(self) -> None:
        self.service.boots = False
        self.network.kill(APP_1)
        self.network.advance(1.0)
        nc = self.pipe("login ann 1")
        self.assertTrue(nc.text.endswith("The service is full, you are next, about 0 s.\n"))
        (asking,) = [each for each in self.network.links if "events" in each.requests]
        for position in (2, 1):
            asking.tell({"event": "waiting", "position": position, "seconds": None})
            nc.settle()
        self.assertTrue(
            nc.text.endswith("The service is full, place 2.\nThe service is full, you are next.\n")
        )

    def test_a_first_line_of_any_length(self) -> None:
        for length in (4_000, 5_000, 70_000):
            nc = self.pipe("x" * length, "ping")
            self.assertTrue(nc.text.endswith("bbs> Pong!\nbbs> "), (length, nc.text[-200:]))

    def test_a_line_too_long_is_said_and_forgotten(self) -> None:
        nc = self.pipe("x" * 300, "ping")
        said = f"Not sent: {'x' * 60}… (the line is over 200 bytes)\nbbs> Pong!\nbbs> "
        self.assertTrue(nc.text.endswith(said))

    def test_the_name_is_asked_for_before_an_account_goes(self) -> None:
        nc = self.pipe("login ann 1", "delete")
        self.assertTrue(nc.text.endswith(f"{FOR_EVER.format('ann')}\nName: "))
        self.clock.advance(1.0)
        nc.send("ann\n")
        self.assertEqual(nc.text, "Success!\nbbs> ")
        self.assertEqual(self.users(), {"bob"})

    def test_no_line_that_waits_answers(self) -> None:
        nc = self.pipe("login ann 1")
        nc.forget()
        nc.send("delete\nann\nlogin bob 1\n")
        said = f"{FOR_EVER.format('ann')}\nNot sent: ann\nNot sent: login bob\nName: "
        self.assertEqual(nc.text, said)
        nc.send("ann\n")
        self.assertEqual(nc.text, "Not sent: ann\nName: ")
        nc.close_side()
        self.assertEqual(nc.text, "\nGiven up.\nBye!\n")
        self.assertEqual(self.users(), {"ann", "bob"})


class TelnetTests(GatewayCase):
    def test_an_answer_is_seen(self) -> None:
        telnet = self.telnet("login ann", "1", "delete")
        self.clock.advance(1.0)
        telnet.send("an\r\0")
        self.assertEqual(telnet.shown()[-2:], ["Nothing was deleted.", "ann>"])
        self.assertIn("Name: an", telnet.shown())
        telnet.send("delete\r\0login bob\r\0")
        telnet.send(CTRL_C)
        self.assertEqual(telnet.shown()[-2:], ["Given up.", "ann>"])
        telnet.send("ping\r\0")
        self.assertEqual(telnet.shown()[-3:], ["ann> ping", "Pong!", "ann>"])

    def test_a_visit(self) -> None:
        telnet = self.telnet("login ann", "1", "list-friend")
        self.assertEqual(
            telnet.shown()[2:],
            [
                "bbs> login ann",
                "Password for ann:",
                "Logged in as ann.",
                STEPS,
                "ann> list-friend",
                "No friends",
                "ann>",
            ],
        )
        self.assertNotIn(b"1", telnet.socket.value())
        telnet.send("exit\r\0")
        self.assertEqual(telnet.shown()[-1], "Bye!")
        self.assertTrue(telnet.is_over)

    def test_one_that_negotiates_by_itself_is_greeted_as_telnet(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\xff\xfb\x1f\xff\xfd\x03")
        self.assertIn(WELCOME.replace("\n", "\r\n").encode(), telnet.new)

    def test_the_first_line_waits_until_echo_is_settled(self) -> None:
        telnet = self.visitor()
        telnet.send(b"login ann\r\n")
        self.assertNotIn(b"Password", telnet.new)
        telnet.send(AGREED)
        self.assertEqual(telnet.new, b"Password for ann: ")
        self.assertNotIn(b"it will show", telnet.socket.value())

    def test_an_answer_is_not_waited_for_without_an_end(self) -> None:
        telnet = self.visitor()
        telnet.send(b"login ann\r\n")
        self.network.advance(1.1)
        self.assertEqual(telnet.new[-33:], b"(it will show) Password for ann: ")

    def test_one_that_does_not_answer_has_a_prompt_too(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\xff\xfb\x1f")
        self.assertFalse(telnet.new.endswith(b"bbs> "))
        self.network.advance(1.1)
        self.assertEqual(telnet.new, b"bbs> ")

    def test_one_that_echoes_itself(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\r\n" + REFUSED)
        telnet.forget()
        telnet.send(b"login ann\r\n")
        self.assertEqual(telnet.new, b"(it will show) Password for ann: ")
        telnet.send(b"1\r\n")
        self.assertEqual(
            telnet.new, b"Logged in as ann.\r\nTry: invite NAME, talk NAME or help\r\nann> "
        )

    def test_a_message_leaves_the_line_as_it_is(self) -> None:
        self.befriend("ann", "bob")
        telnet = self.telnet("login ann 1")
        telnet.send("send bob 中" + LEFT)
        self.pipe("login bob 1", "send ann \x1b[2Jhello")
        telnet.settle()
        self.assertEqual(
            telnet.shown()[-2:],
            [f"{self.time()} bob  \\x1b[2Jhello", "ann> send bob 中"],
        )
        self.assertEqual(telnet.screen.cursor.x, 14)
        telnet.send("e\r\0")
        self.assertEqual(self.messages()[1:], [("ann", "bob", "e中")])

    def test_lines_that_come_together(self) -> None:
        telnet = self.telnet()
        telnet.send("login ann 1\r\0list-friend\r\0po")
        self.assertEqual(
            telnet.shown()[-4:],
            ["Logged in as ann.", STEPS, "No friends", "ann> po"],
        )

    def test_talking(self) -> None:
        self.befriend("ann", "bob")
        self.pipe("login bob 1")
        telnet = self.telnet("login ann 1", "talk bob")
        self.assertEqual(telnet.last(), "ann>bob>")
        telnet.send("hello\r\0end\r\0")
        self.assertEqual(telnet.last(), "ann>")
        self.assertEqual(self.messages(), [("ann", "bob", "hello")])

    def test_one_user_at_a_time(self) -> None:
        telnet = self.telnet("login ann 1", "login bob 1")
        self.assertIn("You are logged in as ann. Log out first.", telnet.shown())
        telnet.send("logout\r\0")
        self.assertEqual(telnet.last(), "bbs>")
        self.assertEqual(self.online(), set())

    def test_history_has_no_passwords(self) -> None:
        telnet = self.telnet("login ann 1", "logout", "login ann", "1")
        telnet.send(UP)
        self.assertEqual(telnet.last(), "ann> login ann")
        telnet.send(UP + UP)
        self.assertEqual(telnet.last(), "ann> login ann")

    def test_nor_those_that_were_typed_ahead(self) -> None:
        telnet = self.telnet()
        telnet.send("login ann\r\0" + "1\r\0")
        self.assertEqual(telnet.last(), "ann>")
        telnet.send(UP)
        self.assertEqual(telnet.last(), "ann> login ann")

    def test_a_password_that_is_typed_ahead_does_not_show(self) -> None:
        self.change_password("ann", "SECRET")
        for line in ("login ann", "/login ann", " login  ann "):
            telnet = self.telnet()
            telnet.send(f"{line}\r\0SEC")
            telnet.send("RET\r\0ping")
            self.assertNotIn(b"SEC", telnet.socket.value(), line)
            self.assertEqual(telnet.last(), "ann> ping")
            telnet.leave()

    def test_nor_do_two_in_one_packet(self) -> None:
        answer = self.hold("ping")
        telnet = self.telnet("ping")
        telnet.send("register eve\r\0SECRET\r\0SECRET\r\0help\r\0login eve\r\0SECRET\r\0")
        answer()
        telnet.settle()
        self.assertEqual(telnet.last(), "eve>")
        self.assertNotIn(b"SECRET", telnet.socket.value())
        self.assertIn(b"help", telnet.socket.value())

    def test_nor_while_another_line_is_carried_out(self) -> None:
        self.change_password("ann", "SECRET")
        answer = self.hold("ping")
        telnet = self.telnet()
        telnet.send("ping\r\0login ann\r\0SEC")
        answer()
        telnet.settle()
        self.assertEqual(telnet.last(), "Password for ann:")
        telnet.send("RET\r\0")
        self.assertEqual(telnet.last(), "ann>")
        self.assertNotIn(b"SEC", telnet.socket.value())

    def test_one_that_is_not_asked_for_goes_nowhere(self) -> None:
        telnet = self.telnet("login ann 1")
        answer = self.hold("ping")
        telnet.send("ping\r\0login bob\r\0SECRET\r\0encoding\r\0")
        answer()
        telnet.settle()
        self.assertIn("You are logged in as ann. Log out first.", telnet.shown())
        self.assertIn("Not sent: 1 hidden line", telnet.shown())
        self.assertNotIn(b"SECRET", telnet.socket.value())
        self.assertIn("Encoding: UTF-8", telnet.shown())
        telnet.send("po")
        self.assertEqual(telnet.last(), "ann> po")

    def test_nor_when_it_is_given_up_before(self) -> None:
        self.hold("ping")
        telnet = self.telnet()
        telnet.send("ping\r\0login ann\r\0SECRET\r\0login ann\r\0SEC")
        telnet.send(CTRL_C)
        self.assertIn("Not sent: login ann", telnet.shown())
        self.assertIn("Not sent: 1 hidden line", telnet.shown())
        telnet.send("help")
        self.assertEqual(telnet.last(), "bbs> help")
        self.assertNotIn(b"SEC", telnet.socket.value())

    def test_nor_before_telnet_has_answered(self) -> None:
        telnet = self.visitor()
        telnet.send("login ann\r\0SEC" + CTRL_C + "\r\0")
        telnet.send(AGREED)
        self.assertEqual(telnet.last(), "bbs>")
        self.assertEqual(self.asked("login"), [])
        self.assertNotIn(b"SEC", telnet.socket.value())

    def test_in_a_talk_it_is_a_word_like_others(self) -> None:
        self.befriend("ann", "bob")
        self.pipe("login bob 1")
        telnet = self.telnet("login ann 1", "talk bob")
        telnet.connection.dataReceived(b"login later\r\0bye\r\0")
        telnet.settle()
        said = [("ann", "bob", "login later"), ("ann", "bob", "bye")]
        self.assertEqual(self.messages(), said)

    def test_what_is_typed_during_a_password_is_no_part_of_it(self) -> None:
        telnet = self.telnet("login ann")
        telnet.send("12" + BACKSPACE + "\t\r\0")
        self.assertEqual(telnet.last(), "ann>")

    def test_resized(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("0123456789" * 4)
        telnet.send(window(20))
        self.assertEqual(telnet.last(), "ann> 3456789")
        telnet.send(window(0))
        telnet.send(CTRL_L)
        self.assertEqual(telnet.shown(), ["ann> " + "0123456789" * 4])

    def test_completion(self) -> None:
        self.befriend("ann", "bob")
        telnet = self.telnet("login ann 1")
        telnet.send("send b\tx")
        self.assertEqual(telnet.last(), "ann> send bob x")
        telnet.send(CTRL_U)
        telnet.send("list-f\t")
        self.assertEqual(telnet.last(), "ann> list-friend")
        telnet.send(CTRL_U + "list-\t")
        listed = "list-invite  list-friend  list-group  list-joined  list-block  list-member"
        self.assertEqual(telnet.shown()[-2:], [listed, "ann> list-"])
        telnet.send("\t\t")
        self.assertEqual(str(telnet.shown()).count("list-invite  list-friend"), 1)
        self.make_group("many", "ann")
        self.make_groups(100)
        telnet.send(CTRL_U + "list-group\r\0")
        telnet.send("join-group group\t")
        self.assertIn("group49  … 100 in all", " ".join(telnet.shown()))
        telnet.send(CTRL_U + "jo\tx\t")
        self.assertEqual(telnet.last(), "ann> join-group x")
        telnet.send(CTRL_U + "lis\t")
        self.assertEqual(telnet.last(), "ann> list-")

    def test_big5_asked_for(self) -> None:
        telnet = self.telnet("login ann 1", "encoding big5")
        telnet.send(b"post \xa4\xa4\xa4")
        telnet.send(b"\xe5\xb0\xa8" + BACKSPACE.encode() + b"\r\0")
        self.assertEqual(self.posts(), [("ann", "中文")])
        self.assertIn(b"post \xa4\xa4\xa4\xe5", telnet.socket.value())
        telnet.send("encoding\r\0encoding koi8-r\r\0encoding a b\r\0")
        self.assertEqual(telnet.shown()[-1], "ann>")
        self.assertEqual(telnet.shown().count("Type: encoding utf-8|big5"), 2)
        self.assertIn("Encoding: BIG5", telnet.shown()[-6:])

    def test_big5_agreed_on(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send(b"\xff\xfd\x2a")
        self.assertTrue(telnet.new.endswith(b"\xff\xfa\x2a\x01 UTF-8 BIG5\xff\xf0"))
        telnet.send(b"\xff\xfa\x2a\x02BIG5\xff\xf0")
        telnet.send(b"post \xa4\xa4\r\0")
        self.assertEqual(self.posts(), [("ann", "中")])

    def test_commands_of_telnet_are_keys(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send(b"abc\xff\xf7")
        self.assertEqual(telnet.last(), "ann> ab")
        telnet.send(b"\xff\xf8")
        self.assertEqual(telnet.last(), "ann>")
        telnet.send(b"\xff\xf6\xff\xf1")
        self.assertEqual(telnet.shown()[-2:], ["bbs is here.", "ann>"])
        telnet.send(b"\xff\xec")
        self.assertTrue(telnet.is_over)

    def test_a_line_too_long(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("x" * 150)
        telnet.send("y" * 100)
        said = f"Not sent: {'x' * 60}… (the line is over 200 bytes)"
        self.assertIn(said, "".join(telnet.shown()))
        telnet.send("z" * 100 + "\r\0")
        self.assertEqual(str(telnet.shown()).count("over 200 bytes"), 1)
        self.assertEqual(telnet.last(), "ann>")
        self.assertEqual(self.asked("x" * 150), [])


class LongTextTests(GatewayCase):
    limits = LineLimits(max_line=2 * MOST_COMPLETED)

    def test_in_a_long_text_nothing_is_completed(self) -> None:
        for before, completed in ((0, "riend"), (1, "")):
            telnet = self.telnet()
            telnet.send(" " * (MOST_COMPLETED - len("list-f") + before) + "list-f\t")
            self.assertTrue(telnet.last().endswith(f" list-f{completed}"), telnet.last())


class GivingUpTests(GatewayCase):
    def waiting(self) -> None:
        self.hold("login", "listen")

    def test_a_half_typed_line_is_not_lost_unasked(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("hello" + CTRL_C)
        self.assertEqual(telnet.shown()[-2:], ["Ctrl-C again clears the line.", "ann> hello"])
        telnet.send(CTRL_C)
        self.assertEqual(telnet.last(), "ann>")
        telnet.send(CTRL_C)
        self.assertEqual(telnet.shown()[-2:], ["To leave, type exit or press Ctrl-D.", "ann>"])

    def test_nor_is_it_at_the_end(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("hello" + CTRL_D)
        self.assertFalse(telnet.is_over)
        self.assertIn("Ctrl-D again ends", telnet.shown()[-2])
        telnet.send(LEFT + CTRL_D)
        self.assertEqual(telnet.last(), "ann> hell")
        telnet.send(CTRL_D + CTRL_D)
        self.assertTrue(telnet.is_over)

    def test_the_end(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send(CTRL_D)
        self.assertEqual(telnet.shown()[-1], "Bye!")
        self.assertTrue(telnet.is_over)

    def test_waiting_is_given_up(self) -> None:
        self.waiting()
        telnet = self.telnet("login ann 1")
        (asking,) = [each for each in self.network.links if "events" in each.requests]
        asking.tell({"event": "waiting", "position": 3, "seconds": 24})
        telnet.send("pi")
        self.assertEqual(telnet.last(), "The service is full, place 3, about 24 s. pi")
        telnet.send("ng\r\0" + CTRL_C)
        self.assertEqual(
            telnet.shown()[-3:],
            ["Given up waiting for a server.", "Not sent: ping", "bbs>"],
        )
        self.pass_on()
        telnet.send("login ann 1\r\0")
        self.assertEqual(telnet.last(), "ann>")

    def test_ending_while_waiting(self) -> None:
        self.waiting()
        telnet = self.telnet("login ann 1")
        telnet.send(CTRL_D)
        self.assertFalse(telnet.is_over)
        telnet.send(CTRL_D)
        self.assertTrue(telnet.is_over)
        self.assertEqual(self.network.links, [])

    def test_a_password_is_given_up(self) -> None:
        for key in (CTRL_C, CTRL_D):
            telnet = self.telnet("login ann")
            telnet.send("12" + key)
            self.assertEqual(telnet.shown()[-3:], ["Password for ann:", "Given up.", "bbs>"])
            telnet.send("login ann\r\0" + "1\r\0")
            self.assertEqual(telnet.last(), "ann>")
            telnet.leave()

    def test_connecting_is_given_up(self) -> None:
        self.network.away.add(LOGIN)
        telnet = self.telnet("login ann 1")
        telnet.send(CTRL_C)
        self.assertEqual(telnet.shown()[-2:], [GAVE_UP, "bbs>"])


class BadDayTests(GatewayCase):
    def test_the_login_server_is_away_and_found(self) -> None:
        self.network.unplug(LOGIN)
        telnet = self.telnet("login ann 1")
        self.assertEqual(telnet.shown()[-1], AWAY)
        self.network.plug(LOGIN)
        self.network.advance(3.0)
        self.assertEqual(telnet.last(), "ann>")

    def test_it_is_told_only_where_it_is_needed(self) -> None:
        telnet = self.telnet("login ann 1")
        self.network.unplug(LOGIN)
        for line in ("help", "list-friend", "encoding", "talk bob", ""):
            telnet.send(f"{line}\r\0")
        self.assertNotIn(AWAY, telnet.shown())
        telnet.send("logout\r\0")
        self.assertEqual(telnet.shown()[-1], AWAY)
        self.network.plug(LOGIN)
        self.network.advance(3.0)
        self.assertEqual(telnet.last(), "bbs>")

    def test_it_stays_away(self) -> None:
        self.network.unplug(LOGIN)
        telnet = self.telnet("login ann 1")
        self.network.advance(70.0)
        self.assertEqual(
            telnet.shown()[-2:],
            ["Not sent: login ann (no connection)", "bbs>"],
        )

    def test_the_app_server_is_lost_and_another_is_found(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send("half a li")
        self.network.kill(APP_1)
        self.network.advance(5.0)
        self.assertEqual(
            telnet.shown()[-3:],
            [
                "Connection lost. Reconnecting…",
                "Reconnected.",
                "ann> half a li",
            ],
        )

    def test_a_wrong_password_five_times(self) -> None:
        telnet = self.telnet()
        for _ in range(4):
            telnet.send("login ann\r\0")
            telnet.send("wrong\r\0")
            self.assertEqual(telnet.last(), "bbs>")
        telnet.send("login ann wrong\r\0")
        self.assertEqual(telnet.shown()[-2:], ["Too many wrong passwords.", "Bye!"])
        self.assertTrue(telnet.is_over)

    def test_who_logs_in_begins_to_count_anew(self) -> None:
        telnet = self.telnet(*["login ann wrong"] * 4, "login ann 1", "logout")
        telnet.send("login ann wrong\r\0")
        self.assertFalse(telnet.is_over)

    def test_other_refusals_are_not_counted(self) -> None:
        self.answer_always("login", failure("unavailable"))
        telnet = self.telnet(*["login ann 1"] * 6)
        self.assertFalse(telnet.is_over)

    def test_negotiating_for_ever(self) -> None:
        telnet = self.telnet()
        for _ in range(60):
            telnet.send(b"\xff\xfd\x18\xff\xfe\x18" * 5)
            self.network.advance(6.0)
        self.assertFalse(telnet.is_over)
        for _ in range(55):
            if not telnet.is_over:
                telnet.send(b"\xff\xfd\x18" * 20)
                self.network.advance(1.0)
        self.assertTrue(telnet.new.endswith(b"Too much negotiation. Bye!\r\n"))
        self.assertTrue(telnet.is_over)

    def test_much_of_it_at_once(self) -> None:
        telnet = self.telnet()
        telnet.send(b"\xff\xfd\x18" * 600)
        self.assertTrue(telnet.is_over)

    def test_a_bug_is_not_the_end(self) -> None:
        def broken(address: Address) -> IStreamClientEndpoint:
            raise ZeroDivisionError

        self.factory = self.make_factory(broken)
        with capturedLogs() as logs:
            telnet = self.telnet("ping")
        self.assertIn("The gateway's log has the reason", telnet.shown()[-2])
        self.assertIn("a line was not carried out", [each["log_format"] for each in logs])
        self.flushLoggedErrors(ZeroDivisionError)
        telnet.send("encoding\r\0")
        self.assertIn("Encoding: UTF-8", telnet.shown())

    def test_a_reply_of_another_shape(self) -> None:
        telnet = self.telnet("login ann 1")
        shape = {"status": 0, "friend": [1, None, {"a": "\x1b"}], "others": "x"}
        self.answer("list-friend", shape)
        telnet.send("list-friend\r\0")
        self.assertEqual(telnet.shown()[-4:-1], ["1", "null", '{"a":"\\u001b"}'])

    def test_it_goes_at_once_with_all_that_is_its(self) -> None:
        for lines in (["login ann 1"], ["ping", "login bob"]):
            visitor = self.telnet(*lines)
            self.assertNotEqual(self.network.links, [])
            visitor.leave()
            self.assertEqual(self.network.links, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_before_it_has_answered_too(self) -> None:
        telnet = self.visitor()
        telnet.send(b"\r\n")
        telnet.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_goes_on_without_them(self) -> None:
        self.network.unplug(LOGIN)
        telnet = self.telnet("login ann 1", "ping", "ping")
        telnet.leave()
        self.network.plug(LOGIN)
        self.network.advance(10.0)
        self.assertEqual(self.network.requests, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OriginTests(GatewayCase):
    secret = SECRET

    def make_config(self) -> Configuration:
        return TRUSTING

    def test_the_login_server_is_told_for_whom_it_is(self) -> None:
        telnet = self.telnet("login ann 1")
        self.assertEqual(telnet.last(), "ann>")
        # The login has a connection of its own; the other is for what is learned and asked later.
        greeting = (LOGIN, f"forwarded-for 192.0.2.7 {SECRET}")
        self.assertEqual(self.network.requests.count(greeting), 2)
        self.assertEqual(self.asked("forwarded-for"), [LOGIN, LOGIN])

    def test_a_gateway_keeps_no_device_of_its_people(self) -> None:
        for _ in range(2):
            self.telnet("login ann 1").leave()
        self.assertEqual(self.asked("login"), [LOGIN, LOGIN])
        self.assertEqual(self.asked("device"), [])

    def test_who_has_no_address_is_nobody(self) -> None:
        local = self.visitor_at(UNIXAddress("/run/bbs"))
        local.send("login ann 1\n")
        self.assertTrue(local.text.endswith("Success!\nann> "))
        self.assertEqual(self.asked("forwarded-for"), [])


class WrongOriginTests(GatewayCase):
    secret = "another-secret"

    def make_config(self) -> Configuration:
        return TRUSTING

    def test_a_secret_that_is_wrong_is_the_operators_affair(self) -> None:
        telnet = self.telnet("login ann 1")
        self.assertEqual(telnet.shown()[-2:], ["The service cannot answer now. Try again.", "bbs>"])
        self.assertEqual(self.asked("login"), [])


class CrowdedTests(GatewayCase):
    """An app server counts the gateway as one address, unless its `limits.trusted` has it."""

    secret = SECRET
    WORDS = "There are too many connections. Try again later."

    def make_config(self) -> Configuration:
        limits = replace(TRUSTING.limits, trusted=(), connections_per_address=2)
        return replace(TRUSTING, limits=limits)

    def test_who_is_turned_away_is_told(self) -> None:
        first = self.telnet("login ann 1")
        self.assertEqual(first.last(), "ann>")
        with capturedLogs() as logs:
            second = self.telnet("login bob 1")
            self.network.advance(1)
        later = "bob is logged in. Messages arrive as soon as they can."
        self.assertEqual(
            second.shown()[-4:], ["Try: invite NAME, talk NAME or help", self.WORDS, later, "bob>"]
        )
        (told,) = (event for event in logs if "docs/telnet.md" in event.get("log_format", ""))
        self.assertIn(f"{APP_1} turns this gateway away", formatEventAsClassicLogText(told) or "")
        second.send("list-friend\r\0")
        self.assertEqual(second.shown()[-2:], [self.WORDS, "bob>"])

    def test_messages_come_once_there_is_room(self) -> None:
        first, second = self.telnet("login ann 1"), self.telnet("login bob 1")
        self.befriend("ann", "bob")
        first.leave()
        self.network.advance(10)
        self.send("ann", "bob", "hello")
        self.assertIn("ann  hello", second.shown()[-2])
        second.send("list-friend\r\0")
        self.assertEqual(second.shown()[-2:], ["ann", "bob>"])
