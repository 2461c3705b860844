"""`bbs fleet`: what an operator asks, sees, and is refused."""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable

from bbs import __version__
from bbs.board import board
from bbs.cli import Program, fleet
from bbs.commands.service import Service
from bbs.core.values import DrainCause, State, Tally
from bbs.rules import accounts, membership, placement, presence
from bbs.rules.fleet_admin import actions
from bbs.rules.servers import OPERATOR
from bbs.scaling.ec2.instance_states import price
from bbs.scaling.identity import process_identity
from bbs.storage.models import LoginServer, Place, Server, User
from tests.cli.case import CommandCase
from tests.database_case import on_both_databases

NOBODY = "bbs fleet: no login server is running: the next one to start will do this\n"


@on_both_databases
class Fleet(CommandCase):
    main = staticmethod(fleet.main)

    def server(self, id: str, **others: object) -> None:
        values = {"state": State.READY, "scope": "local:x", "host": "h", "port": 22223}
        values |= {"capacity": 10, "created": time.time()}
        Server.insert({"id": id, **values, **others}).execute()

    def somebody_on(self, server: str, name: str) -> None:
        accounts.register(name, "hash", 0.0)
        placement.enter(User.get(User.name == name).id, placement.Look(new=True))
        self.assertEqual(Place.get(Place.user == User.get(User.name == name)).server_id, server)

    def test_nothing_to_list(self) -> None:
        code, output, errors = self.bbs("list")
        self.assertEqual((code, len(output.splitlines()), errors), (0, 2, ""))
        self.assertEqual(self.bbs("list", "--json"), (0, "[]\n", ""))

    def test_a_list(self) -> None:
        self.server("1" * 32)
        self.somebody_on("1" * 32, "änn")
        code, output, errors = self.bbs("list")
        self.assertEqual((code, errors), (0, ""))
        self.assertRegex(
            output.splitlines()[1], r"\A1{32}  ready +h:22223 +1/10 +- +\d+s  - +änn\Z"
        )
        [listed] = json.loads(self.bbs("list", "--json")[1])
        self.assertEqual((listed["id"], listed["people"]), ("1" * 32, ["änn"]))

    def test_the_oldest_come_first_of_those_in_one_state(self) -> None:
        now = time.time()
        # Several of a crowd's are written down at one moment.
        for id, age in (("5", 10), ("1", 20), ("7", 30), ("3", 20), ("2", 20)):
            self.server(id * 32, created=now - age)
        self.server("9" * 32, created=now, state=State.LOST)
        ids = [line[0] for line in self.bbs("list")[1].splitlines()[1:7]]
        self.assertEqual(ids, ["9", "7", "1", "2", "3", "5"])

    def test_what_is_not_well_comes_first(self) -> None:
        for number, state in enumerate(("ready", "launching", "lost", "draining", "warm")):
            self.server(str(number) * 32, state=state)
        ids = [line[0] for line in self.bbs("list")[1].splitlines()[1:6]]
        self.assertEqual(ids, ["2", "3", "1", "0", "4"])
        [listed] = json.loads(self.bbs("list", "--json", "--state", "lost")[1])
        self.assertEqual(listed["id"], "2" * 32)

    def test_a_state_that_is_none(self) -> None:
        code, _, errors = self.bbs("list", "--state", "foo")
        self.assertEqual(code, 2)
        self.assertIn("invalid choice: 'foo' (choose from", errors)
        self.assertNotIn("State", errors)

    def test_of_many_the_first(self) -> None:
        for number in range(fleet.LINES + 5):
            self.server(f"{number:032x}")
        self.server("f" * 32, state="lost")
        lines = self.bbs("list")[1].splitlines()
        self.assertEqual(lines[1][:32], "f" * 32)
        self.assertEqual(
            lines[fleet.LINES + 1],
            "106 servers: 1 lost, 105 ready;"
            " the first 100 are shown, --all or --state shows others",
        )
        self.assertEqual(len(lines), fleet.LINES + 3)
        self.assertEqual(len(self.bbs("list", "--all")[1].splitlines()), fleet.LINES + 9)
        self.assertEqual(len(json.loads(self.bbs("list", "--json")[1])), fleet.LINES + 6)

    def test_who_is_there_and_who_is_merely_logged_in(self) -> None:
        self.server("1" * 32)
        for name in ("ann", "bob", "eva", "max", "tom"):
            self.somebody_on("1" * 32, name)
        users = {row.name: row.id for row in User.select()}
        placement.leave_unused(
            "1" * 32,
            {
                user: asked
                for user, asked in presence.held_at("1" * 32).items()
                if user in (users["max"], users["tom"])
            },
        )
        membership.beat("1" * 32, {}, {"connected": 2})
        output = self.bbs("list")[1].splitlines()
        self.assertRegex(output[1], r"\A1{32}  ready +h:22223 +3/10 +2 +\d+s  - +ann bob eva\Z")
        self.assertEqual(
            output[2], "3 people have places, 2 of them listen; 2 are logged in without one"
        )
        [listed] = json.loads(self.bbs("list", "--json")[1])
        self.assertEqual((listed["taken"], listed["connected"]), (3, 2))

    def test_one_of_each(self) -> None:
        self.server("1" * 32)
        for name in ("ann", "bob", "eva"):
            self.somebody_on("1" * 32, name)
        ann, bob, _ = (row.id for row in User.select().order_by(User.name))
        held = presence.held_at("1" * 32)
        placement.leave_unused("1" * 32, {ann: held[ann]})
        Place.update(server=None).where(Place.user == bob).execute()
        Server.update(taken=1, figures='{"connected": 1}').execute()
        self.assertEqual(
            self.bbs("list")[1].splitlines()[-1],
            "1 person has a place, 1 of them listens; 1 is logged in without one; 1 waits for one",
        )

    def test_for_programs(self) -> None:
        now = time.time()
        self.patch(time, "time", lambda: now)
        others = {"scope": "local:secret", "instance_id": "i-1", "kind": "t3.micro"}
        self.server("1" * 32, created=now - 7.25, ready=now - 5.0, **others)
        self.somebody_on("1" * 32, "ann")
        os.environ["BBS_EC2_REGION"] = "eu-central-1"
        nothing = {"scope": "", "host": None, "port": None}
        self.server("2" * 32, created=now - 2.25, state=State.LAUNCHING, **nothing)
        self.assertEqual(
            json.loads(self.bbs("list", "--json")[1]),
            [
                {
                    "id": "1" * 32,
                    "state": "ready",
                    "address": "h:22223",
                    "taken": 1,
                    "capacity": 10,
                    "connected": None,
                    "age": 7.2,
                    "launch_time": 2.2,
                    "scope": "local",
                    "instance": "i-1",
                    "type": "t3.micro",
                    "version": "",
                    "drain_asked": False,
                    "replace_asked": False,
                    "reason": "",
                    "people": ["ann"],
                    "usd_per_hour": price("t3.micro", "eu-central-1"),
                },
                {
                    "id": "2" * 32,
                    "state": "launching",
                    "address": None,
                    "taken": 0,
                    "capacity": 10,
                    "connected": None,
                    "age": 2.2,
                    "launch_time": None,
                    "scope": "",
                    "instance": None,
                    "type": None,
                    "version": "",
                    "drain_asked": False,
                    "replace_asked": False,
                    "reason": "",
                    "people": [],
                    "usd_per_hour": None,
                },
            ],
        )

    def test_a_launch(self) -> None:
        membership.enroll(membership.Member("l" * 32, process_identity()))
        code, output, errors = self.bbs("launch")
        server = Server.get()
        self.assertEqual((code, output, errors), (0, f"launch asked for: {server.id}\n", ""))
        self.assertEqual((server.state, server.capacity), (State.LAUNCHING, 10))

    def test_a_launch_where_nobody_keeps_the_fleet(self) -> None:
        """It is written down, and a line says that nobody runs who would do it."""
        looks = self.looks()
        dead = process_identity().rpartition(":")[0] + ":1"
        for identities, looked in (((), 0), ((dead,), 0), ((dead, "host:elsewhere:1:x"), 12)):
            LoginServer.delete().execute()
            for number, identity in enumerate(identities):
                membership.enroll(membership.Member(str(number), identity))
            looks.clear()
            code, output, errors = self.bbs("launch")
            self.assertEqual((code, errors), (0, NOBODY))
            self.assertIn("launch asked for: ", output)
            self.assertEqual(len(looks), looked)
            output = self.bbs("launch", "--json")[1]
            self.assertEqual(json.loads(output)["asked"], "launch")

    def test_a_launch_that_another_machine_will_do(self) -> None:
        """Its login server says that it lives, before long."""
        me = membership.Member("l" * 32, "host:elsewhere:1:x")
        membership.enroll(me)
        looks = self.looks(lambda: len(looks) == 8 and membership.observe(me, Tally()))
        self.assertEqual(self.bbs("launch")[2], "")
        self.assertEqual(len(looks), 8)

    def looks(self, then: Callable[[], object] = lambda: None) -> list[float]:
        """The pauses between looks at who lives; `then` is called after each. No time passes."""
        pauses: list[float] = []

        def sleep(seconds: float) -> None:
            pauses.append(seconds)
            then()

        self.patch(time, "sleep", sleep)
        self.patch(time, "monotonic", lambda: sum(pauses))
        return pauses

    def test_what_was_done_is_recorded(self) -> None:
        self.server("a" * 32)
        self.patch(getpass, "getuser", lambda: "liz")
        self.bbs("drain", "aaa")
        self.patch(getpass, "getuser", self.nobody)
        self.bbs("launch")
        launched = Server.get(Server.state == State.LAUNCHING).id
        recorded = [(each.operator, each.address, each.action, each.target) for each in actions(9)]
        self.assertEqual(
            recorded,
            [
                (str(os.getuid()), "bbs fleet", "launch", launched),
                ("liz", "bbs fleet", "drain", "a" * 32),
            ],
        )

    def test_sudo_does_not_hide_who_it_was(self) -> None:
        """Within the column's length, however long the names are."""
        for user, person, told in (
            ("root", "dave", "dave as root"),
            ("dave", "dave", "dave"),
            ("root", "", "root"),
            ("root", "d" * 200, "d" * 100),
        ):
            self.patch(getpass, "getuser", lambda user=user: user)
            self.patch(os, "environ", {**os.environ, "SUDO_USER": person})
            self.bbs("launch")
            self.assertEqual(actions(1)[0].operator, told)

    def test_it_is_stamped_with_when_it_was_asked_for(self) -> None:
        """However long the database is waited for."""
        now = [1000.0]
        self.patch(time, "time", lambda: now[0])

        def service() -> Service:
            """Which service it is, is asked when the database answers."""
            now[0] += 60.0
            return board

        self.program = Program("bbs", service)
        self.bbs("launch")
        self.assertGreater(now, [1000.0])
        [deed] = self.call(actions, 9)
        self.assertEqual((Server.get().created, deed.at), (1000.0, 1000.0))

    def nobody(self) -> str:
        raise OSError("no name")

    def test_a_fleet_that_is_full(self) -> None:
        os.environ["BBS_FLEET_MAXIMUM"] = "1"
        self.bbs("launch")
        told = "bbs fleet: fleet.maximum (1) is reached: raise it, or drain a server first\n"
        self.assertEqual(self.bbs("launch"), (1, "", told))
        self.assertEqual(Server.select().count(), 1)

    def test_a_drain(self) -> None:
        self.server("a" * 32)
        self.server("b" * 32)
        told = f"drain asked for: {'a' * 32}\n"
        self.assertEqual(self.bbs("drain", "aaa"), (0, told, ""))
        code, output, _ = self.bbs("drain", "b" * 32, "--json")
        self.assertEqual((code, json.loads(output)), (0, {"id": "b" * 32, "asked": "drain"}))
        self.assertEqual(Server.select().where(Server.drain_asked).count(), 2)

    def test_a_list_says_which_versions_run_and_which_are_to_be_replaced(self) -> None:
        self.server("1" * 32, version="0.3.0")
        self.server("2" * 32, version="0.2.9", replace_asked=True)
        output = self.bbs("list")[1].splitlines()
        self.assertIn("  0.3.0  ", output[1])
        self.assertIn("  0.2.9*  ", output[2])
        self.assertEqual(output[3], "* 1 server to be replaced")
        listed = json.loads(self.bbs("list", "--json")[1])
        self.assertEqual(
            [(each["version"], each["replace_asked"]) for each in listed],
            [("0.3.0", False), ("0.2.9", True)],
        )

    def test_a_list_says_which_versions_login_servers_have(self) -> None:
        """Before the line that was last before, and not to programs."""
        self.server("1" * 32)
        before = self.bbs("list")[1].splitlines()
        membership.enroll(membership.Member("a" * 32, process_identity(), "0.10.0"))
        membership.enroll(membership.Member("b" * 32, process_identity(), "0.9.0"))
        membership.enroll(membership.Member("c" * 32, process_identity(), "0.9.0"))
        membership.enroll(membership.Member("d" * 32, process_identity(), ""))
        lines = self.bbs("list")[1].splitlines()
        said = lines.pop(2)
        self.assertEqual(
            said,
            "login servers: 1 of an older version, 2 of version 0.9.0, 1 of version 0.10.0",
        )
        self.assertEqual((len(lines), lines[0], lines[2]), (len(before), before[0], before[2]))
        [listed] = json.loads(self.bbs("list", "--json")[1])
        self.assertEqual(listed["id"], "1" * 32)

    def test_a_list_says_for_what_a_replacement_waits(self) -> None:
        self.server("1" * 32, replace_asked=True)
        membership.enroll(membership.Member("a" * 32, process_identity()))
        LoginServer.update(figures='{"spare": 5, "delay": 7}').execute()
        lines = self.bbs("list")[1].splitlines()
        self.assertEqual(
            lines[2:4],
            [
                "* 1 server to be replaced",
                "replacing servers waits: fleet.maximum leaves no room for one more, and no others"
                " for the people of any of them",
            ],
        )
        Server.update(replace_asked=False).execute()
        self.assertNotIn("waits:", self.bbs("list")[1])

    def asked(self) -> str:
        """The first letters of the ids of those that are to be replaced."""
        rows = Server.select().where(Server.replace_asked).order_by(Server.id)
        return "".join(row.id[0] for row in rows)

    def test_all_are_replaced(self) -> None:
        self.server("a" * 32, version=__version__)
        self.server("b" * 32, state=State.LAUNCHING, port=None)
        self.server("c" * 32, state=State.LOST)
        self.server("d" * 32, scope=OPERATOR)
        membership.enroll(membership.Member("l" * 32, process_identity()))
        self.assertEqual(
            self.bbs("replace"),
            (
                0,
                "replace asked for: 2 servers\n",
                "bbs fleet: 1 server that an operator runs by hand stays\n",
            ),
        )
        self.assertEqual(self.asked(), "ab")
        self.assertEqual(self.bbs("replace")[1], "nothing to replace\n")
        [deed] = self.call(actions, 9)
        self.assertEqual((deed.action, deed.target, deed.detail), ("replace", "", "2 servers"))

    def test_some_of_those_of_other_versions_are_replaced(self) -> None:
        self.server("a" * 32, version=__version__)
        self.server("b" * 32, version="0.10.0")
        self.server("c" * 32, version="0.2.0")
        self.server("d" * 32)
        self.server("e" * 32, state=State.LAUNCHING, port=None)
        membership.enroll(membership.Member("l" * 32, process_identity()))
        code, output, errors = self.bbs("replace", "--outdated", "2")
        self.assertEqual((code, output), (0, "replace asked for: 2 servers\n"))
        self.assertIn("1 server still boots with an unknown version", errors)
        self.assertEqual(self.asked(), "cd")
        self.assertEqual(
            json.loads(self.bbs("replace", "--outdated", "--json")[1]),
            {"asked": "replace", "servers": ["b" * 32], "by_hand": 0, "booting": 1, "full": False},
        )
        self.assertEqual(self.bbs("replace", "--outdated")[:2], (0, "nothing to replace\n"))

    def test_a_replacement_is_taken_back(self) -> None:
        self.server("a" * 32)
        self.server("b" * 32)
        self.bbs("replace")
        draining = {"state": State.DRAINING, "cause": DrainCause.REPLACEMENT}
        Server.update(draining).where(Server.id == "b" * 32).execute()
        self.assertEqual(self.bbs("replace", "--cancel"), (0, "replace taken back: 1 server\n", ""))
        self.assertEqual(self.asked(), "b")
        self.assertEqual(self.bbs("replace", "--cancel"), (0, "no server was to be replaced\n", ""))
        self.assertEqual(next(each.action for each in self.call(actions, 9)), "replace-cancel")

    def test_a_replacement_in_a_fleet_that_is_full(self) -> None:
        os.environ["BBS_FLEET_MAXIMUM"] = "1"
        self.server("a" * 32)
        self.assertIn("fleet.maximum (1) is reached: each", self.bbs("replace")[2])

    def test_a_replacement_where_nobody_keeps_the_fleet(self) -> None:
        self.assertEqual(self.bbs("replace"), (0, "nothing to replace\n", ""))
        self.server("a" * 32)
        self.assertEqual(self.bbs("replace")[::2], (0, NOBODY))

    def test_wrong_usage_of_a_replacement(self) -> None:
        for wrong in (("--outdated", "0"), ("--outdated", "x"), ("--outdated", "1", "--cancel")):
            code, output, errors = self.bbs("replace", *wrong)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs fleet replace", errors)

    def test_a_drain_of_nothing(self) -> None:
        self.server("a" * 32)
        self.assertEqual(
            self.bbs("drain", "c"),
            (1, "", "bbs fleet: there is no app server 'c': see bbs fleet list\n"),
        )

    def test_a_database_that_is_away(self) -> None:
        os.environ["BBS_DATABASE_URL"] = "mysql://user:secret@127.0.0.1:1/bbs"
        code, output, errors = self.bbs("list")
        self.assertEqual((code, output), (1, ""))
        self.assertRegex(
            errors, r"\Abbs fleet: database mysql://user:\*\*\*@[^\n]*refused[^\n]*\n\Z"
        )

    def test_wrong_usage(self) -> None:
        for arguments in ((), ("end",), ("drain",)):
            code, output, errors = self.bbs(*arguments)
            self.assertEqual((code, output), (2, ""))
            self.assertIn("usage: bbs fleet", errors)
