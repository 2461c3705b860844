"""The display and the keys of `bbs client` at a terminal, on prompt_toolkit (`main.py` first)."""
