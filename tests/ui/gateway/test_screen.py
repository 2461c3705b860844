"""The line being typed stays whole, whatever else appears, in a window of any width; lists come by
pages.
"""

from __future__ import annotations

from dataclasses import replace
from unicodedata import normalize

import pyte
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.posts.posts import post as publish
from bbs.ui.gateway.editor import EditBuffer, EditKey
from bbs.ui.gateway.encodings import BIG5, UTF8
from bbs.ui.gateway.screen import PROMPT, LineDisplay, Pager
from tests.ui.gateway.case import GatewayCase, Visitor, window

pressed = st.lists(
    st.one_of(st.text("ab中\u0301\x1b\u200d", max_size=5), st.sampled_from(list(EditKey))),
    max_size=30,
)


class DisplayCase(SynchronousTestCase):
    """What is written, and how a terminal shows it."""

    def start(self, columns: int = 80, edits: bool = True) -> None:
        self.written = ""
        self.screen = pyte.Screen(columns, 10)
        self.stream = pyte.Stream(self.screen)
        self.display = LineDisplay(self.write)
        self.display.edits = edits
        self.display.columns = columns
        self.line = EditBuffer(1000)

    def write(self, text: str) -> None:
        self.written += text
        self.stream.feed(text.replace("\n", "\r\n"))

    def draw(self, *pressed: str | EditKey, prompt: str = "ann> ") -> None:
        for each in pressed:
            if isinstance(each, str):
                self.line.insert(each)
            else:
                self.line.press(each)
        self.display.draw(prompt, self.line)

    def shown(self) -> list[str]:
        lines = [line.rstrip() for line in self.screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def check(self, *lines: str, column: int) -> None:
        self.assertEqual(self.shown(), list(lines))
        self.assertEqual(self.screen.cursor.x, column)


class EditedHereTests(DisplayCase):
    def setUp(self) -> None:
        self.start()

    def test_as_it_is_typed(self) -> None:
        self.draw("hel")
        self.draw("lo")
        self.check("ann> hello", column=10)
        self.assertEqual(self.written, "ann> hello")

    def test_of_a_long_line_no_more_than_a_window_of_it_is_looked_at(self) -> None:
        self.start(500)
        self.line = EditBuffer(60_000)
        looked: list[str] = []

        def columns(character: str) -> int:
            looked.append(character)
            return UTF8.columns(character)

        self.display.encoding = replace(UTF8, columns=columns)
        self.draw("\u0301" * 25_000, EditKey.LEFT)
        self.assertLess(len(looked), 15_000)

    def test_nothing_new_is_not_drawn(self) -> None:
        self.draw("hello", EditKey.LEFT)
        written = self.written
        self.draw()
        self.assertEqual(self.written, written)

    def test_the_cursor_moves(self) -> None:
        self.draw("hello", EditKey.LEFT, EditKey.LEFT)
        self.check("ann> hello", column=8)
        self.draw(EditKey.END)
        self.check("ann> hello", column=10)
        self.draw(EditKey.HOME, prompt="")
        self.check("hello", column=0)

    def test_taken_away_and_drawn_again(self) -> None:
        self.draw("hello", EditKey.LEFT)
        self.display.show("news")
        self.draw()
        self.check("news", "ann> hello", column=9)

    def test_many_lines_take_it_away_once(self) -> None:
        self.draw("hello")
        self.written = ""
        self.display.show("one")
        self.display.show("two")
        self.assertEqual(self.written, "\r\x1b[Kone\ntwo\n")

    def test_an_ended_line_stays(self) -> None:
        self.draw("hello")
        self.display.entered()
        self.line.take()
        self.draw()
        self.check("ann> hello", "ann>", column=5)

    def test_shorter(self) -> None:
        self.draw("hello")
        self.draw(EditKey.KILL_LINE, "x")
        self.check("ann> x", column=6)

    def test_a_hidden_line_has_its_prompt_alone(self) -> None:
        self.display.draw("Password: ", None)
        self.check("Password:", column=10)

    def test_resized(self) -> None:
        self.draw("x" * 50)
        self.screen.resize(columns=20)
        self.display.resized(20)
        self.draw()
        self.assertEqual(self.screen.display[self.screen.cursor.y].rstrip(), "ann> xxxxxxx")
        self.screen.resize(columns=80)
        self.display.resized(80)
        self.draw()
        self.assertEqual(self.screen.display[self.screen.cursor.y].rstrip(), "ann> " + "x" * 50)

    def test_the_screen_is_cleared(self) -> None:
        self.display.show("news")
        self.draw("hello")
        self.display.clear_screen()
        self.draw()
        self.check("ann> hello", column=10)

    def test_what_would_act_is_shown(self) -> None:
        self.draw("a\x1b[2Jb\u200d")
        self.check("ann> a\\x1b[2Jb", column=14)

    def test_wide_characters_and_marks(self) -> None:
        self.draw("中文e\u0301", EditKey.LEFT)
        self.assertEqual(self.screen.cursor.x, 9)
        self.draw(EditKey.LEFT)
        self.assertEqual(self.screen.cursor.x, 7)

    def test_in_big5_what_is_two_bytes_is_two_columns(self) -> None:
        self.display.encoding = BIG5
        self.draw("─a", EditKey.LEFT)
        self.assertTrue(self.written.endswith("\r\x1b[7C"))


class NarrowTests(DisplayCase):
    def test_a_long_line_moves_sideways(self) -> None:
        self.start(20)
        self.draw("0123456789abcd")
        self.check("ann> 0123456789abcd", column=19)
        self.draw("e")
        self.check("ann> 89abcde", column=12)
        self.draw("fghijkl")
        self.check("ann> 89abcdefghijkl", column=19)
        self.draw(EditKey.HOME)
        self.check("ann> 0123456789abcd", column=5)

    def test_what_is_behind_the_cursor_ends_with_the_row(self) -> None:
        self.start(20)
        self.draw("0123456789abcdefgh", EditKey.HOME, *[EditKey.RIGHT] * 5)
        self.check("ann> 0123456789abcd", column=10)

    def test_what_is_before_the_cursor_comes_into_sight(self) -> None:
        self.start(20)
        self.draw("0123456789abcde")
        self.draw(*[EditKey.LEFT] * 6)
        self.check("ann> 89abcde", column=6)
        self.draw(EditKey.LEFT)
        self.check("ann> 123456789abcde", column=12)

    def test_a_line_that_fits_is_shown_from_its_beginning(self) -> None:
        self.start(20)
        self.draw("0123456789abcde")
        self.draw(EditKey.BACKSPACE)
        self.check("ann> 0123456789abcd", column=19)

    def test_a_long_prompt_leaves_half_of_the_row(self) -> None:
        self.start(20)
        self.draw("0123456789", prompt="somebody>somebody> ")
        self.check("somebody> 6789", column=14)
        self.display.draw("Password for ann: ", None)
        self.check("Password for ann:", column=18)

    def test_any_width_will_do(self) -> None:
        for columns, drawn_in in ((0, 80), (1, 4), (3, 4), (4, 4), (7, 7)):
            self.start(drawn_in)
            self.display.columns = columns
            self.draw("hello", EditKey.LEFT)
            self.draw("中", EditKey.HOME)
            self.assertEqual(len(self.shown()), 1)

    def test_marks_without_an_end_are_not_all_drawn(self) -> None:
        self.start(20)
        self.line = EditBuffer(100_000)
        self.draw("a" + "\u0301" * 10_000)
        self.assertLess(len(self.written), 200)
        self.draw("b", EditKey.LEFT)
        self.assertLess(len(self.written), 400)

    @given(pressed, st.sampled_from((4, 5, 9, 20, 80)))
    def test_one_row_with_the_cursor_in_it(
        self, pressed: list[str | EditKey], columns: int
    ) -> None:
        self.start(columns)
        screen = pyte.Screen(columns, 10)
        stream = pyte.Stream(screen)
        anew = LineDisplay(stream.feed)
        anew.edits, anew.columns = True, columns
        for each in pressed:
            self.draw(each)
            self.assertEqual(self.screen.buffer[0][columns - 1].data, " ")
            self.assertEqual(self.screen.cursor.y, 0)
            self.assertLess(self.screen.cursor.x, columns)
            behind = self.line.text[self.line.position : self.line.position + 1]
            look = UTF8.shown(behind) if behind else " "
            if width := UTF8.width(look):  # Marks are in the column of something else.
                fits = self.screen.cursor.x + width < columns
                under = normalize("NFD", self.screen.buffer[0][self.screen.cursor.x].data)
                self.assertEqual(under[:1], look[0] if fits else " ")
            # Drawn bit by bit it is what it is when it is drawn anew.
            anew.clear()
            anew.draw("ann> ", self.line)
            self.assertEqual(self.screen.display[0], screen.display[0])
            self.assertEqual(self.screen.cursor.x, screen.cursor.x)


class EditedElsewhereTests(DisplayCase):
    def setUp(self) -> None:
        self.start(edits=False)

    def test_the_prompt_is_all_that_is_drawn(self) -> None:
        self.draw("hello")
        self.draw(" there", prompt="bob> ")
        self.assertEqual(self.written, "ann> ")

    def test_what_is_shown_begins_a_line(self) -> None:
        self.draw()
        self.display.show("one")
        self.display.show("two")
        self.draw()
        self.assertEqual(self.written, "ann> \none\ntwo\nann> ")

    def test_behind_a_line_that_was_entered_it_does_too(self) -> None:
        self.draw()
        self.display.entered()
        self.display.show("one")
        self.assertEqual(self.written, "ann> one\n")

    def test_it_leaves_the_screen_alone(self) -> None:
        self.draw()
        self.display.resized(20)
        self.display.clear_screen()
        self.assertEqual(self.written, "ann> ")


MORE = PROMPT.rstrip()


class Window(LineDisplay):
    """One in which each character takes a row."""

    def __init__(self) -> None:
        super().__init__(lambda text: None)
        self.edits, self.rows = True, 5

    def height(self, line: str) -> int:
        return len(line)


class PagerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.window = Window()
        self.pager = Pager(self.window)

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
        self.pager.begin(["a", "b", "c", "d", "e", "f"])
        self.pager.begin(["of another list"])
        self.assertEqual(self.pager.leave(), ["e", "f"])
        self.assertFalse(self.pager)

    def test_a_window_that_changes(self) -> None:
        self.pager.begin(self.lines(90))
        self.window.rows = 11
        self.assertEqual(len(self.pager.turn()), 10)
        self.window.rows = 0
        self.assertEqual(len(self.pager.turn()), 76)

    def test_none_where_there_are_no_pages(self) -> None:
        for self.window.rows in (0, 3):
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

    def test_unread_posts_that_are_left_come_first_the_next_time(self) -> None:
        self.befriend("ann", "bob")
        for number in range(30):
            self.run_rule(publish, self.caller("bob"), f"text {number}")
        telnet = self.telnet("login ann 1")
        telnet.send(window(80))
        telnet.send("posts\r\0")
        telnet.send("q")
        said = "Lines that are not shown yet: 7. Type: posts"
        self.assertEqual(telnet.shown()[-2:], [said, "ann>"])
        telnet.send("posts\r\0")
        texts = [line.partition("text ")[2][:2] for line in telnet.shown()[-8:-1]]
        self.assertEqual(texts, ["23", "24", "25", "26", "27", "28", "29"])
        telnet.send("posts\r\0")
        self.assertEqual(telnet.shown()[-2:], ["No new posts.", "ann>"])

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
        self.assertEqual(telnet.shown()[-2:], [f"{self.time()} bob  hello", MORE])
        telnet.send(" ")
        self.assertEqual(telnet.shown()[-2:], ["group45", MORE])

    def test_help_has_pages_too(self) -> None:
        telnet = self.telnet()
        telnet.send(window(80))
        telnet.send("help\r\0")
        self.assertEqual(telnet.last(), MORE)
        for _ in range(9):
            if telnet.last() == MORE:
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
