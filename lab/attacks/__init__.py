"""Attackers: floods and fuzz against real servers, each with an honest peer beside it.

    python -m lab.attacks [--only NAME …] [--seconds N] [--seed N] [--inputs N]
                            [--without LIMIT …] [--json FILE] [--list]

Each attack has a `bbs up` of its own, on ports of its own, with `limits.trusted = []`: loopback has
sixteen million addresses, and these count as anybody's. The honest peer is a process of its own at
an address of its own. What it waits is measured before and during the attack, in the same run, and
bounded by a multiple of the former: a slow machine is slow for both. Attackers are processes of
their own with a niceness of 19. The machine has two cores, and what is measured are the server's
limits, not how the system shares out its processors.

Each attack names the limits that it is up against. `--without LIMIT` takes one out, by a value that
is no limit or, where there is no key for it, by a patch of the harness's own in the server that it
starts (`patches.py`); then the attack has to be seen to work. Nothing in the product knows of that.
"""
