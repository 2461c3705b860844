"""A few people on a few app servers, while all of it goes over to the next version: a small one of
`python -m tests.rolling`."""

from __future__ import annotations

from tests.integration.test_ec2_service import CloudServiceCase
from tests.rolling.roll import Numbers, Rolling, Story, sections


class Small(CloudServiceCase):
    async def test_nobody_notices(self) -> None:
        numbers = Numbers()
        service = await self.on_cloud(0.2, 0, **sections(numbers))
        told: list[str] = []
        found = await Rolling(service, numbers, Story(told.append)).carry_out()
        self.assertTrue(found.well, (found, told))
        self.assertGreater(found.sent, 5 * numbers.people)
