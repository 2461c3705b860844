"""Each alert of `deploy/prometheus` has cases in `alerts.test.yml`: when it is there, and when not.

`tests.integration.test_alerts` has Prometheus' own tool run them.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

ALERTS = CHECKOUT / "deploy" / "prometheus" / "alerts.yml"
CASES = Path(__file__).with_name("alerts.test.yml")


class Cases(SynchronousTestCase):
    def test_each_alert_has_them(self) -> None:
        quiet, _, loud = CASES.read_text().partition("everything is wrong")
        alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text())
        self.assertTrue(alerts)
        for alert in alerts:
            self.assertIn(f"alertname: {alert}}}", quiet)
            self.assertRegex(loud, rf'alertname(=|: )"?{alert}\b')
