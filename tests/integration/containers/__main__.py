"""`python -m tests.integration.containers [--build]`: see the package."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.containers.podman import (
    CHECKOUT,
    COMPOSE,
    Failed,
    Podman,
    forget_groups,
    run,
)

NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")

BUILDING = 900.0
"""Seconds that the image has: Debian's packages are fetched and installed three times."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.integration.containers")
    parser.add_argument("--build", action="store_true", help="build the image itself first")
    parser.add_argument("--within", metavar="FOLDER", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    # Who is told to end ends the namespaces first, and leaves nothing.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.within:
            from tests.integration.containers.conversation import hold

            hold(Podman(options.within), built=options.build)
            return 0
        with tempfile.TemporaryDirectory(prefix="bbs-containers-") as folder:
            if options.build:
                build(Path(folder))
            again = [*sys.orig_argv, "--within", folder]
            return subprocess.run(["unshare", *NAMESPACES, *again]).returncode
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    finally:
        if not options.within:
            forget_groups()


def build(folder: Path) -> None:
    """Build the image, on a base that is made of Debian's packages here and now."""
    base = folder / "base.tar"
    run(["mmdebstrap", "--quiet", "--variant=minbase", "trixie", base], within=BUILDING)
    podman = Podman(folder)
    podman("import", "--quiet", base, "localhost/debian:trixie", within=BUILDING)
    base.unlink()
    settings = folder / "pip.conf"
    settings.write_text("[global]\ncert = /run/authorities.crt\n")
    podman.build(
        "bbs",
        "--network=host",
        *("--build-arg", "BASE=localhost/debian:trixie"),
        *("--volume", f"{authorities()}:/run/authorities.crt:ro"),
        *("--secret", f"id=pip,src={settings}"),
        *("--file", COMPOSE / "Containerfile", CHECKOUT),
        within=BUILDING,
    )
    size = int(podman("image", "inspect", "--format", "{{.Size}}", "localhost/bbs"))
    print(f"image of {size / 1e6:.0f} MB", flush=True)


def authorities() -> str:
    """Whom this machine trusts for its index of Python packages."""
    return os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt"


if __name__ == "__main__":
    sys.exit(main())
