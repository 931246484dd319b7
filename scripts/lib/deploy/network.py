"""Who reaches whom: policies, ports, services, names."""

import re
import tomllib
from collections.abc import Iterator

from pods import every_pod, selects
from tree import VARIANTS, Pod, Tree, called

# All there is inside an installation, as (from, to, port); `local` has store and database inside too.
FLOWS = {("edge", "backend", 8090), ("backend", "edge", 8080)}
LOCAL_FLOWS = {("edge", "redis", 6379), ("backend", "postgres", 5432), ("books", "postgres", 5432)}


def policies_cover(tree: Tree) -> Iterator[str]:
    """Everything is closed, and each pod has a policy that speaks of it; with Cilium in both languages."""
    for variant in VARIANTS:
        yield from uncovered(tree, variant, "NetworkPolicy", "podSelector")
        if tree.of_kind(variant, "CiliumNetworkPolicy"):
            yield from uncovered(tree, variant, "CiliumNetworkPolicy", "endpointSelector")


def uncovered(tree: Tree, variant: str, kind: str, field: str) -> Iterator[str]:
    policies = tree.of_kind(variant, kind)
    closing = [item for item in policies if item["spec"][field] == {} and item["metadata"]["name"] == "default-deny"]
    if len(closing) != 1 or not closes_both(closing[0]["spec"]):
        yield f"{variant}: no {kind} closes every pod in both directions"
    for pod in tree.pods(variant):
        if not any(item["spec"][field] and selects(item["spec"][field], pod) for item in policies):
            yield f"{variant}: no {kind} speaks of {pod}"


def closes_both(spec: dict) -> bool:
    if "policyTypes" in spec:
        return set(spec["policyTypes"]) == {"Ingress", "Egress"} and not spec.get("ingress") and not spec.get("egress")
    return spec.get("ingress") == [{}] and spec.get("egress") == [{}]


def flows(tree: Tree) -> Iterator[str]:
    """Works out which pod reaches which, port by port, and compares it with what is meant."""
    for variant in VARIANTS:
        pods = tree.pods(variant)
        meant = FLOWS | (LOCAL_FLOWS if variant == "local" else set())
        open_ = {
            (here.name, there.name, port)
            for here in pods
            for there in pods
            for port in there.ports
            if here is not there and reaches(tree, variant, here, there, port)
        }
        for here, there, port in sorted(open_ - meant):
            yield f"{variant}: {here} reaches {there} on {port}, which nobody meant"
        for here, there, port in sorted(meant - open_):
            yield f"{variant}: {here} does not reach {there} on {port}"


def reaches(tree: Tree, variant: str, here: Pod, there: Pod, port: int) -> bool:
    return allowed(tree, variant, here, "egress", "to", there, port) and allowed(
        tree, variant, there, "ingress", "from", here, port
    )


def allowed(tree: Tree, variant: str, pod: Pod, way: str, side: str, other: Pod, port: int) -> bool:
    for item in tree.of_kind(variant, "NetworkPolicy"):
        if not selects(item["spec"]["podSelector"], pod):
            continue
        for rule in item["spec"].get(way, []):
            ports = [entry["port"] for entry in rule.get("ports", [])]
            if ports and port not in ports:
                continue
            peers = rule.get(side, [{"podSelector": {}}])
            if any(
                "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], other)
                for peer in peers
            ):
                return True
    return False


def ports(tree: Tree) -> Iterator[str]:
    """Probes, services, routes, policies and monitors name ports that exist."""
    for variant, pod in every_pod(tree):
        for container in pod.containers:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for how in ("httpGet", "tcpSocket"):
                    asked = container.get(probe, {}).get(how, {}).get("port")
                    if asked is not None and pod.port(asked) is None:
                        yield f"{variant}: {pod}: {probe} asks port {asked}, which it does not have"
    for variant in VARIANTS:
        pods = tree.pods(variant)
        for service in tree.of_kind(variant, "Service"):
            yield from service_problems(variant, service, pods)
        for policy in tree.of_kind(variant, "NetworkPolicy"):
            yield from policy_ports(variant, policy, pods)
        yield from routes(tree, variant)
        yield from monitors(tree, variant)


def service_problems(variant: str, service: dict, pods: list[Pod]) -> Iterator[str]:
    name = service["metadata"]["name"]
    behind = [pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod)]
    if not behind:
        yield f"{variant}: Service {name} selects no pod"
    for port in service["spec"]["ports"]:
        for pod in behind:
            target = port.get("targetPort", port["port"])
            if pod.port(target) is None:
                yield f"{variant}: Service {name} leads to port {target}, which {pod} does not have"


def policy_ports(variant: str, policy: dict, pods: list[Pod]) -> Iterator[str]:
    chosen = [pod for pod in pods if selects(policy["spec"]["podSelector"], pod)]
    for rule in policy["spec"].get("ingress", []):
        for port in rule.get("ports", []):
            for pod in chosen:
                if pod.port(port["port"]) is None:
                    yield f"{variant}: {called(policy)} opens port {port['port']}, which {pod} does not have"


def routes(tree: Tree, variant: str) -> Iterator[str]:
    services = {item["metadata"]["name"]: item["spec"]["ports"] for item in tree.of_kind(variant, "Service")}

    def known(name: str, port: int | str) -> bool:
        return any(port in (entry["port"], entry.get("name")) for entry in services.get(name, []))

    for item in tree.of_kind(variant, "Ingress"):
        for rule in item["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                end = path["backend"]["service"]
                port = end["port"].get("number", end["port"].get("name"))
                if not known(end["name"], port):
                    yield f"{variant}: {called(item)} leads to {end['name']}:{port}, which is no service"
    for item in tree.of_kind(variant, "HTTPRoute"):
        for rule in item["spec"]["rules"]:
            for end in rule.get("backendRefs", []):
                if not known(end["name"], end["port"]):
                    yield f"{variant}: {called(item)} leads to {end['name']}:{end['port']}, which is no service"


def monitors(tree: Tree, variant: str) -> Iterator[str]:
    for monitor in tree.of_kind(variant, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        services = [item for item in tree.of_kind(variant, "Service") if wanted <= item["metadata"]["labels"].items()]
        for end in monitor["spec"]["endpoints"]:
            if not any(end["port"] == port.get("name") for item in services for port in item["spec"]["ports"]):
                yield f"{variant}: {called(monitor)} asks port {end['port']}, which no service has"


def names(tree: Tree) -> Iterator[str]:
    """Addresses in settings are those of services, visitors' host has a room, the edge listens where it is asked."""
    for variant in VARIANTS:
        services = {item["metadata"]["name"]: item["spec"]["ports"] for item in tree.of_kind(variant, "Service")}
        settings = tree.data(variant, "edge-settings")["edge.toml"]
        told = {**tree.data(variant, "edge-environment"), **tree.data(variant, "backend-environment")}
        for text in [settings, *told.values()]:
            for name, port in re.findall(r"//([a-z-]+)\.vestibule\.svc\.cluster\.local:(\d+)", text):
                if int(port) not in [entry["port"] for entry in services.get(name, [])]:
                    yield f"{variant}: settings name {name}:{port}, which is no service"
        yield from listeners(tree, variant, tomllib.loads(settings))
        yield from hosts(tree, variant, tomllib.loads(settings))
        call = told["PASS_JWKS_URL"].rpartition("/")[2]
        if f'"{call}"' not in tree.facts.edge_calls:
            yield f"{variant}: PASS_JWKS_URL asks for {call}, which the edge does not answer"


def listeners(tree: Tree, variant: str, settings: dict) -> Iterator[str]:
    edge = next(pod for pod in tree.pods(variant) if pod.name == "edge")
    for section, name in (("server", "http"), ("operator", "operator")):
        port = int(settings[section]["listen"].rpartition(":")[2])
        if edge.ports.get(port) != name:
            yield f"{variant}: the edge listens for [{section}] on {port}, the pod's port `{name}` is another"


def hosts(tree: Tree, variant: str, settings: dict) -> Iterator[str]:
    if variant == "local":
        return
    ours = {rule["host"] for room in settings["room"].values() for rule in room["match"]}
    asked = {rule["host"] for item in tree.of_kind(variant, "Ingress") for rule in item["spec"]["rules"]}
    asked |= {host for item in tree.of_kind(variant, "HTTPRoute") for host in item["spec"]["hostnames"]}
    origin = settings["server"]["public_origin"].removeprefix("https://")
    if origin not in ours:
        yield f"{variant}: public_origin is {origin}, no room has it"
    if asked - ours:
        yield f"{variant}: visitors come for {sorted(asked - ours)}, no room has them"
