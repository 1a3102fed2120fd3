"""The manifests for Kubernetes: fields by its own schemas, values by the program's own tables."""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from segmif.runtime import open_runtime
from service.app import create_app
from service.settings import Settings
from service.settings.environment import PREFIX
from service.settings.limits import PATHS, PROBES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SUPPORTED = ("1.30", "1.37")  # the oldest with preStop.sleep, and the newest known here
DEPLOYMENTS = ("cpu", "gpu")
TRIED = 10  # fields of each manifest that are misspelt, evenly spread
Manifest = dict[str, Any]

# Fields of kinds that Kubernetes does not bring, as far as we use them, from the sources of their
# projects (prometheus-operator 0.70 and later, KServe 0.11 and later, kustomize 5). `*` is a list.
CUSTOM: dict[str, set[str]] = {
    "ServiceMonitor": {
        "spec.selector.matchLabels",
        "spec.endpoints.*.port",
        "spec.endpoints.*.path",
        "spec.endpoints.*.interval",
        "spec.endpoints.*.authorization.credentials.name",
        "spec.endpoints.*.authorization.credentials.key",
    },
    "Kustomization": {"resources.*"},
}
# KServe's predictor is a pod's spec with these.
PREDICTOR = {"minReplicas": int, "maxReplicas": int}
# Names in these are chosen by whoever writes a manifest.
FREE = {"labels", "annotations", "matchLabels", "nodeSelector", "stringData", "requests", "limits"}


def manifests() -> dict[str, Manifest]:
    files = [file for file in sorted(FOLDER.rglob("*.yaml")) if file.name != "adapter-rules.yaml"]
    return {str(f.relative_to(FOLDER)): yaml.safe_load(f.read_text()) for f in files}


ALL = manifests()


def check(manifest: Manifest, versions: tuple[str, ...] = SUPPORTED[-1:]) -> None:
    """Raise an exception for a manifest with a field that its kind does not have."""
    kind = manifest["kind"]
    if kind == "InferenceService":
        check_top(manifest)
        (predictor,) = manifest["spec"].values()
        assert set(manifest["spec"]) == {"predictor"}
        spec = dict(predictor)
        for name, type_ in PREDICTOR.items():
            assert isinstance(spec.pop(name), type_)
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": manifest["metadata"], "spec": spec}
        check(pod, versions)
    elif kind in CUSTOM:
        check_top(manifest)
        rest = {k: v for k, v in manifest.items() if k not in ("apiVersion", "kind", "metadata")}
        found = {re.sub(r"(matchLabels)\..*", r"\1", path) for path in leaves(rest)}
        assert found <= CUSTOM[kind], found - CUSTOM[kind]
    else:
        for version in versions:
            validate(manifest, version)


def check_top(manifest: Manifest) -> None:
    """The frame of a manifest that Kubernetes' schemas do not know, as that of a ConfigMap."""
    assert set(manifest) <= {"apiVersion", "kind", "metadata", "spec", "resources"}
    stand_in = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest.get("metadata", {})}
    validate(stand_in, SUPPORTED[-1])


def validate(manifest: Manifest, version: str) -> None:
    """Raise kubernetes_validate.ValidationError if it is not as the version's schema has it."""
    import kubernetes_validate  # 3 s of CPU time, which only the worker with these tests spends

    kubernetes_validate.validate(manifest, version, strict=True)


def leaves(value: object, path: str = "") -> Iterator[str]:
    """The paths of all that is no mapping and no list."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}".strip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, f"{path}.*")
    else:
        yield path


def fields(value: object) -> Iterator[tuple[dict[str, Any], str]]:
    """Each mapping with each of its names, but names that are free."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield value, name
            if name not in FREE and not is_labels(name, inner):
                yield from fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner)


def is_labels(name: str, value: object) -> bool:
    """Whether this is a Service's selector, which is labels without `matchLabels`."""
    return name == "selector" and isinstance(value, dict) and "matchLabels" not in value


@pytest.mark.parametrize("name", ALL)
def test_each_field_is_known_and_a_misspelt_one_is_caught(name: str) -> None:
    from kubernetes_validate import ValidationError

    check(ALL[name], SUPPORTED)
    held = len(list(fields(ALL[name])))
    for number in range(0, held, max(1, held // TRIED)):
        broken = copy.deepcopy(ALL[name])
        mapping, field = list(fields(broken))[number]
        mapping[f"{field}x"] = mapping.pop(field)
        with pytest.raises((ValidationError, AssertionError, KeyError, ValueError)):
            check(broken)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_kustomize_puts_them_together(name: str) -> None:
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("kubectl is not installed: it renders the manifests")
    command = [program, "kustomize", str(FOLDER / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kinds = {each["kind"] for each in yaml.safe_load_all(done.stdout)}
    assert {"Deployment", "Service", "HorizontalPodAutoscaler"} < kinds
    assert "Secret" not in kinds  # it would replace the token at each update
    assert ("PersistentVolumeClaim" in kinds) == (name == "gpu")


def test_every_manifest_is_listed() -> None:
    for folder in ("base", *DEPLOYMENTS):
        listed = set(ALL[f"{folder}/kustomization.yaml"]["resources"]) - {"../base"}
        there = {file.name for file in (FOLDER / folder).glob("*.yaml")}
        assert listed == there - {"kustomization.yaml"}


def pods() -> dict[str, Manifest]:
    found = {
        name: ALL[f"{name}/deployment.yaml"]["spec"]["template"]["spec"] for name in DEPLOYMENTS
    }
    return found | {"kserve": ALL["kserve/inference-service.yaml"]["spec"]["predictor"]}


POD: Callable[[Any], Any] = pytest.mark.parametrize("pod", pods().values(), ids=pods())


@POD
def test_probes_ask_for_what_the_service_answers(pod: Manifest) -> None:
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings().port
    for kind in ("startup", "readiness", "liveness"):
        asked = container[f"{kind}Probe"]["httpGet"]
        assert asked["path"] in PROBES
        assert asked["port"] in (port.get("name"), port["containerPort"])
        assert ("live" in asked["path"]) == (kind == "liveness")


@POD
def test_times_leave_room_for_what_the_service_does(pod: Manifest) -> None:
    (container,) = pod["containers"]
    given = variables(container)
    settings = Settings(drain_s=int(given.get("SEGMIF_DRAIN_S") or Settings().drain_s))
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod["terminationGracePeriodSeconds"] > sleep + settings.drain_s
    startup = container["startupProbe"]
    assert startup["failureThreshold"] * startup["periodSeconds"] > settings.self_test_s


@POD
def test_variables_are_settings(pod: Manifest) -> None:
    (container,) = pod["containers"]
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    given = variables(container)
    assert set(given) <= known
    stated = {n.removeprefix(PREFIX).lower(): v for n, v in given.items() if v is not None}
    Settings.model_validate(stated)
    (token,) = (each for each in container["env"] if each["name"] == "SEGMIF_TOKEN")
    reference = token["valueFrom"]["secretKeyRef"]
    secret = ALL["secret.yaml"]
    assert reference["name"] == secret["metadata"]["name"]
    assert secret["stringData"][reference["key"]] == ""  # nobody's token is in the repository


def variables(container: Manifest) -> dict[str, str | None]:
    return {each["name"]: each.get("value") for each in container["env"]}


@POD
def test_images_and_users_are_those_of_the_dockerfiles(pod: Manifest) -> None:
    (container,) = pod["containers"]
    kind = container["image"].removeprefix("segmif:")
    dockerfile = (ROOT / "docker" / f"service.{kind}.Dockerfile").read_text()
    assert f"-t {container['image']} ." in dockerfile
    user = int(re.findall(r"^USER (\d+)", dockerfile, re.MULTILINE)[-1])
    security = {**pod.get("securityContext", {}), **container["securityContext"]}
    assert security["runAsUser"] == user
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    for written in re.findall(r"^VOLUME (\S+)", dockerfile, re.MULTILINE):
        assert written in mounted.values()


def test_everything_means_the_same_pods() -> None:
    labels = ALL["cpu/deployment.yaml"]["spec"]["template"]["metadata"]["labels"]
    service, budget = ALL["base/service.yaml"], ALL["base/disruption-budget.yaml"]
    policy, monitor = ALL["base/network-policy.yaml"], ALL["base/service-monitor.yaml"]
    assert service["spec"]["selector"] == labels == service["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels
    assert monitor["spec"]["selector"]["matchLabels"] == labels
    for name in DEPLOYMENTS:
        deployment = ALL[f"{name}/deployment.yaml"]
        assert deployment["spec"]["template"]["metadata"]["labels"] == labels
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert "replicas" not in deployment["spec"]  # the autoscaler's
    target = ALL["base/autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    claim = pods()["gpu"]["volumes"][-1]["persistentVolumeClaim"]["claimName"]
    assert claim == ALL["gpu/engine-cache.yaml"]["metadata"]["name"]
    (port,) = service["spec"]["ports"]
    (of_pod,) = pods()["cpu"]["containers"][0]["ports"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert port["targetPort"] == of_pod["name"]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] in dict(PATHS)
    assert policy["spec"]["ingress"][0]["ports"][0]["port"] == of_pod["name"]


def test_the_autoscaler_reads_a_number_of_ours(stand_in_weights: Path) -> None:
    (metric,) = ALL["base/autoscaler.yaml"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    app = create_app(Settings(weights=stand_in_weights), open_runtime(stand_in_weights, threads=1))
    assert f"# TYPE {name} gauge" in app.state.dispatcher.metrics.text().decode()
    assert int(metric["pods"]["target"]["averageValue"]) < Settings().max_pending
    (rule,) = yaml.safe_load((FOLDER / "adapter-rules.yaml").read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(name + "{")
    app.state.dispatcher.runtime.close()
