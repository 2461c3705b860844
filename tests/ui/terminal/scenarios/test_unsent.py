"""What was entered at a terminal and is not sent: it is shown, whatever ends the client."""

from __future__ import annotations

from collections.abc import Sequence

from prompt_toolkit.data_structures import Size

from bbs.ui.interfaces import BuiltinCommand
from tests.client.case import APP_1
from tests.ui.terminal.test_app import FaceCase

MAY_BE_LOST = "May not have been sent: post hello (given up)"


class UnsentTests(FaceCase):
    def setUp(self) -> None:
        super().setUp()
        self.type("login ann 1")

    def wait_behind_a_post(self, *lines: str) -> None:
        """Type lines while a post gets no answer."""
        self.hold("post")
        self.type("post hello", *lines)

    def printed(self) -> Sequence[str]:
        self.network.advance(0.1)
        return self.typist.printed

    def test_the_process_is_ended(self) -> None:
        self.wait_behind_a_post("one", "login eve secret", "two\nthree")
        self.face.leave()
        said = [
            MAY_BE_LOST,
            *(f"Not sent: {each}" for each in ("one", "login eve", "two", "three")),
        ]
        self.assertEqual(self.printed(), said)
        self.assertEqual(self.face.unsent, said)
        self.successResultOf(self.running)
        self.face.leave()
        self.assertEqual(self.face.unsent, said)

    def test_a_line_that_was_begun(self) -> None:
        """The terminal shows it, unless that is closed."""
        self.typist.printed.clear()
        self.typist.half = "half\nlogin eve secret"
        self.face.leave()
        self.assertEqual(self.printed(), [])
        self.assertEqual(self.face.unsent, ["Not sent: half", "Not sent: login eve"])

    def test_a_list_is_being_read(self) -> None:
        self.typist.window = Size(4, 80)
        self.type("help")
        self.assertTrue(self.typist.asked.startswith("-- more"), self.typist.asked)
        self.face.leave()
        self.assertEqual(self.face.unsent, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_the_input_ends(self) -> None:
        self.wait_behind_a_post("one")
        self.typist.enter(EOFError())
        self.assertEqual(self.printed(), [MAY_BE_LOST, "Not sent: one"])
        self.successResultOf(self.running)

    def test_the_editor_fails(self) -> None:
        self.wait_behind_a_post("one")
        self.typist.enter(ZeroDivisionError())
        self.assertEqual(self.printed(), [MAY_BE_LOST, "Not sent: one"])
        self.failureResultOf(self.running, ZeroDivisionError)

    def test_lines_behind_the_last(self) -> None:
        go_on = self.hold("ping")
        self.type("ping", "exit", "one\ntwo")
        go_on()
        self.assertEqual(self.printed(), ["Pong!", "Not sent: one", "Not sent: two"])
        self.successResultOf(self.running)

    def test_given_up(self) -> None:
        self.wait_behind_a_post("one", "two")
        self.face.interrupt()
        self.assertEqual(self.printed(), [MAY_BE_LOST, "Not sent: one", "Not sent: two"])
        self.assertEqual(self.face.unsent, [])

    def test_a_talk_ends_while_lines_wait(self) -> None:
        self.type("talk bob")
        go_on = self.hold("send")
        self.type("one", "post secret", "delete\n/ping", "end", "ping")
        self.log_out("ann")
        go_on()
        self.assertEqual(
            self.printed(),
            [
                "ann was logged out.",
                "Not sent: one (You are not logged in. Try: login NAME)",
                *(
                    f"Not sent: {each} (ann was logged out)"
                    for each in ("post secret", "delete", "/ping")
                ),
                "Pong!",
            ],
        )
        self.assertEqual(self.posts(), [])

    def test_a_server_that_is_away_while_lines_wait(self) -> None:
        self.network.kill(APP_1)
        self.service.boots = False
        self.type("post one", "post two")
        self.network.advance(3.0)
        self.service.boots = True
        self.boot()
        self.network.advance(10.0)
        self.assertEqual(self.posts(), [("ann", "one"), ("ann", "two")])

    def test_a_fault_of_the_client(self) -> None:
        def broken(words: Sequence[str]) -> None:
            raise ZeroDivisionError()

        self.face.conversation._more_builtins = {"break": BuiltinCommand("break", "", broken)}
        said = ["May not have been sent: break now (a fault of this client)", "Pong!"]
        self.assertEqual(self.type("break now\nping"), said)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
