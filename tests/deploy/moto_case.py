"""Tests with an AWS account in moto, within this process."""

from __future__ import annotations

import os
from functools import cache
from typing import Any
from unittest import mock

import boto3
from botocore.loaders import create_loader
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


LOADER = create_loader()
"""Keeps what it has read of the description of each service: for all sessions, moto's too, which
would read each of them again."""


@cache
def client(service: str, purpose: str = "") -> Any:
    """The client of a service, which takes longer to make than what it is asked for. One with a
    `purpose` is another, whose events can be watched."""
    return boto3.client(service, region_name=REGION)  # type: ignore[call-overload]


class MotoCase(SynchronousTestCase):
    """Tests that ask moto. What there is in the account stays from test to test."""

    def enter(self, anew: bool = False) -> None:
        """Begin to ask moto; with `anew` an account in which there is nothing."""
        self.moto = mock_aws()
        for patch in (
            mock.patch.dict(os.environ, IDENTITY),
            mock.patch("botocore.session.create_loader", lambda *_: LOADER),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.moto.start(reset=anew)
        self.addCleanup(self.moto.stop, remove_data=False)
