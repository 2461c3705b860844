"""What is asked before a key or a line does harm."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.prompts import KeyConfirmation
from bbs.ui.terminal.keys import lines_of, unsent_question


class ConfirmationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.confirmation = KeyConfirmation()

    def test_the_second_press_is_the_answer(self) -> None:
        answers = [self.confirmation.confirms("c-c", "half") for _ in range(4)]
        self.assertEqual(answers, [False, True, False, True])

    def test_another_line_is_asked_for_anew(self) -> None:
        self.confirmation.confirms("c-c", "half")
        self.assertFalse(self.confirmation.confirms("c-c", "half a line"))
        self.assertFalse(self.confirmation.confirms("c-d", "half a line"))
        self.assertFalse(self.confirmation.confirms("c-d", "half a line", "ping"))

    def test_once(self) -> None:
        new = [self.confirmation.is_new("x", line) for line in "aab"]
        self.assertEqual(new, [True, False, True])

    def test_what_would_be_lost(self) -> None:
        self.assertEqual(unsent_question("", "", 0), "")
        self.assertEqual(
            unsent_question("half", "login ann", 2),
            "Ctrl-D again ends all the same: the line is not sent, what is under way may not be "
            "carried out, 2 lines behind it not sent.",
        )
        self.assertEqual(lines_of(1), "1 line")
