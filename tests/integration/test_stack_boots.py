"""The user data of the stack's login servers, run on a machine that booted from the image."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import certificate
from tests.deploy.stack_case import MadeCase, StackCase
from tests.integration import test_boots

GREETED = "exec 3<>/dev/tcp/127.0.0.1/2323; head -c 40 <&3"
HEALTH = """\
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
cat <&3
"""
METRICS = "curl --silent http://127.0.0.1:8080/metrics"


PROGRAMS = "/usr/local/lib/bbs-stack"

ALONE = f"""\
cd {PROGRAMS}
sed --in-place \\
    --expression='s|^url = {{database}}|url = "sqlite:////var/lib/bbs/bbs.sqlite3"|' \\
    --expression='s|^url = {{brokers}}|url = "stomp://bbs1:{test_boots.QUOTED}@127.0.0.1:61613"|' \\
    --expression='s|^provider = "ec2"|provider = "none"|' configuration.py
sed --in-place 's|^PAUSES = .*|PAUSES = (0,)|' signals.py
"""
"""Makes the image's programs those of a machine that reaches itself alone. It has no role, so it
tells the stack once, and with STACK_PATIENCE looks at the load balancer for a second."""


class LoginServer(MadeCase, test_boots.Machines):
    def test_runs(self) -> None:
        """Login server, page, gateway, broker and figures run, each with what it needs; and the
        script ends, though nobody gives this machine credentials to say so."""
        machine = self.boot("#!/bin/bash\ntrue\n")
        machine.run("bash", "-s", input=ALONE)
        script = self.user_data().replace("STACK_TELNET", "STACK_PATIENCE=1\nSTACK_TELNET")
        said = machine.run("bash", "-s", input=script)
        self.assertRegex(said, "the load balancer says: .*redentials")
        self.assertRegex(said, "the stack is not reached: .*redentials")
        machine.until("bash", "-c", "</dev/tcp/127.0.0.1/22222")
        self.assertEqual(self.talk(machine, "register ann password"), ["Success!"])
        self.assertIn("200 OK", machine.until("bash", "-c", HEALTH))
        self.assertIn("bbs", machine.until("bash", "-c", GREETED))
        modes = machine.run("stat", "--format=%a %U", "/etc/bbs/bbs.toml", "/etc/bbs/telnet-secret")
        self.assertEqual(modes.splitlines(), ["600 bbs"] * 2)
        self.assertIn("BBS_LOG_STREAM=i-", machine.run("cat", "/etc/bbs/logs.env"))
        # It has read the page, and reaches no CloudWatch.
        machine.until(
            "bash", "-c", "journalctl --unit=bbs-figures | grep 'no figures: .*redentials'"
        )
        # The login server is connected to the broker, which has the password of its secret, and
        # which nobody names without Route 53.
        machine.until("bash", "-c", f"{METRICS} | grep --text '^bbs_broker_up 1'")
        machine.until(
            "bash", "-c", "journalctl --unit=bbs-broker-name | grep 'not looked at: .*redentials'"
        )
        for unit in ("bbs-login", "bbs-telnet", "bbs-figures", "bbs-broker", "bbs-broker-name"):
            active = machine.run("systemctl", "is-active", unit).strip()
            self.assertEqual((unit, active), (unit, "active"))
            machine.run("systemctl", "is-enabled", unit)
        # While passwords change, its broker admits those of both generations.
        machine.run("/opt/bbs/bin/python", "-", input=BOTH)
        machine.run("systemctl", "restart", "bbs-broker")
        machine.until("/opt/bbs/bin/python", "-c", f"{ADMITTED}; assert admits('bbs2', 'new')")
        asked = "print(admits('bbs1', 'old'), admits('bbs2', 'old'), admits('', ''))"
        said = machine.run("/opt/bbs/bin/python", "-c", f"{ADMITTED}; {asked}")
        self.assertEqual(said, "True False False\n")


BOTH = f"""\
import sys
sys.path.insert(0, "{PROGRAMS}")
from broker import FOLDER, document
urls = ("stomp://bbs2:new@a.bbs.internal:61613", "stomp://bbs1:old@a.bbs.internal:61613")
(FOLDER / "activemq.xml").write_text(document(urls))
"""
"""Configures the broker as if passwords had just changed."""

ADMITTED = (
    f"import sys; sys.path.insert(0, '{PROGRAMS}'); from broker_names import answers;"
    " admits = lambda name, password: answers('127.0.0.1', name, password)"
)
"""Defines what asks the broker as one login server asks another's."""


class DatabaseUsers(MadeCase, test_boots.Machines):
    def test_ends(self) -> None:
        """The machine that makes the database's users ends, though nobody gives this one
        credentials to make any."""
        machine = self.boot("#!/bin/bash\ntrue\n")
        machine.run("bash", "-s", input=ALONE)
        # Nothing ships its log.
        machine.run("sed", "--in-place", "s/^sleep 15$//", f"{PROGRAMS}/database-users")
        script = self.user_data("DatabaseUsersTemplate")
        machine.run("systemd-run", "--quiet", "--no-block", "bash", "-c", script)
        machine.powered_off()


OWN = "/etc/bbs/own.pem"
GIVEN = f"""\
sed --in-place 's|f"secretsmanager:{{certificate}}"|"{OWN}"|' {PROGRAMS}/configuration.py
install -m 0640 -g bbs /mnt-own.pem {OWN}
cp /mnt-own.pem /usr/local/share/ca-certificates/own.crt
update-ca-certificates
echo 127.0.0.1 bbs.example.org >>/etc/hosts
"""
"""Gives the machine the certificate that it would ask for, and has it trusted and found."""


class ByTLS(StackCase, test_boots.Machines):
    def test_runs(self) -> None:
        """All that people reach is by TLS: the login server, the gateway, which trusts it by the
        domain's name, and HAProxy, which lets nobody through who names no app server."""
        path = self.mktemp()
        certificate(path, ("bbs.example.org", "*.bbs.example.org"))
        secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:bbs-tls-a1B2c3"
        self.make(Certificate=secret, Domain="bbs.example.org")
        machine = self.boot("#!/bin/bash\ntrue\n", {"mnt-own.pem": Path(path).read_text()})
        machine.run("bash", "-s", input=ALONE + GIVEN)
        script = self.user_data().replace("STACK_TELNET", "STACK_PATIENCE=1\nSTACK_TELNET")
        machine.run("bash", "-s", input=script)
        for port in (22222, 22223, 2323):
            machine.until("bash", "-c", f"</dev/tcp/127.0.0.1/{port}")
        client = ("/opt/bbs/bin/bbs", "client", "--tls", "bbs.example.org", "22222")
        said = machine.run(*client, input="register ann password\n")
        self.assertEqual(said, "Success!\n")
        # Who registers there logs in, and waits for a place.
        visit = "(printf '\\nregister bob password\\n'; sleep 20) |"
        gateway = "openssl s_client -quiet -verify_return_error -connect bbs.example.org:2323"
        machine.run("systemd-run", "--quiet", "bash", "-c", f"{visit} {gateway}")
        machine.until("bash", "-c", f"{' '.join(USERS)} | grep bob")
        proxy = "openssl s_client -connect bbs.example.org:22223 </dev/null 2>&1"
        refused = machine.run("bash", "-c", proxy, check=False)
        self.assertIn("no peer certificate available", refused)
        for unit in ("bbs-login", "bbs-telnet", "bbs-proxy"):
            self.assertEqual(machine.run("systemctl", "is-active", unit).strip(), "active")


USERS = (
    *("setpriv", "--reuid=bbs", "--regid=bbs", "--init-groups"),
    *("/opt/bbs/bin/bbs", "user", "list", "--config", "/etc/bbs/bbs.toml"),
)
