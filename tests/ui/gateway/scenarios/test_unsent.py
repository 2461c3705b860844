"""What people at a gateway typed and what is not sent: they read it, whatever ends it."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer

from bbs.protocols.line.interfaces import LineLimits
from bbs.ui.gateway.connection import STOPPING
from bbs.ui.gateway.keyboard import MOST_WAITING
from bbs.ui.gateway.session import FAREWELL
from tests.client.case import APP_1, LOGIN
from tests.ui.gateway.case import GatewayCase, Visitor
from tests.ui.gateway.test_session import CTRL_C, CTRL_D


class UnsentCase(GatewayCase):
    """ann talks to bob, who is logged in elsewhere."""

    limits = LineLimits(max_line=2000, idle_timeout=600.0)

    def setUp(self) -> None:
        super().setUp()
        self.befriend("ann", "bob")
        self.assertEqual(self.service.peer().ask("login bob 1")["status"], 0)

    def talking(self) -> tuple[Visitor, Visitor]:
        """Somebody with telnet, and somebody with nc."""
        lines = ("login ann 1", "talk bob")
        visitors = self.telnet(*lines), self.pipe(*lines)
        for visitor in visitors:
            visitor.forget()
        return visitors

    def texts(self) -> list[str]:
        """What bob has got."""
        return [text for _, _, text in self.messages()]


class Ends(UnsentCase):
    def test_the_gateway_stops(self) -> None:
        visitors = self.talking()
        self.hold("send")
        for visitor, end in zip(visitors, ("\r\0", "\n"), strict=True):
            visitor.send(f"one{end}two{end}login cat secret{end}")
        self.factory.close_all(5.0)
        for visitor in visitors:
            said = visitor.text.replace("\r", "")
            unsent = "May not have been sent: one (given up)\nNot sent: two\nNot sent: login cat\n"
            self.assertIn(unsent, said)
            self.assertTrue(said.endswith(f"{STOPPING}\n"), said)
            self.assertNotIn("secret", said.partition("Not sent: two")[2])

    def test_a_begun_line_is_shown_where_it_was_drawn(self) -> None:
        telnet, _ = self.talking()
        telnet.send("half a line")
        self.factory.close_all(5.0)
        self.assertEqual(telnet.shown()[-2:], ["Not sent: half a line", STOPPING])

    def test_one_ends_it_oneself(self) -> None:
        for ending in ("/exit", "/quit"):
            for visitor, end in zip(self.talking(), ("\r\0", "\n"), strict=True):
                visitor.send(f"{ending}{end}one{end}two{end}")
                said = visitor.text.replace("\r", "")
                self.assertTrue(visitor.is_over)
                self.assertTrue(said.endswith("Not sent: one\nNot sent: two\nBye!\n"), said)
        self.assertEqual(self.texts(), [])

    def test_by_a_key(self) -> None:
        telnet, _ = self.talking()
        self.hold("send")
        telnet.send("one\r\0two\r\0" + CTRL_D + CTRL_D)
        said = ["May not have been sent: one (given up)", "Not sent: two", "Bye!"]
        self.assertEqual(telnet.shown()[-3:], said)

    def test_ctrl_c(self) -> None:
        telnet, _ = self.talking()
        self.hold("send")
        telnet.send("one\r\0two\r\0" + CTRL_C)
        said = ["May not have been sent: one (given up)", "Not sent: two", "ann>bob>"]
        self.assertEqual(telnet.shown()[-3:], said)

    def test_what_was_not_read_yet(self) -> None:
        telnet, nc = self.talking()
        go_on = self.hold("send")
        telnet.send("x\r\0" * (MOST_WAITING + 20))
        nc.send("x\n" * (MOST_WAITING + 20))
        self.factory.close_all(5.0)
        self.assertIn("Not sent: what you typed after that", telnet.shown())
        self.assertEqual(nc.text.count("Not sent: x\n"), MOST_WAITING + 19)
        go_on()

    def test_a_password_for_a_line_that_waits_is_not_shown(self) -> None:
        nc = self.pipe("login ann 1")
        self.hold("ping")
        nc.send("ping\nchange-password\n1\nSECRET\nSECRET\npost x\n")
        nc.forget()
        self.factory.close_all(5.0)
        said = "Not sent: change-password\nNot sent: post x\nNot sent: 3 hidden lines\n"
        self.assertIn(said, nc.text)

    def test_nor_one_for_the_line_under_way(self) -> None:
        nc = self.pipe("login ann 1")
        self.hold("change-password")
        nc.send("change-password\n1\nSECRET\nSECRET\npost x\n")
        nc.forget()
        self.factory.close_all(5.0)
        self.assertIn("May not have been sent: change-password ann (given up)\n", said := nc.text)
        self.assertIn("Not sent: post x\n", said)


class HangingUp(UnsentCase):
    """Nobody can read what is not sent, so that is sent as long as it can be."""

    def test_what_was_entered_is_sent(self) -> None:
        for visitor, end in zip(self.talking(), ("\r\0", "\n"), strict=True):
            go_on = self.hold("send")
            visitor.send(f"one{end}two{end}")
            visitor.leave()
            go_on()
            self.network.flush()
            self.assertEqual(self.texts()[-2:], ["one", "two"])
        self.assertEqual(len(self.texts()), 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_whose_turn_had_not_come(self) -> None:
        many = MOST_WAITING + 20
        for visitor, end in zip(self.talking(), ("\r\0", "\n"), strict=True):
            go_on = self.hold("send")
            visitor.send("".join(f"{number}{end}" for number in range(many)) + "half a line")
            visitor.leave()
            go_on()
            self.network.advance(1.0)
            self.network.flush()
            self.assertEqual(self.texts()[-many:], [*map(str, range(many))])
        self.assertEqual(len(self.texts()), 2 * many)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_that_came_together_with_the_end(self) -> None:
        for visitor, end in zip(self.talking(), ("\r\n", "\n"), strict=True):
            visitor.connection.dataReceived(f"one{end}two{end}thr".encode())
            visitor.leave()
            self.assertEqual(self.texts()[-2:], ["one", "two"])
        self.assertEqual(len(self.texts()), 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_once_the_server_is_there_again(self) -> None:
        telnet, _ = self.talking()
        self.network.unplug(APP_1)
        self.network.unplug(LOGIN)
        self.network.cut(APP_1)
        telnet.send("one\r\0")
        telnet.leave()
        self.network.advance(30.0)
        self.network.plug(APP_1)
        self.network.plug(LOGIN)
        self.network.advance(5.0)
        self.assertEqual(self.texts(), ["one"])

    def test_somebody_who_read_nothing_any_more(self) -> None:
        _, nc = self.talking()
        nc.send("one\n")
        go_on = self.hold("send")
        nc.send("two\nthree\n")
        IPushProducer(nc.connection).pauseProducing()
        nc.leave()
        go_on()
        self.network.flush()
        self.assertEqual(self.texts(), ["one", "two", "three"])

    def test_messages_wait_for_the_next_login(self) -> None:
        telnet, nc = self.talking()
        nc.leave()
        go_on = self.hold("send")
        telnet.send("one\r\0")
        telnet.leave()
        self.assertEqual(self.listening("ann"), [])
        self.send("bob", "ann", "wait for me")
        go_on()
        self.assertIn("wait for me", str(self.telnet("login ann 1").shown()))

    def test_not_for_ever(self) -> None:
        telnet, nc = self.talking()
        nc.leave()
        self.hold("send")
        telnet.send("one\r\0two\r\0three\r\0")
        telnet.leave()
        self.network.advance(FAREWELL + 1.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.close_all(1.0).called, True)

    def test_nobody_is_logged_in(self) -> None:
        nc = self.pipe()
        self.hold("register")
        nc.send("register eve 1\nregister fay 1\n")
        nc.leave()
        self.assertEqual(self.clock.getDelayedCalls(), [])
