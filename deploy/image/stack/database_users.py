"""Gives the servers of the stack a database user that is not the master, with a new password for
each generation of passwords.

There are two users, in turns: the one that is not in use gets the new password and is written into
the secret. Servers that still have the other one work on; its password is changed by the next
generation. A machine that only does this holds the master's password: no server may read it.
"""

import json
import os
import secrets
from urllib.parse import urlsplit

import boto3
import pymysql
from signals import signal

USERS = ("bbs_a", "bbs_b")

RIGHTS = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"
"""What servers do in their own database: they also upgrade its schema. MariaDB asks nobody for
REFERENCES so far, and MySQL does for foreign keys."""

AUTHORITIES = "/etc/ssl/certs/rds.pem"


def version_of(generation):
    """The id of the secret's version that a generation makes: made once, it is there."""
    return f"bbs-database-generation-{generation:08d}"


def next_user(url):
    """The user that the secret's present URL does not name; `url` is empty at first."""
    present = urlsplit(url).username or USERS[1]
    return USERS[1] if present == USERS[0] else USERS[0]


def admit(connection, user, password):
    """Give a user this password, and rights in the database alone."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE USER IF NOT EXISTS %s@'%%' IDENTIFIED BY %s", (user, password))
        cursor.execute("ALTER USER %s@'%%' IDENTIFIED BY %s", (user, password))
        cursor.execute("REVOKE ALL PRIVILEGES, GRANT OPTION FROM %s@'%%'", (user,))
        cursor.execute(f"GRANT {RIGHTS} ON bbs.* TO %s@'%%'", (user,))


def present(store, secret):
    """The secret's URL, or nothing if it has never had one, and the ids of its versions."""
    versions = store.describe_secret(SecretId=secret).get("VersionIdsToStages", {})
    if not any("AWSCURRENT" in stages for stages in versions.values()):
        return "", versions
    return store.get_secret_value(SecretId=secret)["SecretString"], versions


def renew(store, connect, *, generation, master, secret, host):
    """Make the generation's user and secret, unless they have been made; returns what was done.

    :param connect: opens the database for a user's name and password.
    :param master: the secret with the master's password.
    :param secret: the secret with `database.url`.
    """
    url, versions = present(store, secret)
    version = version_of(generation)
    if version in versions:
        return f"generation {generation} of the database's passwords is there"
    held = json.loads(store.get_secret_value(SecretId=master)["SecretString"])
    user, password = next_user(url), secrets.token_hex(20)
    with connect(held["username"], held[f"password{generation}"]) as connection:
        admit(connection, user, password)
    connect(user, password).close()
    store.put_secret_value(
        SecretId=secret,
        ClientRequestToken=version,
        SecretString=f"mysql://{user}:{password}@{host}:3306/bbs?tls_ca={AUTHORITIES}",
    )
    return f"servers get the database user {user}"


def main():
    host = os.environ["STACK_DATABASE_HOST"]

    def connect(user, password):
        return pymysql.connect(
            host=host, user=user, password=password, ssl={"ca": AUTHORITIES}, connect_timeout=10
        )

    done = False
    try:
        print(
            renew(
                boto3.client("secretsmanager", region_name=os.environ["STACK_REGION"]),
                connect,
                generation=int(os.environ["STACK_GENERATION"]),
                master=os.environ["STACK_MASTER_SECRET"],
                secret=os.environ["STACK_DATABASE_SECRET"],
                host=host,
            )
        )
        done = True
    finally:
        signal("DatabaseUsers", done)


if __name__ == "__main__":
    main()
