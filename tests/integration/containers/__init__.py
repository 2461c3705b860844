"""`deploy/compose` run for real: Compose and podman, in namespaces of their own.

    python -m tests.integration.containers              # a conversation, in a minute
    python -m tests.integration.containers --build      # builds the image first

Networks, addresses, rules of the firewall and processes are those of a network and a PID namespace,
and end with it; so nothing of the machine's is touched, and nothing is left. It needs root, and
Debian's podman, runc and docker-compose.

No registry of images can be reached from the machines that run this. So the images of MariaDB and
ActiveMQ are stand-ins: the machine's own programs from Debian's packages, mounted into an empty
container that is used as compose.yaml says. Without `--build` the image of bbs is one too: the last
stage of the Containerfile over this checkout and this Python.
"""
