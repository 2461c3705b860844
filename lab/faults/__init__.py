"""Faults: a whole service of real processes, broken again and again while people use it.

    python -m lab.faults --faults 500                   # `bbs up` on SQLite
    python -m lab.faults --faults 500 --database mysql # MariaDB, ActiveMQ, 2 login servers
    python -m lab.faults --migrations --database mysql # upgrades killed at each statement

People write numbered posts, messages, group messages and invitations, and others read. Meanwhile a
seed draws what goes wrong next: a process, the database or the broker is killed, stands still or is
restarted, a disk is full, clocks are set by an hour, a data folder is opened to others. Afterwards
all that was acknowledged is there exactly once, every reader was sent what is theirs once and in
order, and the run says how long it took at most until each kind of request was served again.

| module | |
| --- | --- |
| `machine.py` | disks of a size, and clocks that can be set |
| `parts.py` | what can be killed, frozen and restarted, and is started again |
| `world.py` | the service: its parts, and where they are |
| `streams.py`, `people.py` | numbered writes; who makes them, and who reads |
| `kinds.py` | what can go wrong |
| `figures.py` | what is counted and measured |
| `checks.py` | whether all is there at the end |
| `run.py` | a run, from the seed to the figures |
| `migrations.py` | the upgrade of an older version's database, killed at every statement |

A disk that is full needs root, for a mount of its own; clocks need `libfaketime`. A run that lacks
one says so and goes without.
"""
