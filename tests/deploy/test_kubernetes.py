"""The manifests in `deploy/kubernetes`, checked without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from bbs import __version__
from bbs.config import ConfigError, Configuration, load
from bbs.core.addresses import Address
from tests.paths import CHECKOUT

FOLDER = CHECKOUT / "deploy/kubernetes"

FILES = ("configuration", "login", "app", "telnet")
"""In the order in which they are applied."""

VERSIONS = ("1.29", kubernetes_validate.latest_version())

PLACES = {"bbs-login": 22222, "bbs-app": 22223, "bbs-telnet": 2323}
"""Where each workload's people come in."""


def manifests() -> list[dict[str, Any]]:
    """Every object, in the order of the files."""
    texts = [(FOLDER / f"{name}.yaml").read_text("utf-8") for name in FILES]
    return [each for text in texts for each in yaml.safe_load_all(text)]


class Manifests(SynchronousTestCase):
    def setUp(self) -> None:
        self.objects = manifests()

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [each for each in self.objects if each["kind"] in kinds]

    def workloads(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
        """Each with its name, its Pod's spec and its only container."""
        for each in self.of("Deployment", "StatefulSet"):
            spec = each["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            yield each["metadata"]["name"], spec, container

    def test_files(self) -> None:
        """The page applies every file, in this order."""
        page = (CHECKOUT / "docs/kubernetes.md").read_text("utf-8")
        applied = re.findall(r"-f deploy/kubernetes/(\w+)\.yaml", page)
        self.assertEqual(applied, [*FILES])
        self.assertEqual({path.stem for path in FOLDER.glob("*.yaml")}, {*FILES})

    def test_version(self) -> None:
        """The images are of this version."""
        for name, _, container in self.workloads():
            self.assertEqual(container["image"].rpartition(":")[2], __version__, name)

    def test_schema(self) -> None:
        """Each is what Kubernetes takes, and has no field that it does not know."""
        for each in self.objects:
            for version in VERSIONS:
                kubernetes_validate.validate(each, version, strict=True)
        self.assertRaises(
            kubernetes_validate.ValidationError,
            kubernetes_validate.validate,
            {**self.objects[0], "specs": {}},
            VERSIONS[0],
            strict=True,
        )

    def test_one_place(self) -> None:
        """All are in one namespace, under names of their own."""
        names = [(each["kind"], each["metadata"]["name"]) for each in self.objects]
        self.assertEqual(len(set(names)), len(names))
        spaces = {each["metadata"].get("namespace") for each in self.objects[1:]}
        self.assertEqual(spaces, {self.objects[0]["metadata"]["name"]})

    def test_who_reaches_what(self) -> None:
        """People reach each workload's own port alone, and no Pod reaches the node's metadata."""
        policies = {each["metadata"]["name"]: each["spec"] for each in self.of("NetworkPolicy")}
        self.assertEqual(policies.keys(), PLACES.keys())
        for name, _, container in self.workloads():
            policy = policies[name]
            self.assertEqual(policy["podSelector"]["matchLabels"], {"app": name})
            self.assertEqual({*policy["policyTypes"]}, {"Ingress", "Egress"})
            (way_in,) = policy["ingress"]
            numbers = {each["name"]: each["containerPort"] for each in container["ports"]}
            self.assertEqual([numbers[each["port"]] for each in way_in["ports"]], [PLACES[name]])
            (way_out,) = policy["egress"]
            kept = [each for block in way_out["to"] for each in block["ipBlock"]["except"]]
            self.assertEqual(kept, ["169.254.169.254/32", "fd00:ec2::254/128"])
            self.assertIn("memory", container["resources"]["limits"])

    def test_selectors(self) -> None:
        """Whatever selects Pods selects some, and each workload has a budget and its people's
        Service."""
        labels = {}
        for each in self.of("Deployment", "StatefulSet"):
            name, spec = each["metadata"]["name"], each["spec"]
            labels[name] = spec["template"]["metadata"]["labels"]
            self.assertEqual(spec["selector"]["matchLabels"], labels[name])
            for spread in spec["template"]["spec"].get("topologySpreadConstraints", ()):
                self.assertEqual(spread["labelSelector"]["matchLabels"], labels[name])
        self.assertEqual(labels.keys(), PLACES.keys())
        budgets = [
            each["spec"]["selector"]["matchLabels"] for each in self.of("PodDisruptionBudget")
        ]
        self.assertEqual(budgets, [labels["bbs-login"], labels["bbs-app"]])
        for each in self.of("Service"):
            selector = each["spec"]["selector"]
            pod = selector.pop("statefulset.kubernetes.io/pod-name", None)
            if pod is not None:
                self.assertEqual(pod, each["metadata"]["name"])
            else:
                self.assertIn(selector, labels.values())

    def test_ports(self) -> None:
        """Servers listen where Services and probes look for them."""
        named = {
            name: {port["name"]: port["containerPort"] for port in container["ports"]}
            for name, _, container in self.workloads()
        }
        for name, _, container in self.workloads():
            self.assertIn(PLACES[name], named[name].values())
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if "httpGet" in container.get(probe, {}):
                    self.assertIn(container[probe]["httpGet"]["port"], named[name])
                elif probe in container:
                    _, url = container[probe]["exec"]["command"]
                    self.assertRegex(url, rf"^(bbs|telnet)://127\.0\.0\.1:{PLACES[name]}$")
        for each in self.of("Service"):
            selector = each["spec"]["selector"]
            ports = named[selector.get("app", "bbs-app")]
            for port in each["spec"]["ports"]:
                self.assertIn(port["targetPort"], ports)

    def test_contained(self) -> None:
        """Each is as the level `restricted` wants it, and no secret is in a variable."""
        for _, spec, container in self.workloads():
            self.assertFalse(spec["automountServiceAccountToken"])
            self.assertFalse(spec["enableServiceLinks"])
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(
                container["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )
            for variable in container.get("env", ()):
                self.assertNotIn("secretKeyRef", variable.get("valueFrom", {}))

    def test_mounts(self) -> None:
        """What is mounted is there, with the files that the configuration and variables name."""
        (secret,) = self.of("Secret")
        (config,) = self.of("ConfigMap")
        for _, spec, container in self.workloads():
            files = set()
            volumes = {each["name"]: each for each in spec["volumes"]}
            for mount in container["volumeMounts"]:
                volume = volumes.pop(mount["name"])
                if "secret" in volume:
                    self.assertEqual(volume["secret"]["secretName"], secret["metadata"]["name"])
                    items = [each["path"] for each in volume["secret"].get("items", ())]
                    files |= {
                        f"{mount['mountPath']}/{key}" for key in items or secret["stringData"]
                    }
                if "configMap" in volume:
                    files |= {f"{mount['mountPath']}/{key}" for key in config["data"]}
            self.assertEqual(volumes, {})
            said = " ".join([*container["args"], str(container.get("env", ""))])
            if "bbs.toml" in said:
                said += config["data"]["bbs.toml"]
            named = set(re.findall(r"(?:/etc/bbs|/run/secrets/bbs)/[\w.]+", said))
            self.assertTrue(named)
            self.assertEqual(named - files, set())

    def test_configuration(self) -> None:
        """Each server can read what it is told."""
        for name, _, container in self.workloads():
            config = self.loaded(container)
            if name == "bbs-app":
                room = config.limits.connections_per_address
                self.assertGreater(room, 2 * config.app.capacity, "for a gateway (docs/telnet.md)")
            section = getattr(config, name.partition("-")[2])
            self.assertEqual(section.listen[0].port, PLACES[name])

    def test_variables_of_services(self) -> None:
        """With those that Kubernetes makes of the Service `bbs-login`, no server would start."""
        self.assertRaises(ConfigError, load, None, {"BBS_LOGIN_PORT": "tcp://10.0.0.1:22222"})

    def test_addresses(self) -> None:
        """Each app server tells the name that its own Service has."""
        (app,) = self.of("StatefulSet")
        (container,) = app["spec"]["template"]["spec"]["containers"]
        told = next(each for each in container["env"] if each["name"] == "BBS_APP_ADDRESS")["value"]
        services = {
            each["metadata"]["name"]: each["metadata"]["annotations"]
            for each in self.of("Service")
            if "annotations" in each["metadata"]
        }
        pods = [f"{app['metadata']['name']}-{number}" for number in range(app["spec"]["replicas"])]
        self.assertEqual(list(services), pods)
        for pod in pods:
            address = Address.told(told.replace("$(POD)", pod), PLACES["bbs-app"])
            self.assertEqual([*services[pod].values()], [address.host])

    def loaded(self, container: dict[str, Any]) -> Configuration:
        """What a container's server makes of its configuration, variables and secrets."""
        folder = Path(self.mktemp())
        folder.mkdir()
        secret, config = self.of("Secret", "ConfigMap")
        for key, value in secret["stringData"].items():
            (folder / key).write_text(value)
        secrets = ("/run/secrets/bbs", str(folder))
        path = folder / "bbs.toml"
        path.write_text(config["data"]["bbs.toml"].replace(*secrets))
        variables = {
            each["name"]: each["value"].replace("$(POD)", "bbs-app-0").replace(*secrets)
            for each in container.get("env", ())
            if "value" in each
        }
        return load(str(path) if len(container["args"]) > 1 else None, variables)
