"""The user data of the stack's login servers, run on a machine that booted from the image."""

from __future__ import annotations

from pathlib import Path

from tests.certificates import certificate
from tests.deploy.stack_case import MadeCase, StackCase
from tests.integration import test_boots
from tests.integration.boots import Booted

GREETED = "exec 3<>/dev/tcp/127.0.0.1/2323; head -c 40 <&3"
HEALTH = """\
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
cat <&3
"""
METRICS = "curl --silent http://127.0.0.1:8080/metrics"


PROGRAMS = "/usr/local/lib/bbs-stack"
UNITS = "/usr/local/lib/systemd/system"

ALONE = f"""\
mariadb-install-db --no-defaults --user=root --datadir=/var/lib/own --skip-test-db >/dev/null
cat >/var/lib/own/init.sql <<'END'
CREATE DATABASE bbs;
CREATE USER bbs@'%' IDENTIFIED BY 'pw';
GRANT ALL ON bbs.* TO bbs@'%';
END
systemd-run --quiet --unit=own-database mariadbd --no-defaults --user=root --datadir=/var/lib/own \\
    --init-file=/var/lib/own/init.sql --socket=own.sock --port=3306 --bind-address=127.0.0.1 \\
    --skip-name-resolve
cd {PROGRAMS}
sed --in-place \\
    --expression='s|^url = {{database}}|url = "mysql://bbs:pw@127.0.0.1:3306/bbs"|' \\
    --expression='s|^url = {{brokers}}|url = "stomp://bbs1:{test_boots.QUOTED}@127.0.0.1:61613"|' \\
    --expression='s|^provider = "ec2"|provider = "none"|' configuration.py
sed --in-place 's|^PAUSES = .*|PAUSES = (0,)|' signals.py
"""
"""Makes the image's programs those of a machine that reaches itself alone, with a database. It
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
        modes = machine.run(
            "stat", "--format=%a %U %G", "/etc/bbs/bbs.toml", "/etc/bbs/telnet-secret"
        )
        self.assertEqual(modes.splitlines(), ["640 root bbs"] * 2)
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
        # The fleet is controlled, and not by the login server.
        machine.until("bash", "-c", "journalctl --unit=bbs-fleet | grep 'process leads the fleet'")
        self.assertNotIn("leads the fleet", self.journal(machine, "bbs-login"))
        machine.until("bash", "-c", f"{METRICS} | grep --text '^bbs_fleet_seen_timestamp'")
        for unit in (
            *("bbs-login", "bbs-fleet", "bbs-telnet", "bbs-figures", "bbs-broker"),
            "bbs-broker-name",
        ):
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


OWN = "/etc/ssl/own.pem"
DENIED = ("bbs-login", "bbs-telnet", "bbs-broker", "bbs-proxy")
"""What strangers reach, and the broker, which app servers reach."""

CLOUD = f"""\
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

CREDENTIALS = {{
    "Code": "Success", "AccessKeyId": "role", "SecretAccessKey": "x", "Token": "x",
    "Expiration": "2099-01-01T00:00:00Z",
}}

class Metadata(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.rstrip("/")
        self.say("role" if path.endswith("credentials") else json.dumps(CREDENTIALS))

    do_PUT = lambda self: self.say("token")

    def say(self, text, code=200):
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "60")
        self.end_headers()
        self.wfile.write(text.encode())

class Store(Metadata):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "{{}}")
        if "Credential=role/" in self.headers["Authorization"] and "bbs-tls" in str(asked):
            self.say(json.dumps({{"SecretString": open("{OWN}").read()}}))
        else:
            self.say('{{"__type": "AccessDeniedException"}}', 400)

Thread(target=HTTPServer(("169.254.169.254", 80), Metadata).serve_forever).start()
HTTPServer(("127.0.0.1", 9000), Store).serve_forever()
"""
"""EC2's metadata service, with a role, and a Secrets Manager that gives that the certificate."""

GIVEN = f"""\
ip address add 169.254.169.254/32 dev lo
install -m 0600 /mnt-own.pem {OWN}
systemd-run --quiet --unit=own-cloud python3 /mnt-cloud.py
cp /mnt-own.pem /usr/local/share/ca-certificates/own.crt
update-ca-certificates
echo 127.0.0.1 bbs.example.org >>/etc/hosts
printf '[Service]\\nEnvironment=AWS_ENDPOINT_URL_SECRETS_MANAGER=http://127.0.0.1:9000\\n' \\
    >{UNITS}/bbs-.service.d/own.conf
systemctl daemon-reload
"""
"""Gives the machine a role and a certificate, and has it trusted and found."""


class ByTLS(StackCase, test_boots.Machines):
    def test_runs(self) -> None:
        """All that people reach is by TLS: the login server, the gateway, which trusts it by the
        domain's name, and HAProxy, which lets nobody through who names no app server. None of them
        can have the role of the machine, by which another process has fetched the certificate."""
        path = self.mktemp()
        certificate(path, ("bbs.example.org", "*.bbs.example.org"))
        secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:bbs-tls-a1B2c3"
        self.make(Certificate=secret, Domain="bbs.example.org")
        files = {"mnt-own.pem": Path(path).read_text(), "mnt-cloud.py": CLOUD}
        machine = self.boot("#!/bin/bash\ntrue\n", files)
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
        for unit in (*DENIED, "bbs-fleet"):
            self.assertEqual(machine.run("systemctl", "is-active", unit).strip(), "active")
        machine.run("systemctl", "is-active", "bbs-secrets.timer")
        self.nobody_reaches_the_role(machine)

    def nobody_reaches_the_role(self, machine: Booted) -> None:
        """By the metadata, or by what those have who may ask for it."""
        metadata = "http://169.254.169.254/latest/api/token"
        ask = f"curl --silent --max-time 5 --request PUT {metadata}"
        for unit in (*DENIED, "bbs-fleet"):
            group = f"/sys/fs/cgroup/system.slice/{unit}.service"
            said = machine.run("bash", "-c", f"echo $$ >{group}/cgroup.procs; {ask}", check=False)
            self.assertEqual(said, "token" if unit == "bbs-fleet" else "", unit)
            if unit in DENIED:
                shown = machine.run("systemctl", "show", "--property=IPAddressDeny", unit)
                self.assertRegex(shown, r"169\.254\.(169\.254/32|0\.0/16)")
                self.assertRegex(shown, r"fd00:ec2::(254/128|/32)")
        as_login = ("setpriv", "--reuid=bbs", "--regid=bbs", "--init-groups")
        modes = "stat --format='%n %a %U %G' /run/bbs-secrets /run/bbs-secrets/*"
        self.assertEqual(machine.run("bash", "-c", modes).splitlines(), SECRETS)
        # The login server's user reads the certificate, and no secret; and cannot become another.
        machine.run(*as_login, "test", "-r", "/run/bbs-secrets/login.pem")
        machine.run(*as_login, "test", "!", "-r", "/run/bbs-secrets/database")
        for command in ("systemd-run --quiet true", "systemctl restart bbs-fleet", "sudo -n true"):
            machine.run(*as_login, "bash", "-c", f"! {command} 2>/dev/null")
        # What the others run and read is not its to change.
        for path in (
            "/etc/bbs/bbs.toml",
            "/etc/bbs",
            "/opt/bbs/bin",
            PROGRAMS,
            "/var/lib/bbs-fleet",
        ):
            machine.run(*as_login, "test", "!", "-w", path)


SECRETS = [
    "/run/bbs-secrets 710 bbs-fleet bbs",
    "/run/bbs-secrets/app.pem 640 bbs-fleet bbs",
    "/run/bbs-secrets/broker 600 bbs-fleet bbs",
    "/run/bbs-secrets/database 600 bbs-fleet bbs",
    "/run/bbs-secrets/login.pem 640 bbs-fleet bbs",
    "/run/bbs-secrets/telnet.pem 640 bbs-fleet bbs",
]
"""What has been fetched for others, and who reads it."""

USERS = (
    *("setpriv", "--reuid=bbs", "--regid=bbs", "--init-groups"),
    *("/opt/bbs/bin/bbs", "user", "list", "--config", "/etc/bbs/bbs.toml"),
)
