"""The image of `deploy/image/`, booted: by cloud-init, under systemd, without a network.

What is not run: Packer, Fluent Bit and EC2, none of which can be had here.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.config import load
from bbs.scaling import providers
from bbs.scaling.ec2.launch_request import user_data_maker
from bbs.scaling.providers import LaunchKit
from tests.deploy.test_deploy import APP_SLICE
from tests.integration.boots import Booted, Image
from tests.integration.environments import once, run, wheel
from tests.paths import CHECKOUT

SERVER = "0123456789abcdef0123456789abcdef"
PASSWORD = "s3cret word & <more>"
QUOTED = "s3cret%20word%20%26%20%3Cmore%3E"

CLOUD_INIT = """\
network: {config: disabled}
datasource_list: [NoCloud]
cloud_init_modules: [write_files]
cloud_config_modules: []
cloud_final_modules: [scripts_user]
"""
"""cloud-init without what looks after a real machine's disks, names and keys."""

INSTALL = """\
set -euo pipefail
rm -f /etc/rc?.d/S*
mkdir /root/bundle
tar --extract --gzip --file /mnt/bundle.tar.gz --directory /root/bundle
refused() { if "$@"; then echo "not refused: $*"; exit 1; fi; }
export BBS_BROKER=yes BBS_PROXY=yes BBS_RDS=/mnt/rds.pem
. /root/bundle/wheel.env
export BBS_WHEEL

# Refused, with a reason, and nothing was changed.
refused bash /root/bundle/install.sh
BBS_WHEEL_SHA256=${BBS_WHEEL_SHA256//[0-9]/f} refused bash /root/bundle/install.sh
BBS_WHEEL_SHA256=$BBS_WHEEL_SHA256 BBS_WHEEL=/root/no/txbbs-1.0-py3-none-any.whl \\
    refused bash /root/bundle/install.sh
test ! -e /opt/bbs

export BBS_WHEEL_SHA256
bash /root/bundle/install.sh
before=$(stat --format %y /opt/bbs/bin/twistd)
bash /root/bundle/install.sh
test "$before" = "$(stat --format %y /opt/bbs/bin/twistd)"
/opt/bbs/bin/bbs --version

# A mysql:// URL would be given the driver in C.
/opt/bbs/bin/python -c 'import bbs.storage.mysql_native'
"""


@once
def image() -> Image:
    """An image that the recipe has made, once for all tests here."""
    folder = Path(tempfile.mkdtemp(prefix="bbs-image-"))
    try:
        bundle = folder / "bundle.tar.gz"
        run(CHECKOUT / "deploy/image/bundle.sh", wheel(), bundle, cwd=folder)
        files = {
            "bundle.tar.gz": bundle.read_bytes(),
            "rds.pem": b"-----BEGIN CERTIFICATE-----\n",
        }
        made = Image(INSTALL, files)
    finally:
        shutil.rmtree(folder)
    atexit.register(made.close)
    return made


class Machines(SynchronousTestCase):
    """Machines that boot from the image."""

    def boot(self, script: str, seed: Mapping[str, str] | None = None) -> Booted:
        """A machine with this user data, once it has booted and run it."""
        cloud = "var/lib/cloud/seed/nocloud"
        files = {
            f"{cloud}/meta-data": "instance-id: i-0123456789abcdef0\n",
            f"{cloud}/user-data": script,
            "etc/cloud/cloud.cfg.d/99-boots.cfg": CLOUD_INIT,
            **(seed or {}),
        }
        machine = image().boot(files)
        self.addCleanup(machine.close)
        if machine.booted() != "running":
            failed = machine.run("systemctl", "--failed", "--no-legend")
            self.fail(failed + machine.run("cat", "/var/log/cloud-init-output.log"))
        self.assertEqual(machine.run("ip", "route"), "")
        return machine

    def talk(self, machine: Booted, *lines: str) -> list[str]:
        """What a client prints there, given these lines."""
        return machine.run(
            "/opt/bbs/bin/bbs", "client", "127.0.0.1", "22222", input="\n".join(lines) + "\n"
        ).splitlines()

    def journal(self, machine: Booted, unit: str) -> str:
        return machine.run("journalctl", "--no-pager", f"--unit={unit}")


class OnAWS(Machines):
    """The user data of `docs/aws/login-server.sh`, and that of app servers."""

    def test_both(self) -> None:
        """On one machine, as neither reaches another: ActiveMQ, a login server and an app server,
        whose end is the machine's. What the app server logs goes where Fluent Bit is told to send
        it."""
        machine = self.boot(login_server(), {"opt/fluent-bit/bin/fluent-bit": SHIPPER})
        self.assertIn("bbs-login.service", machine.run("systemctl", "list-units", "bbs-*"))
        machine.until("bash", "-c", "</dev/tcp/127.0.0.1/22222")
        said = self.journal(machine, "bbs-login.service")
        self.assertIn('"level":"info"', said)
        self.assertNotIn("s3cret", said)
        machine.run("test", "!", "-e", "/etc/bbs/logs.env")

        machine.run("/opt/bbs/bin/python", "-", input=ROW)
        machine.run("chmod", "+x", "/opt/fluent-bit/bin/fluent-bit")
        machine.run("bash", "-s", input=app_server())
        machine.until("bash", "-c", "</dev/tcp/127.0.0.1/22223")
        told = self.talk(machine, "register ann pass", "login ann pass", "post ann hello")
        self.assertEqual(told, ["Success!"] * 3)

        # Once more, as somebody would who wants to be sure; nobody is hurt.
        machine.run("bash", "-s", input=login_server())
        self.assertEqual(self.talk(machine, "login ann pass", "post ann again"), ["Success!"] * 2)

        shipped = machine.until("grep", "-m1", "LineFactory", "/var/lib/bbs-logs/sent")
        self.assertIn("22223", shipped)
        where = machine.run("cat", "/var/lib/bbs-logs/told")
        self.assertEqual(where, f"eu-north-1 /bbs/people {SERVER}\n")

        machine.run("systemctl", "kill", "--signal=KILL", "bbs-app.service")
        machine.powered_off()


SHIPPER = """\
#!/bin/bash
echo "$AWS_REGION $BBS_LOG_GROUP $BBS_LOG_STREAM" >told
exec journalctl --follow --lines=all --unit=bbs-app.service >sent
"""
"""In the place of Fluent Bit: it does what that may, and finds what that needs."""

PROXY = """\
BBS_PROXY_LISTEN=:::22223
BBS_DOMAIN=bbs.example.org
BBS_APP_NETWORKS="10.50.0.0/20 10.50.16.0/20"
BBS_APP_PORT=22223
"""

ROW = f"""\
import sqlite3, time

database = sqlite3.connect("/var/lib/bbs/bbs.sqlite3")
needed = {{
    name: "" if "CHAR" in kind or kind == "TEXT" else 0
    for _, name, kind, needed, default, _ in database.execute("PRAGMA table_info(server)")
    if needed and default is None
}}
row = needed | {{
    "id": "{SERVER}", "state": "launching", "scope": "operator", "host": "127.0.0.1",
    "capacity": 10, "created": time.time(),
}}
marks = ", ".join("?" * len(row))
database.execute(f"INSERT INTO server ({{', '.join(row)}}) VALUES ({{marks}})", list(row.values()))
database.commit()
"""
"""An app server that was launched, whose address the fleet knows."""


def login_server() -> str:
    """The user data of `docs/aws/login-server.sh`, for a machine that reaches itself alone."""
    script = (CHECKOUT / "docs/aws/login-server.sh").read_text("utf-8")
    for before, after in (
        ('"ssm:/bbs/database"', '"sqlite:////var/lib/bbs/bbs.sqlite3"'),
        ('"ssm:/bbs/broker"', f'"stomp://bbs:{QUOTED}@127.0.0.1:61613"'),
        ('provider = "ec2"', 'provider = "none"'),
        ("[SUBNET_IDS]", '["subnet-1"]'),
        ('"LOG_GROUP"', '""'),
    ):
        assert before in script, before
        script = script.replace(before, after)
    return script


def app_server() -> str:
    """The built-in user data of a launch."""
    config = load(
        None,
        {},
        {
            "fleet.provider": "ec2",
            "database.url": "sqlite:////var/lib/bbs/bbs.sqlite3",
            "broker.url": f"stomp://bbs:{QUOTED}@127.0.0.1:61613",
            "ec2.image_id": "ami-1",
            "ec2.region": "eu-north-1",
            "ec2.log_group": "/bbs/people",
            "ec2.endpoint_url": "http://127.0.0.1:9",
        },
    )
    text = providers.configuration_text(config, config.broker.url, config.app.listen)
    kit = LaunchKit(
        None, config.ec2, "", lambda server: [], {}, lambda server: text, lambda stop: None
    )
    return user_data_maker(kit).of_launch(SERVER)


class OfOnesOwn(Machines):
    """A machine that an operator looks after: `deploy/systemd/`."""

    def test_sockets_and_credentials(self) -> None:
        """systemd holds the ports, below 1024 too, and starts who is asked for; a restart refuses
        nobody. Passwords are files that only root reads. SIGHUP ends nothing."""
        examples = CHECKOUT / "deploy/systemd/examples"
        machine = self.boot(
            "#!/bin/bash\nsystemctl enable --now bbs-login.socket bbs-telnet.socket\n",
            {
                "etc/bbs/bbs.toml": "[fleet]\nspare = 0\nlost_after = 600.0\n"
                '[limits]\nregistration = "open"\n'
                '[log]\nsecurity = "/var/log/bbs/security.log"\n',
                "etc/bbs/credentials/database": "sqlite:////var/lib/bbs/theirs.sqlite3\n",
                "etc/bbs/credentials/broker": "embedded\n",
                **{
                    f"etc/systemd/system/bbs-{unit}.service.d/{name}": (examples / file).read_text()
                    for unit, name, file in (
                        ("login", "socket.conf", "socket-login.conf"),
                        ("login", "credentials.conf", "credentials.conf"),
                        ("telnet", "socket.conf", "socket-telnet.conf"),
                    )
                },
            },
        )
        machine.run("bash", "-c", "chown -R root:root /etc/bbs/credentials; chmod -R go= $_")
        self.assertEqual(self.state(machine, "bbs-login"), "inactive")

        self.assertEqual(
            self.talk(machine, "register ann pass", "login ann pass"), ["Success!"] * 2
        )
        machine.run("test", "-s", "/var/lib/bbs/theirs.sqlite3")
        machine.run("test", "!", "-e", "/var/lib/bbs/bbs.sqlite3")
        machine.until("grep", "what=login outcome=right", "/var/log/bbs/security.log")

        before = self.main(machine, "bbs-login")
        held = self.since(machine, "bbs-login.socket")
        machine.run("systemctl", "reload", "bbs-login")
        self.assertEqual(self.main(machine, "bbs-login"), before)
        machine.run("systemctl", "restart", "--no-block", "bbs-login")
        self.assertEqual(self.talk(machine, "login ann pass", "post ann hi"), ["Success!"] * 2)
        self.assertNotEqual(self.main(machine, "bbs-login"), before)
        self.assertEqual(self.since(machine, "bbs-login.socket"), held)

        # One that is run by hand: here is what the journal's shipper asks for. (It does not start,
        # and says why: the broker is in the login server.)
        machine.run("systemctl", "start", "--no-block", "bbs-app@22223")
        for field in (f"_SYSTEMD_SLICE={APP_SLICE}", "UNIT=bbs-app@22223.service"):
            machine.until("bash", "-c", f"journalctl --quiet '{field}' | grep bbs")
        machine.run("systemctl", "stop", "bbs-app@22223")

        # The next one sees that this one is dead, and does not wait for its lease.
        machine.run("systemctl", "kill", "--signal=KILL", "bbs-login")
        keeps = "journalctl --unit=bbs-login | grep -c 'this login server leads the fleet'"
        machine.until("bash", "-c", f"[ $({keeps}) -ge 3 ]")

        greeted = machine.run("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/23; head -c 40 <&3")
        self.assertIn("bbs", greeted)
        machine.run("systemctl", "restart", "bbs.target")
        self.assertNotEqual(self.since(machine, "bbs-login.socket"), held)
        machine.run("systemctl", "stop", "bbs.target")
        for unit in ("bbs-login", "bbs-telnet"):
            # The target does not wait for those that it stops.
            machine.until("bash", "-c", f"[ $(systemctl is-active {unit}) = inactive ]")
            self.assertNotIn("Traceback", self.journal(machine, unit))

    def test_watchdog_and_proxy(self) -> None:
        """A server that hangs is ended and started again, and the journal has what it did. HAProxy
        runs, as restricted as the others, where there is a file for it."""
        machine = self.boot(
            "#!/bin/bash\nsystemctl enable --now bbs-login bbs-telnet\n",
            {
                "etc/bbs/bbs.toml": "[fleet]\nspare = 0\n",
                "etc/systemd/system/bbs-login.service.d/soon.conf": "[Service]\nWatchdogSec=4\n",
                "etc/bbs/proxy.env": PROXY,
            },
        )
        for port in (22222, 2323):
            machine.until("bash", "-c", f"</dev/tcp/127.0.0.1/{port}")
        usual = ("systemctl", "show", "--property=WatchdogUSec", "--value", "bbs-telnet")
        self.assertEqual(machine.run(*usual).strip(), "30s")
        before = self.main(machine, "bbs-login")
        machine.run("kill", "-STOP", before)
        machine.until("bash", "-c", "journalctl --unit=bbs-login | grep 'Watchdog timeout'")
        machine.until("bash", "-c", f"[ $(systemctl show -P MainPID bbs-login) != {before} ]")
        machine.until("bash", "-c", "</dev/tcp/127.0.0.1/22222")
        self.assertIn("Fatal Python error: Aborted", self.journal(machine, "bbs-login"))

        self.assertEqual(self.state(machine, "bbs-proxy"), "active")
        said = machine.run("bash", "-c", "exec 3<>/dev/tcp/::1/22223; echo ping >&3; cat <&3")
        self.assertEqual(said, "")
        self.assertNotEqual(machine.run("ss", "-Hltn", "sport = 22223"), "")

    def state(self, machine: Booted, unit: str) -> str:
        return machine.run("systemctl", "is-active", unit, check=False).strip()

    def since(self, machine: Booted, unit: str) -> str:
        return machine.run("systemctl", "show", "--property=ActiveEnterTimestampMonotonic", unit)

    def main(self, machine: Booted, unit: str) -> str:
        return machine.run("systemctl", "show", "--property=MainPID", "--value", unit).strip()
