"""`bbs fleet`, without a service."""

from __future__ import annotations

import io
import json
import sys
import time

from bbs.cli import fleet
from bbs.core.values import State, Tally
from bbs.rules import fleet_transitions, membership, servers
from bbs.scaling.ec2.instance_states import price
from bbs.storage.models import Server
from tests.cli.case import BOARD
from tests.database_case import RulesCase

CONTROLLER = membership.Member("1" * 32, "somewhere")


class FleetCommand(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()
        self.output, self.errors = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.errors)

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code, and what was said."""
        path = self.mktemp()
        with open(path, "w") as file:
            file.write(f'[database]\nurl = "{self.url}"\n[fleet]\nmaximum = 2\n')
        self.close_connection()
        code = fleet.main([*arguments, "--config", path], BOARD)
        # The command's own connection was another, and is closed.
        self.database = self.open_database()
        self.database.peewee.connect()
        return code, self.output.getvalue(), self.errors.getvalue()

    def running(self, **values: object) -> str:
        id = servers.new_id()
        now = time.time()
        given = {"state": State.READY, "host": "203.0.113.7", "port": 22223, "ready": now - 50}
        Server.insert(
            id=id, scope="ec2:us-east-1:bbs", capacity=10, created=now - 100, **{**given, **values}
        ).execute()
        return id

    def test_a_list_of_instances(self) -> None:
        self.running(instance_id="i-0123456789abcdef0", kind="t3.micro")
        code, out, err = self.run_command("list")
        self.assertEqual((code, err), (0, ""))
        head, line, _ = out.splitlines()
        self.assertEqual(
            " ".join(head.split()),
            "ID STATE ADDRESS PEOPLE LISTEN AGE VERSION INSTANCE TYPE LAUNCH USD/H WHO",
        )
        self.assertEqual(
            " ".join(line.split()[1:]),
            "ready 203.0.113.7:22223 0/10 - 100s - i-0123456789abcdef0 t3.micro 50s"
            f" {price('t3.micro', 'us-east-1'):.4f}",
        )

    def test_what_is_not_known_is_a_dash(self) -> None:
        self.running(instance_id="i-1", kind="x9.none", ready=None, state=State.LAUNCHING)
        self.running(port=None)
        code, out, _ = self.run_command("list")
        self.assertEqual(code, 0)
        self.assertEqual(out.splitlines()[1].split()[7:], ["i-1", "x9.none", "-", "-"])
        self.assertEqual(out.splitlines()[2].split()[7:], ["-", "-", "50s", "-"])

    def test_a_list_without_a_cloud(self) -> None:
        self.running()
        _, out, _ = self.run_command("list")
        self.assertEqual(
            " ".join(out.split()[:8]), "ID STATE ADDRESS PEOPLE LISTEN AGE VERSION WHO"
        )

    def test_for_programs(self) -> None:
        self.running(instance_id="i-1", kind="t3.micro")
        _, out, _ = self.run_command("list", "--json")
        [server] = json.loads(out)
        self.assertEqual((server["instance"], server["type"]), ("i-1", "t3.micro"))
        self.assertEqual(server["launch_time"], 50.0)
        self.assertEqual(server["usd_per_hour"], price("t3.micro", "us-east-1"))

    def test_why_nothing_can_be_launched(self) -> None:
        self.call(membership.enroll, CONTROLLER)
        self.call(membership.observe, CONTROLLER, Tally())
        now = time.time()
        self.call(fleet_transitions.refuse, CONTROLLER, "over quota", now + 100, now)
        code, out, err = self.run_command("list", "--json")
        self.assertEqual((code, json.loads(out)), (0, []))
        self.assertRegex(
            err,
            r"^nothing can be launched: over quota \(next attempt in (99|100) s, when needed\)$",
        )

    def test_a_launch_and_a_drain(self) -> None:
        code, out, _ = self.run_command("launch")
        self.assertEqual(code, 0)
        id = out.split()[-1]
        code, out, _ = self.run_command("drain", id[:8])
        self.assertEqual((code, out.split()[-1]), (0, id))
        self.assertTrue(Server.get_by_id(id).drain_asked)

    def test_what_cannot_be(self) -> None:
        for _ in range(2):
            self.running()
        self.assertEqual(self.run_command("launch")[0], 1)
        self.assertEqual(self.run_command("drain", "nothing")[0], 1)
        _, _, err = self.run_command("list")
        self.assertEqual(
            err.splitlines(),
            [
                "bbs fleet: fleet.maximum (2) is reached: raise it, or drain a server first",
                "bbs fleet: there is no app server 'nothing': see bbs fleet list",
            ],
        )
