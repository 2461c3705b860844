"""Long lists at the gateway, a window at a time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.pager import PROMPT, Pager
from tests.ui.gateway.case import GatewayCase, Visitor, window

MORE = PROMPT.rstrip()


class PagerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rows = 5
        self.pager = Pager(lambda: self.rows, len)

    def lines(self, many: int) -> list[str]:
        return ["x" for _ in range(many)]

    def test_what_fits_is_shown(self) -> None:
        self.assertEqual(len(self.pager.begin(self.lines(4))), 4)
        self.assertFalse(self.pager)

    def test_pages(self) -> None:
        lines = [chr(ord("a") + number) for number in range(9)]
        self.assertEqual("".join(self.pager.begin(lines)), "abcd")
        self.assertEqual("".join(self.pager.turn()), "efgh")
        self.assertTrue(self.pager)
        self.assertEqual("".join(self.pager.turn()), "i")
        self.assertFalse(self.pager)
        self.assertEqual(self.pager.turn(), [])

    def test_by_what_lines_take_there(self) -> None:
        self.assertEqual(self.pager.begin(["xx", "yyy", "z"]), ["xx"])
        self.assertEqual(self.pager.turn(), ["yyy", "z"])

    def test_a_line_that_is_higher_than_the_window(self) -> None:
        self.assertEqual(self.pager.begin(["x" * 9, "y"]), ["x" * 9])
        self.assertEqual(self.pager.turn(), ["y"])

    def test_left(self) -> None:
        self.pager.begin(self.lines(9))
        self.pager.leave()
        self.assertFalse(self.pager)

    def test_a_window_that_changes(self) -> None:
        self.pager.begin(self.lines(90))
        self.rows = 11
        self.assertEqual(len(self.pager.turn()), 10)
        self.rows = 0
        self.assertEqual(len(self.pager.turn()), 76)

    def test_none_where_there_are_no_pages(self) -> None:
        for self.rows in (0, 3):
            self.assertEqual(len(self.pager.begin(self.lines(9))), 9)

    def test_what_is_said_behind_it_comes_behind_it(self) -> None:
        self.pager.begin(self.lines(9))
        self.assertEqual(self.pager.begin(["y"]), ())
        self.assertEqual(self.pager.turn(), ["x"] * 4)
        self.assertEqual(self.pager.turn(), ["x", "y"])


class ListTests(GatewayCase):
    """`list-group` of 60 groups in a window of 24 rows."""

    def setUp(self) -> None:
        super().setUp()
        self.make_groups(60)

    def listing(self) -> Visitor:
        telnet = self.telnet("login ann 1")
        telnet.send(window(80))
        telnet.send("list-group\r\0")
        return telnet

    def test_any_key_goes_on(self) -> None:
        telnet = self.listing()
        self.assertEqual(telnet.shown()[-2:], ["group22", MORE])
        telnet.send(" ")
        self.assertEqual(telnet.shown()[-2:], ["group45", MORE])
        telnet.send("\r\0")
        self.assertEqual(telnet.shown()[-2:], ["group59", "ann>"])
        telnet.send("x")
        self.assertEqual(telnet.last(), "ann> x")

    def test_q_leaves(self) -> None:
        for key in ("q", "Q", "\x03", "\x04"):
            telnet = self.listing()
            telnet.send(key)
            self.assertEqual(telnet.shown()[-2:], ["group22", "ann>"])
            telnet.leave()

    def test_what_was_typed_behind_it_waits(self) -> None:
        telnet = self.telnet("login ann 1")
        telnet.send(window(80))
        telnet.send("list-group\r\0ping\r\0")
        self.assertEqual(telnet.last(), MORE)
        self.assertNotIn(b"Pong!", telnet.socket.value())
        telnet.send("q")
        self.assertEqual(telnet.shown()[-2:], ["Pong!", "ann>"])

    def test_a_message_is_shown_at_once(self) -> None:
        self.befriend("ann", "bob")
        telnet = self.listing()
        self.send("bob", "ann", "hello")
        self.assertEqual(telnet.shown()[-2:], [f"{self.time()} <<<bob->ann: hello>>>", MORE])
        telnet.send(" ")
        self.assertEqual(telnet.shown()[-2:], ["group45", MORE])

    def test_help_has_pages_too(self) -> None:
        telnet = self.telnet()
        telnet.send(window(80))
        telnet.send("help\r\0")
        self.assertEqual(telnet.last(), MORE)
        telnet.send(" ")
        self.assertEqual(telnet.last(), "bbs>")

    def test_no_pages_where_the_height_is_not_known(self) -> None:
        telnet = self.telnet("login ann 1", "list-group")
        self.assertEqual(telnet.shown()[-2:], ["group59", "ann>"])

    def test_nor_with_nc(self) -> None:
        nc = self.pipe("login ann 1", "list-group")
        self.assertTrue(nc.text.endswith("group59\nann> "))

    def test_who_goes_in_the_middle_is_gone(self) -> None:
        telnet = self.listing()
        telnet.leave()
        self.successResultOf(self.factory.close_all(2.0))
