"""Runs `twistd`, under the name that login servers of 0.3.0 launch app servers by.

Such a login server may still run while its installation is upgraded. The module goes in 0.5.0.
"""

from twisted.scripts.twistd import run as run
