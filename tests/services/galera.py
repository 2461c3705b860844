"""A cluster of Galera: several MariaDBs that are one database, from Debian's packages."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.services.servers import MariaDB

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")
_RECOVERED = re.compile(r"WSREP: Recovered position:? *(\S+)")


ADMIN = "admin"  # A user who may write to a server that is read-only, and make it so.
PLAIN = "plain"  # One with the rights that a service needs: all on its own database alone.

_STANDING = """\
SELECT variable_value FROM information_schema.global_status
WHERE variable_name IN ('wsrep_cluster_size', 'wsrep_local_state_comment') ORDER BY variable_name"""

AS_ROOT = Path(__file__).absolute().parent / "as-root"


class GaleraNode(MariaDB):
    """One node; `Galera` says of which cluster."""

    name = "galera"
    packages: ClassVar[Sequence[str]] = ("galera-4", "mariadb-server", "rsync")
    ports_needed: ClassVar[int] = 4
    """For clients, for the group, and for its two ways to hand over what a node lacks."""

    peers: Sequence[GaleraNode] = ()
    addresses = True
    """Whether it tells clients its address. By MariaDB's default it does not."""
    begins = False
    """Whether its next start begins the cluster."""

    @classmethod
    def installed(cls) -> bool:
        return super().installed() and PROVIDER.exists() and Path("/usr/bin/rsync").exists()

    def prepare(self) -> None:
        super().prepare()
        if not self.begins:
            self._write("init.sql", "")  # It takes over what the others have.

    def users(self) -> str:
        return (
            # As most users of a service: a server that is read-only takes no writes of theirs.
            f"{super().users()}REVOKE READ ONLY ADMIN ON *.* FROM bbs@'%';\n"
            f"CREATE OR REPLACE USER {ADMIN}@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON *.* TO {ADMIN}@'%';\n"
            f"CREATE OR REPLACE USER {PLAIN}@'%' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL PRIVILEGES ON bbs.* TO {PLAIN}@'%';\n"
        )

    @property
    def address(self) -> str:
        """Where the group finds it."""
        return f"127.0.0.1:{self.ports[1]}"

    def environment(self) -> Mapping[str, str]:
        return {"PATH": f"{AS_ROOT}:{os.environ['PATH']}"}

    def commands(self) -> Sequence[Sequence[str]]:
        [command] = super().commands()
        _, group, increments, whole = self.ports
        options = (
            f"base_port={group}",
            f"gmcast.listen_addr=tcp://127.0.0.1:{group}",
            f"ist.recv_addr=127.0.0.1:{increments}",
            "gcache.size=32M",
            # A node that is killed or frozen is left after two seconds, not five.
            "evs.keepalive_period=PT0.2S;evs.inactive_check_period=PT0.2S",
            "evs.suspect_timeout=PT2S;evs.inactive_timeout=PT4S;evs.install_timeout=PT4S",
        )
        others = ",".join(peer.address for peer in self.peers)
        own = [
            "--wsrep-on=ON",
            f"--wsrep-provider={PROVIDER}",
            "--wsrep-cluster-name=bbs",
            f"--wsrep-cluster-address=gcomm://{'' if self.begins else others}",
            f"--wsrep-node-name={self.folder.name}",
            f"--wsrep-node-address=127.0.0.1:{group}",
            *([f"--wsrep-node-incoming-address=127.0.0.1:{self.port}"] if self.addresses else []),
            f"--wsrep-provider-options={';'.join(options)}",
            "--wsrep-sst-method=rsync_as_root",
            f"--wsrep-sst-receive-address=127.0.0.1:{whole}",
            "--binlog-format=ROW",
        ]
        if position := self._position([*command, *own]):
            own.append(f"--wsrep-start-position={position}")
        return [[*command, *own]]

    def _position(self, command: Sequence[str]) -> str:
        """The last transaction that it has, so that others need hand over only what followed."""
        if not (self.folder / "data" / "grastate.dat").exists():
            return ""
        said = self.folder / "recovery.log"
        said.unlink(missing_ok=True)
        subprocess.run(
            [*command, "--wsrep-recover", f"--log-error={said}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
        )
        found = _RECOVERED.search(said.read_text(errors="replace"))
        return found[1] if found else ""


class Galera:
    """A cluster of three nodes in a folder. Its methods are those of a `Server`."""

    name = "galera"
    packages = GaleraNode.packages
    installed = GaleraNode.installed
    user = "bbs"
    addresses = True

    def __init__(self, folder: Path) -> None:
        self.nodes = [GaleraNode(folder / f"node{number}") for number in (1, 2, 3)]
        for node in self.nodes:
            node.peers = self.nodes
            node.password = self.nodes[0].password
            node.addresses = self.addresses

    @property
    def url(self) -> str:
        """As `database.url`, with all nodes."""
        first = self.nodes[0]
        return f"{first.scheme}://{self.user}:{first.password}@{self.places}{first.path}"

    @property
    def places(self) -> str:
        """All nodes, as `database.url` names them."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def pid(self) -> int | None:
        """The process of the node that is written to, None when no node runs."""
        node = self.writer()
        return node.pid if node else None

    def writer(self) -> GaleraNode | None:
        """The node that is written to, as far as another one knows; None when no node runs."""
        running = [node for node in self.nodes if node.pid is not None]
        for node in running:
            named = node.ask("SELECT node FROM database_writer WHERE name = 'writer'", ADMIN) or ""
            for other in self.nodes:
                if named.startswith(f"{other.folder.name} "):
                    return other
        return next(iter(running), None)

    def is_whole(self) -> bool:
        """Whether every node is in the group, and has all that the others have."""
        synced = f"{len(self.nodes)}\nSynced\n"
        return all(node.ask(_STANDING, ADMIN) == synced for node in self.nodes)

    def start(self) -> None:
        """Start all that do not run; the first one begins the cluster, unless another runs."""
        for node in self.nodes:
            if node.pid is None:
                node.begins = not any(other.pid for other in self.nodes)
                node.start()
                node.begins = False

    def stop(self) -> None:
        for node in reversed(self.nodes):
            node.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def remove(self) -> None:
        for node in self.nodes:
            node.remove()


class GaleraOfDefaults(Galera):
    """One whose nodes have no addresses, for a user with rights on one database alone."""

    user = PLAIN
    addresses = False
