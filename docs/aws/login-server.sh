#!/bin/bash
# User data of the login server: ActiveMQ from Debian or Ubuntu, and bbs, which is in the image
# (docs/aws/image.sh). Fill in REGION, IMAGE_ID, SUBNET_IDS and APP_GROUP_ID as docs/aws.md does.
# Nothing secret is in it: the password of the broker comes from the parameter /bbs/broker.
set -euo pipefail

if ! id bbs >/dev/null 2>&1; then
    useradd --system --user-group --home-dir /var/lib/bbs --shell /usr/sbin/nologin bbs
fi
install -d -m 0750 -o root -g bbs /etc/bbs
install -m 0600 -o bbs -g bbs /dev/null /etc/bbs/bbs.toml
cat >/etc/bbs/bbs.toml <<'END'
[login]
listen = "tcp:22222"

[app]
listen = "tcp:22223"
capacity = 10

[database]
url = "ssm:/bbs/database"

[broker]
url = "ssm:/bbs/broker"

[fleet]
provider = "ec2"
minimum = 1
maximum = 20
spare = 5

[ec2]
region = "REGION"
image_id = "IMAGE_ID"
instance_type = ["t3.micro", "t3a.micro"]
subnet_ids = [SUBNET_IDS]
security_group_ids = ["APP_GROUP_ID"]
iam_instance_profile = "bbs-app"
address = "public"
name = "bbs"
END

# The broker: STOMP and nothing else, and nothing on disk, as the database has every message.
if [ ! -e /usr/share/activemq/bin/activemq.jar ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=300 update
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends activemq
fi
install -d -m 0750 -o root -g activemq /etc/bbs-broker
install -m 0640 -o root -g activemq /dev/null /etc/bbs-broker/activemq.xml
/opt/bbs/bin/python >/etc/bbs-broker/activemq.xml <<'END'
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import quoteattr

from bbs.config import load
from bbs.secrets import reveal

config = load("/etc/bbs/bbs.toml")
(url,) = reveal("broker.url", config.broker.url, config.ec2)
parts = urlsplit(url)
user, password = (quoteattr(unquote(text or "")) for text in (parts.username, parts.password))
print(f"""\
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
          <authenticationUser username={user} password={password} groups="bbs"/>
        </users>
      </simpleAuthenticationPlugin>
    </plugins>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://0.0.0.0:{parts.port or 61613}"/>
    </transportConnectors>
  </broker>
</beans>""")
END
cat >/etc/bbs-broker/log4j2.properties <<'END'
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %-5p %m %c%n
END

cat >/etc/systemd/system/bbs-broker.service <<'END'
[Unit]
Description=ActiveMQ, the broker of bbs
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User=activemq
ExecStart=/usr/bin/java -Xmx512m -Djava.awt.headless=true \
    -Dlog4j2.configurationFile=file:/etc/bbs-broker/log4j2.properties \
    -Dactivemq.home=/usr/share/activemq -Dactivemq.base=/var/lib/bbs-broker \
    -Dactivemq.conf=/etc/bbs-broker -Dactivemq.data=/var/lib/bbs-broker \
    -jar /usr/share/activemq/bin/activemq.jar start xbean:file:/etc/bbs-broker/activemq.xml
SuccessExitStatus=143
Restart=always
RestartSec=2
StateDirectory=bbs-broker
WorkingDirectory=/var/lib/bbs-broker
UMask=0077
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
END

cat >/etc/systemd/system/bbs-login.service <<'END'
[Unit]
Description=bbs login server
Wants=network-online.target
After=network-online.target bbs-broker.service

[Service]
Type=exec
User=bbs
Group=bbs
ExecStart=/opt/bbs/bin/twistd --nodaemon --pidfile= bbs-login --config=/etc/bbs/bbs.toml
SyslogIdentifier=bbs-login
Restart=always
RestartSec=2
StateDirectory=bbs
WorkingDirectory=/var/lib/bbs
TimeoutStopSec=30
UMask=0077
CapabilityBoundingSet=
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
END
systemctl daemon-reload
systemctl enable --now --no-block bbs-broker.service bbs-login.service
