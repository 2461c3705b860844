"""`bbs user`: what operators see of people, and do to them."""

from __future__ import annotations

import getpass
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bbs.board import board, inboxes
from bbs.cli import Program, user
from bbs.core.values import State
from bbs.limits.password_hashing import OWASP
from bbs.rules import fleet_admin, fleet_transitions, user_admin
from bbs.storage.models import Place, Server, Session, Suspension, User
from tests.cli.case import CommandCase
from tests.database_case import on_both_databases

BELL = "a\x07nn"


class UserCase(CommandCase):
    main = staticmethod(user.main)

    def setUp(self) -> None:
        super().setUp()
        self.patch(getpass, "getuser", lambda: "liz")
        self.patch(time, "time", lambda: 1_000_000.0)
        self.in_zone("UTC")
        self.typed: list[str] = []

    def in_zone(self, zone: str) -> None:
        """Have this machine's own time be that of `zone`, until the test ends."""

        def set_zone(zone: str | None) -> None:
            os.unsetenv("TZ") if zone is None else os.putenv("TZ", zone)
            time.tzset()

        self.addCleanup(set_zone, os.environ.get("TZ"))
        set_zone(zone)

    def somebody(self, name: str, sessions: int = 0) -> int:
        User.insert(name=name, password_hash="old", channel=name[:9], created=999_000.0).execute()
        id: int = User.get(User.name == name).id
        inboxes.make(id)
        for number in range(sessions):
            Session.insert(digest=f"{name}{number}", user=id, used=0.0).execute()
        if sessions:
            Place.insert(user=id, server=Server.select(Server.id).first()).execute()
            Server.update(taken=Server.taken + 1).execute()
        return id

    def server(self) -> None:
        Server.insert(
            id="1" * 32,
            state=State.READY,
            scope="local:x",
            host="h",
            port=22223,
            capacity=10,
            created=0.0,
        ).execute()

    def at_a_terminal(self, *typed: str) -> None:
        """Have somebody type these passwords."""
        lines = [*typed]

        def ask(prompt: str) -> str:
            self.typed.append(prompt)
            return lines.pop(0)

        self.patch(getpass, "getpass", ask)

    def said(self, *arguments: str) -> str:
        """What the command prints that goes well."""
        code, output, errors = self.bbs(*arguments)
        self.assertEqual((code, errors), (0, ""))
        return output

    def failed(self, reason: str, *arguments: str) -> None:
        self.assertEqual(self.bbs(*arguments), (1, "", f"bbs user: {reason}\n"))

    def deeds(self) -> list[Sequence[object]]:
        found = self.call(fleet_admin.actions, 9)
        return [(each.operator, each.address, each.action, each.person) for each in found]

    def hash(self) -> str:
        stored: str = User.get().password_hash
        return stored


@on_both_databases
class Looking(UserCase):
    def test_nobody(self) -> None:
        self.assertEqual(len(self.said("list").splitlines()), 1)
        self.assertEqual(self.said("list", "--json"), "[]\n")

    def test_a_list(self) -> None:
        self.server()
        self.somebody("änn", 2)
        self.somebody("bob")
        User.update(seen=999_500.0).where(User.name == "änn").execute()
        _, bob, ann = self.said("list").splitlines()
        self.assertRegex(
            ann,
            r"\A1970-01-12T13:30:00\+00:00  1970-01-12T13:38:20\+00:00  online     h:22223 +änn\Z",
        )
        self.assertRegex(bob, r"\A1970-01-12T13:30:00\+00:00  - +offline    - +bob\Z")
        self.assertEqual(self.said("list", "--online").splitlines()[1:], [ann])
        self.assertEqual(self.said("list", "--search", "O").splitlines()[1:], [bob])

    def test_a_list_in_parts(self) -> None:
        names = [f"p{number:03}" for number in range(2 * user_admin.PEOPLE_AT_ONCE + 1)]
        for name in names:
            self.somebody(name)
        lines = self.said("list").splitlines()[1:]
        self.assertEqual([line.split()[-1] for line in lines], names)
        listed = json.loads(self.said("list", "--json"))
        self.assertEqual([each["name"] for each in listed], names)

    def test_for_programs(self) -> None:
        self.server()
        self.somebody("ann", 1)
        Suspension.insert(user=User.get().id, since=1.0, until=None, reason="x").execute()
        [listed] = json.loads(self.said("list", "--json"))
        ann = {
            "name": "ann",
            "state": "online",
            "created": 999_000.0,
            "seen": None,
            "server": "1" * 32,
            "address": "h:22223",
            "sessions": 1,
            "suspended": {"since": 1.0, "until": None, "reason": "x"},
        }
        self.assertEqual(listed, ann)
        shown = json.loads(self.said("show", "ann", "--json"))
        self.assertEqual(shown.pop("counts")["friends"], 0)
        self.assertEqual(shown, ann)

    def test_somebody(self) -> None:
        self.somebody("ann")
        lines = dict(line.split(maxsplit=1) for line in self.said("show", "ann").splitlines())
        self.assertEqual(
            (lines["name"], lines["state"], lines["suspended"]), ("ann", "offline", "no")
        )
        self.assertEqual((lines["friends"], lines["seen"]), ("0", "-"))
        self.failed('there is no account "bob"', "show", "bob")

    def test_what_people_have_typed_acts_on_no_terminal(self) -> None:
        self.somebody(BELL)
        self.said("suspend", BELL, "--reason", "\x1b[2J\u202e")
        for text in (self.said("list"), self.said("show", BELL), self.said("kick", BELL)):
            self.assertIn(r"a\x07nn", text)
            self.assertNotRegex(text, "[\x00-\x09\x0b-\x1f\u202e]")
        code, output, errors = self.bbs("show", "\x1b[2J")
        self.assertEqual((code, output), (1, ""))
        self.assertEqual(errors, 'bbs user: there is no account "\\x1b[2J"\n')

    def test_times_are_this_machines_own(self) -> None:
        self.somebody("ann")
        self.in_zone("EST5")
        self.assertRegex(self.said("show", "ann"), r"created +1970-01-12T08:30:00-05:00\n")

    def test_a_stamp_that_no_clock_says(self) -> None:
        self.somebody("ann")
        User.update(created=1e300).execute()
        self.assertRegex(self.said("list").splitlines()[1], r"\A\? ")


@on_both_databases
class Doing(UserCase):
    def setUp(self) -> None:
        super().setUp()
        self.server()

    def is_out(self, action: str) -> None:
        """Check what is true after all that ends sessions."""
        self.assertEqual(Session.select().count(), 0)
        self.assertEqual(Server.get().taken, 0)
        self.assertEqual(self.deeds(), [("liz", "bbs user", action, "ann")])
        self.assertEqual([each[1] for each in self.call(fleet_transitions.notices)], ["ann"])

    def test_a_suspension(self) -> None:
        self.somebody("ann", 2)
        told = self.said("suspend", "ann", "--for", "7d", "--reason", "spam")
        until = "1970-01-19T13:46:40+00:00"
        self.assertEqual(told, f"ann is suspended until {until}; 2 sessions ended\n")
        row = Suspension.get()
        self.assertEqual((row.until, row.reason), (1_000_000.0 + 7 * 86400, "spam"))
        self.is_out("suspend")
        self.assertIn(f"until {until}: spam", self.said("show", "ann"))

    def test_until_resumed(self) -> None:
        self.somebody("ann", 1)
        told = json.loads(self.said("suspend", "ann", "--json"))
        self.assertEqual(
            told,
            {"name": "ann", "done": "suspend", "sessions": 1, "until": None, "reason": ""},
        )
        self.assertEqual(self.said("resume", "ann"), "ann may log in again\n")
        self.failed("ann is not suspended", "resume", "ann")
        self.assertEqual(len(self.deeds()), 2)

    def test_how_long(self) -> None:
        self.somebody("ann")
        for text, seconds in (("90s", 90), ("30m", 1800), ("12h", 43200), ("4w", 2419200)):
            self.said("suspend", "ann", "--for", text)
            self.assertEqual(Suspension.get().until, 1_000_000.0 + seconds)
        for text in ("", "7", "d", "0d", "-1d", "1.5h", "7 d", "7D", "1000000d", "٣d", "522w"):
            code, _, errors = self.bbs("suspend", "ann", "--for", text)
            self.assertEqual(code, 2)
            self.assertIn("--for", errors)
        code, _, errors = self.bbs("suspend", "ann", "--reason", "x" * 201)
        self.assertEqual(code, 2)
        self.assertIn("200 characters", errors)
        code, _, errors = self.bbs("suspend", "ann", "--reason", "\udcff")
        self.assertEqual(code, 2)
        self.assertIn("not UTF-8", errors)

    def test_a_kick(self) -> None:
        self.somebody("ann", 1)
        self.assertEqual(self.said("kick", "ann"), "ann is logged out; 1 session ended\n")
        self.is_out("kick")
        self.assertEqual(self.said("kick", "ann"), "ann was not logged in\n")

    def test_a_deletion(self) -> None:
        self.somebody("ann", 1)
        self.assertEqual(self.said("delete", "ann", "--yes"), "ann is deleted; 1 session ended\n")
        self.is_out("delete")
        self.assertEqual(User.select().count(), 0)
        self.failed('there is no account "ann"', "delete", "ann", "--yes")

    def test_a_deletion_in_parts(self) -> None:
        self.somebody("ann", 1)
        left = [2, 1, 0]
        service = replace(board, on_delete=lambda user: left.pop(0))
        program = Program("bbs", lambda: service)
        self.main = lambda argv, _: user.main(argv, program)  # type: ignore[misc]
        self.said("delete", "ann", "--yes")
        self.assertEqual((User.select().count(), left), (0, []))
        self.is_out("delete")

    def test_a_deletion_is_asked_about(self) -> None:
        self.somebody("ann", 1)
        self.failed("no terminal to ask at: --yes deletes without asking", "delete", "ann")
        for typed in ("", "\n", "bob\n", "ann \n"):
            code, output, errors = self.typing(typed, "delete", "ann")
            self.assertEqual((code, output), (1, ""))
            asked = "Type ann again to delete the account: "
            self.assertEqual(errors, f"{asked}bbs user: not the same: nothing is deleted\n")
        self.assertEqual((User.select().count(), self.deeds()), (1, []))
        code, output, _ = self.typing("ann\n", "delete", "ann", "--json")
        self.assertEqual((code, json.loads(output)["done"]), (0, "delete"))
        self.assertEqual(User.select().count(), 0)

    def typing(self, text: str, *arguments: str) -> tuple[int, str, str]:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        self.patch(sys, "stdin", terminal)
        return self.bbs(*arguments)


@on_both_databases
class Passwords(UserCase):
    def test_typed_twice(self) -> None:
        self.somebody("ann")
        self.at_a_terminal("päss", "päss")
        self.assertEqual(self.said("password", "ann"), "ann has another password\n")
        self.assertTrue(OWASP.verify(self.hash(), "päss"))
        self.assertEqual(self.typed, ["New password of ann: ", "The same again: "])
        self.assertEqual(self.deeds(), [("liz", "bbs user", "password", "ann")])

    def test_what_is_none(self) -> None:
        self.somebody("ann")
        for typed, reason in (
            (("one", "two"), "the two passwords differ"),
            (("", ""), "a password is one word"),
            (("two words", "two words"), "a password is one word"),
            (("x" * 1025, "x" * 1025), "Password too long"),
        ):
            self.at_a_terminal(*typed)
            self.failed(reason, "password", "ann")
        os.environ["BBS_LIMITS_PASSWORD_MINIMUM"] = "9"
        self.at_a_terminal("12345678", "12345678")
        self.failed("Password too short", "password", "ann")
        self.assertEqual((self.hash(), self.deeds()), ("old", []))

    def test_of_nobody_none_is_asked_for(self) -> None:
        self.at_a_terminal()
        self.failed('there is no account "bob"', "password", "bob")

    def test_without_a_terminal(self) -> None:
        self.somebody("ann")

        def warn(prompt: str) -> str:
            warnings.warn("no echo", getpass.GetPassWarning, stacklevel=1)
            return "shown"

        self.patch(getpass, "getpass", warn)
        self.failed(
            "there is no terminal to ask for the password: use --password-file FILE",
            "password",
            "ann",
        )

    def test_from_a_file(self) -> None:
        self.somebody("ann")
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("sesame\n")
        os.chmod(path, 0o644)
        self.failed(
            f"{path}: others may read it; chmod 600 {path}",
            *("password", "ann", "--password-file", path),
        )
        os.chmod(path, 0o600)
        self.said("password", "ann", "--password-file", path)
        self.assertTrue(OWASP.verify(self.hash(), "sesame"))


class Command(UserCase):
    def test_wrong_usage(self) -> None:
        for arguments in ((), ("end",), ("show",), ("list", "ann"), ("kick", "ann", "--yes")):
            code, output, errors = self.bbs(*arguments)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs user", errors)

    def test_help_and_version(self) -> None:
        for action in ((), *((name,) for name in user.ACTIONS)):
            self.assertIn("usage: bbs user", self.said(*action, "--help"))
            self.assertRegex(self.said(*action, "--version"), r"\Abbs \d")

    def test_the_security_log(self) -> None:
        folder = self.mktemp()
        os.makedirs(os.path.join(folder, "logs"))
        path = os.path.join(folder, "logs", "security.log")
        for file in (path, os.path.join(folder, "lock")):
            Path(file).touch()
        self.somebody("ann")
        self.said("suspend", "ann", "--data", folder)
        self.said("show", "ann", "--data", folder)
        with open(path, encoding="utf-8") as log:
            (line,) = log.read().splitlines()
        self.assertEqual(
            line, '1970-01-12T13:46:40.000Z what=suspend outcome=done address=- name="ann" by="liz"'
        )

    def test_a_database_that_is_not_there(self) -> None:
        del os.environ["BBS_DATABASE_URL"]
        code, output, errors = self.bbs("list", "--data", "nowhere")
        self.assertEqual((code, output), (1, ""))
        self.assertRegex(errors, r"\Abbs user: database [^\n]*no such file[^\n]*\n\Z")
