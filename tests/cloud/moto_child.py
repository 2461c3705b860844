"""A moto server on a free loopback port, as a process: `python -m tests.cloud.moto_child`.

It prints its port, and ends when its standard input does, however its parent ended.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

ENVIRON = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # 1,300 of them, which take it seconds
    "MOTO_ENABLE_AMI_VALIDATION": "true",
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION": "true",
}


def main() -> None:
    """Serve until standard input ends."""
    os.environ.update(ENVIRON)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at a terminal is for the parent.
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
