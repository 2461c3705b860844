"""How people who have a place are served while others wait for one.

    python -m tests.bench.while_waiting [--capacity N] [--launch S] [--waiting N]

Starts the service in a folder of its own, with app servers that take `--launch` seconds to start.
One person has a place; so many log in that `--waiting` of them need another server each (at a
capacity of 1) or share one. While they wait, `list-friend` and `login` of people who have a place
are timed, one after the other, beside the hash of a password in this process, which `login`
includes; and once more when nobody waits.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bbs.hashing import new_hasher
from tests.integration.service import BIN, slow_launches
from tests.services.servers import free_port
