"""Which fleet this is: ids, copies, and what is adopted."""

from __future__ import annotations

import os
import shutil
from typing import Any

from bbs.core.values import State
from bbs.rules import auth, fleet_admin, fleets
from bbs.rules.fleets import (
    ELSEWHERE,
    FORMER,
    HOME,
    MADE,
    FleetIdentity,
    NothingToAdopt,
    SourceFleet,
)
from bbs.storage import rising_ids
from bbs.storage.engines import connect_to, location_digest
from bbs.storage.models import Secret, Server
from tests.database_case import fresh_mysql_url, on_both_databases
from tests.rules.fleet_case import FleetCase

BY = fleet_admin.By("liz", "bbs fleet", 9.0)


class FoundCase(FleetCase):
    """A test with a database that may be moved."""

    def settle(self, beating: bool = False) -> FleetIdentity:
        fleet: FleetIdentity = self.call(fleets.settle, self.now, beating)
        return fleet

    def move(self) -> None:
        """As if the database were another's copy, or somewhere else."""
        Secret.update(value=ELSEWHERE).where(Secret.name == HOME).execute()

    def served(self, scope: str, **others: Any) -> str:
        """A server that `scope` launched."""
        [server] = self.launch(scope=scope)
        Server.update(port=1, **others).where(Server.id == server).execute()
        return server


@on_both_databases
class Settled(FoundCase):
    def test_an_id_is_made_once(self) -> None:
        self.assertEqual(self.call(fleets.fleet_id), "")
        fleet = self.settle()
        self.assertRegex(fleet.id, r"\A[0-9a-f]{16}\Z")
        self.assertEqual(fleet, FleetIdentity(id=fleet.id))
        self.assertEqual((self.settle(), self.call(fleets.fleet_id)), (fleet, fleet.id))
        self.assertIs(self.call(fleets.is_elsewhere), False)
        self.assertIs(self.call(fleets.waiting_for_adopt), None)

    def test_a_copy_is_another_fleet(self) -> None:
        first = self.settle()
        self.move()
        self.assertIs(self.call(fleets.is_elsewhere), True)
        second = self.settle()
        self.assertNotEqual(first.id, second.id)
        self.assertEqual(
            second,
            FleetIdentity(id=second.id, before=SourceFleet(first.id, round(self.now)), copied=True),
        )
        # Who starts at the same moment finds what the other has found.
        third = self.settle()
        self.assertEqual((third.id, third.copied), (second.id, False))
        self.assertEqual(third.before, second.before)

    def is_logged_in(self, token: str) -> bool:
        found: list[object] = []
        sessions = auth.Sessions(ttl=1000.0)
        self.database.run(auth.identify, token, sessions, self.now).addBoth(found.append)
        return isinstance(found[0], auth.Caller)

    def test_a_copy_begins_an_era(self) -> None:
        """The original may have given ids since, and ended sessions."""
        self.keep()
        self.settle()
        self.ready_server(capacity=9)
        self.account("ann")
        token = self.log_in("ann")
        self.assertEqual((self.call(rising_ids.era), self.is_logged_in(token)), (0, True))
        self.move()
        self.assertIsNone(self.settle().ended)
        self.assertEqual(self.call(rising_ids.era), 0)  # `bbs restore` has begun one.
        Secret.update(value="0" * 64).where(Secret.name == HOME).execute()
        self.assertEqual(self.settle().ended, 1)
        self.assertGreaterEqual(self.call(rising_ids.era), round(self.now * 10**6))
        self.assertFalse(self.is_logged_in(token))
        self.assertIsNone(self.settle().ended)

    def test_a_dump_that_was_loaded_in_place(self) -> None:
        """Its tables are made later than those that it is of. It is the same fleet all the same."""
        fleet = self.settle()
        made = Secret.get(Secret.name == MADE)
        if not self.on_mysql:
            self.assertEqual(made.value, "")
            return
        server, moment = made.value.split()
        for before, is_loaded in (
            (f"{server} {int(moment) - 60}", True),
            (f"{'0' * 16} {int(moment) - 60}", False),  # Another node of a cluster.
            ("", False),  # By a server of an earlier version.
        ):
            Secret.update(value=before).where(Secret.name == MADE).execute()
            again = self.settle()
            self.assertEqual((again.id, again.ended), (fleet.id, 0 if is_loaded else None))
            self.assertIsNone(self.settle().ended)

    def test_one_whose_servers_live_has_moved(self) -> None:
        first = self.settle()
        self.move()
        self.assertEqual(self.settle(beating=True), first)
        self.assertIs(self.call(fleets.is_elsewhere), False)

    def test_a_copy_of_a_copy(self) -> None:
        self.keep()
        ids = [self.settle().id]
        for launches in (False, True):
            self.move()
            ids.append(self.settle().id)
            if launches:
                self.launch(scope=f"ec2:here:{ids[-1]}")
        before = self.settle().before
        # The second has launched nothing, so nothing of it is left to be adopted.
        self.assertEqual(before and before.id, ids[0])
        self.move()
        before = self.settle().before
        self.assertEqual(before and before.id, ids[2])

    def test_one_of_before_there_were_ids(self) -> None:
        self.keep()
        server = self.served("ec2:here:bbs")
        self.assertIs(self.settle().former, True)
        self.assertIs(self.settle().former, True)
        Server.update(state=State.GONE).where(Server.id == server).execute()
        self.assertIs(self.settle().former, False)
        self.served("ec2:here:bbs", created=self.now + 60)
        self.assertIs(self.settle().former, False)

    def test_its_servers_are_taken_over(self) -> None:
        self.keep()
        self.settle()
        old, new = "ec2:here:bbs", "ec2:here:0123456789abcdef"
        live, silent, gone = (self.served(old) for _ in range(3))
        other = self.served("ec2:there:bbs")
        Server.update(state=State.GONE).where(Server.id == gone).execute()
        self.assertEqual(self.call(fleets.take_over, old, new, [live, gone, other], self.now), 1)
        scopes = {row.id: row.scope for row in Server.select()}
        self.assertEqual(scopes, {live: new, silent: old, gone: old, other: "ec2:there:bbs"})
        self.assertTrue(Secret.select().where(Secret.name == FORMER).exists())

    def test_who_may_live(self) -> None:
        self.keep()
        one, two = self.served("ec2:here:a", beats=3), self.served("ec2:here:b")
        self.served("operator")
        self.served("ec2:here:a", state=State.GONE)
        self.launch(scope="ec2:here:a")
        self.assertEqual(self.call(fleets.beats), {one: 3, two: 0})
        self.assertEqual(self.call(fleets.beats, "ec2:here:a"), {one: 3})


@on_both_databases
class Adopted(FoundCase):
    def adopt(self) -> SourceFleet:
        left: SourceFleet = self.call(fleets.adopt, BY)
        return left

    def nothing_to_adopt(self) -> None:
        self.failureResultOf(self.database.run(fleets.adopt, BY), NothingToAdopt)

    def test_a_copy_is_the_original_again(self) -> None:
        first = self.settle()
        self.nothing_to_adopt()
        self.move()
        second = self.settle()
        self.assertEqual(self.adopt(), SourceFleet(first.id, round(self.now)))
        self.assertEqual(self.settle(), FleetIdentity(id=first.id, others=(second.id,)))
        self.nothing_to_adopt()
        [deed] = self.call(fleet_admin.actions, 9)
        self.assertEqual((deed.action, deed.operator, deed.target), ("adopt", "liz", first.id))
        self.assertIn(second.id, deed.detail or "")

    def test_what_was_launched_meanwhile_stays_its_own(self) -> None:
        self.keep()
        first = self.settle()
        self.move()
        second = self.settle()
        one = self.served(f"ec2:here:{second.id}")
        self.adopt()
        # By a login server that has not been started again.
        two = self.served(f"ec2:here:{second.id}")
        others = {self.served(scope): scope for scope in (f"ec2:here:{first.id}", "ec2:here:x")}
        self.assertEqual(self.settle().others, (second.id,))
        scopes = {row.id: row.scope for row in Server.select()}
        mine = f"ec2:here:{first.id}"
        self.assertEqual(scopes, {one: mine, two: mine, **others})

    def test_a_copy_of_one_that_has_adopted(self) -> None:
        """What that launched under another id is not the copy's, until it adopts in turn."""
        first = self.settle()
        self.move()
        second = self.settle()
        self.adopt()
        self.move()
        third = self.settle()
        self.assertEqual(third.others, ())
        self.adopt()
        self.assertEqual({*self.settle().others}, {second.id, third.id})
        self.assertEqual(self.settle().id, first.id)

    def test_before_anybody_has_started_on_it(self) -> None:
        first = self.settle()
        self.call(fleets.make_ours, BY, "monday.sqlite3")
        self.assertEqual(self.call(fleets.waiting_for_adopt), SourceFleet(first.id, None))
        self.assertEqual(self.adopt(), SourceFleet(first.id, None))
        self.assertEqual(self.settle(), first)

    def test_nothing_where_there_is_no_fleet_yet(self) -> None:
        self.nothing_to_adopt()
        self.call(fleets.make_ours, BY, "monday.sqlite3")
        self.nothing_to_adopt()
        self.assertEqual(self.settle().before, None)


@on_both_databases
class Restored(FoundCase):
    def test_it_is_another_fleet(self) -> None:
        first = self.settle()
        for _ in range(2):
            # To do it again is no error.
            self.call(fleets.make_ours, BY, "monday.sqlite3")
        second = self.settle()
        self.assertTrue(second.copied)
        self.assertEqual(second.before, SourceFleet(first.id, round(self.now)))


class Homes(FoundCase):
    """Where a database is."""

    def home(self, url: str) -> str:
        database = connect_to(url)
        database.connect()
        self.addCleanup(database.close)
        return location_digest(database)

    def test_a_file_is_where_it_is(self) -> None:
        path = self.url.removeprefix("sqlite:///")
        home = self.home(self.url)
        self.assertRegex(home, r"\A[0-9a-f]{64}\Z")
        self.assertEqual(self.home(f"sqlite:///{os.path.relpath(path)}"), home)
        copy = os.path.abspath(self.mktemp())
        shutil.copy(path, copy)
        there = self.home(f"sqlite:///{copy}")
        self.assertNotEqual(there, home)
        os.replace(copy, f"{copy}2")
        self.assertNotIn(self.home(f"sqlite:///{copy}2"), (home, there))

    def test_one_in_memory_is_at_home(self) -> None:
        self.assertEqual(self.home("sqlite:///:memory:"), self.home("sqlite:///:memory:"))

    def test_another_schema_on_one_server_is_another_place(self) -> None:
        one, other = fresh_mysql_url(), fresh_mysql_url()
        self.assertEqual(self.home(one), self.home(one))
        self.assertNotEqual(self.home(one), self.home(other))

    def test_what_servers_say(self) -> None:
        """MySQL's UUID, else all that MariaDB says: containers have one network card's address on
        many machines, and some have none."""

        def home(name: str = "bbs", **said: str) -> str:
            return location_digest(_Said(name, said))

        where = {"hostname": "a", "port": "3306", "datadir": "/d/"}
        uuid = home(server_uuid="u", **where)
        # An RDS with two machines goes over to the other one.
        self.assertEqual(home(server_uuid="u", **{**where, "hostname": "b"}), uuid)
        self.assertNotEqual(home(server_uuid="v", **where), uuid)
        self.assertNotEqual(home("other", server_uuid="u", **where), uuid)
        for uid in ({"server_uid": "m"}, {"server_uid": "unknown"}, {}):
            there = {**uid, **where}
            self.assertEqual(home(**there), home(**there))
            for key in there:
                self.assertNotEqual(home(**{**there, key: "x"}), home(**there), key)
        # The nodes of a cluster are one place, and what was copied from it is in another one.
        cluster = {"wsrep_cluster_name": "bbs", "wsrep_cluster_state_uuid": "c"}
        node = home(**where, **cluster)
        self.assertEqual(home(**{**where, "hostname": "b"}, **cluster), node)
        for key in cluster:
            self.assertNotEqual(home(**where, **{**cluster, key: "x"}), node, key)


class _Said:
    """A server of MySQL's kind, which says this of itself."""

    def __init__(self, name: str, said: dict[str, str]) -> None:
        self.database = name
        self._said = said

    def execute_sql(self, sql: str) -> _Said:
        assert all(f"'{name}'" in sql for name in self._said)
        return self

    def fetchall(self) -> list[tuple[str, str]]:
        return [*self._said.items()]
