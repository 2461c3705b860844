"""What the stack's login servers run from their image: figures for CloudWatch, and the word to the
stack that a login server serves."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from tests.deploy.aws_policies import REGION
from tests.deploy.moto_case import MotoCase, client
from tests.deploy.stack_template import program, template
from tests.web.test_metrics import MetricsCase


def served(*bodies: str) -> Any:
    """`urlopen` with these answers, one after the other."""
    answers = [mock.MagicMock() for _ in bodies]
    for answer, body in zip(answers, bodies, strict=True):
        answer.__enter__.return_value = io.BytesIO(body.encode())
    return mock.Mock(side_effect=answers)


class Figures(MotoCase):
    PAGE = """\
# TYPE bbs_database_up gauge
bbs_database_up {up}
# TYPE bbs_broker_up gauge
bbs_broker_up 1
# TYPE bbs_fleet_alarm gauge
bbs_fleet_alarm{{cause="no-keeper"}} 0
bbs_fleet_alarm{{cause="refused"}} {alarm}
# TYPE bbs_fleet_errors_total counter
bbs_fleet_errors_total{{kind="internal"}} {internal}
bbs_fleet_errors_total{{kind="unavailable"}} {unavailable}
# TYPE bbs_fleet_failed_logins_total counter
bbs_fleet_failed_logins_total {failed}
# TYPE bbs_fleet_launch_refused gauge
bbs_fleet_launch_refused {alarm}
# TYPE bbs_fleet_longest_wait_seconds gauge
bbs_fleet_longest_wait_seconds 61.5
# TYPE bbs_fleet_servers gauge
bbs_fleet_servers{{state="ready"}} 7
bbs_fleet_servers{{state="lost"}} 2
# TYPE bbs_fleet_seen_timestamp_seconds gauge
bbs_fleet_seen_timestamp_seconds 1000
# TYPE bbs_reactor_lag_seconds histogram
bbs_reactor_lag_seconds_bucket{{le="0.25"}} 0
bbs_reactor_lag_seconds_bucket{{le="0.5"}} {soon}
bbs_reactor_lag_seconds_bucket{{le="+Inf"}} {due}
bbs_reactor_lag_seconds_sum 1
bbs_reactor_lag_seconds_count {due}
"""

    def setUp(self) -> None:
        self.enter()
        self.names = program("figures").__dict__
        patch = mock.patch.dict(self.names)
        patch.start()
        self.addCleanup(patch.stop)
        environ = mock.patch.dict(os.environ, {"STACK_NAME": "bbs", "STACK_REGION": REGION})
        environ.start()
        self.addCleanup(environ.stop)

    def look(self, **figures: float) -> dict[Any, float]:
        given = dict.fromkeys(("alarm", "internal", "unavailable", "failed", "due", "soon"), 0.0)
        given |= {"up": 1.0, **figures}
        self.names["urlopen"] = served(self.PAGE.format(**given))
        found: dict[Any, float] = self.names["look"]()
        return found

    def after(self, *looks: dict[Any, float]) -> dict[str, float]:
        found: dict[str, float] = self.names["figures"](deque(looks, maxlen=11))
        return found

    def test_gauges(self) -> None:
        found = self.after(self.look(alarm=1))
        self.assertEqual(found["Alarm"], 1)
        self.assertEqual(found["LaunchRefused"], 1)
        self.assertEqual(found["LongestWait"], 61.5)
        self.assertEqual(found["LostServers"], 2)
        self.assertEqual((found["DatabaseUp"], found["BrokerUp"]), (1, 1))
        self.assertEqual(self.after(self.look(up=0))["DatabaseUp"], 0)
        self.names["time"] = mock.Mock(time=lambda: 1130.0)
        self.assertEqual(self.after(self.look())["FleetUnseen"], 130)

    def test_late(self) -> None:
        """The part of the last five minutes that was late, and not of the hour before."""
        looks = [self.look(due=5000 * n, soon=5000 * n - (90 if n > 4 else 0)) for n in range(6)]
        self.assertAlmostEqual(self.after(*looks)["SlowReactor"], 90 / 25000)
        self.assertEqual(self.after(looks[0])["SlowReactor"], 0)
        self.assertEqual(self.after(*looks[:3])["SlowReactor"], 0)

    def test_counters(self) -> None:
        """Grown in ten minutes, or a second over the last five and ten."""
        looks = [self.look(internal=n, unavailable=60 * n, failed=90 * n) for n in range(11)]
        found = self.after(*looks)
        self.assertEqual(found["InternalErrors"], 10)
        self.assertEqual(found["UnavailablePerSecond"], 1)
        self.assertEqual(found["FailedLoginsPerSecond"], 1.5)
        self.assertEqual(self.after(looks[0])["InternalErrors"], 0)
        self.assertEqual(self.after(*looks[:3])["InternalErrors"], 2)

    def test_a_login_server_that_started_anew(self) -> None:
        """Counts from nothing, and what it has counted since then counts."""
        found = self.after(self.look(internal=50, failed=600), self.look(internal=1, failed=60))
        self.assertEqual((found["InternalErrors"], found["FailedLoginsPerSecond"]), (1, 0.1))

    def test_told(self) -> None:
        """CloudWatch has each figure that an alarm is made of, under the stack's name."""
        cloudwatch = client("cloudwatch")
        self.names["tell"](cloudwatch, deque([self.look()]))
        listed = cloudwatch.list_metrics(Namespace="bbs")["Metrics"]
        names = {
            each["Properties"]["MetricName"]
            for each in template()["Resources"].values()
            if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"]["Namespace"] == "bbs"
        }
        self.assertEqual({each["MetricName"] for each in listed}, names)
        (dimensions,) = {str(each["Dimensions"]) for each in listed}
        for each in template()["Resources"].values():
            if (
                each["Type"] == "AWS::CloudWatch::Alarm"
                and each["Properties"]["Namespace"] == "bbs"
            ):
                alarm = each["Properties"]
                self.assertEqual(alarm["Dimensions"][0]["Name"], "Stack")
                self.assertIn(alarm["MetricName"], {each["MetricName"] for each in listed})
        self.assertEqual(dimensions, str([{"Name": "Stack", "Value": "bbs"}]))

    def test_goes_on(self) -> None:
        """Without a page or CloudWatch, and a minute later it is asked again."""
        told = mock.Mock(side_effect=[OSError("away"), None])

        class Enough(Exception):
            """The test is over."""

        pauses = mock.Mock(side_effect=[None, None, Enough])
        lines: list[str] = []
        self.names.update(
            look=mock.Mock(side_effect=[OSError("no page"), {}, {}]),
            tell=told,
            print=lambda line, file: lines.append(line),
            time=mock.Mock(sleep=pauses),
        )
        self.assertRaises(Enough, self.names["main"])
        self.assertEqual(lines, ["no figures: no page", "no figures: away"])
        self.assertEqual(told.call_count, 2)
        # The page may just not be there yet; looks that counters grow between are a minute apart.
        self.assertEqual([call.args for call in pauses.mock_calls], [(10,), (60,), (60,)])


class ThePage(MetricsCase):
    """The page has the metrics by the names under which the program looks for them."""

    def test_names(self) -> None:
        self.pass_time(11)
        found = self.samples()
        for each in (
            "bbs_database_up",
            "bbs_broker_up",
            "bbs_fleet_alarm{no-keeper}",
            "bbs_fleet_errors_total{internal}",
            "bbs_fleet_errors_total{unavailable}",
            "bbs_fleet_failed_logins_total",
            "bbs_fleet_launch_refused",
            "bbs_fleet_longest_wait_seconds",
            "bbs_fleet_seen_timestamp_seconds",
            "bbs_fleet_servers{lost}",
            "bbs_reactor_lag_seconds_bucket{0.5}",
            "bbs_reactor_lag_seconds_count",
        ):
            self.assertIn(each, found)


class ReadyWord(MotoCase):
    """The stack goes on with the next login server when this one serves."""

    def setUp(self) -> None:
        self.enter()
        self.program, self.signals = program("serving"), program("signals")
        given = {"STACK_NAME": "bbs", "STACK_REGION": REGION, "STACK_TARGETS": "arn:targets"}
        for patch in (
            mock.patch.dict(os.environ, given),
            mock.patch("time.sleep"),
        ):
            patch.start()
            self.addCleanup(patch.stop)

    def run_program(
        self,
        states: list[Any],
        signal: Callable[..., object],
        fleet: str = "active",
        since: int = 0,
    ) -> tuple[Any, str]:
        """The stack's client when it has run, and what was printed. systemd says that the fleet's
        controller is `fleet` `since` a second of its clock."""
        health = mock.Mock(
            side_effect=[
                state
                if isinstance(state, Exception)
                else {"TargetHealthDescriptions": [{"TargetHealth": {"State": state}}]}
                for state in states
            ]
        )
        stack = mock.Mock(signal_resource=mock.Mock(side_effect=signal))
        clients = {"elbv2": mock.Mock(describe_target_health=health), "cloudformation": stack}
        moments = iter(range(0, 100_000, 50))
        shown = f"ActiveState={fleet}\nActiveEnterTimestampMonotonic={since * 1_000_000}\n"
        path = Path(self.mktemp())
        path.write_text("i-1\n")
        with (
            mock.patch.object(self.program, "INSTANCE", path),
            mock.patch.object(self.signals, "INSTANCE", path),
            mock.patch("boto3.client", lambda service, region_name: clients[service]),
            mock.patch("time.monotonic", lambda: next(moments)),
            mock.patch("subprocess.run", return_value=mock.Mock(stdout=shown)) as asked,
            redirect_stdout(io.StringIO()) as said,
        ):
            self.program.main(self.program.PATIENCE)
        self.balancer = clients["elbv2"]
        self.assertEqual(asked.call_args.args[0][-1], "bbs-fleet.service")
        return stack, said.getvalue().strip()

    def error(self, code: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")

    def test_serves(self) -> None:
        stack, _ = self.run_program(["initial", "initial", "healthy"], mock.Mock())
        stack.signal_resource.assert_called_once_with(
            StackName="bbs", LogicalResourceId="LoginFleet", UniqueId="i-1", Status="SUCCESS"
        )
        self.assertIn("LoginFleet", template()["Resources"])
        asked = self.balancer.describe_target_health.call_args.kwargs
        self.assertEqual(asked["TargetGroupArn"], "arn:targets")

    def test_not_registered_yet(self) -> None:
        stack, _ = self.run_program([self.error("InvalidTarget"), "healthy"], mock.Mock())
        self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "SUCCESS")

    def test_aws_away(self) -> None:
        """The role has no credentials yet, or an endpoint is not reached: it looks again."""
        away = EndpointConnectionError(endpoint_url="https://example")
        stack, _ = self.run_program(
            [NoCredentialsError(), away, OSError("no network"), "healthy"],
            mock.Mock(side_effect=[away, OSError("no network"), None]),
        )
        self.assertEqual(stack.signal_resource.call_count, 3)
        self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "SUCCESS")

    def test_aws_stays_away(self) -> None:
        """It ends, and the user data with it, without an error of its own."""
        stack, said = self.run_program(
            [NoCredentialsError()] * 100, mock.Mock(side_effect=NoCredentialsError())
        )
        self.assertEqual(stack.signal_resource.call_count, 4)
        self.assertIn("the stack is not reached", said.splitlines()[-1])

    def test_never_serves(self) -> None:
        """The stack is told so, in time to say it itself, and keeps those that it has."""
        stack, said = self.run_program(["unhealthy"] * 100, mock.Mock())
        self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "FAILURE")
        self.assertIn("the load balancer says: unhealthy", said)
        waits = template()["Resources"]["LoginFleet"]["CreationPolicy"]["ResourceSignal"]
        self.assertEqual(waits["Timeout"], "PT20M")
        self.assertLess(self.program.PATIENCE + sum(self.signals.PAUSES), 15 * 60)

    def test_no_controller(self) -> None:
        """A login server that serves is not enough: without a controller nothing is launched."""
        healthy = ["healthy"] * 100
        for fleet in ("failed", "activating", "inactive"):
            stack, said = self.run_program(healthy, mock.Mock(), fleet)
            self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "FAILURE")
            self.assertIn("the fleet's controller does not run", said)
        # One that is started again and again never runs for long; this one does from then on.
        stack, said = self.run_program(healthy, mock.Mock(), since=10**6)
        self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "FAILURE")
        stack, said = self.run_program(healthy, mock.Mock(), since=200)
        self.assertEqual(stack.signal_resource.call_args.kwargs["Status"], "SUCCESS")
        self.assertGreater(self.balancer.describe_target_health.call_count, 1)
        self.assertNotIn("controller", said)

    def test_nobody_waits(self) -> None:
        """As when Auto Scaling has launched it, and no stack."""
        _, said = self.run_program(
            ["healthy"], mock.Mock(side_effect=self.error("ValidationError"))
        )
        self.assertIn("the stack waits for nobody", said.splitlines()[-1])
