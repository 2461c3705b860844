"""Virtual environments for what people install: bbs from a checkout, and what is built on it.

To make one with all that bbs needs takes ten seconds of a processor, and the package index. It is
made once for each Python, without bbs itself, kept in `.services/`, and copied for each use; those
copies are beside it, as its files are linked there. The wheel of the checkout is kept there too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from pathlib import Path
from typing import TypeVar

from tests.paths import CHECKOUT

T = TypeVar("T")

COPIED = [
    *("bbs", "docs", "tests", "twisted"),
    *("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "NEWS.md", "LICENSE"),
]
"""What of the checkout bbs is built from."""

_KEPT = CHECKOUT / ".services" / "environments"

_PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def once(make: Callable[[], T]) -> Callable[[], T]:
    """Make something when it is first asked for. Whoever asks again gets the same, or the same
    failure: a build that fails is not repeated for each test."""

    @cache
    def outcome() -> tuple[T, None] | tuple[None, Exception]:
        try:
            return make(), None
        except Exception as error:
            return None, error

    @wraps(make)
    def made() -> T:
        found = outcome()
        if found[1] is not None:
            raise found[1].with_traceback(None)
        return found[0]

    return made


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


def copy_checkout(folder: Path) -> None:
    """Copy what bbs is built from."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in COPIED:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, folder / name)


@contextmanager
def environment(python: str = sys.executable) -> Iterator[Path]:
    """The `bin` folder of a virtual environment with all that bbs needs."""
    kept = _with_dependencies(python)
    with tempfile.TemporaryDirectory(prefix="used-", dir=_KEPT) as used:
        folder = Path(used) / "venv"
        # Ten thousand links: what changes a file makes a new one, as pip does.
        run("cp", "--archive", "--link", kept, folder, cwd=_KEPT)
        for script in (folder / "bin").iterdir():
            if script.is_file() and not script.is_symlink():
                text = script.read_bytes().replace(bytes(kept), bytes(folder))
                mode = script.stat().st_mode
                script.unlink()
                script.write_bytes(text)
                script.chmod(mode)
        yield folder / "bin"


def build(bin_folder: Path, into: Path, *sources: Path) -> Sequence[Path]:
    """Build wheels of sources, with what an environment has; where they are."""
    flags = ("--no-deps", "--no-build-isolation", "--wheel-dir", into)
    run(bin_folder / "python", *_PIP, "wheel", *flags, *sources, cwd=into.parent)
    return sorted(into.glob("*.whl"))


@once
def wheel() -> Path:
    """The wheel of this checkout, which all processes of a run share."""
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="bbs-wheel-") as copied:
        source = Path(copied) / "txbbs"
        copy_checkout(source)
        for file in sorted(source.rglob("*")):
            if file.is_file():
                digest.update(bytes(file.relative_to(source)) + b"\0" + file.read_bytes())
        folder = _KEPT / f"wheel-{digest.hexdigest()[:16]}"
        with _lock("wheel"):
            if not [*folder.glob("*.whl")]:
                with environment() as bin_folder:
                    build(bin_folder, folder, source)
    [found] = folder.glob("*.whl")
    return found


def install(bin_folder: Path, *what: object) -> None:
    """Install something, with what it needs."""
    argv = (bin_folder / "python", *_PIP, "install", "--no-build-isolation", *what)
    run(*argv, cwd=bin_folder.parents[1])


def uninstall(bin_folder: Path, name: str) -> None:
    """Remove a distribution."""
    run(bin_folder / "python", *_PIP, "uninstall", "--yes", name, cwd=bin_folder.parents[1])


@contextmanager
def _lock(what: str) -> Iterator[None]:
    """Have one process at a time make WHAT is kept."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    with (_KEPT / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _with_dependencies(python: str) -> Path:
    """The environment that is copied."""
    version = run(python, "-c", "import sys; print(sys.executable, sys.version)", cwd=CHECKOUT)
    digest = hashlib.sha256(version.encode() + bytes(_KEPT))  # Scripts have the folder's path.
    for source in (CHECKOUT / "setup.cfg", CHECKOUT / "pyproject.toml", Path(__file__)):
        digest.update(source.read_bytes())
    folder = _KEPT / digest.hexdigest()[:16]
    with _lock("python"):
        complete = folder / "complete"
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(python, folder)
            complete.touch()
    return folder


def _make(python: str, folder: Path) -> None:
    run(python, "-m", "venv", folder, cwd=_KEPT)
    source = folder / "source"
    copy_checkout(source)
    install(folder / "bin", "setuptools >= 68", "wheel")
    install(folder / "bin", source)
    uninstall(folder / "bin", "txbbs")
    shutil.rmtree(source)
