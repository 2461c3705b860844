"""The command line: see `python -m lab.guided --help`."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from lab.guided import __doc__ as what
from lab.guided.targets import TARGETS
from tests.paths import CHECKOUT

CORPUS = Path(__file__).with_name("corpus")

LONGEST = 1024  # Bytes of an input.
HANG = 10  # Seconds that one input may take; nearly all take less than one in a hundred.
MEMORY = 768  # MiB that a process may take: far less than all inputs together are.

_COVERED = re.compile(r"cov: (\d+) .*?corp: (\d+)/")
_DONE = re.compile(r"stat::number_of_executed_units: +(\d+)")
_PEAK = re.compile(r"stat::peak_rss_mb: +(\d+)")


def fuzz(name: str, seconds: int, runs: int, corpus: Path) -> bool:
    """Fuzz one target, and print a line of what came of it; returns whether all inputs passed.
    Inputs that reached something new are added to `corpus`."""
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bbs-guided-") as folder:
        command = [sys.executable, "-m", "lab.guided.child", name]
        command += [f"-max_total_time={seconds}", f"-runs={runs}", f"-max_len={LONGEST}"]
        command += [f"-timeout={HANG}", f"-rss_limit_mb={MEMORY}", "-print_final_stats=1"]
        command += [f"-artifact_prefix={folder}/", str(corpus), str(CORPUS / name)]
        ended = subprocess.run(
            command, cwd=CHECKOUT, capture_output=True, text=True, errors="replace", check=False
        )
        said = ended.stderr + ended.stdout
        failed = sorted(Path(folder).iterdir())
        inputs = _last(_DONE, said)
        print(
            f"{name:10}{inputs:>12} inputs{_last(_COVERED, said):>8} branches"
            f"{_last(_PEAK, said):>8} MiB  {'FAILED' if ended.returncode else 'passed'}",
            flush=True,
        )
        if ended.returncode:
            print(said[-6000:])
            for each in failed:
                print(f"{each.name}: {each.read_bytes()!r}")
    return not ended.returncode


def _last(pattern: re.Pattern[str], said: str) -> str:
    found = pattern.findall(said)
    last = found[-1] if found else "?"
    return last if isinstance(last, str) else last[0]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m lab.guided",
        description=what,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [*TARGETS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seconds", type=int, default=60, help="of each target (%(default)s)")
    parser.add_argument("--runs", type=int, default=-1, help="inputs of each target at most")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps inputs for another time")
    options = parser.parse_args(arguments)
    if find_spec("atheris") is None:
        print("atheris is not installed: it is there for CPython 3.11 to 3.13 on Linux alone")
        return 0
    os.nice(19)
    with tempfile.TemporaryDirectory(prefix="bbs-corpus-") as folder:
        corpus: Path = options.corpus or Path(folder)
        passed = [fuzz(name, options.seconds, options.runs, corpus / name) for name in options.only]
    return int(not all(passed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
