"""The policies as one table of who may speak with whom, and what lies outside; in both languages the same one."""

from collections.abc import Iterator

from pods import selects
from tree import VARIANTS, Pod, Tree

# A pod, the way, the other side (a pod, `in NAMESPACE`, `addresses`), and a port.
Flow = tuple[str, str, str, int]

ALWAYS: set[Flow] = {
    ("edge", "from", "backend", 8080),
    ("edge", "from", "in monitoring", 8081),
    ("edge", "to", "backend", 8090),
    ("edge", "to", "in monitoring", 4317),
    ("edge", "to", "in monitoring", 4318),
    ("backend", "from", "edge", 8090),
    ("backend", "from", "in monitoring", 8090),
    ("backend", "to", "edge", 8080),
    ("backend", "to", "in monitoring", 4317),
    ("backend", "to", "in monitoring", 4318),
}
LOCAL: set[Flow] = {
    ("edge", "to", "redis", 6379),
    ("redis", "from", "edge", 6379),
    ("backend", "to", "postgres", 5432),
    ("books", "to", "postgres", 5432),
    ("postgres", "from", "backend", 5432),
    ("postgres", "from", "books", 5432),
}
AWS: set[Flow] = {
    ("edge", "to", "addresses", 6379),
    ("backend", "to", "addresses", 5432),
    ("books", "to", "addresses", 5432),
}
BY_TRAEFIK: set[Flow] = {("edge", "from", "in traefik", 8080)}
BY_BALANCER: set[Flow] = {("edge", "from", "addresses", 8080)}


def outside(tree: Tree) -> Iterator[str]:
    """Plain policies open what is meant, to the outside too, and nothing more."""
    for variant in VARIANTS:
        pods = tree.pods(variant)
        meant = ALWAYS | names(pods)
        if variant == "local":
            meant |= LOCAL
        else:
            meant |= AWS | (BY_BALANCER if "NLB" in variant else BY_TRAEFIK)
        yield from differences(variant, plain(tree, variant), meant, "NetworkPolicies")


def cilium(tree: Tree) -> Iterator[str]:
    """Cilium's open the same, for either way in."""
    for variant in VARIANTS:
        if tree.of_kind(variant, "CiliumNetworkPolicy"):
            meant = plain(tree, variant) | BY_TRAEFIK | BY_BALANCER
            yield from differences(variant, in_ciliums_words(tree, variant), meant, "CiliumNetworkPolicies")


def names(pods: list[Pod]) -> set[Flow]:
    return {(pod.name, "to", "in kube-system", 53) for pod in pods}


def differences(variant: str, open_: set[Flow], meant: set[Flow], kind: str) -> Iterator[str]:
    for pod, way, other, port in sorted(open_ - meant):
        yield f"{variant}: {kind} open {pod} {way} {other}, port {port}, which nobody meant"
    for pod, way, other, port in sorted(meant - open_):
        yield f"{variant}: {kind} do not open {pod} {way} {other}, port {port}"


def plain(tree: Tree, variant: str) -> set[Flow]:
    pods = tree.pods(variant)
    found = set()
    for policy in tree.of_kind(variant, "NetworkPolicy"):
        for way, side in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(way, []):
                others = {other for peer in rule.get(side, [{}]) for other in peers(peer, pods)}
                ports = {entry["port"] for entry in rule.get("ports", [{"port": 0}])}
                chosen = [pod.name for pod in pods if selects(policy["spec"]["podSelector"], pod)]
                found |= {(pod, side, other, port) for pod in chosen for other in others for port in ports}
    return found


def peers(peer: dict, pods: list[Pod]) -> set[str]:
    if "namespaceSelector" in peer:
        return {
            f"in {peer['namespaceSelector'].get('matchLabels', {}).get('kubernetes.io/metadata.name', 'any namespace')}"
        }
    if "ipBlock" in peer:
        return {"addresses"}
    if "podSelector" in peer:
        return {pod.name for pod in pods if selects(peer["podSelector"], pod)}
    return {"anybody"}


def in_ciliums_words(tree: Tree, variant: str) -> set[Flow]:
    pods = tree.pods(variant)
    found = set()
    for policy in tree.of_kind(variant, "CiliumNetworkPolicy"):
        for way, side in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(way, []):
                ports = {int(port["port"]) for group in rule.get("toPorts", []) for port in group["ports"]} or {0}
                chosen = [pod.name for pod in pods if selects(policy["spec"]["endpointSelector"], pod)]
                found |= {
                    (pod, side, other, port)
                    for pod in chosen
                    for other in ciliums_peers(rule, side, pods)
                    for port in ports
                }
    return found


def ciliums_peers(rule: dict, side: str, pods: list[Pod]) -> set[str]:
    """Nobody for an empty rule, which only closes; the kubelet, whom plain policies always let pass, is not listed."""
    found = set()
    for selector in rule.get(f"{side}Endpoints", []):
        space = selector.get("matchLabels", {}).get("k8s:io.kubernetes.pod.namespace")
        found |= {f"in {space}"} if space else {pod.name for pod in pods if selects(selector, pod)}
    if f"{side}CIDR" in rule or f"{side}FQDNs" in rule:
        found.add("addresses")
    return found | {entity for entity in rule.get(f"{side}Entities", []) if entity != "host"}
