"""What `deploy/compose` says, without running it: `tests/integration/containers` does."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import SkipTest
from urllib.parse import urlsplit

import yaml
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import load
from bbs.daemons.config_check import problems
from tests.paths import CHECKOUT

FOLDER = CHECKOUT / "deploy" / "compose"

BBS = ("login", "login-2", "app-1", "app-2", "telnet")


class ComposeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        shutil.copytree(FOLDER, self.folder)

    def said(self, *command: str | Path, code: int = 0) -> str:
        """What a command says; where it is not installed the test is skipped."""
        words = [str(each) for each in command]
        if shutil.which(words[0]) is None:
            raise SkipTest(f"{words[0]} is not installed")
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def make_secrets(self) -> None:
        self.said(self.folder / "make-secrets")


class Linters(ComposeCase):
    def test_containerfile(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        self.assertEqual(self.said(hadolint, FOLDER / "Containerfile"), "")
        (self.folder / "Containerfile").write_text("FROM debian:latest\nRUN cd / && sudo ls\n")
        said = self.said(hadolint, self.folder / "Containerfile", code=1)
        self.assertIn("DL3007", said)

    def test_script(self) -> None:
        self.assertEqual(self.said("shellcheck", FOLDER / "make-secrets"), "")

    def test_schema(self) -> None:
        """Compose's own, which knows every key."""
        self.make_secrets()
        check = ("docker-compose", "--profile", "two", "config", "--quiet")
        self.assertEqual(self.said(*check), "")
        text = (self.folder / "compose.yaml").read_text()
        (self.folder / "compose.yaml").write_text(text.replace("read_only:", "readonly:", 1))
        self.assertIn("readonly", self.said(*check, code=15))


class Image(SynchronousTestCase):
    def setUp(self) -> None:
        text = (FOLDER / "Containerfile").read_text().replace("\\\n", "")
        self.text = re.sub(r"^#.*\n", "", text, flags=re.M)
        *_, self.last = self.text.split("\nFROM ")

    def test_same_for_everybody(self) -> None:
        """The base is named by its digest, and what comes from PyPI by the lock file's hashes."""
        self.assertRegex(self.text, r"(?m)^ARG BASE=docker\.io/\S+@sha256:[0-9a-f]{64}$")
        fetching = [
            line for line in self.text.splitlines() if re.search(r"\bpip (wheel|install)", line)
        ]
        for line in fetching:
            for command in re.findall(r"pip (?:--python \S+ )?(?:wheel|install)[^&]*", line):
                pinned = "--require-hashes" in command or "--no-deps" in command
                self.assertTrue(pinned, command)

    def test_context(self) -> None:
        """Of what lies in a checkout the build sees what it needs, and so no secret."""
        lines = (FOLDER.parents[1] / ".dockerignore").read_text().splitlines()
        patterns = [line for line in lines if not line.startswith("#")]
        self.assertEqual(patterns[0], "*")
        kept = [line[1:] for line in patterns if line.startswith("!")]
        self.assertNotIn("deploy", kept)
        for path in kept:
            self.assertTrue((FOLDER.parents[1] / path).exists(), path)
        copied = re.findall(r"^COPY (\S+) ", self.text, re.M)
        self.assertLessEqual({path for path in copied if "/" in path}, {*kept})

    def test_last_stage(self) -> None:
        """It installs nothing, and its user is a number that is not root's."""
        self.assertTrue(self.last.startswith("python\n"))
        self.assertNotRegex(self.last, r"\b(apt-get|pip)\b")
        self.assertRegex(self.last, r"(?m)^USER [1-9]\d*:[1-9]\d*$")


class Services(ComposeCase):
    def setUp(self) -> None:
        super().setUp()
        self.composed = yaml.safe_load((self.folder / "compose.yaml").read_text())
        self.services: Mapping[str, Any] = self.composed["services"]

    def test_hardened(self) -> None:
        for name, service in self.services.items():
            with self.subTest(name):
                self.assertTrue(service["read_only"])
                self.assertEqual(service["cap_drop"], ["ALL"])
                self.assertNotIn("cap_add", service)
                self.assertEqual(service["security_opt"], ["no-new-privileges:true"])
                self.assertIn("max-size", service["logging"]["options"])
                self.assertIn("mem_limit", service)
                self.assertIn("pids_limit", service)

    def test_all_are_looked_after(self) -> None:
        for name, service in self.services.items():
            healthy = service.get("healthcheck") or service["environment"]["BBS_HEALTHY"]
            self.assertTrue(healthy, name)

    def test_another_version(self) -> None:
        """It comes in the order of docs/upgrading.md: login servers, app servers, gateways."""
        text = (FOLDER.parents[1] / "docs/containers.md").read_text("utf-8")
        order = re.findall(r"--force-recreate (\S+)", text)
        self.assertEqual(order, ["login", "app-1", "app-2", "telnet"])

    def test_least_secrets(self) -> None:
        """Each has what it needs; they are files, and nothing secret is in a variable."""
        self.make_secrets()
        secrets = {
            path.name: path.read_text().strip() for path in (self.folder / "secrets").iterdir()
        }
        self.assertEqual(secrets.keys(), self.composed["secrets"].keys())
        self.assertEqual(self.services["telnet"]["secrets"], ["telnet_secret"])
        self.assertEqual(self.services["app-1"]["secrets"], ["database_url", "broker_url"])
        self.assertNotIn("database_url", self.services["broker"]["secrets"])
        for name in self.services:
            for variable, value in self.services[name].get("environment", {}).items():
                if "PASSWORD" in variable or "SECRET" in variable:
                    self.assertTrue(variable.endswith("_FILE"))
                    self.assertIn(
                        value.removeprefix("/run/secrets/"), self.services[name]["secrets"]
                    )

    def test_where_they_are(self) -> None:
        """People reach login and app servers; nobody reaches database, broker and page."""
        self.assertTrue(self.composed["networks"]["inside"]["internal"])
        for name in ("database", "broker"):
            self.assertEqual(self.services[name]["networks"], ["inside"])
            self.assertNotIn("ports", self.services[name])
        for name in ("login", "login-2"):
            _, page = self.services[name]["ports"]
            self.assertRegex(page, r"^127\.0\.0\.1:\d+:22280$")
        for name in ("app-1", "app-2"):
            variables = self.services[name]["environment"]
            (published,) = self.services[name]["ports"]
            port, within = published.split(":")
            self.assertEqual(port, within)
            self.assertEqual(variables["BBS_APP_LISTEN"], f"tcp:{port}")
            self.assertEqual(urlsplit(variables["BBS_HEALTHY"]).port, int(port))
        ports = [each.split(":")[-2] for s in self.services.values() for each in s.get("ports", ())]
        self.assertEqual(len(set(ports)), len(ports))

    def test_configuration(self) -> None:
        """Each server starts with what it is told, and `bbs config check` finds nothing."""
        self.make_secrets()
        secrets = ("/run/secrets", str(self.folder / "secrets"))
        path = self.folder / "bbs.toml"
        path.write_text(path.read_text().replace(*secrets))
        for name in BBS:
            variables = {
                key: value.replace(*secrets).replace("${BBS_HOST:-127.0.0.1}", "bbs.example.org")
                for key, value in self.services[name]["environment"].items()
            }
            configured = "bbs.toml" in str(self.services[name]["command"])
            config = load(str(path) if configured else None, variables)
            if configured:
                self.assertEqual([*problems(config, "bbs")], [])
                room = config.limits.connections_per_address
                self.assertGreater(room, 2 * config.app.capacity, "for a gateway (docs/telnet.md)")
            self.assertEqual(bool(config.telnet.secret), name in ("login", "login-2", "telnet"))
            self.assertEqual(config.database.url.startswith("mysql:"), name != "telnet")


class Secrets(ComposeCase):
    def test_made_once(self) -> None:
        """They are read by whoever they are given to, and the folder by nobody else."""
        self.make_secrets()
        folder = self.folder / "secrets"
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        before = {path: path.read_text() for path in folder.iterdir()}
        for path in before:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o644)
        self.assertIn("exists already", self.said(self.folder / "make-secrets", code=1))
        self.assertEqual({path: path.read_text() for path in folder.iterdir()}, before)

    def test_fit_together(self) -> None:
        self.make_secrets()
        read = {path.name: path.read_text().strip() for path in (self.folder / "secrets").iterdir()}
        self.assertEqual(urlsplit(read["database_url"]).password, read["database_password"])
        _, _, password = read["broker.properties"].partition("=")
        self.assertEqual(urlsplit(read["broker_url"]).password, password)
        self.assertEqual(len({len(each) for each in (password, read["telnet_secret"])}), 1)
        self.assertEqual(len(password), 40)


class Healthy(SynchronousTestCase):
    """The image's health check."""

    def setUp(self) -> None:
        self.check = healthy()
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def answer(self, data: bytes) -> socket.socket:
        """A connection whose peer has said so much, and closes."""
        self.theirs.sendall(data)
        self.theirs.shutdown(socket.SHUT_WR)
        return self.ours

    def test_ping(self) -> None:
        answer = json.dumps({"status": 0, "message": "Pong!"}).encode() + b"\r\n"
        self.assertEqual(self.check.ping(self.answer(answer)), "")
        self.assertEqual(self.theirs.recv(99), b"ping\r\n")

    def test_no_pong(self) -> None:
        self.assertEqual(self.check.ping(self.answer(b"Too busy\n")), "Too busy")

    def test_ping_hangs_up(self) -> None:
        self.assertEqual(self.check.ping(self.answer(b"")), "it hangs up")

    def test_ready(self) -> None:
        place = urlsplit("http://127.0.0.1:22280/ready")
        connection = self.answer(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nready")
        self.assertEqual(self.check.ask_page(connection, place), "")
        self.assertIn(b"GET /ready HTTP/1.0\r\nHost: 127.0.0.1:22280\r\n", self.theirs.recv(999))

    def test_not_ready(self) -> None:
        """What the page says is what is said."""
        connection = self.answer(b"HTTP/1.1 503 X\r\n\r\nthe database is away")
        self.assertEqual(
            self.check.ask_page(connection, urlsplit("http://h:1/ready")), "the database is away"
        )

    def test_page_hangs_up(self) -> None:
        said = self.check.ask_page(self.answer(b""), urlsplit("http://h:1/ready"))
        self.assertEqual(said, "it hangs up")

    def test_no_end(self) -> None:
        """What a peer says without an end is not kept without one."""
        self.assertLess(len(self.check.received(self.answer(b"x" * 100_000), b"\n")), 70_000)

    def test_wrong_urls(self) -> None:
        for url in ("", "bbs://127.0.0.1", "ftp://127.0.0.1:1", "127.0.0.1:1"):
            self.assertIn("must be", self.check.look(urlsplit(url)))


def healthy() -> ModuleType:
    """`healthy.py`, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("healthy", FOLDER / "healthy.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
