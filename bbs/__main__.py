"""`python -m bbs`, the same as the `bbs` command."""

import sys

from bbs.cli import main

sys.exit(main())
