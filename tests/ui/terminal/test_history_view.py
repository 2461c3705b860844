"""Reading back in a conversation, of which a part after the other comes."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.formatted_text import fragment_list_to_text
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.client.errors import Lost
from bbs.client.replies import ChatMessage
from bbs.ui.terminal.history_view import (
    MOST_CHARACTERS,
    MOST_MESSAGES,
    HistoryPart,
    HistoryView,
    IHistorySource,
)
from bbs.ui.terminal.interfaces import Fragments
from bbs.ui.terminal.theme import wrapped
from tests.retained import retained


def text(fragments: Fragments) -> str:
    return fragment_list_to_text(list(fragments))


@implementer(IHistorySource)
class ViewTests(SynchronousTestCase):
    """A conversation of `count` messages, in parts of `size`, in a window of ten rows."""

    count = 1_000
    size = 50
    padding = ""
    held = False

    def setUp(self) -> None:
        self.fetched = 0
        self.changes = 0
        self.waiting: list[Callable[[], None]] = []
        self.problem: Exception | None = None

    def part(self, cursor: str | None) -> Deferred[HistoryPart]:
        self.fetched += 1
        if self.problem is not None:
            return fail(self.problem)
        end = self.count if cursor is None else int(cursor)
        begin = max(0, end - self.size)
        messages = [self.message(number) for number in range(begin, end)]
        part = HistoryPart(messages, str(begin) if begin else None)
        if not self.held:
            return succeed(part)
        waits: Deferred[HistoryPart] = Deferred()
        self.waiting.append(lambda: waits.callback(part))
        return waits

    def message(self, number: int) -> ChatMessage:
        return ChatMessage(number + 1, "bob", f"number {number}.{self.padding}", to="ann")

    def draw(self) -> Callable[[ChatMessage], tuple[str, Fragments]]:
        def drawn(message: ChatMessage) -> tuple[str, Fragments]:
            day = f"day {message.id // 100}" if message.id % 100 == 0 and message.id < 1000 else ""
            return day, [("", message.text)]

        return drawn

    def view(self) -> HistoryView:
        def changed() -> None:
            self.changes += 1

        first = self.successResultOf(self.part(None)) if not self.held else HistoryPart([], None)
        view = HistoryView("bob", first, self, self.draw, 80, 10)
        view.changed = changed
        return view

    def shown(self, view: HistoryView, columns: int = 80, height: int = 10) -> list[str]:
        return [text(row) for row in view.shown(columns, height)]

    def test_it_begins_at_the_end(self) -> None:
        view = self.view()
        self.assertEqual(self.shown(view)[0], "number 990.")
        self.assertEqual(self.shown(view)[-1], "number 999.")
        self.assertEqual(self.fetched, 1, "of a thousand fifty are there")
        self.assertEqual(
            view.status(80), "bob: the end · / search · n next · g first · G last · q back"
        )
        view.move(-1)
        self.assertEqual(view.status(40), "bob: 1 row below · / search · q back")

    def test_older_ones_come_as_one_goes_up(self) -> None:
        view = self.view()
        for _ in range(5):
            view.page(-1)
        self.assertEqual(self.shown(view)[0], "number 945.")
        self.assertEqual(self.fetched, 2)
        view.move(1)
        self.assertEqual(self.shown(view)[0], "number 946.")
        self.assertEqual(view.status(40), "bob: 44 rows below · / search · q back")

    def test_to_the_beginning_and_back(self) -> None:
        view = self.view()
        for _ in range(30):
            view.oldest()
        self.assertEqual(self.shown(view)[0], "number 0.")
        self.assertIn("the beginning", view.status(80))
        self.assertEqual(self.fetched, 20)
        view.latest()
        self.assertEqual(self.shown(view)[-1], "number 999.")
        self.assertEqual(self.fetched, 20)

    def test_days_have_lines(self) -> None:
        view = self.view()
        view.search("number 899", older=True)
        rows = self.shown(view)
        at = rows.index("number 899.")
        self.assertEqual(rows[at - 1 : at + 1], ["day 9", "number 899."])

    def test_it_is_searched_for_towards_the_beginning(self) -> None:
        view = self.view()
        view.search("Number 12", older=True)
        self.assertEqual(view.status(99).partition(" · /")[0], "bob: no 'Number 12'")
        view.search("number 12", older=True)
        self.assertIn("number 129.", self.shown(view))
        view.again(older=True)
        self.assertIn("number 128.", self.shown(view))
        view.again(older=False)
        marked = [row for row in view.shown(80, 10) if row and "class:found" in row[0][0]]
        self.assertEqual([text(row) for row in marked], ["number 129."])
        for _ in range(11):
            view.again(older=True)
        self.assertIn("no 'number 12'", view.status(80))
        view.search("number 13.", older=False)
        self.assertIn("number 13.", self.shown(view))

    def test_what_is_found_stays_marked_when_older_ones_come(self) -> None:
        view = self.view()
        view.search("number 952.", older=True)
        fetched = self.fetched
        view.page(-6)
        view.latest()
        view.page(-5)
        marked = [row for row in view.shown(80, 10) if row and "class:found" in row[0][0]]
        self.assertEqual([text(row) for row in marked], ["number 952."])
        self.assertGreater(self.fetched, fetched)

    def test_a_search_can_be_stopped(self) -> None:
        view = self.view()
        self.held = True
        view.search("nowhere", older=True)
        self.assertTrue(view.is_searching)
        self.waiting.pop(0)()
        self.assertEqual(view.status(80).partition(" · /")[0], "bob: searching, 100 so far")
        self.assertEqual(self.changes, 1)
        view.stop()
        self.waiting.pop(0)()
        self.assertEqual(self.waiting, [])
        self.assertFalse(view.is_searching)

    def test_no_more_is_kept_than_has_room(self) -> None:
        self.count = MOST_MESSAGES + 500
        view = self.view()
        view.search("number 3.", older=True)
        self.assertIn("number 3.", self.shown(view))
        view.move(self.count)
        self.assertEqual(self.shown(view)[-1], f"number {MOST_MESSAGES - 1}.")
        self.assertEqual(view.status(80).partition(" · /")[0], "bob: newer ones: G")
        view.latest()
        self.assertEqual(self.shown(view)[-1], f"number {self.count - 1}.")
        self.assertIn("the end", view.status(80))

    def test_nor_of_what_was_made_of_it(self) -> None:
        self.size = MOST_MESSAGES // 2
        kept: list[int] = []
        for self.count in (MOST_MESSAGES, 2 * MOST_MESSAGES):
            view = self.view()
            for _ in range(self.count // self.size):
                view.oldest()
            self.assertEqual(self.shown(view)[0], "number 0.")
            kept.append(retained(view))
        self.assertLess(kept[1], kept[0] * 1.1)

    def test_long_ones_count_by_their_length(self) -> None:
        view = self.view()
        self.held, self.padding = True, "x" * (MOST_CHARACTERS // 100)
        view.search("nowhere", older=True)
        for _ in range(4):
            self.waiting.pop(0)()
        self.assertIn("searching, 250 so far", view.status(80))
        self.assertLess(retained(view), MOST_CHARACTERS + 10_000)
        self.assertGreater(retained(view), MOST_CHARACTERS // 2)

    def test_a_hundred_thousand_are_searched_part_by_part(self) -> None:
        self.count = 100_000
        view = self.view()
        view.search("number 5.", older=True)
        self.assertIn("number 5.", self.shown(view))
        self.assertEqual(self.fetched, 2_000)

    def test_what_cannot_be_had_is_said(self) -> None:
        view = self.view()
        self.problem = Lost("it is \x07 away")
        view.oldest()
        self.assertEqual(view.status(80).partition(" · /")[0], "bob: it is \\x07 away")
        self.problem = None
        view.oldest()
        view.page(-1)
        self.assertEqual(self.shown(view)[0], "number 941.")

    def test_another_size(self) -> None:
        view = self.view()
        view.page(-2)
        before = self.shown(view)[-1]
        rows = self.shown(view, columns=5)
        self.assertEqual(rows[-3:], ["numbe", "r", before[7:]])
        self.assertEqual(len(rows), 10)
        self.assertEqual(self.shown(view, height=4)[-1], before)

    def test_a_short_one_stands_at_the_bottom(self) -> None:
        self.count = 2
        view = self.view()
        view.page(-1)
        self.assertEqual(self.shown(view), [""] * 8 + ["number 0.", "number 1."])
        self.assertEqual(view.status(30), "bob: the beginning")

    def test_left_while_more_is_coming(self) -> None:
        view = self.view()
        self.held = True
        view.oldest()
        self.assertIn("more is coming", view.status(80))
        view.close()
        self.assertEqual(self.changes, 0)


class WrappedTests(SynchronousTestCase):
    def rows(self, line: Fragments, columns: int) -> list[str]:
        return [text(row) for row in wrapped(line, columns, cut=True)]

    def test_styles_go_along(self) -> None:
        rows = wrapped([("bold", "abc"), ("", "defg")], 5, cut=True)
        self.assertEqual([[*row] for row in rows], [[("bold", "abc"), ("", "de")], [("", "fg")]])

    def test_wide_ones_are_not_cut(self) -> None:
        self.assertEqual(self.rows([("", "你好嗎")], 5), ["你好", "嗎"])
        self.assertEqual(self.rows([("", "你好")], 1), ["你", "好"])
        self.assertEqual(self.rows([("", "e\u0301e")], 1), ["e\u0301", "e"])

    def test_nothing(self) -> None:
        self.assertEqual(self.rows([], 5), [""])
