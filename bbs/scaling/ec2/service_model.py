"""Takes from botocore what a call of the EC2 API needs: its description of the service, its
serializer and signer, its rules for endpoints, and its settings of proxies and authorities.

All of it is loaded in a thread, which imports this module, as that imports botocore. The
description is 4 MiB of JSON: only the parts that the actions need become objects that stay.
"""

from __future__ import annotations

import gzip
import json
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

import botocore
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.endpoint_provider import EndpointProvider
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.loaders import JSONFileLoader
from botocore.model import OperationModel, ServiceModel
from botocore.serialize import EC2Serializer
from botocore.session import Session
from botocore.utils import get_environ_proxies, validate_region_name
from botocore.validate import ParamValidator

from bbs import __version__
from bbs.config import EC2
from bbs.core.addresses import has_tls
from bbs.scaling.ec2.errors import NEEDS_TLS, EC2Error, Verdict
from bbs.scaling.ec2.transport import ResponseParser

NOBODY = ReadOnlyCredentials("", "", None)

_SERVICE, _MODEL = "ec2", "service-2"
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class SignedRequest(NamedTuple):
    url: str
    headers: Mapping[str, str]
    body: bytes


class Route(NamedTuple):
    """The way to the endpoint: whose certificates to trust (`twisted.internet.ssl`'s trust root;
    None for plain HTTP), and the proxy, if any, with its headers."""

    trust: Any
    proxy: str | None
    proxy_headers: Mapping[str, str]


class _Signer(SigV4Auth):
    """Signs for a moment that is given: this machine's clock may be wrong."""

    def __init__(self, keys: Any, service: str, region: str, now: float) -> None:
        super().__init__(keys, service, region)
        self._timestamp = datetime.fromtimestamp(now, UTC).strftime(SIGV4_TIMESTAMP)

    def _modify_request_before_signing(self, request: Any) -> None:
        request.context["timestamp"] = self._timestamp
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # not in the stubs


class Description:
    """All that a client needs before the first call."""

    def __init__(self, url: str, region: str, name: str, route: Route, actions: Any) -> None:
        self.url = url
        self.route = route
        self._region = region
        self._name = name
        bare = AWSRequest(method="POST", url=url)
        self._host = SigV4Auth(NOBODY, name, region).headers_to_sign(bare)["host"]
        self._actions: Mapping[str, tuple[OperationModel, ResponseParser]] = actions
        self._serializer = EC2Serializer()
        self._validator = ParamValidator()
        self._agent = f"bbs/{__version__} Botocore/{botocore.__version__}"

    def request(
        self, action: str, parameters: Mapping[str, Any], keys: Any, now: float
    ) -> SignedRequest:
        """A call, signed with `keys` at the moment `now`, in seconds since the epoch. `EC2Error`:
        the parameters are malformed."""
        operation, _ = self._actions[action]
        values = dict(parameters)
        if action == "RunInstances" and "UserData" in values:
            # As boto3 does for its callers.
            values["UserData"] = b64encode(values["UserData"].encode()).decode("ascii")
        report = self._validator.validate(values, operation.input_shape)  # type: ignore[arg-type]
        if report.has_errors():
            # Next in the report is the value, which can be user data.
            wrong = report.generate_report().partition(", value")[0]
            text = f"{action}: {' '.join(wrong.split())}; correct [ec2] in the configuration"
            raise EC2Error(Verdict.REFUSED, "ParamValidationError", text)
        serialized = self._serializer.serialize_to_request(values, operation)
        body = urlencode(serialized["body"], doseq=True).encode("ascii")
        headers = {**serialized["headers"], "Host": self._host, "User-Agent": self._agent}
        request = AWSRequest(method="POST", url=self.url, headers=headers, data=body)
        _Signer(keys, self._name, self._region, now).add_auth(request)
        return SignedRequest(self.url, dict(request.headers.items()), body)

    def reader(self, action: str) -> ResponseParser:
        return self._actions[action][1]


def describe(config: EC2, actions: Sequence[str]) -> Description:
    """The description of these `actions`. This blocks, and may raise botocore's errors."""
    session = Session()
    loader = session.get_component("data_loader")
    loader.file_loader = ServiceModelLoader(actions)
    validate_region_name(config.region)
    url, region, name = _endpoint(session, loader, config)
    return Description(url, region, name, _route(session, url), _actions(loader, actions))


# The service


class ServiceModelLoader(JSONFileLoader):
    """Loads only the parts of a service's description that some actions need."""

    def __init__(self, actions: Sequence[str]) -> None:
        self._actions = actions

    def load_file(self, file_path: str) -> Any:
        if os.path.basename(file_path) != _MODEL:
            return super().load_file(file_path)
        for path, opened in ((f"{file_path}.json", open), (f"{file_path}.json.gz", gzip.open)):
            if os.path.isfile(path):
                with opened(path, "rb") as file:
                    # One byte a character: otherwise the text would take twice the memory. JSON's
                    # own characters are ASCII.
                    return parts(file.read().decode("latin-1"), self._actions)
        return None


def parts(text: str, actions: Sequence[str]) -> Any:
    """The actions of a service's description, and the shapes that they lead to. Each part is
    decoded quickly, so that other threads can run."""
    places = dict(_members(text, 0))
    operations = {
        name: _decoded(text, place)
        for name, place in _members(text, places["operations"].start)
        if name in actions
    }
    shapes_at = dict(_members(text, places["shapes"].start))
    return {
        "version": "2.0",
        "metadata": _decoded(text, places["metadata"]),
        "operations": operations,
        "shapes": _shapes(operations, lambda name: _decoded(text, shapes_at[name])),
    }


def _shapes(operations: Mapping[str, Any], shape: Callable[[str], Any]) -> dict[str, Any]:
    """The shapes that operations lead to, by name; `shape` gives one."""
    found: dict[str, Any] = {}
    wanted = [
        operation[way]["shape"]
        for operation in operations.values()
        for way in ("input", "output")
        if way in operation
    ]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = shape(name)
            wanted += _led_to(found[name])
    return found


def _led_to(shape: Any) -> Iterator[str]:
    for member in (*shape.get("members", {}).values(), *map(shape.get, ("member", "key", "value"))):
        if member:
            yield member["shape"]


_BLANKS = re.compile(r"[ \t\r\n]*")


def _members(text: str, at: int) -> Iterator[tuple[str, slice]]:
    """The members of the object at `at`, with the place of each value."""
    decoder = json.JSONDecoder()
    at = _after(text, at, "{")
    while text[at] != "}":
        name, at = decoder.raw_decode(text, at)
        start = _after(text, at, ":")
        _, end = decoder.raw_decode(text, start)
        yield name, slice(start, end)
        at = _BLANKS.match(text, end).end()  # type: ignore[union-attr]  # it matches anything
        if text[at] == ",":
            at = _after(text, at, ",")


def _after(text: str, at: int, mark: str) -> int:
    at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]
    if text[at] != mark:
        raise ValueError(f"no {mark} at {at}")
    return _BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]


def _decoded(text: str, place: slice) -> Any:
    return json.loads(text[place].encode("latin-1"), object_hook=_undocumented)


def _undocumented(value: dict[str, Any]) -> dict[str, Any]:
    if isinstance(value.get("documentation"), str):
        del value["documentation"]
    return value


def _actions(loader: Any, actions: Sequence[str]) -> Any:
    model = loader.load_service_model(_SERVICE, _MODEL)
    answers = ServiceModel(model, _SERVICE)
    readers = {
        action: ResponseParser(answers.operation_model(action).output_shape) for action in actions
    }
    # Tables read the answers, whose shapes are most of the model: calls need none of them.
    operations = {
        name: {key: value for key, value in operation.items() if key != "output"}
        for name, operation in model["operations"].items()
    }
    shapes = _shapes(operations, model["shapes"].__getitem__)
    calls = ServiceModel({**model, "operations": operations, "shapes": shapes}, _SERVICE)
    return {action: (calls.operation_model(action), readers[action]) for action in actions}


# The endpoint, and the way to it


def _endpoint(session: Session, loader: Any, config: EC2) -> tuple[str, str, str]:
    """The URL, and the region and the name of the service that calls are signed for."""
    rules = EndpointProvider(
        loader.load_service_model(_SERVICE, "endpoint-rule-set-1"), loader.load_data("partitions")
    )
    given = config.endpoint_url or _configured(session)
    asked: dict[str, Any] = {"Region": config.region, "UseFIPS": False, "UseDualStack": False}
    if given:
        asked["Endpoint"] = given
    else:
        asked["UseFIPS"] = bool(session.get_config_variable("use_fips_endpoint"))
        asked["UseDualStack"] = bool(session.get_config_variable("use_dualstack_endpoint"))
    found = rules.resolve_endpoint(**asked)
    url = found.url.rstrip("/") + "/"
    if not re.match(r"https?://[^/]", url):
        raise ValueError(f"Invalid endpoint: {given}")
    scheme: Any = next(iter(found.properties.get("authSchemes", [])), {})
    region = scheme.get("signingRegion", config.region)
    return url, region, scheme.get("signingName", _SERVICE)


def _configured(session: Session) -> str | None:
    """The endpoint that the environment or a profile names, as botocore honours them."""
    from botocore.configprovider import ConfiguredEndpointProvider

    if session.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    url = ConfiguredEndpointProvider(
        full_config=session.full_config,
        scoped_config=session.get_scoped_config(),
        client_name=_SERVICE,
    ).provide()
    return str(url) if url else None


def _route(session: Session, url: str) -> Route:
    proxies = ProxyConfiguration(proxies=get_environ_proxies(url))
    proxy = proxies.proxy_url_for(url)
    headers = {str(k): str(v) for k, v in proxies.proxy_headers_for(proxy).items()} if proxy else {}
    if not url.startswith("https:"):
        if proxy:
            raise ValueError("HTTP_PROXY: a proxy is used for https endpoints only; set NO_PROXY")
        return Route(None, None, {})
    if proxy and not proxy.startswith("http:"):
        raise ValueError("HTTPS_PROXY: a proxy must have an http:// URL")
    if not has_tls():
        raise EC2Error(Verdict.REFUSED, "NoTLS", NEEDS_TLS)
    return Route(_trust(session), proxy, headers)


def _trust(session: Session) -> Any:
    """The authorities that AWS_CA_BUNDLE or a profile names, or else those of boto3."""
    from twisted.internet.ssl import Certificate, trustRootFromCertificates

    path = str(session.get_config_variable("ca_bundle") or get_cert_path(True))
    try:
        with open(path, "rb") as file:
            found = _PEM.findall(file.read())
    except OSError as error:
        raise ValueError(f"AWS_CA_BUNDLE: {path}: {error.strerror}") from None
    if not found:
        raise ValueError(f"AWS_CA_BUNDLE: {path}: no certificate in it (PEM)")
    return trustRootFromCertificates([Certificate.loadPEM(each) for each in found])
