"""Distributions that are installed for a test: a folder in the path, with their metadata."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase


def install(folder: Path, distribution: str, points: dict[str, str], **modules: str) -> None:
    """Install a distribution into a folder.

    :param points: its entry points: `NAME = MODULE:OBJECT` lines, by group.
    :param modules: the text of each of its modules.
    """
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    )
    sections = [f"[{group}]\n{lines}\n" for group, lines in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(sections))
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(dedent(text))


class InstalledCase(SynchronousTestCase):
    """Tests that install distributions, which are gone after each."""

    def setUp(self) -> None:
        self.patch(sys, "path", [*sys.path, ""])
        self._modules = set(sys.modules)
        self.addCleanup(self._forget)
        self.clean_site()

    def clean_site(self) -> None:
        """Uninstall what the test has installed."""
        self._forget()
        self.site = Path(self.mktemp()).absolute()
        self.site.mkdir()
        sys.path[-1] = str(self.site)

    def install(self, distribution: str, provider: str, **modules: str) -> None:
        """Install a distribution with a provider."""
        install(self.site, distribution, {"bbs.providers": provider}, **modules)

    def _forget(self) -> None:
        for name in set(sys.modules) - self._modules:
            if sys.path[-1] and sys.path[-1] in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
