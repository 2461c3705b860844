"""A social bulletin board for terminals, and the Twisted framework that it is written on."""

__version__ = "0.4.0"
