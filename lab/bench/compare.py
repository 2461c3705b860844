"""Another commit's code, to be measured beside this one's."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.bench.processes import Failed
from tests.paths import CHECKOUT


@contextlib.contextmanager
def checkout(ref: str, folder: Path, repository: Path = CHECKOUT) -> Iterator[Path]:
    """The commit `ref` of a repository as a worktree in `folder`, as long as the block lasts."""
    other = folder / "other"
    try:
        named = commit(ref, repository)
        _git(repository, "worktree", "add", "--quiet", "--detach", str(other), named)
        yield other
    finally:
        if other.exists():
            _git(repository, "worktree", "remove", "--force", str(other))


def commit(ref: str, repository: Path = CHECKOUT) -> str:
    """The commit that `ref` names, as its whole hash."""
    named = f"{ref}^{{commit}}"
    return _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", named)


def describe(ref: str) -> str:
    """The commit in a few characters, with a + where files of the checkout differ from it."""
    short = _git(CHECKOUT, "rev-parse", "--short", commit(ref))
    changed = ref == "HEAD" and _git(CHECKOUT, "status", "--porcelain", "--", "bbs", "twisted")
    return short + ("+" if changed else "")


def _git(repository: Path, *arguments: str) -> str:
    # In a session of its own: Ctrl-C at a terminal ends this program, which then cleans up.
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments],
        capture_output=True,
        text=True,
        start_new_session=True,
    )
    if done.returncode:
        raise Failed(f"git {' '.join(arguments)}: {done.stderr.strip() or 'failed'}")
    return done.stdout.strip()
