"""`bbs config check`: what servers would refuse to start with, in their own words."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bbs.cli import config
from bbs.config import load, references
from bbs.core import addresses
from bbs.daemons import config_check
from bbs.daemons.app import EMBEDDED
from tests.cli.case import BOARD
from tests.database_case import install_driver_in_c

if addresses.has_tls():
    from tests.certificates import certificate


class CheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def file(self, name: str, content: str = "", mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_text(content)
        path.chmod(mode)
        return str(path)

    def problems(self, **keys: object) -> list[str]:
        given = {key.replace("__", "."): value for key, value in keys.items()}
        return [*config_check.problems(load(None, {}, given), "bbs")]

    def test_nothing(self) -> None:
        self.assertEqual(self.problems(), [])
        self.assertEqual(self.problems(login__listen="systemd:domain=INET:index=0"), [])

    def test_keys_of_tls(self) -> None:
        if not addresses.has_tls():
            raise self.skipTest("TLS needs txbbs[tls]")
        place = f"ssl:1:privateKey={self.folder}/none.pem"
        for key in ("login", "app", "telnet", "web"):
            (problem,) = self.problems(**{f"{key}__listen": place})
            self.assertEqual(
                problem,
                f"{key}.listen: cannot listen on {place}: {self.folder}/none.pem:"
                " No such file or directory",
            )
        place = f"ssl:1:privateKey={self.file('bad.pem', 'garbage')}"
        (problem,) = self.problems(login__listen=place)
        self.assertTrue(problem.startswith(f"login.listen: cannot listen on {place}: "), problem)
        right = certificate(str(self.folder / "right.pem"), ("localhost",)).path
        self.assertEqual(self.problems(login__listen=f"ssl:1:privateKey={right}"), [])

    def test_whom_the_gateway_trusts(self) -> None:
        if not addresses.has_tls():
            raise self.skipTest("TLS needs txbbs[tls]")
        server = f"tls://h:1?tls_ca={self.folder}/none.pem"
        told = f"telnet.server: {self.folder}/none.pem: No such file or directory"
        self.assertEqual(self.problems(telnet__server=server), [told])
        self.assertEqual(self.problems(telnet__server="tls://h:1"), [])

    def test_slips_in_places(self) -> None:
        (problem,) = self.problems(login__listen="tcp:1:interfce=x")
        self.assertIn("login.listen: cannot listen on tcp:1:interfce=x: ", problem)

    def test_ports_that_are_taken_by_itself(self) -> None:
        for keys, key, other in (
            ({"web__listen": "tcp:22222"}, "web.listen", "login.listen"),
            ({"telnet__listen": "tcp:22222:interface=127.0.0.1"}, "telnet.listen", "login.listen"),
            ({"login__listen": ["tcp:5", "tcp:5:interface=127.0.0.1"]},) + ("login.listen",) * 2,
        ):
            (problem,) = self.problems(**keys)
            self.assertRegex(problem, rf"\A{key}: cannot listen on .*: {other} has that port")
        for keys in (
            {"telnet__listen": "tcp:22222", "telnet__server": "bbs.example.org:22222"},
            {
                "web__listen": "tcp:22222:interface=127.0.0.1",
                "login__listen": "tcp:22222:127.0.0.2",
            },
            {"web__listen": "tcp:0", "login__listen": "tcp:0"},
            {"app__listen": "tcp:22222"},
        ):
            self.assertEqual(self.problems(**keys), [])

    def test_the_pages_passwords(self) -> None:
        path = self.file("passwords", "word\n", 0o604)
        told = f"web.password_file: {path}: everybody may read it; chmod 600 it"
        self.assertEqual(self.problems(web__listen="tcp:1", web__password_file=path), [told])
        self.assertEqual(self.problems(web__password_file=path), [])
        (problem,) = self.problems(web__listen="tcp:1", web__password_file="/no/file")
        self.assertEqual(problem, "web.password_file: /no/file: No such file or directory")

    def test_the_security_log(self) -> None:
        for path, why in (
            (f"{self.folder}/none/x.log", "No such file or directory"),
            (str(self.folder), "Is a directory"),
            (self.file("plain") + "/x.log", "Not a directory"),
            (f"{self.folder}/new.log", ""),
            ("/proc/version", "Permission denied" if os.getuid() else ""),
        ):
            told = [f"log.security: cannot write {path}: {why}"] if why else []
            self.assertEqual(self.problems(log__security=path), told)
        self.assertFalse((self.folder / "new.log").exists())

    def test_traces(self) -> None:
        collector = "http://127.0.0.1:4318"
        self.assertEqual(self.problems(tracing__endpoint=collector), [])
        lacking = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
        with mock.patch.dict(sys.modules, {lacking: None}):
            self.assertEqual(
                self.problems(tracing__endpoint=collector),
                [
                    "tracing.endpoint: traces need OpenTelemetry:"
                    " pip install 'txbbs[tracing] >= 0.4'"
                ],
            )
            self.assertEqual(self.problems(), [])

    def test_the_database(self) -> None:
        (problem,) = self.problems(database__url=f"sqlite:///{self.folder}/a/b/c.sqlite3")
        self.assertIn("unable to open database file", problem)
        self.assertEqual(self.problems(database__url=f"sqlite:///{self.folder}/a/c.sqlite3"), [])
        url = f"mysql://u:secret@h/n?tls_ca={self.folder}/no.pem"
        told = f"database.url: tls_ca: {self.folder}/no.pem: No such file or directory"
        self.assertEqual(self.problems(database__url=url), [told])

    def test_a_driver_that_is_broken(self) -> None:
        """It prevents the start of those who demand it."""
        install_driver_in_c(self, "raise ImportError('undefined symbol')")
        (problem,) = self.problems(database__url="mysql+mysqlconnector://u:s3cret@h/b")
        self.assertRegex(problem, r"\Adatabase.url: mysql.mysqlconnector:// .*undefined symbol")
        self.assertNotIn("s3cret", problem)
        for scheme in ("mysql", "mysql+pymysql"):
            self.assertEqual(self.problems(database__url=f"{scheme}://u:s3cret@h/b"), [])

    def test_secrets_that_nobody_can_ask_for(self) -> None:
        told = f"broker.url: ssm:/bbs/broker: {references.NEEDS_BOTO3}"
        with mock.patch.dict(sys.modules, {"boto3": None}):
            self.assertEqual(self.problems(broker__url="ssm:/bbs/broker"), [told])

    def test_app_servers_elsewhere(self) -> None:
        self.assertEqual(self.problems(fleet__provider="none"), [EMBEDDED])
        self.assertEqual(self.problems(fleet__controller="own"), [EMBEDDED])
        self.assertEqual(
            self.problems(fleet__provider="none", broker__url="stomp://u:p@h:61613"), []
        )

    def ec2(self, **keys: object) -> list[str]:
        return self.problems(
            fleet__provider="ec2",
            ec2__image_id="ami-1",
            **{"database__url": "mysql://u:p@h/n", "broker__url": "stomp://u:p@h:61613", **keys},
        )

    def test_instances(self) -> None:
        self.assertEqual(self.ec2(), [])
        template = self.file("template", "${nonsense}")
        for keys, told in (
            ({"broker__url": "embedded"}, "broker.url: instances cannot reach the embedded broker"),
            ({"database__url": "sqlite:///x"}, "database.url: instances cannot reach a file"),
            ({"ec2__user_data": "/no/file"}, "ec2.user_data: /no/file: No such file or directory"),
            (
                {"ec2__user_data": template},
                f"ec2.user_data: {template}, line 1: unknown ${{nonsense}}",
            ),
        ):
            (problem,) = self.ec2(**keys)
            self.assertIn(told, problem)

    def test_what_a_terminal_would_obey(self) -> None:
        path = self.file("bbs.toml", '"\\u001b]0;x\\u0007" = 1\n')
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(config.main(["check", path], BOARD), 1)
        self.assertIn(r"unknown section [\x1b]0;x\x07]", err.getvalue())

    def test_the_command(self) -> None:
        """Each on a line, and none of the keys then."""
        text = '[web]\nlisten = "tcp:22222"\n[fleet]\nprovider = "none"\n'
        path = self.file("bbs.toml", text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = config.main(["check", path], BOARD)
        self.assertEqual((code, out.getvalue()), (1, ""))
        taken = "web.listen: cannot listen on tcp:22222: login.listen has that port (tcp:22222)"
        self.assertEqual(err.getvalue(), f"{path}: {taken}\n{path}: {EMBEDDED}\n")

    def test_values_and_what_prevents_a_start_at_once(self) -> None:
        """Nothing is said of a default that stands in for a wrong value."""
        path = self.file(
            "bbs.toml",
            '[app]\ncapacity = "many"\n[broker]\nurl = 5\n[login]\nlisten = 5\n'
            '[web]\nlisten = ["tcp:22222", "tcp:2323"]\n[fleet]\nprovider = "none"\n',
        )
        err = io.StringIO()
        with contextlib.redirect_stderr(err):
            self.assertEqual(config.main(["check", path], BOARD), 1)
        told = [line.removeprefix(f"{path}: ")[:30] for line in err.getvalue().splitlines()]
        self.assertEqual(
            told,
            [
                "app.capacity must be a whole n",
                'broker.url must be "embedded" ',
                "login.listen must be an endpoi",
                "web.listen: cannot listen on t",
            ],
        )
