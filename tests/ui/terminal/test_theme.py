"""What the terminal shows: colours, prompts, messages, and the line being typed."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.layout import BufferControl
from prompt_toolkit.layout.processors import Transformation, TransformationInput
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import Reply
from bbs.board.client import face
from bbs.client import Address, ChatMessage, ServiceEvent, Waiting
from bbs.client.catalog import CommandCatalog
from bbs.ui.chat import Partner
from bbs.ui.conversation import Status
from bbs.ui.output import visible_in_line
from bbs.ui.terminal import theme
from bbs.ui.terminal.app import PromptState, hint_text, prompt_text
from bbs.ui.terminal.interfaces import Fragments
from bbs.ui.terminal.keys import MOST, pasted, too_much
from bbs.ui.terminal.theme import (
    PALETTE,
    PasswordMask,
    Sanitizer,
    Theme,
    as_text,
    notice,
    rows,
    sender_style,
    width,
    wrapped,
)
from tests.ui.test_conversation import FRIEND, GROUP

LOGIN = Address("127.0.0.1", 22222)
APP = Address("127.0.0.1", 22223)


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance of `#rrggbb`."""

    def linear(place: int) -> float:
        part = int(colour[place : place + 2], 16) / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    return float(0.2126 * linear(1) + 0.7152 * linear(3) + 0.0722 * linear(5))


class ColourTests(SynchronousTestCase):
    def test_they_read_on_black_and_on_white(self) -> None:
        for colour in PALETTE:
            light = luminance(colour)
            self.assertGreaterEqual((light + 0.05) / 0.05, 4.2, colour)
            self.assertGreaterEqual(1.05 / (light + 0.05), 4.2, colour)

    def test_a_terminal_of_256_colours_has_them(self) -> None:
        steps = {"00", "5f", "87", "af", "d7", "ff"}
        for colour in PALETTE:
            self.assertLessEqual({colour[1:3], colour[3:5], colour[5:7]}, steps)

    def test_a_name_keeps_its_colour(self) -> None:
        self.assertEqual(sender_style("ann"), "bold #d700d7")
        self.assertEqual(sender_style("\ud800"), sender_style("\ud800"))

    def test_names_use_all_of_them(self) -> None:
        self.assertEqual(
            len({sender_style(f"user{number}") for number in range(200)}), len(PALETTE)
        )


def text(fragments: Fragments) -> str:
    return fragment_list_to_text(list(fragments))


def local(year: int, month: int, day: int, hour: int = 14, minute: int = 3) -> float:
    """A time on the clock on this machine's wall, in seconds since the epoch."""
    return datetime(year, month, day, hour, minute).timestamp()


TODAY = local(2026, 11, 26, 15, 0)


class LooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.looks = Theme(CommandCatalog(face), lambda: TODAY)

    def test_messages(self) -> None:
        direct = ChatMessage(1, "bob", "hi\x1b[2J", to="ann")
        shown = "bob  hi\\x1b[2J"
        self.assertEqual(text(self.looks.message("ann", direct, False)), shown)
        self.assertEqual(
            text(self.looks.message("ann", direct, True)), shown.replace("bob", "bob → ann")
        )
        group = ChatMessage(2, "b\u202eb", "e4", group="ch\x07ess")
        shown = "#ch\\x07ess b\\u202eb  e4"
        self.assertEqual(text(self.looks.message("ann", group, False)), shown)
        self.assertEqual(
            text(self.looks.message("ann", group, True)), shown.replace("  ", " → ann  ")
        )

    def test_times(self) -> None:
        message = ChatMessage(1, "bob", "hi", to="ann", time=local(2026, 11, 26))
        fragments = self.looks.message("ann", message, False)
        self.assertEqual(text(fragments), "14:03 bob  hi")
        self.assertEqual(fragments[0], ("class:time", "14:03 "))
        early = ChatMessage(2, "bob", "hi", to="ann", time=local(2026, 11, 27, 0, 1))
        shown = text(self.looks.message("ann", early, False))
        self.assertEqual(shown, "── Friday 27 November 2026 ──\n00:01 bob  hi")
        self.assertEqual(text(self.looks.message("ann", early, False)), shown.split("\n")[1])

    def test_without_times(self) -> None:
        looks = Theme(CommandCatalog(face), lambda: TODAY, shows_times=False)
        early = ChatMessage(2, "bob", "hi", to="ann", time=local(2026, 11, 27))
        self.assertEqual(text(looks.message("ann", early, False)), "bob  hi")
        self.assertEqual(looks.history("ann")(early)[0], "")
        self.assertEqual(text(looks.history("ann")(early)[1]), "bob  hi")

    def test_a_conversation_from_before(self) -> None:
        draw = self.looks.history("ann")
        days = [local(2026, 11, 24), local(2026, 11, 24, 15), local(2026, 11, 25)]
        drawn = [draw(ChatMessage(1, "bob", "hi", to="ann", time=day)) for day in days]
        self.assertEqual(
            [day for day, _ in drawn],
            ["── Tuesday 24 November 2026 ──", "", "── Wednesday 25 November 2026 ──"],
        )
        self.assertEqual(text(drawn[1][1]), "15:03 bob  hi")
        # What is shown below goes on with the day that it had.
        now = ChatMessage(2, "bob", "hi", to="ann", time=TODAY)
        self.assertEqual(text(self.looks.message("ann", now, False)), "15:00 bob  hi")

    def test_a_sender_has_a_colour(self) -> None:
        message = ChatMessage(1, "bob", "hi", to="ann")
        self.assertEqual(self.looks.message("ann", message, False)[0], (sender_style("bob"), "bob"))
        plain = Theme(CommandCatalog(face), lambda: TODAY, senders=False)
        self.assertEqual(plain.message("ann", message, False)[0], ("bold", "bob"))

    def test_who_wants_to_know_sees_it(self) -> None:
        message = ChatMessage(1, "bob", "hi", to="ann")
        fragments = self.looks.message("ann", message, False, highlighted=True)
        self.assertEqual(fragments[0], (f"{sender_style('bob')} class:highlight", "bob"))

    def test_replies(self) -> None:
        friends = Reply({"status": 0, "friend": ["bob", "c\x07"]})
        self.assertEqual(text(self.looks.reply(friends)), "bob\nc\\x07")
        refused = Reply({"status": 1, "message": "No"})
        self.assertEqual(self.looks.reply(refused), [("class:problem", "No")])
        strange = Reply({"status": 0, "friend": 1})
        self.assertEqual(self.looks.reply(strange), [("", "friend: 1")])

    def test_posts_have_times(self) -> None:
        posts = [
            {"id": "bob", "message": "one", "post": 1, "time": local(2026, 11, 25)},
            {"id": "bob", "message": "two", "post": 2, "time": local(2026, 11, 26)},
        ]
        shown = text(self.looks.reply(Reply({"status": 0, "post": posts})))
        self.assertEqual(
            shown.split("\n"),
            [
                "── Wednesday 25 November 2026 ──",
                "14:03 bob: one",
                "── Thursday 26 November 2026 ──",
                "14:03 bob: two",
            ],
        )

    def test_events(self) -> None:
        event = ServiceEvent({"event": "news", "text": "the \x07 end"})
        shown = "15:00  * the \\x07 end"
        self.assertEqual(text(self.looks.event("ann", event, False)), shown)
        self.assertEqual(text(self.looks.event("ann", event, True)), f"{shown} (ann)")

    def test_no_person_has_the_style_of_an_event(self) -> None:
        """Where a long one wraps, its next rows have no mark."""
        event = ServiceEvent({"event": "news", "text": "the end"})
        message = ChatMessage(1, "bob", "the end", "ann")
        for said, styles in (
            (self.looks.event("ann", event, False), {"class:notice"}),
            (self.looks.message("ann", message, False), {""}),
        ):
            self.assertEqual({style for style, words, *_ in said if "the end" in words}, styles)

    def test_own_words(self) -> None:
        self.assertEqual(theme.notice("a\nb"), [("class:notice", "a\n"), ("class:notice", "b")])
        self.assertEqual(theme.problem("a"), [("class:problem", "a")])


BOB, CHESS = Partner(FRIEND, "bob"), Partner(GROUP, "chess")


class PromptTests(SynchronousTestCase):
    def assertPrompts(self, situation: PromptState, *by_columns: tuple[int, str]) -> None:
        for columns, expected in by_columns:
            self.assertEqual(prompt_text(situation, columns), expected)

    def test_nobody(self) -> None:
        self.assertPrompts(PromptState(), (80, "> "), (3, "> "))

    def test_unread(self) -> None:
        situation = PromptState("ann", None, Status(APP), {BOB: 2, CHESS: 1}, 4)
        self.assertPrompts(
            situation,
            (70, "ann [bob 2, #chess 1, others 4]> "),
            (40, "ann [7]> "),
            (12, "ann> "),
        )

    def test_before_it_is_known_where_one_is_served(self) -> None:
        self.assertPrompts(PromptState("ann"), (80, "ann> "))

    def test_talk(self) -> None:
        status = Status(APP)
        self.assertPrompts(PromptState("ann", BOB, status), (80, "ann→bob> "), (9, "a…> "))
        self.assertPrompts(PromptState("ann", CHESS, status), (80, "ann→#chess> "))

    def test_waiting(self) -> None:
        waiting = PromptState("ann", None, Status(waiting=Waiting(3, 24.2)))
        self.assertPrompts(
            waiting,
            (80, "ann, the service is full, place 3, about 24 s> "),
            (70, "ann, the service is full> "),
            (30, "ann, waiting> "),
            (20, "ann> "),
        )
        nobody = PromptState(None, None, Status(waiting=Waiting(1)), {BOB: 1})
        self.assertPrompts(nobody, (99, ", the service is full, you are next [bob 1]> "))

    def test_lost(self) -> None:
        lost = PromptState("ann", None, Status(lost=True))
        self.assertPrompts(lost, (80, "ann, reconnecting> "), (20, "ann> "))

    def test_long_and_wide_names_are_cut(self) -> None:
        self.assertPrompts(
            PromptState("你好世界", None, Status(APP)), (20, "你好世界> "), (18, "你好世…> ")
        )
        self.assertPrompts(PromptState("x" * 100, None, Status(APP)), (20, "xxxxxxx…> "))
        self.assertPrompts(PromptState("a\x1b", None, Status(APP)), (20, "a\\x1b> "))

    @given(st.text(min_size=1, max_size=30), st.integers(1, 200))
    def test_it_always_leaves_room(self, name: str, columns: int) -> None:
        shown = prompt_text(PromptState(name, BOB, Status(APP), {BOB: 3}), columns)
        self.assertLessEqual(width(shown), max(2, columns // 2, columns - 30))
        self.assertTrue(shown.endswith("> "))


class PasteTests(SynchronousTestCase):
    def test_line_ends(self) -> None:
        self.assertEqual(pasted("a\r\nb\rc\nd\r\n\r\n"), "a\nb\nc\nd")

    def test_too_much_is_refused_with_its_size(self) -> None:
        self.assertEqual(too_much("é" * (MOST // 2)), "")
        self.assertEqual(
            too_much("é" * (MOST // 2) + "x"),
            f"Not sent: {'é' * 60}… (64,513 bytes; at most 64,512 go at once)",
        )

    def test_bytes_that_are_no_text_count_too(self) -> None:
        self.assertEqual(too_much("\udcff" * (MOST // 3)), "")
        self.assertNotEqual(too_much("\udcff" * (MOST // 3 + 1)), "")


class LineTests(SynchronousTestCase):
    def shown(self, line: str, processor: Sanitizer | PasswordMask) -> tuple[str, Transformation]:
        document = Document(line)
        given = TransformationInput(
            BufferControl(Buffer()), document, 0, lambda place: place, [("", line)], 80, 24
        )
        transformation = processor.apply_transformation(given)
        return fragment_list_to_text(transformation.fragments), transformation

    def test_text_stays(self) -> None:
        self.assertEqual(self.shown("hello 你好", Sanitizer())[0], "hello 你好")

    def test_what_acts_shows(self) -> None:
        shown, places = self.shown("a\x1b\u202eb", Sanitizer())
        self.assertEqual(shown, "a\\x1b\\u202eb")
        self.assertEqual(
            [places.source_to_display(place) for place in range(6)], [0, 1, 5, 11, 12, 13]
        )
        self.assertEqual(
            [places.display_to_source(place) for place in (0, 1, 4, 5, 10, 11, 12, 13)],
            [0, 1, 1, 2, 2, 3, 4, 5],
        )

    def test_joined_pictures_come_apart(self) -> None:
        shown, places = self.shown("👩\u200d🚀❤\ufe0f!", Sanitizer())
        self.assertEqual(shown, "👩🚀❤!")
        self.assertEqual(places.source_to_display(5), 3)
        self.assertEqual(self.shown("👍🏽", Sanitizer())[0], "👍")

    @given(st.text(st.characters(exclude_characters="\n")))
    def test_places_go_there_and_back(self, line: str) -> None:
        shown, places = self.shown(line, Sanitizer())
        self.assertEqual(places.source_to_display(len(line)), len(shown))
        self.assertEqual(places.display_to_source(len(shown)), len(line))
        for place, character in enumerate(line):
            at = places.source_to_display(place)
            if visible_in_line(character):
                self.assertEqual(places.display_to_source(at), place)

    def test_a_password_shows_nothing(self) -> None:
        shown, places = self.shown("secret", PasswordMask())
        self.assertEqual(shown, "")
        self.assertEqual((places.source_to_display(6), places.display_to_source(3)), (0, 0))


class HintTests(SynchronousTestCase):
    def test_who_is_there_and_what_helps(self) -> None:
        served = Status(APP)
        for state, presence, begins, shown in (
            (PromptState(), "", "", "login NAME · register NAME · help"),
            (PromptState("ann", None, served), "", "talk", "talk · help"),
            (PromptState("ann"), "", "talk", "connecting · talk · help"),
            (PromptState("ann", BOB, served), "here", "", "bob here · PgUp history · /help"),
            (PromptState("ann", BOB, served), "", "", "to bob · PgUp history · /help"),
            (PromptState("ann", CHESS, served), "here", "", "in #chess · PgUp history · /help"),
            (
                PromptState("ann", BOB, served, {BOB: 2, CHESS: 1}, 4),
                "out",
                "",
                "bob out · new: bob 2, #chess 1, others 4 · PgUp history · /help",
            ),
            (PromptState("ann", None, Status(lost=True)), "", "", "reconnecting · help"),
            (
                PromptState(None, None, Status(waiting=Waiting(3, 24.2))),
                "",
                "",
                "the service is full, place 3, about 24 s · login NAME · register NAME · help",
            ),
        ):
            self.assertEqual(hint_text(state, presence, begins), shown)

    def test_the_prompt_above_it_names_the_user_alone(self) -> None:
        state = PromptState("ann", BOB, Status(APP), {CHESS: 1})
        self.assertEqual(prompt_text(state, 80, has_hint=True), "ann> ")
        self.assertEqual(prompt_text(state, 80), "ann→bob [#chess 1]> ")


class WrappedTests(SynchronousTestCase):
    def rows(self, line: Fragments, columns: int) -> list[str]:
        return [text(row) for row in wrapped(line, columns)]

    def test_under_the_text(self) -> None:
        message = ChatMessage(1, "bob", "one two\u2028three", to="ann", time=local(2026, 11, 26))
        line = Theme(CommandCatalog(face), lambda: TODAY).message("ann", message, False)
        self.assertEqual(self.rows(line, 25), ["14:03 bob  one two", f"{' ' * 11}three"])
        self.assertEqual(as_text(line), f"14:03 bob  one two\n{' ' * 11}three")
        styles = [fragment[0] for fragment in wrapped(line, 25)[0]]
        self.assertEqual(styles[:2], ["class:time", sender_style("bob")])

    def test_no_row_of_a_post_passes_for_a_message(self) -> None:
        theme = Theme(CommandCatalog(face), lambda: TODAY, shows_times=False)
        post = {"id": "bob", "message": "hi\u2028carol  fake", "time": 5}
        shown = theme.reply(Reply({"status": 0, "post": [post]}))
        self.assertEqual(self.rows(shown, 80), ["bob: hi", "  carol  fake"])

    def test_help_under_its_sentence(self) -> None:
        line = notice("  end        Ends the conversation.")
        self.assertEqual(self.rows(line, 30), ["  end        Ends the", f"{' ' * 13}conversation."])

    def test_rows_are_counted(self) -> None:
        self.assertEqual(rows([("", "one two three")], Size(24, 8)), 2)
        self.assertEqual(rows([("", "x" * 20)], Size(24, 8)), 3)
        self.assertEqual(rows([], Size(24, 8)), 1)
