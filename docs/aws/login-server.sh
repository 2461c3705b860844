#!/bin/bash
# User data of the login server: its configuration, and the units to start. The image has bbs and
# ActiveMQ (deploy/image, BBS_BROKER=yes), so no package index is needed. It may run again. docs/aws.md
# fills in what is in capitals between quotes or brackets. It has no secrets: the broker's password
# comes from the parameter /bbs/broker.
set -euo pipefail

if [ ! -x /opt/bbs/bin/bbs ] || [ ! -e /usr/share/activemq/bin/activemq.jar ] ||
    [ ! -e /usr/local/lib/bbs-stack/broker.py ]; then
    echo "bbs: this image lacks bbs or ActiveMQ; deploy/image makes one with both" >&2
    exit 1
fi

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
# An app server that cannot renew its lease ends, and its instance with it; RDS is away for longer than
# the usual minute when it is rebooted, upgraded or moved.
lease_timeout = 900.0

[ec2]
region = "REGION"
image_id = "IMAGE_ID"
instance_type = ["t3.micro", "t3a.micro"]
subnet_ids = [SUBNET_IDS]
security_group_ids = ["APP_GROUP_ID"]
iam_instance_profile = "bbs-app"
address = "public"
name = "bbs"
log_group = "LOG_GROUP"

[log]
format = "json"
END

# The broker, with the password of broker.url.
/opt/bbs/bin/python /usr/local/lib/bbs-stack/broker.py

# Its log goes to CloudWatch Logs, where a group is named.
region="REGION"
log_group="LOG_GROUP"
if [ -n "$log_group" ]; then
    cat >/etc/bbs/logs.env <<END
AWS_REGION=$region
BBS_LOG_GROUP=$log_group
BBS_LOG_STREAM=$(cat /var/lib/cloud/data/instance-id)
END
    systemctl start --no-block bbs-logs.service
fi
systemctl enable --now --no-block bbs-broker.service bbs-login.service
