"""How many examples a property is tried with that takes long for each: few in the fast tests, more
where BBS_TEST_EXAMPLES says so."""

import os

from hypothesis import settings

few = settings(max_examples=int(os.environ.get("BBS_TEST_EXAMPLES", "25")))
