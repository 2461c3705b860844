"""The servers of a MySQL: what each says of itself, which of them is in use, and who may write.

In a cluster of Galera every node takes writes. If two are written to at once, they overrule each
other's transactions, two rules can lock the same row, and reads lack what was just acknowledged
(Galera's documentation, "Certification-Based Replication"). All servers of a service therefore
write to one node, which a row of `DatabaseWriter` names. Another node takes its place only once
that node is out of the group, and so cannot commit, or serves readers only, or no heartbeat of a
server has come through it for `SILENCE`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pymysql
import pymysql.constants.ER as mysql_errors
from twisted.logger import Logger

from bbs.core.database_urls import Place
from bbs.storage import galera
from bbs.storage.galera import Answers, View

_log = Logger()

_VARIABLES = (
    *("version", "version_comment", "hostname", "port"),
    *("read_only", "super_read_only", "innodb_read_only"),
    *("transaction_isolation", "tx_isolation", "log_bin", "binlog_format"),
    *("auto_increment_increment", "auto_increment_offset"),
    *("group_replication_single_primary_mode", "group_replication_group_name"),
    *galera.VARIABLES,
)


def _ask(what: str, names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"SHOW {what} WHERE Variable_name IN ({listed})"


_ASK_VARIABLES = _ask("VARIABLES", _VARIABLES)
_ASK_STATUS = _ask("STATUS", galera.STATUS)
_ON = ("ON", "1", "YES", "TRUE")

UNCERTAIN = ("TiDB",)
"""Products that bbs does not start on: nobody has shown what it relies on there."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server of MySQL says of itself.

    :ivar product: such as `MariaDB`.
    :ivar version: its whole text.
    :ivar place: its own name for its machine, and its port.
    :ivar view: its cluster, if it is a node of Galera.
    :ivar is_read_only: whether it serves readers only.
    :ivar isolation: the default of its sessions.
    :ivar step: by how much its ids rise: other nodes give those between.
    :ivar objection: why bbs cannot rely on it; "" if it can.
    """

    product: str
    version: str
    place: str
    view: View | None
    is_read_only: bool
    isolation: str
    step: int
    objection: str

    @property
    def is_galera(self) -> bool:
        """Whether it is a node of Galera."""
        return self.view is not None

    @property
    def node(self) -> str:
        """Which server it is, for other servers of bbs and for people."""
        return self.view.node if self.view else self.place

    def is_called(self, node: str) -> bool:
        """Whether `node` is a name of this server."""
        return self.view.is_own(node) if self.view else node == self.place

    @classmethod
    def ask(cls, cursor: Any) -> ServerFacts:
        """Ask the server that `cursor` is connected to."""
        cursor.execute(_ASK_VARIABLES)
        said = dict(cursor.fetchall())
        if _is_on(said, "wsrep_on"):
            cursor.execute(_ASK_STATUS)
            said.update(cursor.fetchall())
        facts = cls.of(said)
        if facts.view and not facts.view.is_told:
            facts = replace(facts, view=galera.ask_members(cursor, facts.view))
        return facts

    @classmethod
    def of(cls, said: Mapping[str, str]) -> ServerFacts:
        """Read the variables and status that a server has `said`."""
        said = {str(name).lower(): str(value) for name, value in said.items()}
        version, comment = said.get("version", ""), said.get("version_comment", "")
        product = _product(version, comment)
        place = f"{said.get('hostname', '')}:{said.get('port', '')}"
        return cls(
            product=product,
            version=version,
            place=place,
            view=View.of(said, place) if _is_on(said, "wsrep_on") else None,
            is_read_only=any(
                _is_on(said, name) for name in ("read_only", "super_read_only", "innodb_read_only")
            ),
            isolation=said.get("transaction_isolation") or said.get("tx_isolation", ""),
            step=int(said.get("auto_increment_increment") or 1),
            objection=_objection(product, said),
        )

    def __str__(self) -> str:
        """Itself in words, for the log."""
        of = f", one of {self.view.size} nodes of Galera" if self.view else ""
        return (
            f"{self.product} {self.version}, {self.node}{of};"
            f" isolation {self.isolation} before bbs asks for its own, ids in steps of {self.step}"
        )


def _product(version: str, comment: str) -> str:
    for product in ("MariaDB", *UNCERTAIN, "Percona", "Aurora"):
        if product.lower() in f"{version} {comment}".lower():
            return product
    return "MySQL"


def _objection(product: str, said: Mapping[str, str]) -> str:
    if product in UNCERTAIN:
        return (
            f"it is {product}, on which nobody has shown that nothing is lost: use MariaDB or MySQL"
        )
    if said.get("group_replication_group_name") and not _is_on(
        said, "group_replication_single_primary_mode"
    ):
        return (
            "its group replication has several primaries:"
            " SELECT group_replication_switch_to_single_primary_mode()"
        )
    if _is_on(said, "log_bin") and said.get("binlog_format", "").upper() == "STATEMENT":
        return "its binlog_format is STATEMENT, which READ COMMITTED cannot use: set ROW or MIXED"
    return ""


def _is_on(said: Mapping[str, str], name: str) -> bool:
    return said.get(name, "").upper() in _ON


def cannot_write(reason: str) -> pymysql.OperationalError:
    """The error for a server that must not be written to, for the `reason`, in words."""
    return pymysql.OperationalError(mysql_errors.OPTION_PREVENTS_STATEMENT, reason)


ATTEMPTS = 3  # To become the writer, which another process may try at the same time.

SILENCE = 30.0
"""Seconds without a heartbeat through a node after which it counts as one that nobody writes to:
three times the longest interval that `docs/operating.md` advises."""

WRITER = "writer"
"""The name of the row of `DatabaseWriter` that names the node, as `ServerFacts.node` does."""

UPGRADING = "upgrading"  # The name of its row that is there during an upgrade of the schema.


@dataclass(eq=False)
class Servers:
    """The `places` of a database's servers, for all threads of a process.

    :ivar current: the place of the server that is in use.
    :ivar generation: rises with each change of the server: connections of an earlier one are to be
        closed.
    :ivar facts: what the server in use said as it was connected to last; None before.
    """

    places: Sequence[Place]
    seconds: Callable[[], float] = time.monotonic
    generation: int = 0
    facts: ServerFacts | None = None
    current: Place = field(init=False)

    def __post_init__(self) -> None:
        self.current = self.places[0]
        self.may_wait = False
        """Whether the node that was refused last may be written to after a while: so far no server
        has been seen that writes to the other one."""
        self._read_only: set[str] = set()
        """The nodes that served readers only when they were asked last."""
        self._watch: _Watch | None = None
        self._answers = Answers(self.seconds)

    @property
    def is_galera(self) -> bool:
        """Whether the server in use is a node of Galera."""
        return self.facts is not None and self.facts.is_galera

    def in_order(self) -> Iterator[Place]:
        """The places in the order in which to try them: the one in use first."""
        first = self.places.index(self.current)
        yield from self.places[first:]
        yield from self.places[:first]

    def ask(self, cursor: Any) -> ServerFacts:
        """What the server that `cursor` is connected to says of itself, with what others of its
        cluster have said just before."""
        facts = ServerFacts.ask(cursor)
        return replace(facts, view=self._answers.note(facts.view)) if facts.view else facts

    def check(self, cursor: Any, place: Place) -> None:
        """Take the server at `place`, which `cursor` is connected to, for the one in use.

        :raises pymysql.OperationalError: it must not be written to.
        """
        facts = self.ask(cursor)
        self._read_only.discard(facts.node)
        if facts.objection:
            raise cannot_write(f"{place}: {facts.objection}")
        if facts.is_read_only:
            self._read_only.add(facts.node)
            raise cannot_write(f"{place}: {facts.node} is read-only")
        if facts.view:
            # It may not have all yet that was acknowledged on the node in use before.
            cursor.execute("SET SESSION wsrep_sync_wait = 15")
            self._claim(cursor, facts, facts.view)
            cursor.execute("SET SESSION wsrep_sync_wait = 0")
        before, self.facts = self.facts, facts
        if place != self.current or (before and not facts.is_called(before.node)):
            self.current = place
            self.generation += 1
            if before:
                _log.warn("the database's server is {facts} now", facts=str(facts))

    def advice(self, views: Sequence[View]) -> str:
        """A line for operators about a cluster whose nodes have just said `views`, each of them
        alone; "" if there is nothing to say."""
        views = [self._answers.note(view) for view in views if not view.is_told]
        return galera.advice(views, SILENCE) if views else ""

    def leave(self) -> None:
        """Note that the server in use does not serve writers any more, wherever its name leads."""
        self.generation += 1

    def _claim(self, cursor: Any, facts: ServerFacts, view: View) -> None:
        """See that `facts.node` is the one node that is written to.

        :raises pymysql.OperationalError: another node is, and may serve writers.
        """
        for _ in range(ATTEMPTS):
            writers = _rows(cursor, "SELECT node FROM database_writer WHERE name = %s", WRITER)
            if writers is None:
                return  # An older version's database; the upgrade makes the table.
            writer = writers[0][0] if writers else None
            if writer in (view.node, view.own.by_uuid):
                return
            is_own = writer is not None and view.is_own(writer)
            if writer is not None and not is_own and not self._is_free(cursor, writer, view):
                raise cannot_write(
                    f"this server would write to {facts.node}, and others write to {writer}, of the"
                    " same cluster: name that node in database.url, too; if it has just failed,"
                    " wait until it is out of the cluster"
                )
            # A transaction of another node that does the same makes one of them fail.
            with suppress(pymysql.IntegrityError, pymysql.OperationalError):
                if writer is None:
                    insert = "INSERT INTO database_writer (name, node) VALUES (%s, %s)"
                    cursor.execute(insert, (WRITER, facts.node))
                else:
                    change = "UPDATE database_writer SET node = %s WHERE name = %s AND node = %s"
                    cursor.execute(change, (facts.node, WRITER, writer))
        raise cannot_write(f"{facts.node}: other servers choose the node to write to just now")

    def _is_free(self, cursor: Any, writer: str, view: View) -> bool:
        """Whether another node may be written to in the place of `writer`."""
        if not view.may_have(writer) or writer in self._read_only:
            return True
        signs = _rows(cursor, _SIGNS, UPGRADING)
        self.may_wait = False
        if signs is None or signs[0][0]:
            return False  # Its schema is being upgraded, which may take long without a heartbeat.
        beats, now, before = signs[0][1], self.seconds(), self._watch
        if before is None or before.node != writer:
            self.may_wait, self._watch = True, _Watch(writer, beats, now)
            return False
        if before.beats != beats:
            self._watch = _Watch(writer, beats, now)
            return False
        self.may_wait = True
        return now - before.since >= SILENCE


_SIGNS = """\
SELECT (SELECT COUNT(*) FROM database_writer WHERE name = %s),
(SELECT COALESCE(SUM(beats), 0) FROM heartbeat) + (SELECT COALESCE(SUM(beats), 0) FROM server)
+ (SELECT COALESCE(SUM(beats), 0) FROM login_server)
"""
"""Whether the schema is being upgraded, and the count of all heartbeats, also those of versions
without a row in `heartbeat`: whoever beats writes to the node that is named."""


@dataclass(frozen=True)
class _Watch:
    """The count of heartbeats while `node` was the one to write to: the same since a time."""

    node: str
    beats: int
    since: float


def _rows(cursor: Any, query: str, *values: str) -> Sequence[Any] | None:
    """The rows of `query`; None if a table of it is not there."""
    try:
        cursor.execute(query, values)
    except pymysql.ProgrammingError as error:
        if error.args[0] == mysql_errors.NO_SUCH_TABLE:
            return None
        raise
    rows: Sequence[Any] = cursor.fetchall()
    return rows
