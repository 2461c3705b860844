"""Writes the configuration of the broker on a login server: ActiveMQ with STOMP and nothing else,
and nothing on disk, as the database has every message.

The user is that of `broker.url`. If the URL is a secret of the Secrets Manager, its previous
version is valid, too: while passwords are changed, servers have either.
"""

import os
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import quoteattr

FOLDER = Path("/etc/bbs-broker")
CONFIGURATION = "/etc/bbs/bbs.toml"
STORE = "secretsmanager:"

TEXT = """\
<beans xmlns="http://www.springframework.org/schema/beans"
       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
       xsi:schemaLocation="http://www.springframework.org/schema/beans
                           http://www.springframework.org/schema/beans/spring-beans.xsd
                           http://activemq.apache.org/schema/core
                           http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="bbs"
          persistent="false" useJmx="false" dataDirectory="${{activemq.data}}">
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="false">
        <users>
{users}
        </users>
      </simpleAuthenticationPlugin>
    </plugins>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://0.0.0.0:{port}"/>
    </transportConnectors>
  </broker>
</beans>
"""
USER = '          <authenticationUser username={} password={} groups="bbs"/>'
LOGS = {
    "log4j.properties": """\
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%-5p %m %c%n
""",
    "log4j2.properties": """\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %-5p %m %c%n
""",
}
"""What is logged, for Log4j 1.2, with which Debian and Ubuntu build ActiveMQ 5.17, and for Log4j 2,
with which others build it. Each reads its own alone."""


def credential(url):
    """Name and password of a URL."""
    parts = urlsplit(url)
    return unquote(parts.username or ""), unquote(parts.password or "")


def document(urls):
    """ActiveMQ's configuration, for the users and the port of these URLs. Of two passwords of one
    user, the first one counts."""
    users = {}
    for url in urls:
        name, password = credential(url)
        users.setdefault(name, password)
    return TEXT.format(
        users="\n".join(USER.format(*map(quoteattr, each)) for each in users.items()),
        port=urlsplit(urls[0]).port or 61613,
    )


def previous(reference, region):
    """The version of a secret before the present one, in a list; empty if there is none."""
    import boto3

    store = boto3.client("secretsmanager", region_name=region)
    try:
        found = store.get_secret_value(
            SecretId=reference.removeprefix(STORE), VersionStage="AWSPREVIOUS"
        )
    except store.exceptions.ResourceNotFoundException:
        return []
    # That of a stack which had Amazon MQ before is for no broker here.
    url = found["SecretString"]
    return [url] if url.startswith("stomp://") else []


def main():
    from bbs.config import load
    from bbs.config.references import reveal

    config = load(CONFIGURATION)
    first = config.broker.url[0]
    urls = [*reveal("broker.url", [first], config)]
    if first.startswith(STORE):
        urls += previous(first, config.ec2.region)
    FOLDER.mkdir(exist_ok=True)
    shutil.chown(FOLDER, "root", "activemq")
    FOLDER.chmod(0o750)
    for name, text in {"activemq.xml": document(urls), **LOGS}.items():
        file = FOLDER / name
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0o640))
        shutil.chown(file, "root", "activemq")
        file.chmod(0o640)
        file.write_text(text)


if __name__ == "__main__":
    main()
