"""The tests of bbs, by trial."""

import gc
import os
import subprocess
import sys

from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

from tests import processor_time
from tests.paths import CHECKOUT

# What is recorded of a test is of the account that runs it, also by sudo.
os.environ.pop("SUDO_USER", None)

# Tests make much that lives on, such as modules and compiled statements. With the usual threshold
# the search for cycles in it takes a twentieth of the fast tests' time.
gc.set_threshold(10_000, 10, 10)

# Hypothesis reads all modules for constants to try. In the folder of a run it would find none that
# an earlier run has read.
set_hypothesis_home_dir(CHECKOUT / ".hypothesis")

# A property is tried with a few examples, and with many by `make soak`. How long a machine takes
# for one shows nothing: it may have much else to do.
settings.register_profile(
    "bbs",
    max_examples=int(os.environ.get("BBS_TEST_EXAMPLES", "25")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("bbs")


def _tell_others_nothing_of_this_python() -> None:
    """Leave in PYTHONPATH only what this Python does not find by itself.

    `trial --jobs` has all of its `sys.path` there, for its workers. Whatever these start would get
    it too, and Debian's programs in Python do not run with another version's library."""
    told = os.environ.pop("PYTHONPATH", "").split(os.pathsep)
    found = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.path, sep='\\n')"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    if kept := [path for path in told if path and path not in found.stdout.splitlines()]:
        os.environ["PYTHONPATH"] = os.pathsep.join(kept)


if "PYTHONPATH" in os.environ:
    _tell_others_nothing_of_this_python()

processor_time.measure_here()
