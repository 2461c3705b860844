"""What people install: a wheel, and an editable checkout, on every Python that is here.

Each goes into a virtual environment of its own, from a copy of the checkout, and out again.
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

from tests.integration.environments import (
    build,
    copy_checkout,
    environment,
    install,
    run,
    uninstall,
)

EDITABLE_ON_ALL = "BBS_TEST_EDITABLE" in os.environ
"""Whether an editable install is tried on every Python, as wheels are, and not only on this one."""

COMMANDS = ("bbs-login", "bbs-app", "bbs-fleet", "bbs-telnet")
SHARED = (
    "share/man/man1/bbs-client.1",
    "share/bash-completion/completions/bbs.bash",
    "share/zsh/site-functions/_bbs",
    "share/fish/vendor_completions.d/bbs.fish",
    *("share/doc/txbbs/NEWS.md", "share/doc/txbbs/operating.md", "share/doc/txbbs/limits.md"),
    *(
        f"share/doc/txbbs/developers/{name}.md"
        for name in ("framework", "names", "recipes", "stability", "tutorial")
    ),
)
"""What goes beside the packages, where manuals and shells look for it."""


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
        copy_checkout(self.source)
        (self.source / "bbs-data").mkdir()
        (self.source / "bbs-data/secret.toml").touch()

    def environment(self, python: str) -> Path:
        """The `bin` folder of a virtual environment."""
        return self.enterContext(environment(python))

    def twistd_help(self, bin_folder: Path) -> str:
        """What twistd offers; that a plugin is broken would stand there too."""
        offered = run(bin_folder / "twistd", "--help", cwd=self.folder)
        self.assertNotIn("Traceback", offered)
        self.assertIn("Commands:", offered)
        self.assertIn("web ", offered)  # of Twisted itself
        return offered

    def assert_comes_and_goes(self, bin_folder: Path, *what: object) -> None:
        install(bin_folder, *what)
        for offered in (self.twistd_help(bin_folder), self.twistd_help(bin_folder)):
            for command in COMMANDS:
                self.assertIn(f"{command} ", offered)
        for command in COMMANDS:
            run(bin_folder / "twistd", command, "--help", cwd=self.folder)
        self.assertTrue((bin_folder / "bbs").exists())

        uninstall(bin_folder, "txbbs")
        for offered in (self.twistd_help(bin_folder), self.twistd_help(bin_folder)):
            self.assertNotIn("bbs", offered)
        self.assertFalse((bin_folder / "bbs").exists())
        for cache in bin_folder.parent.rglob("dropin.cache"):
            self.assertNotIn(b"bbs", cache.read_bytes())

    def test_wheel(self) -> None:
        """A wheel holds the package and the plugin, and works where the checkout is not."""
        first, *others = map(self.environment, pythons())
        (wheel,) = build(first, self.folder / "wheels", self.source)
        with zipfile.ZipFile(wheel) as archive:
            files = archive.namelist()
        names = [name for name in files if not re.match(r"[^/]+\.(dist-info|data)/", name)]
        for shared in SHARED:
            self.assertEqual(len([name for name in files if name.endswith(f"data/{shared}")]), 1)
        self.assertIn("twisted/plugins/bbs_plugins.py", names)
        (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
        with zipfile.ZipFile(wheel) as archive:
            described = archive.read(metadata).decode()
        for label in ("Documentation", "Source", "Changelog"):
            self.assertIn(f"Project-URL: {label}, https://", described)
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
        for bin_folder in map(self.environment, pythons() if EDITABLE_ON_ALL else [sys.executable]):
            self.assert_comes_and_goes(bin_folder, "--editable", self.source)
