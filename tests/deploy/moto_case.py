"""Tests with an AWS account in moto, within this process."""

from __future__ import annotations

import os
from functools import cache
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws
from twisted.trial.unittest import SynchronousTestCase

from tests.deploy.aws_policies import REGION

IDENTITY = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}


@cache
def session() -> boto3.session.Session:
    """One for all tests of a process: it keeps what it has read of each service."""
    return boto3.session.Session(region_name=REGION)


@cache
def client(service: str, purpose: str = "") -> Any:
    """The client of a service, which takes longer to make than what it is asked for. One with a
    `purpose` is another, whose events can be watched."""
    return session().client(service)  # type: ignore[call-overload]


class MotoCase(SynchronousTestCase):
    """Tests that ask moto. What there is in the account stays from test to test."""

    def enter(self, anew: bool = False) -> None:
        """Begin to ask moto; with `anew` an account in which there is nothing."""
        self.moto = mock_aws()
        environ = mock.patch.dict(os.environ, IDENTITY)
        environ.start()
        self.addCleanup(environ.stop)
        self.moto.start(reset=anew)
        self.addCleanup(self.moto.stop, remove_data=False)
