"""What other people's tests stand on: fakes that pass the contracts of the real things, and these
contracts."""

from bbs.testing.broker import MemoryBroker
from bbs.testing.provider import MemoryProvider

__all__ = ["MemoryBroker", "MemoryProvider"]
