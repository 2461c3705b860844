"""Another commit's code, to be measured beside this one's."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.load.bench.processes import Failed
from tests.paths import CHECKOUT


@contextlib.contextmanager
def checkout(ref: str, folder: Path) -> Iterator[Path]:
    """The commit `ref` as a worktree in `folder`, as long as the block lasts."""
    other = folder / "other"
    try:
        _git("worktree", "add", "--quiet", "--detach", str(other), commit(ref))
        yield other
    finally:
        if other.exists():
            _git("worktree", "remove", "--force", str(other))


def commit(ref: str) -> str:
    """The commit that `ref` names, as its whole hash."""
    return _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")


def describe(ref: str) -> str:
    """The commit in a few characters, with a + where files of the checkout differ from it."""
    short = _git("rev-parse", "--short", commit(ref))
    changed = ref == "HEAD" and _git("status", "--porcelain", "--", "bbs", "twisted")
    return short + ("+" if changed else "")


def _git(*arguments: str) -> str:
    # In a session of its own: Ctrl-C at a terminal ends this program, which then cleans up.
    done = subprocess.run(
        ["git", "-C", str(CHECKOUT), *arguments],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    if done.returncode:
        raise Failed(f"git {' '.join(arguments)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
