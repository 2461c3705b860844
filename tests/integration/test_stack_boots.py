"""The user data of the stack's login servers, run on a machine that booted from the image."""

from __future__ import annotations

import re

from tests.deploy.stack_case import MadeCase
from tests.integration import test_boots

GREETED = "exec 3<>/dev/tcp/127.0.0.1/2323; head -c 40 <&3"
HEALTH = """\
exec 3<>/dev/tcp/127.0.0.1/8080
printf 'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3
cat <&3
"""


class LoginServer(MadeCase, test_boots.Machines):
    def script(self) -> str:
        """It, for a machine that reaches itself alone."""
        script = re.sub(
            'url = "secretsmanager:.*',
            'url = "sqlite:////var/lib/bbs/bbs.sqlite3"',
            self.user_data(),
        )
        script = re.sub('url = ."secretsmanager:.*', 'url = "embedded"', script)
        # It has no role, so it looks at the load balancer once and tells the stack once.
        script = script.replace("time.monotonic() + 720", "time.monotonic() + 1")
        script = script.replace("(5, 15, 45, 0)", "(0,)")
        return script.replace('provider = "ec2"', 'provider = "none"')

    def test_runs(self) -> None:
        """Login server, page, gateway and figures run, each with what it needs; and the script
        ends, though nobody gives this machine credentials to say so."""
        machine = self.boot("#!/bin/bash\ntrue\n")
        said = machine.run("bash", "-s", input=self.script())
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
        for unit in ("bbs-login", "bbs-telnet", "bbs-figures"):
            active = machine.run("systemctl", "is-active", unit).strip()
            self.assertEqual((unit, active), (unit, "active"))
            machine.run("systemctl", "is-enabled", unit)
