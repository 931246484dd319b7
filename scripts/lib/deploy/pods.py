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
    """Both programs linger and drain within their grace, for as long as others look; their readiness tells of it."""
    # The prefix of the variables, how long whoever sends to a pod may not have noticed, and what comes after draining:
    # of the box office 5 s for sockets, 6 s to hand back payments.
    ends = {"edge": ("VESTIBULE_", 4, 5), "backend": ("", 10, 11)}
    for variant, pod in every_pod(tree):
        if pod.name not in ends:
            continue
        prefix, unnoticed, more = ends[pod.name]
        told = tree.data(variant, f"{pod.name}-environment")
        linger, drain = (seconds(told.get(prefix + name, "")) for name in ("LINGER", "DRAIN"))
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        where = f"{variant}: {pod}"
        if linger is None or drain is None:
            yield f"{where}: {prefix}LINGER and {prefix}DRAIN are not whole seconds"
        elif linger + drain + more > grace:
            yield f"{where}: lingers and drains for {linger + drain} s of {grace} s of grace: {more} s are missing"
        elif linger <= unnoticed:
            yield f"{where}: lingers for {linger} s, others may not have noticed for {unnoticed} s"
        container = pod.spec["containers"][0]
        if container.get("readinessProbe", {}).get("httpGet", {}).get("path") != "/readyz":
            yield f"{where}: readiness does not ask /readyz, which tells of the end"
        if "lifecycle" in container:
            yield f"{where}: waits before it is told to end, and lingers once more then"


def seconds(text: str) -> int | None:
    found = re.fullmatch(r"(\d+)s", text)
    return int(found[1]) if found else None


def every_pod(tree: Tree) -> Iterator[tuple[str, Pod]]:
    for variant in VARIANTS:
        for pod in tree.pods(variant):
            yield variant, pod
