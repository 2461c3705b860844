"""The files of `deploy/image/` and `deploy/systemd/`, as far as nothing has to boot for it;
`tests/integration/test_boots.py` boots them."""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hcl2
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import CHECKOUT
from tests.scaling.ec2.scenarios.test_user_data import ScriptTestCase

DEPLOY = CHECKOUT / "deploy"
IMAGE = DEPLOY / "image"
SYSTEMD = DEPLOY / "systemd"
UNITS = sorted(each for each in SYSTEMD.glob("bbs*.*") if each.is_file())

EXPOSURE = 15
"""What `systemd-analyze security` may find of a unit, in tenths; 1.2 when this was written."""

APP_SLICE = "system-bbs\\x2dapp.slice"
"""Where systemd has all of bbs-app@PORT.service."""

NOT_RUN = {"docs", "fuzz", "test"}
"""Extras of whoever works on bbs, and not of who runs it."""


def scripts() -> Iterator[Path]:
    """Every script that is there for operators, or boots the tests' machines."""
    for folder in (DEPLOY, CHECKOUT / "docs/aws", CHECKOUT / "tests/integration/boots"):
        yield from sorted(folder.rglob("*.sh"))
    for path in sorted((IMAGE / "stack").iterdir()):
        if path.suffix != ".py" and path.is_file():
            yield path


def sections(path: Path) -> Mapping[str, list[str]]:
    """The settings of a unit or drop-in, by section."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("["):
            lines = found.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            lines.append(line)
    return found


class Scripts(ScriptTestCase):
    """Shell, as a shell and shellcheck read it."""

    def test_all(self) -> None:
        found = list(scripts())
        names = {path.name for path in found}
        self.assertLessEqual({"install.sh", "login-server.sh", "login-server"}, names)
        for path in found:
            self.checked("bash", "-n", str(path))
        self.checked("shellcheck", f"--source-path={CHECKOUT}", *map(str, found))


class Lock(ScriptTestCase):
    """What an image has of other people's work."""

    def setUp(self) -> None:
        text = (IMAGE / "requirements.lock").read_text("utf-8").replace("\\\n", " ")
        self.lines = [each for each in text.splitlines() if not each.lstrip().startswith("#")]
        found = (Requirement(line.partition(" --hash")[0]) for line in self.lines)
        self.versions = {canonicalize_name(each.name): each for each in found}

    def test_hashes(self) -> None:
        """Each line has one version, and its files' hashes."""
        self.assertGreater(len(self.lines), 20)
        self.assertEqual(len(self.versions), len(self.lines))
        for line in self.lines:
            requirement, *hashes = line.split(" --hash=")
            self.assertRegex(requirement, r"^[\w.-]+(\[[\w,]+\])?==[\w.]+(\s|$)")
            self.assertTrue(hashes, line)
            for each in hashes:
                self.assertRegex(each.strip(), "^sha256:[0-9a-f]{64}$")

    def test_what_is_needed(self) -> None:
        """It has what setup.cfg wants, in a version that will do."""
        setup = configparser.ConfigParser()
        setup.read(CHECKOUT / "setup.cfg", "utf-8")
        wanted = setup["options"]["install_requires"]
        for extra, text in setup["options.extras_require"].items():
            wanted += "" if extra in NOT_RUN else text
        for line in wanted.split("\n"):
            if line.strip() and not line.startswith("#"):
                needed = Requirement(line)
                (locked,) = self.versions[canonicalize_name(needed.name)].specifier
                self.assertTrue(needed.specifier.contains(locked.version), line)


class Recipe(ScriptTestCase):
    """What becomes an image, and by whom."""

    def bundle(self, name: str, wheel: bytes = b"wheel") -> tuple[Path, str]:
        """An archive for a wheel, and the SHA-256 that was said of it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "txbbs-1.0-py3-none-any.whl").write_bytes(wheel)
        file = (folder / name).absolute()
        made = subprocess.run(
            [str(IMAGE / "bundle.sh"), str(folder / "txbbs-1.0-py3-none-any.whl"), str(file)],
            check=True,
            capture_output=True,
            text=True,
        )
        return file, made.stdout.strip()

    def test_bundle(self) -> None:
        """It has all that install.sh reads, and the same of the same."""
        file, said = self.bundle("a.tar.gz")
        self.assertEqual(hashlib.sha256(file.read_bytes()).hexdigest(), said)
        self.assertEqual(self.bundle("b.tar.gz")[1], said)
        self.assertNotEqual(self.bundle("c.tar.gz", b"another")[1], said)
        with tarfile.open(file) as archive:
            names = {name.removeprefix("./") for name in archive.getnames()}
            environment = archive.extractfile("./wheel.env")
            assert environment is not None
            told = environment.read().decode().split()
        self.assertLessEqual({"install.sh", "forget.sh", "requirements.lock"}, names)
        self.assertLessEqual({f"systemd/{unit.name}" for unit in UNITS}, names)
        programs = {path.name for path in (IMAGE / "stack").iterdir() if path.is_file()}
        self.assertLessEqual({f"stack/{name}" for name in programs}, names)
        installed = (IMAGE / "install.sh").read_text("utf-8")
        for name in programs:
            self.assertTrue(name.endswith(".py") or name in installed, name)
        self.assertEqual(
            told,
            [
                "BBS_WHEEL=txbbs-1.0-py3-none-any.whl",
                f"BBS_WHEEL_SHA256={hashlib.sha256(b'wheel').hexdigest()}",
            ],
        )

    def test_reasons(self) -> None:
        """A script that cannot install says why, in a line, before it has done anything."""
        right = {"BBS_WHEEL": "/no/txbbs-1.0-py3-none-any.whl", "BBS_WHEEL_SHA256": "0" * 64}
        for given, reason in (
            ({"BBS_WHEEL": ""}, "BBS_WHEEL does not say where the wheel is"),
            ({"BBS_WHEEL_SHA256": "0" * 63}, "BBS_WHEEL_SHA256 has to be 64 hexadecimal digits"),
            ({"BBS_WHEEL": "/tmp/other-1.0.whl"}, "'other-1.0.whl' is not a wheel of txbbs"),
            (
                {"BBS_WHEEL": "https://bucket.example/bbs.whl?X-Amz-A=b/bbs-1.whl"},
                "'bbs.whl' is not a wheel of txbbs",
            ),
        ):
            done = subprocess.run(
                ["bash", str(IMAGE / "install.sh")],
                env={"PATH": os.environ["PATH"], **right, **given},
                capture_output=True,
                text=True,
            )
            expected = reason if os.getuid() == 0 else "this takes root"
            self.assertEqual(
                (done.returncode, done.stdout, done.stderr),
                (1, "", f"bbs: cannot install: {expected}\n"),
            )

    def test_cloud_init(self) -> None:
        """cloud-init takes it, and its script is one."""
        path = IMAGE / "cloud-init.yaml"
        self.checked("cloud-init", "schema", "--config-file", str(path))
        (file,) = yaml.safe_load(path.read_text("utf-8"))["write_files"]
        self.check_script(file["content"].replace(". bundle/wheel.env", "true"))
        for placeholder in ("BUNDLE_URL", "BUNDLE_SHA256"):
            self.assertEqual(file["content"].count(f'"{placeholder}'), 1)

    def test_packer(self) -> None:
        """It is HCL, uses each variable and no other, and does what cloud-init does.

        Packer itself cannot be had in CI.
        """
        text = (IMAGE / "bbs.pkr.hcl").read_text("utf-8")
        read: Any = hcl2.loads(text)
        declared = {name.strip('"') for each in read["variable"] for name in each}
        self.assertEqual(set(re.findall(r"\bvar\.(\w+)", text)), declared)
        (builds,) = read["build"]
        lines = json.dumps(builds)
        for script in ("install.sh", "forget.sh"):
            self.assertIn(script, lines)
            self.assertIn(script, (IMAGE / "cloud-init.yaml").read_text("utf-8"))

    def test_one_version_of_the_shipper(self) -> None:
        """Both ways to an image have the same."""
        found = {
            re.search(pattern, (IMAGE / name).read_text("utf-8"), re.DOTALL)[1]  # type: ignore[index]
            for name, pattern in (
                ("cloud-init.yaml", r"BBS_FLUENT_BIT=([\d.]+)"),
                ("bbs.pkr.hcl", r'"fluent_bit" \{.*?default\s+= "([\d.]+)"'),
            )
        }
        self.assertEqual(len(found), 1)

    def test_what_is_shipped(self) -> None:
        """Of each unit, both what it says and what systemd says of it; all variables are told."""
        text = (IMAGE / "fluent-bit.yaml").read_text("utf-8")
        (journal,) = yaml.safe_load(text)["pipeline"]["inputs"]
        units = {"bbs-app.service"} | {
            unit.name for unit in UNITS if unit.suffix == ".service" and "@" not in unit.name
        }
        units.remove("bbs-logs.service")
        shipped: dict[str, set[str]] = {}
        for each in journal["systemd_filter"]:
            field, _, value = each.partition("=")
            shipped.setdefault(field, set()).add(value)
        self.assertIn("bbs-figures.service", units)
        self.assertEqual(shipped["_SYSTEMD_UNIT"], units)
        self.assertEqual(shipped["UNIT"], units | {"bbs-app@22223.service"})
        # tests/integration/test_boots.py holds that this is where the others are.
        self.assertEqual(shipped["_SYSTEMD_SLICE"], {APP_SLICE})
        told = (SYSTEMD / "bbs-logs.service").read_text("utf-8")
        for variable in re.findall(r"\$\{(\w+)\}", text):
            self.assertRegex(told, f"\n#   {variable}=")


class Units(ScriptTestCase):
    """Units for a machine of one's own."""

    def installed(self) -> Path:
        """A folder of all units, whose programs are there."""
        folder = Path(self.mktemp()).absolute()
        shutil.copytree(SYSTEMD, folder)
        for unit in folder.glob("*.service"):
            text = re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", unit.read_text("utf-8"))
            unit.write_text(text)
        for name, example in (
            ("bbs-login", "socket-login"),
            ("bbs-telnet", "socket-telnet"),
            ("bbs-telnet", "credentials"),
            ("bbs-login", "no-metadata"),
            ("bbs-app@", "no-metadata"),
            ("bbs-login", "certificate-login"),
            ("bbs-telnet", "certificate-telnet"),
        ):
            (folder / f"{name}.service.d").mkdir(exist_ok=True)
            shutil.copy(
                folder / f"examples/{example}.conf", folder / f"{name}.service.d/{example}.conf"
            )
        return folder

    def test_verify(self) -> None:
        """systemd finds nothing to say about them, nor with the examples."""
        folder = self.installed()
        names = [str(folder / unit.name.replace("@.", "@22223.")) for unit in UNITS]
        shutil.copy(folder / "bbs-app@.service", folder / "bbs-app@22223.service")
        said = self.checked(
            "systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *names
        )
        self.assertEqual(said, "")

    def test_security(self) -> None:
        """None is exposed."""
        folder = self.installed()
        limits = ("--offline=yes", f"--threshold={EXPOSURE}")
        for unit in UNITS:
            if unit.suffix == ".service":
                self.checked("systemd-analyze", "security", *limits, str(folder / unit.name))

    def test_written_once(self) -> None:
        """A unit says what it does; what it may not do is in one drop-in, and that of app servers
        on EC2, whose image need not have it, has the same."""
        hardening = sections(SYSTEMD / "bbs-.service.d/50-hardening.conf")["Service"]
        names = {line.partition("=")[0] for line in hardening}
        for unit in UNITS:
            said = {line.partition("=")[0] for line in sections(unit).get("Service", [])}
            self.assertEqual(said & names, set(), unit.name)
        script = (CHECKOUT / "bbs/scaling/ec2/app-server.sh").read_text("utf-8")
        self.assertIn("\n" + "\n".join(hardening) + "\n\n[Install]\n", script)

    def test_memory(self) -> None:
        """Each unit has a bound; that of a server is what the manifests for Kubernetes give it."""
        units = [each for each in UNITS if each.suffix == ".service"]
        self.assertTrue(units)
        for unit in units:
            found = [each for each in sections(unit)["Service"] if each.startswith("MemoryMax=")]
            self.assertEqual(len(found), 1, unit.name)
        for name, unit_name in (("login", "login"), ("app", "app@"), ("telnet", "telnet")):
            manifest = (CHECKOUT / f"deploy/kubernetes/{name}.yaml").read_text("utf-8")
            (most,) = re.findall(r"limits: {memory: (\d+)Mi}", manifest)
            said = sections(SYSTEMD / f"bbs-{unit_name}.service")["Service"]
            self.assertIn(f"MemoryMax={most}M", said)

    def test_reload(self) -> None:
        """Who keeps log files has them opened anew."""
        for name in ("login", "telnet", "app@", "fleet"):
            said = sections(SYSTEMD / f"bbs-{name}.service")["Service"]
            self.assertIn("ExecReload=/bin/kill -HUP $MAINPID", said)
            self.assertIn("Restart=always", said)

    def test_who_may_launch(self) -> None:
        """The fleet's controller has a user that no other unit has. It may ask for the role of its
        machine; what strangers reach may not, or has a drop-in for that."""
        users = {
            unit.name: line
            for unit in UNITS
            for line in sections(unit).get("Service", [])
            if line.startswith("User=")
        }
        own = users.pop("bbs-fleet.service")
        self.assertEqual(users.pop("bbs-secrets.service"), own)  # It asks by the same role.
        self.assertNotIn(own, users.values())
        self.assertIn(f"u {own[5:]} ", (SYSTEMD / "sysusers.d/bbs.conf").read_text("utf-8"))
        denied = "IPAddressDeny=169.254.169.254 fd00:ec2::254"
        dropin = sections(SYSTEMD / "examples/no-metadata.conf")
        self.assertIn(denied, dropin["Service"])
        self.assertIn("After=bbs-secrets.service", dropin["Unit"])
        (written,) = re.findall(
            "reveal /etc/bbs/bbs.toml (.+)",
            "\n".join(sections(SYSTEMD / "bbs-secrets.service")["Service"]),
        )
        for name in ("database", "broker"):
            self.assertIn(f"LoadCredential={name}:{written}/{name}", dropin["Service"])
        self.assertIn(denied, sections(SYSTEMD / "bbs-telnet.service")["Service"])
        self.assertNotIn(denied, sections(SYSTEMD / "bbs-fleet.service")["Service"])
        self.assertIn(denied, sections(SYSTEMD / "bbs-broker.service")["Service"])
        hardening = sections(SYSTEMD / "bbs-.service.d/50-hardening.conf")["Service"]
        self.assertNotIn(denied, hardening)
        for name in ("login", "telnet"):
            dropin = sections(SYSTEMD / f"examples/certificate-{name}.conf")
            self.assertIn("After=bbs-secrets.service", dropin["Unit"])
            (line,) = dropin["Service"]
            self.assertIn(f"BBS_{name.upper()}_LISTEN=ssl:", line)
            self.assertTrue(line.endswith(f":privateKey={written}/{name}.pem"), line)

    def test_logs(self) -> None:
        """Each server may write where docs say that its security log is."""
        for name in ("login", "telnet", "app@"):
            self.assertIn("LogsDirectory=bbs", sections(SYSTEMD / f"bbs-{name}.service")["Service"])

    def test_user_and_folders(self) -> None:
        """systemd makes them as they are declared."""
        root = Path(self.mktemp()).absolute()
        (root / "etc").mkdir(parents=True)
        self.checked("systemd-sysusers", f"--root={root}", str(SYSTEMD / "sysusers.d/bbs.conf"))
        (user,) = (
            line for line in (root / "etc/passwd").read_text().splitlines() if line[:4] == "bbs:"
        )
        self.assertTrue(user.endswith(":/var/lib/bbs:/usr/sbin/nologin"), user)
        self.checked(
            *("systemd-tmpfiles", "--create", f"--root={root}"),
            str(SYSTEMD / "tmpfiles.d/bbs.conf"),
        )
        self.assertEqual((root / "etc/bbs").stat().st_mode & 0o777, 0o750)
        self.assertEqual((root / "etc/bbs/credentials").stat().st_mode & 0o777, 0o700)
