"""Who is in a cluster of Galera: `bbs.storage.galera`, with what MariaDB 11.8 says.

Real clusters are in `tests/integration/test_galera.py`.
"""

from __future__ import annotations

from typing import Any

import pymysql
import pymysql.constants.ER as mysql_errors
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.database_urls import Place
from bbs.storage.galera import FRESH, View, ask_members
from bbs.storage.mysql_servers import SILENCE, ServerFacts, Servers

PLACES = [Place("127.0.0.1", port) for port in (1, 2, 3)]
UUIDS = [f"d735ce1{number}-ee34-11f1-b904-e2accdae1655" for number in (1, 2, 3)]
DENIED = pymysql.OperationalError(
    mysql_errors.TABLEACCESS_DENIED_ERROR, "SELECT command denied to user 'bbs'"
)


def said(index: int, nodes: int = 3, *, view: int = 3, **others: str) -> dict[str, str]:
    """What a node says by MariaDB's default: the one of this index in a view of so many."""
    number = 3 - nodes + index  # The first one is killed.
    return {
        "version": "11.8.3-MariaDB",
        "hostname": "vm",
        "port": "3306",
        "wsrep_on": "ON",
        "wsrep_node_name": f"node{number + 1}",
        "wsrep_cluster_status": "Primary",
        "wsrep_cluster_size": f"{nodes}",
        "wsrep_cluster_state_uuid": "d73603ea-ee34-11f1-acc7-feebcb7ca43b",
        "wsrep_cluster_conf_id": f"{view}",
        "wsrep_local_index": f"{index}",
        "wsrep_incoming_addresses": ",".join(["AUTO"] * nodes),
        "wsrep_gcomm_uuid": UUIDS[number],
        **others,
    }


class Node:
    """A connection to a node. `row` is that of the writer, `members` is what it says of all."""

    def __init__(
        self, said: dict[str, str], row: list[str], members: list[tuple[str, str, str]] | None
    ) -> None:
        self.said, self.row, self.members = said, row, members
        self._rows: list[tuple[Any, ...]] = []

    def execute(self, sql: str, values: tuple[str, ...] = ()) -> None:
        self._rows = []
        if sql.startswith("SHOW"):
            self._rows = [(k, v) for k, v in self.said.items() if f"'{k}'" in sql]
        elif "wsrep_cluster_members" in sql:
            if self.members is None:
                raise DENIED
            self._rows = [*self.members]
        elif "beats" in sql:
            self._rows = [(0, 7)]
        elif sql.startswith("SELECT node"):
            self._rows = [(node,) for node in self.row]
        elif sql.startswith("INSERT"):
            self.row.append(values[1])
        elif sql.startswith("UPDATE"):
            assert self.row == [values[2]]
            self.row[:] = [values[0]]

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._rows


def table(*numbers: int, name: str = "", address: str = "AUTO") -> list[tuple[str, str, str]]:
    """The rows of mysql.wsrep_cluster_members."""
    return [(UUIDS[number - 1], name or f"node{number}", address) for number in numbers]


class WithoutAddresses(SynchronousTestCase):
    """The first of three nodes was written to."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.servers = Servers(PLACES, self.clock.seconds)
        self.row = ["node1 (AUTO)"]

    def asks(self, number: int, said: dict[str, str], members: Any = None) -> str:
        """Ask the node with this number; why it was not taken, "" if it was."""
        try:
            self.servers.check(Node(said, self.row, members), PLACES[number - 1])
        except pymysql.OperationalError as error:
            return str(error.args[1])
        return ""

    def test_the_table_says_who_is_in_it(self) -> None:
        self.assertIn("others write to node1", self.asks(2, said(1), table(1, 2, 3)))
        self.assertEqual(self.asks(2, said(0, 2, view=4), table(2, 3)), "")
        self.assertEqual(self.row, ["node2 (AUTO)"])

    def test_an_answer_of_each_says_so_too(self) -> None:
        """For a user without rights on the table."""
        for number in (2, 3):
            self.assertIn("others write to node1", self.asks(number, said(number - 1)))
        self.assertIn("others write to node1", self.asks(2, said(0, 2, view=4)))
        self.assertEqual(self.asks(3, said(1, 2, view=4)), "")
        self.assertEqual(self.row, ["node3 (AUTO)"])
        self.assertEqual(self.asks(3, said(1, 2, view=4)), "")

    def test_a_node_that_did_not_answer_may_be_the_one(self) -> None:
        """Of four, one is not named in the URL."""
        for _ in range(3):
            for number in (2, 3):
                self.assertIn(
                    "others write", self.asks(number, said(number - 2, 2, view=4, **FOURTH))
                )

    def test_answers_of_two_views_are_not_put_together(self) -> None:
        self.asks(2, said(0, 2, view=4))
        self.assertIn("others write to node1", self.asks(3, said(2, view=3)))
        self.assertIn("others write to node1", self.asks(3, said(1, 2, view=5)))

    def test_nor_is_one_of_long_ago(self) -> None:
        self.asks(2, said(0, 2, view=4))
        self.clock.advance(FRESH + 1)
        self.assertIn("others write to node1", self.asks(3, said(1, 2, view=4)))

    def test_nor_of_the_part_without_the_majority(self) -> None:
        apart = {"wsrep_cluster_status": "non-Primary"}
        for number in (2, 3):
            self.assertIn("others", self.asks(number, said(number - 2, 2, view=4, **apart)))
        self.assertIn("others", self.asks(3, said(1, 2, view=4, **apart), table(2, 3)))

    def test_a_table_of_another_view_says_nothing(self) -> None:
        stranger = ("d735ce14-ee34-11f1-b904-e2accdae1655", "node4", "AUTO")
        for rows in (table(2), table(2, 3, 1), [stranger, *table(3)]):
            self.assertIn("others write", self.asks(2, said(0, 2, view=4), rows))

    def test_otherwise_nobody_writes_to_it_for_a_while(self) -> None:
        self.asks(2, said(0, 2, view=4))
        self.clock.advance(SILENCE)
        self.assertEqual(self.asks(2, said(0, 2, view=4)), "")

    def test_a_node_that_has_an_address_now_is_another_one(self) -> None:
        addresses = "10.0.0.1:3306,10.0.0.2:3306,10.0.0.3:3306"
        self.assertEqual(self.asks(2, said(1, wsrep_incoming_addresses=addresses)), "")
        self.assertEqual(self.row, ["node2 (10.0.0.2:3306)"])

    def test_nodes_of_one_name(self) -> None:
        """They are told apart by what is theirs until they start anew."""
        one = {"wsrep_node_name": "vm"}
        self.row = []
        self.assertEqual(self.asks(1, said(0, 3, view=3, **one), table(1, 2, 3, name="vm")), "")
        self.assertEqual(self.row, [f"vm ({UUIDS[0]})"])
        self.assertIn("others", self.asks(2, said(1, 3, view=3, **one), table(1, 2, 3, name="vm")))
        self.assertIn(
            "others", self.asks(2, said(1, 3, view=3, **one))
        )  # It may not read the table.
        self.assertEqual(self.asks(1, said(0, 3, view=3, **one)), "")
        self.assertEqual(self.asks(2, said(0, 2, view=4, **one), table(2, 3, name="vm")), "")
        self.assertEqual(self.row, [f"vm ({UUIDS[1]})"])
        # It is alone now, and stays the writer; nobody connects anew.
        generation = self.servers.generation
        alone = said(0, 1, view=5, **one, wsrep_gcomm_uuid=UUIDS[1])
        self.assertEqual(self.asks(2, alone, table(2, name="vm")), "")
        self.assertEqual(self.row, [f"vm ({UUIDS[1]})"])
        self.assertEqual(self.servers.generation, generation)

    def test_names_that_the_group_cuts_off(self) -> None:
        long = "database-of-a-department-with-a-long-name"
        self.row = [f"{long} (AUTO)"]
        rows = [(UUIDS[0], long[:31], "AUTO"), *table(2, 3)]
        self.assertIn("others write", self.asks(2, said(1), rows))
        self.assertEqual(self.asks(1, said(0, wsrep_node_name=long), rows), "")

    def test_names_that_the_table_has_in_latin_1(self) -> None:
        self.row = ["zürich (AUTO)"]
        rows = [(UUIDS[0], "zÃ¼rich", "AUTO"), *table(2, 3)]
        self.assertIn("others write", self.asks(2, said(1), rows))

    def test_errors_that_say_something_else(self) -> None:
        class Broken(Node):
            def execute(self, sql: str, values: tuple[str, ...] = ()) -> None:
                raise pymysql.OperationalError(2013, "Lost connection")

        view = View.of(said(0), "")
        with self.assertRaises(pymysql.OperationalError):
            ask_members(Broken({}, [], None), view)


FOURTH = {"wsrep_cluster_size": "3", "wsrep_incoming_addresses": "AUTO,AUTO,AUTO"}


class Advice(SynchronousTestCase):
    """What is said at the start."""

    def advice(self, *nodes: tuple[dict[str, str], Any]) -> str:
        facts = [ServerFacts.ask(Node(each, [], members)) for each, members in nodes]
        return Servers(PLACES, Clock().seconds).advice([each.view for each in facts if each.view])

    def test_of_nodes_that_cannot_be_told_apart(self) -> None:
        text = self.advice((said(0), None), (said(1), None))
        self.assertIn("Set wsrep_node_incoming_address at every node", text)
        self.assertIn("GRANT SELECT ON mysql.wsrep_cluster_members", text)
        self.assertIn("2 of 3 have answered", text)
        self.assertNotIn("\n", text)

    def test_none_if_all_answer(self) -> None:
        self.assertEqual(self.advice(*((said(index), None) for index in range(3))), "")

    def test_none_if_the_table_may_be_read(self) -> None:
        self.assertEqual(self.advice((said(0), table(1, 2, 3))), "")
        self.assertEqual(self.advice((said(0), table(1, 2, 3, name="node1"))), "")

    def test_none_if_they_have_addresses(self) -> None:
        self.assertEqual(self.advice((said(0, wsrep_incoming_addresses="a:1,b:1,c:1"), None)), "")

    def test_of_nodes_that_are_called_the_same(self) -> None:
        named = [said(index, wsrep_node_name="vm") for index in range(3)]
        text = self.advice(*((each, None) for each in named))
        self.assertIn("the same name and address, vm (AUTO)", text)
        self.assertIn("Set wsrep_node_name or wsrep_node_incoming_address", text)
