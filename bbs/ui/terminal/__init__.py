"""`bbs client` at a terminal, on prompt_toolkit: a line to type in, and the output above it.

`bbs.ui.conversation` has the conversation; this package is its display and its keys, and begins in
`main.py`.
"""
