"""The fleet's controllers on a cloud that fails in every way, on a clock that costs no time.

    python -m lab.simulation --rounds 1000 --seed 1  # rounds of faults; a seed replays them
    python -m lab.simulation --breaks --rounds 200   # what notices that a protection is out
    python -m lab.simulation.arrivals                # what policies cost, and spare people
    python -m lab.simulation.day --servers 1000      # a day of a large fleet
    python -m lab.simulation.round_cost              # what a round costs

Controllers, steps, provider, rules, waiting rooms and database are the real ones; EC2, the app
servers on its machines, the people and the clock are not. Everything that happens by chance comes
from the seed: the same seed is the same story.

In a round people come and go while calls fail, are throttled or lose their answers, lists are bad,
clocks wrong, capacity lacks and the launch template changes; login servers die between any two
steps, and instances in every way. Some fleets keep stopped servers, some ask for Spot instances,
and a copy of a database may come to life beside it, or in its place. In some rounds the clock of a
login server's machine, or of the database, is wrong by weeks for a while: no sweep removes what is
not old, and all that is old goes once it is right again. Then it is quiet, and all has to become
well and stay so: also while lists are bad, for an hour in some rounds, when half of the instances
are taken away, or when people come in waves.
"""
