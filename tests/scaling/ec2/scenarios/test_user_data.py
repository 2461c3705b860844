"""What instances boot with: the template's rules, the built-in template, and the price table."""

import base64
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2, ConfigError, Configuration, load
from bbs.scaling import providers
from bbs.scaling.ec2.instance_states import price, price_table
from bbs.scaling.ec2.launch_request import (
    MAX_BYTES,
    fill_template,
    member,
    read_template,
    user_data_maker,
)
from bbs.scaling.providers import LaunchKit
from tests.core.tracing.case import SOMEBODYS

ID = "0123456789abcdef"
BATCH = "b" * 32
REFERENCES = {"database.url": "ssm:/bbs/database", "broker.url": "secretsmanager:bbs/broker"}
PLAIN = {
    "database.url": "mysql://bbs:s3cret@db.example/bbs",
    "broker.url": '["stomp://bbs:t0psecret@mq.example:61613"]',
}


@contextmanager
def metadata_service(number: str, refusals: int) -> Iterator[str]:
    """A metadata service on loopback that knows an instance's number; its address. It refuses that
    many requests first."""
    left = [refusals]

    class Answers(BaseHTTPRequestHandler):
        def answer(self, body: str) -> None:
            left[0] -= 1
            self.send_response(503 if left[0] >= 0 else 200)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_PUT(self) -> None:
            self.answer("token")

        def do_GET(self) -> None:
            known = self.headers["X-aws-ec2-metadata-token"] == "token"
            self.answer(number if known and self.path.endswith("/ami-launch-index") else "")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def configured(**options: str) -> Configuration:
    """A configuration for EC2; an option's dot is written as two underscores."""
    given = {key.replace("__", "."): value for key, value in options.items()}
    ec2 = {"fleet.provider": "ec2", "ec2.image_id": "ami-1"}
    return load(None, {}, {**ec2, **REFERENCES, **given})


def kit(
    config: Configuration, brokers: tuple[str, ...] = (), service_name: str = "bbs"
) -> LaunchKit:
    """What a login server with this configuration gives to the provider."""
    text = providers.configuration_text(config, brokers or config.broker.url, config.app.listen)
    return LaunchKit(
        None,
        config.ec2,
        "ec2:here",
        lambda server_id: [],
        {},
        lambda server_id: text,
        lambda stop: None,
        service_name=service_name,
        only_here=providers.only_here(config),
    )


def made(config: Configuration, server_id: str = ID, service_name: str = "bbs") -> str:
    """The user data of a launch."""
    return user_data_maker(kit(config, service_name=service_name)).of_launch(server_id)


class TemplateTestCase(SynchronousTestCase):
    """What the tests below share."""

    def template(self, text: str | bytes) -> str:
        """The path of a template with this text."""
        path = self.mktemp()
        Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def fill(self, text: str, server_id: str = ID, fleet: str = "bbs", toml: str = "x = 1") -> str:
        config = EC2(user_data=self.template(text), name=fleet)
        return fill_template(read_template(config.user_data), config, server_id, toml)

    def refusal(self, text: str | bytes) -> str:
        path = self.template(text)
        config = configured(ec2__user_data=path)
        error = self.assertRaises(ConfigError, made, config)
        line = str(error)
        self.assertEqual(line.splitlines(), [line])
        return line.replace(path, "FILE")


class Rules(TemplateTestCase):
    """An operator's own template."""

    def test_fields(self) -> None:
        text = "${server_id} ${fleet} ${config} ${config_base64}"
        self.assertEqual(self.fill(text), f"{ID} bbs x = 1 eCA9IDE=")

    def test_base64_of_a_long_configuration(self) -> None:
        """It is one line, and holds the text's UTF-8."""
        toml = "x = 'ä'\n" * 100
        filled = self.fill("${config_base64}", toml=toml)
        self.assertNotIn("\n", filled)
        self.assertEqual(base64.b64decode(filled).decode(), toml)

    def test_dollar_sign(self) -> None:
        self.assertEqual(
            self.fill("$$ $${fleet} $$$${fleet} $$${fleet}"), "$ ${fleet} $${fleet} $bbs"
        )

    def test_other_dollar_signs(self) -> None:
        """The shell's own need no care, but for its braces."""
        text = '$1 "$@" $(pwd) $HOME a$'
        self.assertEqual(self.fill(text), text)

    def test_values_are_not_filled_in(self) -> None:
        """What stands in a value is no template."""
        self.assertEqual(self.fill("${fleet}", fleet="${config} $$"), "${config} $$")

    def test_templates_that_are_for_one_alone(self) -> None:
        config = configured(ec2__user_data=self.template("${server_id}"))
        self.assertIsNone(user_data_maker(kit(config)).of_batch)

    def test_unknown_field(self) -> None:
        self.assertEqual(
            self.refusal("a\n${fleet}\n${zone}\n"),
            "ec2.user_data: FILE, line 3: unknown ${zone}, there are ${server_id}, ${fleet},"
            " ${service}, ${config}, ${config_base64}, ${region}, ${log_group}, ${traceparent},"
            " ${batch}"
            " ($$ is a dollar sign)",
        )

    def test_no_field(self) -> None:
        for text in ("${}", "${ fleet }", "${fleet:-x}", "${FLEET}"):
            self.assertIn(f"line 1: unknown {text}, there are", self.refusal(text))
        self.assertIn("line 1: unknown ${fleet, there are", self.refusal("${fleet\n}"))

    def test_no_file(self) -> None:
        config = configured(ec2__user_data="/no/such/file")
        error = self.assertRaises(ConfigError, made, config)
        self.assertEqual(str(error), "ec2.user_data: /no/such/file: No such file or directory")

    def test_no_text(self) -> None:
        self.assertEqual(self.refusal(b"\xff"), "ec2.user_data: 'FILE' is not a text file")

    def test_size(self) -> None:
        """EC2 counts bytes, and takes 16 KiB."""
        self.assertEqual(len(self.fill("ä" * 8192).encode()), 16384)
        self.assertEqual(
            self.refusal("ä" * 8192 + "."),
            "ec2.user_data: FILE: 16385 bytes, and EC2 takes 16384",
        )

    def test_size_for_a_batch(self) -> None:
        """It is known before the first one is asked for."""
        config = configured(ec2__user_data=self.template("${batch}" * 600))
        error = self.assertRaises(ConfigError, user_data_maker, kit(config))
        self.assertIn("19200 bytes, and EC2 takes 16384", str(error))

    @given(st.text(st.sampled_from("${}fleet \n"), max_size=30))
    def test_any_text(self, text: str) -> None:
        """Whatever stands there is filled in or refused, and `$$` brings back any text."""
        try:
            fill_template(text, EC2(), ID, "")
        except ConfigError as error:
            self.assertIn("unknown ${", str(error))
        self.assertEqual(fill_template(text.replace("$", "$$"), EC2(), ID, ""), text)


class Configurations(TemplateTestCase):
    """What an app server on an instance is told."""

    def config_of(self, config: Configuration) -> Configuration:
        """What the user data's configuration loads to."""
        toml = made(replace(config, ec2=replace(config.ec2, user_data=self.template("${config}"))))
        return load(self.template(toml), {})

    def test_what_concerns_it(self) -> None:
        """Its place, its stores, its times and limits are as configured."""
        config = configured(
            app__listen="tcp:4711",
            app__capacity="3",
            fleet__heartbeat_interval="0.5",
            fleet__lost_after="3",
            fleet__lease_timeout="30",
            limits__max_line="1000",
            messages__poll_interval="7",
            ec2__region="eu-north-1",
            ec2__address="dns",
        )
        theirs = self.config_of(config)
        for section in ("app", "database", "broker", "limits", "messages"):
            self.assertEqual(getattr(theirs, section), getattr(config, section))
        for key in ("heartbeat_interval", "lost_after", "lease_timeout"):
            self.assertEqual(getattr(theirs.fleet, key), getattr(config.fleet, key))
        self.assertEqual((theirs.ec2.region, theirs.ec2.address), ("eu-north-1", "dns"))

    def test_what_does_not(self) -> None:
        config = configured(
            ec2__key_name="ops",
            ec2__endpoint_url="http://127.0.0.1:9",
            web__password_file="/etc/web",
            fleet__spare="9",
        )
        theirs = self.config_of(config)
        self.assertEqual(theirs.fleet.spare, Configuration().fleet.spare)
        self.assertEqual(theirs.web, Configuration().web)
        self.assertEqual((theirs.ec2.image_id, theirs.ec2.key_name), ("", ""))
        self.assertEqual(theirs.ec2.endpoint_url, "")

    def test_broker(self) -> None:
        """It is where app servers find it, whatever the configuration calls it."""
        config = configured(ec2__user_data=self.template("${config}"))
        toml = user_data_maker(kit(config, ("stomp://10.0.0.1:61613",))).of_launch(ID)
        self.assertEqual(load(self.template(toml), {}).broker.url, ("stomp://10.0.0.1:61613",))

    def test_references_stay(self) -> None:
        theirs = self.config_of(configured())
        self.assertEqual(theirs.database.url, "ssm:/bbs/database")
        self.assertEqual(theirs.broker.url, ("secretsmanager:bbs/broker",))
        self.assertEqual(self.warnings_of(configured()), [])

    def test_plain_secrets(self) -> None:
        """They go with the rest, and the log says so, without them."""
        config = configured(database__url=PLAIN["database.url"], broker__url=PLAIN["broker.url"])
        self.assertEqual(self.config_of(config).database.url, PLAIN["database.url"])
        warnings = self.warnings_of(config)
        self.assertEqual([each["key"] for each in warnings], ["database.url", "broker.url"])
        self.assertNotRegex(repr(warnings), "s3cret|t0psecret")

    def test_urls_without_a_password(self) -> None:
        config = configured(database__url="mysql://bbs@db/bbs", broker__url="stomp://mq:61613")
        self.assertEqual(self.warnings_of(config), [])

    def test_only_this_machine_reaches_it(self) -> None:
        for key, url, right in (
            ("database.url", "sqlite:///bbs.sqlite3", "cannot reach a file; name a mysql:// URL"),
            ("broker.url", "embedded", "cannot reach the embedded broker; name another"),
        ):
            options = {key.replace(".", "__"): url}
            error = self.assertRaises(ConfigError, made, configured(**options))
            self.assertEqual(str(error), f"{key}: instances {right}")
            made(configured(**options, ec2__endpoint_url="http://127.0.0.1:5000"))

    def test_tried_at_once(self) -> None:
        """A template that no launch could use is refused before the first launch."""
        config = configured(ec2__user_data=self.template("x" * 16340 + "${server_id}"))
        error = self.assertRaises(ConfigError, user_data_maker, kit(config))
        self.assertIn("16404 bytes", str(error))
        # Some launches are part of a trace, and others not.
        config = configured(ec2__user_data=self.template("x" * 16340 + "${traceparent}"))
        error = self.assertRaises(ConfigError, user_data_maker, kit(config))
        self.assertIn("16395 bytes", str(error))

    def warnings_of(self, config: Configuration) -> list[dict[str, Any]]:
        """What making its user data logs."""
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        try:
            made(config)
        finally:
            globalLogPublisher.removeObserver(observer)
        return [
            event for event in events if event["log_namespace"] == "bbs.scaling.ec2.launch_request"
        ]


class ScriptTestCase(SynchronousTestCase):
    """Scripts and units, as far as a machine can tell that is no instance."""

    def check_script(self, script: str) -> None:
        """Nothing is wrong with a script for bash."""
        self.checked("bash", "-n", "-", input=script)
        self.checked("shellcheck", "-", input=script)

    def check_unit(self, name: str, script: str) -> str:
        """systemd finds nothing wrong with a unit that a script writes, and calls its exposure
        low; returns it."""
        matched = re.search(rf"{name} <<'?END'?\n(.*?)\nEND\n", script, re.DOTALL)
        assert matched is not None
        folder = Path(self.mktemp())
        folder.mkdir()
        unit = re.sub(r"ExecStart=(\S+)", "ExecStart=/bin/true", matched[1])
        (folder / name).write_text(unit)
        said = self.checked("systemd-analyze", "verify", str(folder / name))
        self.assertEqual(said, "")
        limits = ("--offline=yes", "--threshold=20")
        self.checked("systemd-analyze", "security", *limits, str(folder / name))
        return matched[1]

    def checked(self, *command: str, input: str = "") -> str:
        """What a command says that must succeed; without it, the test is skipped."""
        if shutil.which(command[0]) is None:
            raise SkipTest(f"{command[0]} is not installed")
        done = subprocess.run(command, input=input, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stderr


class BuiltIn(ScriptTestCase):
    """The built-in template."""

    def script(self, **options: str) -> str:
        return made(configured(ec2__name="people's", **options))

    def test_size(self) -> None:
        """It leaves as much room again for the configuration."""
        urls = ", ".join(f'"stomp://bbs:{"p" * 40}@mq-{n}.example:61613"' for n in range(10))
        script = self.script(broker__url=f"[{urls}]")
        self.assertLess(len(script.encode()), MAX_BYTES / 2)

    def test_kind(self) -> None:
        """cloud-init runs what begins so."""
        self.assertTrue(self.script().startswith("#!/bin/bash\n"))

    def test_configuration(self) -> None:
        matched = re.search(r"app.toml <<'END'\n(.*)\nEND\n", self.script(app__capacity="7"))
        assert matched is not None
        self.assertEqual(tomllib.loads(base64.b64decode(matched[1]).decode())["app"]["capacity"], 7)

    def test_script(self) -> None:
        self.check_script(self.script())

    def test_unit(self) -> None:
        """The service runs under a user of its own, and the instance ends with it."""
        unit = self.check_unit("bbs-app.service", self.script()).splitlines()
        for line in (
            "User=bbs",
            "SuccessAction=poweroff",
            "FailureAction=poweroff",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "PrivateTmp=yes",
            "ExecStart=$twistd --nodaemon --pidfile= bbs-app --config=/etc/bbs/app.toml"
            " --server-id=$server_id",
        ):
            self.assertIn(line, unit)

    def test_id(self) -> None:
        """That of its launch; one of many that were launched at once finds its own by its number,
        even if the metadata service is late."""
        maker = user_data_maker(kit(configured()))
        assert maker.of_batch
        alone, together = maker.of_launch(ID), maker.of_batch(BATCH)
        with metadata_service("3", refusals=2) as endpoint:
            self.assertEqual(self.id_of(alone, endpoint), ID)
            self.assertEqual(self.id_of(together, endpoint), member(BATCH, 3))

    def id_of(self, script: str, endpoint: str) -> str:
        """The id that the script's first part makes."""
        first, ends, _ = script.partition("\nfi\n\n# Its configuration")
        assert ends
        lines = f"{first}\nfi\necho $server_id\n".replace("shutdown -P +15", "true")
        # It waits for a second between its tries.
        lines = lines.replace("time.sleep(1)", "time.sleep(0)")
        done = subprocess.run(
            ["bash", "-c", lines],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint},
        )
        return done.stdout.strip()

    def test_trace(self) -> None:
        """The app server of a launch that somebody waits for is told of whose trace it is part."""
        config = configured()
        for trace in ("", SOMEBODYS):
            told = replace(kit(config), traceparent={ID: trace}.__getitem__)
            script = user_data_maker(told).of_launch(ID)
            unit = self.check_unit("bbs-app.service", script).splitlines()
            self.assertIn(f"Environment=TRACEPARENT={trace}", unit)

    def test_started_again(self) -> None:
        """An instance that is stopped and started runs its user data no more: systemd starts the
        app server, under the same id, and ends the instance with it as before."""
        script = self.script()
        unit = self.check_unit("bbs-app.service", script)
        root = Path(self.mktemp()).absolute()
        units = root / "etc/systemd/system"
        units.mkdir(parents=True)
        (units / "bbs-app.service").write_text(unit)
        (enabling,) = re.findall(r"^systemctl (enable .*)$", script, re.MULTILINE)
        self.checked("systemctl", f"--root={root}", *enabling.split())
        wanted = units / "multi-user.target.wants/bbs-app.service"
        self.assertTrue(wanted.is_symlink())
        started = script.index("systemctl start --no-block bbs-app.service")
        self.assertLess(script.index(f"systemctl {enabling}"), started)

    def test_another_service(self) -> None:
        """It runs under the service's name, as far as twistd and systemd are concerned."""
        script = made(configured(), service_name="lobby")
        self.check_script(script)
        unit = self.check_unit("lobby-app.service", script)
        self.assertIn("--pidfile= lobby-app --config=", unit)
        self.assertNotIn("bbs-app", script)


class Prices(SynchronousTestCase):
    """The price table."""

    def test_known(self) -> None:
        self.assertEqual(price("t3.micro", "us-east-1"), 0.0104)

    def test_unknown(self) -> None:
        self.assertIsNone(price("t3.micro", "mars-north-1"))
        self.assertIsNone(price("t3.unknown", "us-east-1"))
        self.assertIsNone(price("", "us-east-1"))

    def test_says_of_when(self) -> None:
        table = price_table()
        self.assertRegex(table["date"], r"^20\d\d-\d\d-\d\d$")
        self.assertIn("https://aws.amazon.com/ec2/pricing/", table["source"])

    def test_sizes_double(self) -> None:
        """Within a family each size costs twice the one before, which a slip would break."""
        sizes = ["nano", "micro", "small", "medium", "large", "xlarge", "2xlarge"]
        for region in price_table()["regions"]:
            for kind in price_table()["regions"][region]:
                family, _, size = kind.partition(".")
                cost = price(kind, region)
                bigger = price(f"{family}.{sizes[-1]}", region)
                assert cost is not None and bigger is not None
                steps = len(sizes) - 1 - sizes.index(size)
                self.assertLess(abs(cost * 2**steps / bigger - 1), 0.15, kind)
