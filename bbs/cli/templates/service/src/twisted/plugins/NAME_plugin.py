"""Names the servers for twistd, and imports nothing else: every twistd reads this."""

from twisted.application.service import ServiceMaker

login = ServiceMaker(
    "NAME-login",
    "NAME.daemons.login",
    "A login server of NAME",
    "NAME-login",
)
app = ServiceMaker(
    "NAME-app",
    "NAME.daemons.app",
    "An app server of NAME",
    "NAME-app",
)
telnet = ServiceMaker(
    "NAME-telnet",
    "NAME.daemons.telnet",
    "NAME by telnet",
    "NAME-telnet",
)
