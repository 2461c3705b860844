"""The members of a cluster of Galera, as its nodes tell of them.

A node tells everybody the addresses of all. By MariaDB's default (`wsrep_node_incoming_address` is
`AUTO`) that is `AUTO,AUTO,AUTO`. Then these are there, as seen on MariaDB 11.8 with Galera 4.23:

- The table `mysql.wsrep_cluster_members` has the UUID, name and address of each node. A user with
  rights on one database alone may not read it.
- Each node tells everybody its own UUID, the number of the group's view that it is in, and the size
  of that. A view has the same members for all its nodes. Once as many nodes as that have answered,
  these are its members.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pymysql
import pymysql.constants.ER as mysql_errors

VARIABLES = ("wsrep_on", "wsrep_node_name")
STATUS = (
    *("wsrep_cluster_status", "wsrep_local_index", "wsrep_incoming_addresses"),
    *("wsrep_gcomm_uuid", "wsrep_cluster_state_uuid", "wsrep_cluster_conf_id"),
    "wsrep_cluster_size",
)
"""What a `View` is made of. Everybody may read it."""

FRESH = 10.0
"""Seconds for which the answer of a node counts. Views are counted anew when a whole cluster is
ended and begun again, which takes longer."""

_CUT = 31
"""Bytes of a node's name that the group passes on (`WSREP_MEMBER_NAME_LEN` in wsrep_api.h, with a
NUL)."""

_ASK_MEMBERS = "SELECT node_uuid, node_name, node_incoming_address FROM mysql.wsrep_cluster_members"

_UNTOLD = (
    mysql_errors.TABLEACCESS_DENIED_ERROR,
    mysql_errors.COLUMNACCESS_DENIED_ERROR,
    mysql_errors.DBACCESS_DENIED_ERROR,
    mysql_errors.NO_SUCH_TABLE,  # Before Galera 4, of MariaDB 10.4.
)

_BY_UUID = re.compile(r"\([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\)$")


class Member(NamedTuple):
    """A node of a cluster. Its `uuid` is another one after each start."""

    uuid: str
    name: str
    address: str

    @property
    def by_address(self) -> str:
        return f"{self.name} ({self.address})"

    @property
    def by_uuid(self) -> str:
        """Its name beside a node with the same name and address."""
        return f"{self.name} ({self.uuid})"

    def may_be(self, label: str) -> bool:
        """Whether `label` may mean this node. The table has its name cut off, and in Latin 1."""
        name, _, place = label.rpartition(" (")
        if self.name.isascii():
            is_cut = len(self.name) >= _CUT and name.startswith(self.name)
            if name != self.name and not is_cut:
                return False
        return place in (f"{self.address})", f"{self.uuid})")


@dataclass(frozen=True)
class View:
    """The cluster as one of its nodes saw it.

    :ivar number: which of the group's views it is; "" outside of the part with the majority.
    :ivar size: how many nodes are in it.
    :ivar addresses: those of its nodes, as far as these have some.
    :ivar own: the node that said so.
    :ivar members: all nodes, if it is known who they are.
    """

    number: str
    size: int
    addresses: tuple[str, ...]
    own: Member
    members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, said: Mapping[str, str], otherwise: str) -> View:
        """Read the variables and status that a node has `said`; `otherwise` is its address if the
        cluster knows none."""
        addresses = tuple(said.get("wsrep_incoming_addresses", "").split(","))
        index = int(said.get("wsrep_local_index") or -1)
        address = addresses[index] if 0 <= index < len(addresses) else otherwise
        uuid, name = said.get("wsrep_gcomm_uuid", ""), said.get("wsrep_node_name", "")
        number = ""
        if uuid and said.get("wsrep_cluster_status") == "Primary":
            number = f"{said['wsrep_cluster_state_uuid']}:{said['wsrep_cluster_conf_id']}"
        size = int(said.get("wsrep_cluster_size") or len(addresses))
        return cls(number, size, addresses, Member(uuid, name, address))

    @property
    def node(self) -> str:
        """The label of the node that said so: with its address, unless another one has the same
        name and address."""
        same = [each for each in self.members if each.may_be(self.own.by_address)]
        return self.own.by_uuid if len(same) > 1 else self.own.by_address

    @property
    def is_told(self) -> bool:
        """Whether the nodes can be told apart."""
        return bool(self.members) or len({*self.addresses}) == len(self.addresses)

    def is_own(self, label: str) -> bool:
        """Whether `label` is a name of the node that said so."""
        return label in (self.own.by_address, self.own.by_uuid)

    def may_have(self, label: str) -> bool:
        """Whether the node that is called so may be among them; False is certain."""
        if self.members:
            return any(each.may_be(label) for each in self.members)
        # A node without an address is known by `AUTO`, which is in the list as long as one is.
        by_uuid = _BY_UUID.search(label) is not None
        return by_uuid or any(label.endswith(f"({address})") for address in self.addresses)

    def known(self, members: Sequence[Member]) -> View:
        """This one with its `members`, if they are all and this node is among them."""
        is_whole = len(members) == self.size and self.own.uuid in {each.uuid for each in members}
        return replace(self, members=tuple(members)) if self.number and is_whole else self


def ask_members(cursor: Any, view: View) -> View:
    """`view` with its members, if its node tells them."""
    try:
        cursor.execute(_ASK_MEMBERS)
    except pymysql.Error as error:
        if error.args[0] in _UNTOLD:
            return view
        raise
    return view.known([Member(*map(str, row)) for row in cursor.fetchall()])


def advice(views: Sequence[View], silence: float) -> str:
    """What operators should know, in a line, where nodes have said `views` to somebody who may not
    read who the members are; "" if these are known all the same.

    :param silence: seconds after which a node that nobody writes to is left.
    """
    told = next((view for view in views if view.members), None)
    if told is None:
        size = max(view.size for view in views)
        return (
            "the nodes of the database's cluster cannot be told apart, so if the one that is"
            f" written to dies, another takes its place after {silence:.0f} s and not when the"
            " group has left it. Set wsrep_node_incoming_address at every node, or let the user of"
            " database.url read who is in the group (GRANT SELECT ON mysql.wsrep_cluster_members),"
            f" or name all nodes in database.url: {len(views)} of {size} have answered there"
        )
    [(name, nodes)] = Counter(each.by_address for each in told.members).most_common(1)
    if nodes > 1:
        return (
            f"{nodes} nodes of the database's cluster have the same name and address, {name}, so"
            " servers may write to several. Set wsrep_node_name or wsrep_node_incoming_address at"
            " every node, or let the user of database.url read who is in the group (GRANT SELECT"
            " ON mysql.wsrep_cluster_members)"
        )
    return ""


class Answers:
    """The views of nodes that have answered within `FRESH` seconds."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._heard: dict[str, tuple[float, View]] = {}

    def note(self, view: View) -> View:
        """Keep what a node says; `view` with its members if all of them have said that they are in
        it."""
        now = self._seconds()
        self._heard[view.own.uuid] = now, view
        if view.is_told:
            return view
        heard = [*self._heard.values()]  # Other threads connect meanwhile.
        members = [
            each.own for at, each in heard if each.number == view.number and now - at <= FRESH
        ]
        return view.known(members)
