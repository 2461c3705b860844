"""The fleet's keepers on a cloud that fails in every way, on a clock that costs no time.

    python -m tests.simulation --rounds 1000 --seed 1  # rounds of faults; a seed replays exactly
    python -m tests.simulation --breaks --rounds 200   # each protection taken out once
    python -m tests.simulation.arrivals                # what `spare` costs, and what it saves
    python -m tests.simulation.round_cost              # what a round costs

Keepers, steps, provider, rules, waiting rooms and database are the real ones; EC2, the app servers
on its machines, the people and the clock are not. Everything that happens by chance comes from one
generator: the same seed is the same story.
"""
