"""What is said of who answers in a service's place, and is not the service."""

from bbs.client.values import ClientError


class NotSecure(ClientError):
    """The server could not show by TLS that it is the right one, or speaks none: it was sent
    nothing."""


class NoService(ClientError):
    """Somebody listens there, and is no login server: it says nothing, or something else."""
