"""What every pod must be: bounded, restricted, pinned, placed apart, replaced without a gap."""

import re
from collections.abc import Iterator

from tree import VARIANTS, Pod, Tree

UNITS = {"m": 0.001, "": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def limits(tree: Tree) -> Iterator[str]:
    """Every container asks for CPU and memory, and has a limit of both that is no less."""
    for variant, pod in every_pod(tree):
        for container in pod.containers:
            resources = container.get("resources", {})
            for what in ("cpu", "memory"):
                wants, most = (resources.get(side, {}).get(what) for side in ("requests", "limits"))
                if wants is None or most is None:
                    yield f"{variant}: {pod}: container {container['name']} has no request and limit of {what}"
                elif amount(wants) > amount(most):
                    yield f"{variant}: {pod}: container {container['name']} asks for more {what} than its limit"


def amount(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w*)", str(text)).groups()
    return float(number) * UNITS[unit]


def images(tree: Tree) -> Iterator[str]:
    """A tag each, never `latest`; ours have the version of the workspace."""
    for variant, pod in every_pod(tree):
        for container in pod.containers:
            name, _, tag = container["image"].rpartition(":")
            if not name or "/" in tag or tag == "latest":
                yield f"{variant}: {pod}: image {container['image']} has no fixed tag"
            elif name.rpartition("/")[2] in ("vestibule", "box-office") and tag != tree.facts.version:
                yield f"{variant}: {pod}: image {container['image']} is not version {tree.facts.version} of Cargo.toml"


def restricted(tree: Tree) -> Iterator[str]:
    """Pod Security `restricted`, and more: nothing to write on, no token, no variables of services."""
    for variant, pod in every_pod(tree):
        where = f"{variant}: {pod}"
        whole = pod.spec.get("securityContext", {})
        if whole.get("runAsNonRoot") is not True or not whole.get("runAsUser"):
            yield f"{where}: may run as root"
        if whole.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{where}: has no seccomp profile"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{where}: gets a token of the API"
        if pod.spec.get("enableServiceLinks") is not False:
            yield f"{where}: gets variables of every service"
        for host in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.spec.get(host):
                yield f"{where}: uses {host}"
        for container in pod.containers:
            own = container.get("securityContext", {})
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{where}: container {container['name']} can write its root file system"
            if own.get("allowPrivilegeEscalation") is not False:
                yield f"{where}: container {container['name']} may gain privileges"
            if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
                yield f"{where}: container {container['name']} keeps capabilities"
    for variant in VARIANTS:
        for space in tree.of_kind(variant, "Namespace"):
            if space["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
                yield f"{variant}: Namespace {space['metadata']['name']} does not enforce `restricted`"


def rollouts(tree: Tree) -> Iterator[str]:
    """No gap in a rollout, a budget for drained nodes, pods apart, and one who says how many there are."""
    for variant, pod in every_pod(tree):
        if pod.kind != "Deployment":
            continue
        where, spec = f"{variant}: {pod}", pod.workload["spec"]
        strategy = spec.get("strategy", {}).get("rollingUpdate", {})
        if strategy.get("maxUnavailable") != 0 or not strategy.get("maxSurge"):
            yield f"{where}: a rollout leaves a gap: maxUnavailable must be 0, maxSurge at least 1"
        budgets = [
            item for item in tree.of_kind(variant, "PodDisruptionBudget") if selects(item["spec"]["selector"], pod)
        ]
        if len(budgets) != 1:
            yield f"{where}: {len(budgets)} PodDisruptionBudgets, not one"
        if not pod.spec.get("topologySpreadConstraints") or not pod.spec.get("affinity", {}).get("podAntiAffinity"):
            yield f"{where}: its pods may all be in one place"
        scalers = [
            item
            for item in tree.of_kind(variant, "HorizontalPodAutoscaler", "ScaledObject")
            if item["spec"]["scaleTargetRef"]["name"] == pod.name
        ]
        if len(scalers) + ("replicas" in spec) != 1:
            number = spec.get("replicas", "no")
            yield f"{where}: {len(scalers)} autoscalers and `replicas` {number}: exactly one may decide"


def selects(selector: dict, pod: Pod) -> bool:
    """A label selector, empty ones included."""
    if any(pod.labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "In" or pod.labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def probes(tree: Tree) -> Iterator[str]:
    """Liveness says that the process answers, and asks nobody else: an outage of a store must restart nobody."""
    alone = {"edge": "/livez", "backend": "/healthz"}
    for variant, pod in every_pod(tree):
        if pod.kind in ("CronJob", "Job"):
            continue
        container = pod.spec["containers"][0]
        if "readinessProbe" not in container:
            yield f"{variant}: {pod}: has no readiness probe"
        if pod.name in alone:
            path = container.get("livenessProbe", {}).get("httpGet", {}).get("path")
            if path != alone[pod.name]:
                yield f"{variant}: {pod}: liveness asks {path}, which is not {alone[pod.name]}"
            if "startupProbe" not in container:
                yield f"{variant}: {pod}: has no startup probe"


def endings(tree: Tree) -> Iterator[str]:
    """The edge lingers and drains within its grace; the box office has time for what its preStop leaves."""
    for variant, pod in every_pod(tree):
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        if pod.name == "edge":
            told = tree.data(variant, "edge-environment")
            spans = [seconds(told.get(name, "")) for name in ("VESTIBULE_LINGER", "VESTIBULE_DRAIN")]
            if None in spans:
                yield f"{variant}: {pod}: VESTIBULE_LINGER and VESTIBULE_DRAIN are not whole seconds"
            elif sum(spans) + 5 > grace:
                yield f"{variant}: {pod}: lingers and drains for {sum(spans)} s of {grace} s of grace: 5 s are missing"
        elif pod.name == "backend":
            pause = pod.spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            # 10 s for requests, 5 s for sockets, and what workers have in hand.
            if pause < 10 or pause + 25 > grace:
                yield f"{variant}: {pod}: sleeps {pause} of {grace} s: edges look up names every 10 s, ending takes 25"


def seconds(text: str) -> int | None:
    found = re.fullmatch(r"(\d+)s", text)
    return int(found[1]) if found else None


def every_pod(tree: Tree) -> Iterator[tuple[str, Pod]]:
    for variant in VARIANTS:
        for pod in tree.pods(variant):
            yield variant, pod
