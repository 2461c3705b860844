"""The launch template and the image that launches are built on, asked of EC2 and remembered."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from bbs.config import EC2
from bbs.gathering import Shared
from bbs.scaling.ec2 import template
from bbs.scaling.ec2.client import EC2Client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.template import Basis, Data

TEMPLATE_REMEMBERED = 300.0
"""Seconds after which a launch asks for the template anew: it may have another default version."""

# Keys of what is asked for together.
_BASIS = "the basis"

_log = Logger()


class Bases:
    """What launches are built on now. An image stays as it is for ever, a template does not."""

    def __init__(self, client: EC2Client, config: EC2, seconds: Callable[[], float]) -> None:
        self._client = client
        self._config = config
        self._seconds = seconds
        self._shared = Shared()
        self._basis: Basis | None = None
        self._asked = 0.0
        self._images: dict[str, Data] = {}

    async def get(self) -> Basis:
        """The basis of a launch. Where EC2 cannot say it again, it is as it was.

        :raises EC2Error: it cannot be had, or nothing can be launched on it.
        """
        if self._basis is None or self._is_old():
            try:
                await self._shared.join(_BASIS, self._ask)
            except EC2Error as error:
                if self._basis is None or error.verdict is Verdict.REFUSED:
                    raise
                _log.warn("the launch template may have changed: {error}", error=str(error))
        assert self._basis is not None
        return self._basis

    async def changed(self) -> bool:
        """Ask for the template anew, as a launch on it was refused; whether it is another now."""
        before = self._basis
        if not self._config.launch_template:
            return False
        await self._shared.join(_BASIS, self._ask)
        return self._basis != before

    def _is_old(self) -> bool:
        age = self._seconds() - self._asked
        return bool(self._config.launch_template) and age >= TEMPLATE_REMEMBERED

    async def _ask(self) -> None:
        data = await self._template()
        image = await self._image(template.image_id(self._config, data))
        self._basis, self._asked = Basis(data, image), self._seconds()

    async def _template(self) -> Data:
        if not self._config.launch_template:
            return {}
        spoken = template.named(self._config)
        answer = await self._client.describe_launch_template_versions(
            Versions=[spoken.pop("Version")], **spoken
        )
        versions = answer.get("LaunchTemplateVersions")
        if not versions:
            raise self._refusal("there is no such version of it")
        data: Data = versions[0]["LaunchTemplateData"]
        if misfit := template.misfit(self._config, data):
            raise self._refusal(misfit)
        return data

    async def _image(self, image: str) -> Data:
        if image not in self._images and image.startswith("ami-"):
            answer = await self._client.describe_images(ImageIds=[image])
            if not answer["Images"]:
                where = "ec2.launch_template" if not self._config.image_id else "ec2.image_id"
                text = f"there is no image {image}: {where}"
                raise EC2Error(Verdict.REFUSED, "NoImage", text)
            self._images[image] = answer["Images"][0]
        return self._images.get(image, {})

    def _refusal(self, why: str) -> EC2Error:
        text = f"the launch template {self._config.launch_template}: {why}"
        return EC2Error(Verdict.REFUSED, "LaunchTemplate", text)
