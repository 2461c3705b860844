"""`bbs client` for a person at a terminal: a line to type in, and everything else above it.

A `Conversation` (`bbs.ui.conversation`) is what is said; this package is how it looks and how
it is typed, on prompt_toolkit. `main.py` is where it begins.
"""
