"""Fuzzing that is guided by coverage, by atheris, which is libFuzzer for Python: an input that
reaches a branch for the first time is kept, and mutated further.

    python -m lab.guided [--only NAME …] [--seconds N] [--runs N] [--corpus FOLDER]

The attackers (`lab.attacks`) send what is nearly right to real servers. Here each parser is
called in a process of its own, some thousand times a second. An input fails if an error comes that
was not declared, and also if what came of it is not what it has to be: see `targets.py`. `corpus/`
has a few inputs for each to begin with, and those that once failed.
"""
