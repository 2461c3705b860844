"""`bbs fleet adopt`, and what `bbs fleet list` says of which fleet this is."""

from __future__ import annotations

import io
import json
import os
import sys
import time

from bbs.cli import fleet
from bbs.core.values import State
from bbs.rules import fleets, membership
from bbs.rules.fleet_admin import actions
from bbs.rules.fleets import ELSEWHERE, HOME
from bbs.scaling.identity import process_identity
from bbs.storage import models
from bbs.storage.models import LoginServer, Secret, Server
from tests.cli.case import CommandCase
from tests.database_case import on_both_databases

NOTICED = 1_700_000_000.0


@on_both_databases
class Adopting(CommandCase):
    main = staticmethod(fleet.main)

    def settle(self) -> fleets.FleetIdentity:
        """As a login server does that starts, which is another process than the command."""
        models.database.initialize(self.database.peewee)
        fleet: fleets.FleetIdentity = self.call(fleets.settle, NOTICED, False)
        return fleet

    def copied(self, noticed: bool = True) -> tuple[str, str]:
        """The database is a copy; the ids of the fleet before, and of this one."""
        before = self.settle().id
        Secret.update(value=ELSEWHERE).where(Secret.name == HOME).execute()
        now = self.settle().id if noticed else before
        return before, now

    def not_adopted(self, why: str, *arguments: str) -> str:
        """What is said before it."""
        code, output, errors = self.bbs("adopt", *arguments)
        self.assertEqual((code, output), (1, ""))
        self.assertTrue(errors.endswith(f"bbs fleet: {why}\n"), errors)
        return errors

    def typing(self, text: str) -> tuple[int, str, str]:
        terminal = io.StringIO(text)
        terminal.isatty = lambda: True  # type: ignore[method-assign]
        self.patch(sys, "stdin", terminal)
        return self.bbs("adopt")

    def test_a_copy(self) -> None:
        before, _ = self.copied()
        code, output, errors = self.bbs("adopt", "--yes")
        self.assertEqual((code, output), (0, f"this is fleet {before} again\n"))
        self.assertIn(f"a copy of fleet {before}'s, as was noticed 20", errors)
        self.assertIn("none of its login servers runs", errors)
        self.assertEqual(len(errors.splitlines()), 1)
        self.assertEqual(fleets.fleet_id(), before)
        [deed] = self.call(actions, 9)
        self.assertEqual((deed.action, deed.target, deed.address), ("adopt", before, "bbs fleet"))
        self.not_adopted(
            f"there is nothing to adopt: this is fleet {before}, and its database is not a copy",
            "--yes",
        )

    def test_one_on_which_nobody_has_started(self) -> None:
        before, _ = self.copied(noticed=False)
        Server.insert(id="1", scope=f"ec2:here:{before}", capacity=1, created=time.time()).execute()
        membership.enroll(membership.Member("l" * 32, "host:elsewhere:1:x"))
        code, output, errors = self.bbs("adopt", "--yes")
        self.assertEqual((code, output), (0, f"this is fleet {before} again\n"))
        self.assertEqual(len(errors.splitlines()), 1, errors)
        self.assertEqual(self.settle(), fleets.FleetIdentity(id=before))

    def test_what_else_is_to_be_done(self) -> None:
        before, now = self.copied()
        for number, id in enumerate((now, now, before)):
            row = {"scope": f"ec2:here:{id}", "capacity": 1, "created": time.time()}
            Server.insert(id=str(number), **row).execute()
        Server.update(state=State.GONE).where(Server.id == "1").execute()
        stopped = {"state": State.WARM, "instance_id": "i-7", "id": "7", **row}
        Server.insert(stopped | {"scope": f"ec2:here:{now}"}).execute()
        membership.enroll(membership.Member("l" * 32, process_identity()))
        told = self.bbs("adopt", "--yes")[2].splitlines()[1:]
        self.assertEqual(len(told), 2, told)
        self.assertIn(f"2 app servers launched as fleet {now} are this fleet's still", told[0])
        self.assertIn("restart them now", told[1])

    def test_not_where_all_login_servers_are_dead(self) -> None:
        self.copied()
        dead = process_identity().rpartition(":")[0] + ":1"
        LoginServer.insert(id="l" * 32, identity=dead).execute()
        self.assertEqual(len(self.bbs("adopt", "--yes")[2].splitlines()), 1)

    def test_whoever_is_at_a_terminal_is_asked(self) -> None:
        before, now = self.copied()
        self.not_adopted("no terminal to ask at: --yes adopts without asking")
        code, _, errors = self.typing(f"{now}\n")
        self.assertEqual(code, 1)
        self.assertIn(f"Type {before} to adopt it: ", errors)
        self.assertTrue(errors.endswith("bbs fleet: not the same: nothing is adopted\n"))
        self.assertEqual((fleets.fleet_id(), self.call(actions, 9)), (now, []))
        self.assertEqual(self.typing(f"{before}\n")[0], 0)
        self.assertEqual(fleets.fleet_id(), before)

    def test_nothing_to_adopt(self) -> None:
        self.not_adopted(
            "there is nothing to adopt: no login server has started on this database yet", "--yes"
        )
        id = self.settle().id
        said = self.not_adopted(
            f"there is nothing to adopt: this is fleet {id}, and its database is not a copy"
        )
        self.assertEqual(len(said.splitlines()), 1)
        self.assertEqual(self.call(actions, 9), [])

    def test_for_programs(self) -> None:
        before, now = self.copied()
        code, output, _ = self.bbs("adopt", "--yes", "--json")
        self.assertEqual(
            (code, json.loads(output)),
            (0, {"id": before, "asked": "adopt", "before": now, "noticed": NOTICED}),
        )

    def test_the_list_says_which_fleet_this_is(self) -> None:
        first = self.settle().id
        self.assertNotIn(first, self.bbs("list")[1])  # App servers end with the login server.
        os.environ |= {"BBS_FLEET_PROVIDER": "ec2", "BBS_EC2_IMAGE_ID": "ami-1"}
        self.assertEqual(self.bbs("list")[1].splitlines()[-1], f"fleet {first}")
        Secret.update(value=ELSEWHERE).where(Secret.name == HOME).execute()
        self.assertRegex(
            self.bbs("list")[1].splitlines()[-1],
            rf"\Aanother fleet with the next start; .* copy of fleet {first}'s, which waits for",
        )
        second = self.settle().id
        self.assertRegex(
            self.bbs("list")[1].splitlines()[-1],
            rf"\Afleet {second}; .* copy of fleet {first}'s, as was noticed 20[^ ]+, which waits",
        )
        self.assertEqual(self.bbs("list", "--json")[1], "[]\n")
