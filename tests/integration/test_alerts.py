"""Prometheus' own tool reads what comes along for it: alerts, an example of its configuration, the
queries of the dashboard, and what a real server says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from unittest import SkipTest
from urllib.request import Request, urlopen

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.service import eventually
from tests.integration.shared import SharedCase
from tests.paths import CHECKOUT

CASES = CHECKOUT / "tests" / "deploy" / "alerts.test.yml"
DEPLOY = CHECKOUT / "deploy" / "prometheus"
DASHBOARD = CHECKOUT / "docs" / "grafana" / "bbs.json"


COUNTERS = (r'bbs_request_seconds_count\{command="login"\}', "bbs_place_seconds_count")


def promtool(*arguments: str | Path, given: str = "") -> str:
    """What `promtool` says, which must find nothing wrong."""
    if not shutil.which("promtool"):
        raise SkipTest("promtool is not there; run tests/services/start")
    ran = subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, timeout=60
    )
    if ran.returncode:
        raise AssertionError(ran.stdout + ran.stderr)
    return ran.stdout + ran.stderr


class Files(SynchronousTestCase):
    deterministic = True

    def test_alerts(self) -> None:
        said = promtool("check", "rules", "--lint-fatal", DEPLOY / "alerts.yml")
        self.assertIn("SUCCESS", said)

    def test_the_example(self) -> None:
        promtool("check", "config", "--lint-fatal", DEPLOY / "prometheus.yml")

    def test_when_there_are_alerts(self) -> None:
        promtool("test", "rules", CASES)

    def test_the_dashboard(self) -> None:
        """Each query in it is one."""
        panels = json.loads(DASHBOARD.read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
        self.assertGreater(len(queries), 20)
        rules = [
            {
                "record": f"query:{number}",
                "expr": query.replace("$__rate_interval", "5m").replace("$job", "bbs"),
            }
            for number, query in enumerate(queries)
        ]
        file = Path(self.mktemp())
        file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
        promtool("check", "rules", file)


class Scraped(SharedCase):
    async def test_a_real_server(self) -> None:
        """Prometheus takes what it says, in both formats."""
        service = await self.shared()

        def scrape(accept: str) -> str:
            request = Request(f"{service.page}metrics", headers={"Accept": accept})
            with urlopen(request) as answer:
                return str(answer.read().decode())

        async def counted() -> list[float]:
            text = await deferToThread(scrape, "text/plain")
            found = (re.search(rf"^{each} (.+)$", text, re.M) for each in COUNTERS)
            return [float(each[1]) if each else 0.0 for each in found]

        before = await counted()
        await service.register("ann")
        await service.person("ann")

        async def has_counted() -> bool:
            return await counted() == [count + 1 for count in before]

        # What it says is some seconds old at the most.
        await eventually(has_counted, "a login and a place are counted")
        await deferToThread(promtool, "check", "metrics", given=await deferToThread(scrape, ""))
        # As Prometheus asks, since it keeps exemplars.
        opened = await deferToThread(scrape, "application/openmetrics-text;version=1.0.0,*/*;q=0.1")
        self.assertTrue(opened.endswith("# EOF\n"))
