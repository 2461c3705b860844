"""What people install: a wheel, and an editable checkout, on every Python that is here.

Each goes into a virtual environment of its own, from a copy of the checkout, and out again. The
packages that it depends on come from the package index.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.paths import CHECKOUT

COPIED = [
    *("bbs", "docs", "tests", "twisted"),
    *("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE"),
]
COMMANDS = ("bbs-login", "bbs-app", "bbs-telnet")
SHARED = (
    "share/man/man1/bbs-client.1",
    "share/bash-completion/completions/bbs.bash",
    "share/zsh/site-functions/_bbs",
    "share/fish/vendor_completions.d/bbs.fish",
)
"""What goes beside the packages, where manuals and shells look for it."""


def run(*command: object, cwd: Path) -> str:
    """Run a command as somebody who is not in the checkout, and return what it printed."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "COVERAGE", "BBS_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} exited with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def pythons() -> list[str]:
    """This Python, and each other one of a supported version that makes virtual environments."""
    found = {f"python{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for name in ("python3.11", "python3.12", "python3.13"):
        # A name in a PATH's first folder may be no more than a promise; look behind it.
        for folder in os.environ["PATH"].split(os.pathsep):
            path = shutil.which(name, path=folder)
            if path is not None and name not in found:
                test = [path, "-c", "import ensurepip, venv"]
                if subprocess.run(test, capture_output=True).returncode == 0:
                    found[name] = path
    return list(found.values())


class Packaging(SynchronousTestCase):
    """A wheel and an editable install, in and out."""

    def setUp(self) -> None:
        # The system's folder for temporary files, as trial's is within the checkout.
        self.folder = Path(tempfile.mkdtemp(prefix="bbs-packaging-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.source = self.folder / "source"
        self.source.mkdir()
        for name in COPIED:
            original = CHECKOUT / name
            if original.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
                shutil.copytree(original, self.source / name, ignore=ignored)
            else:
                shutil.copy(original, self.source / name)
        (self.source / "bbs-data").mkdir()
        (self.source / "bbs-data/secret.toml").touch()

    def environment(self, python: str) -> Path:
        """The `bin` folder of a fresh virtual environment."""
        environment = Path(tempfile.mkdtemp(dir=self.folder))
        run(python, "-m", "venv", environment, cwd=self.folder)
        return environment / "bin"

    def twistd_help(self, bin_folder: Path) -> str:
        """What twistd offers; that a plugin is broken would stand there too."""
        offered = run(bin_folder / "twistd", "--help", cwd=self.folder)
        self.assertNotIn("Traceback", offered)
        self.assertIn("Commands:", offered)
        self.assertIn("web ", offered)  # of Twisted itself
        return offered

    def assert_comes_and_goes(self, bin_folder: Path, *install: object) -> None:
        run(bin_folder / "pip", "install", "--quiet", *install, cwd=self.folder)
        for offered in (self.twistd_help(bin_folder), self.twistd_help(bin_folder)):
            for command in COMMANDS:
                self.assertIn(f"{command} ", offered)
        for command in COMMANDS:
            run(bin_folder / "twistd", command, "--help", cwd=self.folder)
        self.assertTrue((bin_folder / "bbs").exists())

        run(bin_folder / "pip", "uninstall", "--quiet", "--yes", "bbs", cwd=self.folder)
        for offered in (self.twistd_help(bin_folder), self.twistd_help(bin_folder)):
            self.assertNotIn("bbs", offered)
        self.assertFalse((bin_folder / "bbs").exists())
        for cache in bin_folder.parent.rglob("dropin.cache"):
            self.assertNotIn(b"bbs", cache.read_bytes())

    def test_wheel(self) -> None:
        """A wheel holds the package and the plugin, and works where the checkout is not."""
        first, *others = map(self.environment, pythons())
        run(first / "pip", "wheel", "--quiet", "--no-deps", self.source, cwd=self.folder)
        (wheel,) = self.folder.glob("bbs-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        names = [name for name in files if not re.match(r"[^/]+\.(dist-info|data)/", name)]
        for shared in SHARED:
            self.assertEqual(len([name for name in files if name.endswith(f"data/{shared}")]), 1)
        self.assertIn("twisted/plugins/bbs_plugins.py", names)
        self.assertIn("bbs/config/__init__.py", names)
        folders = {str(Path(name).parent) for name in names if not name.startswith("bbs/")}
        self.assertEqual(folders, {"twisted/plugins"})
        self.assertEqual([each for each in names if each.endswith("plugins/__init__.py")], [])
        needed = {
            str(each.relative_to(self.source))
            for kind in ("*.py", "*.css", "*.js", "*.svg", "*.html", "*.sh")
            for each in (self.source / "bbs").rglob(kind)
        }
        self.assertEqual(needed - set(names), set())
        shutil.rmtree(self.source)
        for bin_folder in (first, *others):
            self.assert_comes_and_goes(bin_folder, wheel)

    def test_editable(self) -> None:
        """An editable install finds the plugin in the checkout."""
        for bin_folder in map(self.environment, pythons()):
            self.assert_comes_and_goes(bin_folder, "--editable", self.source)
