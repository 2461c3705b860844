"""What the script face writes for programs, and where a password may come from."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from bbs.board.client import face
from bbs.cli.client import PasswordFileError, Run, read_password
from bbs.client import ChatMessage, Lost, Refused, Reply, Waiting
from bbs.client.values import read_line
from bbs.client.vocabulary import Vocabulary
from bbs.testing import Link
from bbs.ui.forms import ForPeople, ForPrograms, IForm
from tests.client.case import APP_1, ClientTestCase


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.form = ForPrograms()

    def test_both_say_everything(self) -> None:
        verifyObject(IForm, ForPeople(Vocabulary(face)))
        verifyObject(IForm, self.form)

    def test_replies_without_tokens(self) -> None:
        reply = Reply({"status": 0, "message": "Success!", "token": "secret", "more": [1]})
        self.assertEqual(
            self.form.reply(reply), ['{"status": 0, "message": "Success!", "more": [1]}']
        )

    def test_own_answers(self) -> None:
        self.assertEqual(self.form.own(["a", "b"]), ['{"status": 0, "message": "a\\nb"}'])
        self.assertEqual(ForPeople(Vocabulary(face)).own(["a", "b"]), ["a", "b"])

    def test_who_was_logged_out(self) -> None:
        self.assertEqual(self.form.logged_out("ann"), ['{"event": "logout", "user": "ann"}'])
        self.assertEqual(ForPeople(Vocabulary(face)).logged_out("ann"), [])

    def test_problems(self) -> None:
        lost = "It is not known whether this was carried out: gone"
        self.assertEqual(
            self.form.failed(Lost("gone")), [json.dumps({"status": 1, "message": lost})]
        )
        self.assertEqual(ForPeople(Vocabulary(face)).failed(Lost("gone")), [lost])
        refused = Refused(Reply({"status": 1, "message": "No\x1b"}))
        self.assertEqual(
            self.form.aside("ann", refused),
            ['{"event": "problem", "user": "ann", "message": "No\\\\x1b"}'],
        )
        self.assertEqual(ForPeople(Vocabulary(face)).aside("ann", refused), ["No\\x1b"])

    def test_events_say_whose_they_are(self) -> None:
        to_bob = {
            "event": "message",
            "id": 41,
            "from": "ann",
            "to": "bob",
            "message": "hi\x1b\u202e",
        }
        to_group = {"event": "sent", "id": 42, "from": "ann", "group": "chess", "message": "e4"}
        for event in (to_bob, to_bob | {"time": 5}, to_group):
            (line,) = self.form.message("bob", ChatMessage.read(event))
            self.assertTrue(line.isascii())
            self.assertEqual(json.loads(line), event | {"user": "bob"})
            self.assertEqual(self.form.sent("bob", ChatMessage.read(event)), [line])
        self.assertEqual(
            self.form.waiting(Waiting(3, 24)),
            ['{"event": "waiting", "position": 3, "seconds": 24}'],
        )


class ProgramTests(ClientTestCase):
    """`bbs client --json`, from its standard input to its exit code."""

    def setUp(self) -> None:
        super().setUp()
        self.register("ann", "bob")
        self.befriend("ann", "bob")
        self.end, self.start = os.pipe()
        self.addCleanup(os.close, self.end)

    def play(self, script: str, password: str | None = None, programs: bool = True) -> Run:
        pieces = [script.encode(), b""]

        def read() -> Deferred[bytes]:
            return succeed(pieces.pop(0))

        run = self.run_script(read, password, programs)
        self.network.advance(2)
        os.close(self.start)
        self.printed = os.read(self.end, 65536).decode().splitlines()
        return run

    def run_script(
        self, read: Callable[[], Deferred[bytes]], password: str | None, programs: bool
    ) -> Run:
        run = Run(
            self.clock,
            self.client,
            read=read,
            output=self.start,
            stop_reactor=lambda: None,
            password=password,
            for_programs=programs,
        )
        run.start()
        return run

    def members(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.printed]

    def test_a_line_for_each_reply_and_event(self) -> None:
        run = self.play("login ann 1\nlogin bob 1\nhelp\nlisten ann\nevents\nsend ann bob hi\n")
        self.assertEqual(run.problem, "")
        here = {"status": 0, "message": "Success!"}
        login = here | {"app_server": {"host": APP_1.host, "port": APP_1.port}}
        first, second, usages, *others = self.members()
        login |= {"waiting": {"invitations": 0, "messages": 0, "after": 0}}
        self.assertEqual((first, second), (login, login))
        self.assertIn("send <user>", str(usages["message"]))
        event = {"event": "message", "id": 1, "from": "ann", "to": "bob", "message": "hi"}
        (said,) = [each for each in others if "event" in each]
        self.assertIsInstance(said.pop("time"), float)
        self.assertCountEqual(others, [here, here, here, event | {"user": "bob"}])

    def test_only_what_is_json_is_printed(self) -> None:
        for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999"):
            with self.assertRaises(ValueError):
                read_line(f'{{"status": 0, "score": {number}}}'.encode())

        def worse(link: Link, line: str) -> str:
            asked = link.requests[-1]
            if asked.startswith("listen"):
                link.tell('{"event": "turn", "score": 1e999}')
                link.tell('{"event": "turn", "score": NaN}')
                link.tell('{"event": "turn", "score": -1e99}')
            if asked == "register eve 1":
                return '{"status": 0, "score": 1e999}'
            return line

        self.network.to_clients = worse
        self.play("login ann 1\nregister eve 1\n")
        login, turn, lost = self.members()
        self.assertEqual(login["status"], 0)
        self.assertEqual(turn, {"event": "turn", "score": -1e99, "user": "ann"})
        self.assertEqual(lost["status"], 1)

    def test_the_last_status_is_the_exit_code(self) -> None:
        run = self.play("login ann wrong\nlist-friend ann\n")
        self.assertEqual(run.problem, "Not login yet")
        self.assertEqual([each["status"] for each in self.members()], [1, 1])

    def test_a_refusal_before_the_last_is_none(self) -> None:
        run = self.play("nonsense\nping\n")
        self.assertEqual(run.problem, "")

    def test_a_refusal_says_something(self) -> None:
        self.answer("ping", {"status": 1})
        pieces: list[Deferred[bytes]] = [succeed(b"ping\n"), succeed(b"")]
        read = lambda: pieces.pop(0)  # noqa: E731
        run = self.run_script(read, None, True)
        self.network.flush()
        self.network.advance(2)
        self.assertEqual(run.problem, "Failed")
        os.close(self.start)

    def test_a_script_for_people_has_the_exit_code_that_it_had(self) -> None:
        run = self.play("nonsense\n", programs=False)
        self.assertEqual((run.problem, self.printed), ("", ["Unknown command nonsense"]))

    def test_a_server_that_will_not_listen(self) -> None:
        self.answer_always("listen", {"status": 1, "message": "Unknown command listen"})
        run = self.play("login ann 1\nlisten ann\n")
        login, aside, listen = self.members()
        self.assertEqual(login["status"], 0)
        self.assertEqual(aside["event"], "problem", self.printed)
        self.assertEqual(listen["status"], 1)
        self.assertTrue(run.problem)

    def test_who_is_logged_out_elsewhere(self) -> None:
        more: Deferred[bytes] = Deferred()
        pieces = [succeed(b"login ann 1\nlogin bob 1\n"), more, succeed(b"")]
        run = self.run_script(lambda: pieces.pop(0), None, True)
        self.network.flush()
        self.log_out("ann")
        late: list[Callable[[], None]] = []

        def to_clients(link: Link, line: str) -> str | None:
            if "Bye!" not in line:
                return line
            late.append(lambda: link.tell(line))  # The event comes before the answer.
            return None

        self.network.to_clients = to_clients
        more.callback(b"logout bob\n")
        self.network.flush()
        late.pop()()
        self.network.advance(2)
        self.assertEqual(run.problem, "")
        os.close(self.start)
        self.printed = os.read(self.end, 65536).decode().splitlines()
        _, _, gone, bye = self.members()
        self.assertEqual(gone, {"event": "logout", "user": "ann"})
        self.assertEqual(bye, {"status": 0, "message": "Bye!"})

    def test_a_password_where_none_is_typed(self) -> None:
        self.play("register eve\nlogin ann\nlogin bob wrong\nlogin\n", "1", programs=False)
        self.assertTrue(self.is_password("eve", "1"))
        self.assertEqual(
            self.printed,
            [
                "Success!",
                "Success!",
                "No such user or password error",
                "Usage: login <id> <password>",
            ],
        )

    def test_none_is_made_up(self) -> None:
        self.play("login ann\n", programs=False)
        self.assertEqual(self.printed, ["Usage: login <id> <password>"])


class PasswordFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def write(self, content: bytes, mode: int = 0o600) -> str:
        self.path.write_bytes(content)
        self.path.chmod(mode)
        return str(self.path)

    def refusal(self, path: str) -> str:
        return str(self.assertRaises(PasswordFileError, read_password, path))

    def test_its_first_line(self) -> None:
        for content in (b"secr\xc3\xa9t", b"secr\xc3\xa9t\n", b"secr\xc3\xa9t\r\nmore\n"):
            self.assertEqual(read_password(self.write(content)), "secrét")

    def test_only_its_owner_may_read_it(self) -> None:
        for mode in (0o640, 0o604, 0o602, 0o610):
            path = self.write(b"secret", mode)
            self.assertEqual(self.refusal(path), f"{path}: others may read it; chmod 600 {path}")

    def test_no_password_in_it(self) -> None:
        for content in (b"", b"\nsecret", b"two words"):
            self.assertIn("a password is one word", self.refusal(self.write(content)))
        self.assertIn("not UTF-8", self.refusal(self.write(b"\xff")))

    def test_no_file(self) -> None:
        self.assertIn("No such file", self.refusal(str(self.path)))

    def test_a_pipe(self) -> None:
        end, start = os.pipe()
        self.addCleanup(os.close, end)
        os.write(start, b"secret\n")
        os.close(start)
        self.assertEqual(read_password(f"/dev/fd/{end}"), "secret")
