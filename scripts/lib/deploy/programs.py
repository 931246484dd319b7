"""What manifests say of the programs, held against the programs."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from pods import every_pod
from tree import VARIANTS, Tree, called, run

# Written by others than edge and box office; the labels that scraping adds.
FOREIGN = re.compile(
    r"(kube|container|node|redis|pg_stat|go|process|prometheus|keda|traefik|haproxy)_\w+|up|ALERTS|scrape_\w+"
)
SCRAPED = set("namespace service pod job instance endpoint container job_name node severity alertname __name__".split())
WORDS = set(
    """by without on ignoring group_left group_right bool and or unless offset sum min max avg count stddev
    quantile topk bottomk count_values group rate irate increase delta deriv predict_linear histogram_quantile absent
    absent_over_time clamp clamp_min clamp_max label_replace label_join time vector scalar abs ceil floor round sort
    sort_desc avg_over_time max_over_time min_over_time sum_over_time count_over_time quantile_over_time last_over_time
    changes resets inf nan""".split()
)


def metrics(tree: Tree) -> Iterator[str]:
    """Every query and every autoscaler names metrics and labels that the code has."""
    for variant in VARIANTS:
        recorded = {
            rule["record"]
            for item in tree.of_kind(variant, "PrometheusRule")
            for group in item["spec"]["groups"]
            for rule in group["rules"]
            if "record" in rule
        }
        for where, query in queries(tree, variant):
            yield from (f"{variant}: {where}: {problem}" for problem in query_problems(tree, query, recorded))
        for item, metric in pod_metrics(tree, variant):
            if metric["metric"]["name"] not in tree.facts.metrics:
                yield f"{variant}: {called(item)}: unknown metric {metric['metric']['name']}"


def adapter(tree: Tree) -> Iterator[str]:
    """The values for the metrics adapter serve what the plain autoscalers ask for."""
    served = {
        rule["name"]["as"]
        for rule in yaml.safe_load(tree.text("k8s/platform/prometheus-adapter.yaml"))["rules"]["custom"]
    }
    for variant in VARIANTS:
        for _, metric in pod_metrics(tree, variant):
            if metric["metric"]["name"] not in served:
                yield f"{variant}: k8s/platform/prometheus-adapter.yaml does not serve {metric['metric']['name']}"


def pod_metrics(tree: Tree, variant: str) -> Iterator[tuple[dict, dict]]:
    """What plain autoscalers ask of each pod: `{metric, target}`."""
    for item in tree.of_kind(variant, "HorizontalPodAutoscaler"):
        for metric in item["spec"]["metrics"]:
            if metric["type"] == "Pods":
                yield item, metric["pods"]


def queries(tree: Tree, variant: str) -> Iterator[tuple[str, str]]:
    for item in tree.of_kind(variant, "PrometheusRule"):
        for group in item["spec"]["groups"]:
            for rule in group["rules"]:
                yield f"rule {rule.get('alert') or rule['record']}", str(rule["expr"])
    for item in tree.of_kind(variant, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                yield f"ScaledObject {item['metadata']['name']}", trigger["metadata"]["query"]


def query_problems(tree: Tree, query: str, recorded: set[str]) -> Iterator[str]:
    bare = re.sub(r'"[^"]*"', "", query)
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", " ".join(re.findall(r"\{([^}]*)\}", bare))))
    for group in re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", bare):
        labels |= set(re.findall(r"\w+", group))
    for label in sorted(labels - SCRAPED - tree.facts.metric_labels):
        yield f"unknown label {label} in {query!r}"
    numbers = r"\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b"
    without = re.sub(
        numbers + r"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare
    )
    for name in sorted(set(re.findall(r"[a-zA-Z_:][\w:]*", without)) - WORDS):
        plain = re.sub(r"_(bucket|count|sum)$", "", name)
        if not {name, plain} & tree.facts.metrics and name not in recorded and not FOREIGN.fullmatch(name):
            yield f"unknown metric {name} in {query!r}"


def settings(tree: Tree) -> Iterator[str]:
    """`vestibule check` of each variant's settings, with its variables and fresh keys."""
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory(dir=tree.work) as folder:
            told = run(
                tree.facts.vestibule,
                "check",
                prepared(tree, variant, Path(folder)),
                env=variables(tree, variant, folder),
            )
        if told.returncode != 0:
            yield f"{variant}: vestibule check: {told.stdout}{told.stderr}".strip()


def prepared(tree: Tree, variant: str, folder: Path, password: str = "not a real one") -> Path:
    """The settings in a folder, with every secret that they read from a mounted one."""
    text = tree.data(variant, "edge-settings")["edge.toml"].replace("/run/secrets", str(folder))
    for path in re.findall(r'secret_file = "(.+)"', text):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(tree.facts.new_key())
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store/password").write_text(password)
    file = folder / "edge.toml"
    file.write_text(text)
    return file


def variables(tree: Tree, variant: str, folder: str) -> dict[str, str]:
    return {name: text.replace("/run/secrets", folder) for name, text in tree.data(variant, "edge-environment").items()}


def box_office(tree: Tree) -> Iterator[str]:
    """It is started as each pod starts it, and gets as far as a database that is not there: code 69, not 64 or 78."""
    for variant, pod in every_pod(tree):
        for container in pod.containers:
            if "box-office" not in container["image"]:
                continue
            with tempfile.TemporaryDirectory(dir=tree.work) as folder:
                for name in ("webhook", "admin-token"):
                    (Path(folder) / "backend").mkdir(exist_ok=True)
                    (Path(folder) / "backend" / name).write_text(tree.facts.new_key())
                told = tree.data(variant, "backend-environment") if container.get("envFrom") else {}
                env = {name: text.replace("/run/secrets", folder) for name, text in told.items()}
                env["DB_URL"] = f"host={folder} user=nobody dbname=none"
                ended = run(tree.facts.root / "target/debug/box-office", *container.get("args", []), env=env)
            if ended.returncode != 69:
                yield f"{variant}: {pod}: box-office ends with {ended.returncode}: {ended.stderr.strip()}"


def migrations(tree: Tree) -> Iterator[str]:
    """Servers take the schema as an init container of the same image has left it."""
    for variant, pod in every_pod(tree):
        servers = [item for item in pod.spec["containers"] if "--listen" in item.get("args", [])]
        for server in servers:
            if tree.data(variant, "backend-environment").get("NO_MIGRATE") != "true":
                yield f"{variant}: {pod}: migrates at its start, against the clock of its probes"
            first = pod.spec.get("initContainers", [])
            if ["migrate"] not in [item.get("args") for item in first if item["image"] == server["image"]]:
                yield f"{variant}: {pod}: nobody migrates before it starts"


def database_tls(tree: Tree) -> Iterator[str]:
    """Between machines of others everybody verifies in full, by a file that is there; within one cluster it is said."""
    local = secrets_by_name(tree)["database"]["url"]
    if "?sslmode=disable" not in local:
        yield f"local: {local.rpartition('@')[2]} has no TLS, and DB_URL does not say so"
    for variant in VARIANTS:
        for item in tree.of_kind(variant, "ExternalSecret"):
            if item["metadata"]["name"] == "database":
                url = item["spec"]["target"]["template"]["data"]["url"]
                yield from (f"{variant}: {problem}" for problem in verified(url, tree, variant))


def verified(url: str, tree: Tree, variant: str) -> Iterator[str]:
    told = dict(pair.split("=", 1) for pair in url.partition("?")[2].split("&") if "=" in pair)
    if told.get("sslmode") != "verify-full":
        yield f"DB_URL has sslmode {told.get('sslmode')}: anybody on the way could answer"
    folder = str(Path(told.get("sslrootcert", "/nowhere/")).parent)
    for pod in tree.pods(variant):
        for container in pod.containers:
            if "DB_URL" in [variable["name"] for variable in container.get("env", [])]:
                if folder not in [mount["mountPath"] for mount in container.get("volumeMounts", [])]:
                    yield f"{pod}: container {container['name']} has no {folder}, where sslrootcert is"


def arguments(tree: Tree) -> Iterator[str]:
    """Variables and flags are some that the programs read."""
    for variant in VARIANTS:
        for name in tree.data(variant, "edge-environment"):
            if not name.startswith("VESTIBULE__") and name not in tree.facts.edge_variables:
                yield f"{variant}: the edge reads no variable {name}"
        for name in tree.data(variant, "backend-environment"):
            if name not in tree.facts.backend_variables:
                yield f"{variant}: the box office reads no variable {name}"
    for variant, pod in every_pod(tree):
        for container in pod.containers:
            if "box-office" in container["image"]:
                flags = [text.partition("=")[0] for text in container.get("args", []) if text.startswith("--")]
                for flag in set(flags) - tree.facts.backend_flags:
                    yield f"{variant}: {pod}: the box office has no flag {flag}"
                for variable in container.get("env", []):
                    if variable["name"] not in tree.facts.backend_variables:
                        yield f"{variant}: {pod}: the box office reads no variable {variable['name']}"


def scaling(tree: Tree) -> Iterator[str]:
    """Edges are added before they are full."""
    most = tree.facts.edge_connections
    if most is None:
        yield "proxy/src/edge.rs no longer says how many connections an edge takes by default"
        return
    for variant in VARIANTS:
        for where, query in queries(tree, variant):
            for bound in re.findall(r"ws_connections\b[^/]*/ (\d+)", query):
                if int(bound) != most:
                    yield f"{variant}: {where} divides by {bound} connections, an edge takes {most}"
        for where, wanted in socket_targets(tree, variant):
            if not 0.3 * most <= wanted <= 0.8 * most:
                yield f"{variant}: {where} aims at {wanted:.0f} sockets for each edge, which takes {most}"


def socket_targets(tree: Tree, variant: str) -> Iterator[tuple[str, float]]:
    for item, metric in pod_metrics(tree, variant):
        if item["metadata"]["name"] == "edge":
            yield called(item), float(metric["target"]["averageValue"])
    for item in tree.of_kind(variant, "ScaledObject"):
        for trigger in item["spec"]["triggers"]:
            if item["metadata"]["name"] == "edge" and "ws_connections" in trigger["metadata"].get("query", ""):
                yield "ScaledObject edge", float(trigger["metadata"]["threshold"])


def references(tree: Tree) -> Iterator[str]:
    """Every ConfigMap and Secret is made by the overlay, by the local script, or by hand as docs/EKS.md says."""
    for variant, pod in every_pod(tree):
        maps = {item["metadata"]["name"] for item in tree.of_kind(variant, "ConfigMap")}
        secrets = {item["spec"]["target"]["name"] for item in tree.of_kind(variant, "ExternalSecret")}
        if variant == "local":
            secrets |= {item["metadata"]["name"] for item in local_secrets(tree)}
        for name in used(pod, "configMap", "configMapRef", "configMapKeyRef"):
            if name not in maps and f"configmap {name}" not in tree.text("docs/EKS.md"):
                yield f"{variant}: {pod}: nobody makes ConfigMap {name}"
        for name in used(pod, "secret", "secretRef", "secretKeyRef"):
            if name not in secrets:
                yield f"{variant}: {pod}: nobody makes Secret {name}"


def used(pod, *fields: str) -> set[str]:
    found = set()

    def walk(node) -> None:
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            for field in fields:
                if isinstance(node.get(field), dict):
                    found.add(node[field].get("name") or node[field].get("secretName"))
            for child in node.values():
                walk(child)

    walk(pod.spec)
    return found


def local_secrets(tree: Tree) -> list[dict]:
    told = run(tree.root / "k8s/overlays/local/secrets")
    return [item for item in yaml.safe_load_all(told.stdout) if item and item["kind"] == "Secret"]


def local_keys(tree: Tree) -> Iterator[str]:
    """The script makes a secret for each key that the edge's settings name, and one that no start repeats."""
    first, second = (secrets_by_name(tree) for _ in range(2))
    keys = re.findall(r'secret_file = "/run/secrets/edge-keys/(.+)"', tree.text("k8s/base/edge/edge.toml"))
    for key in keys:
        if len(first.get("edge-keys", {}).get(key, "")) != 43:
            yield f"k8s/overlays/local/secrets makes no key {key} of 32 bytes"
        elif first["edge-keys"][key] == second["edge-keys"][key]:
            yield f"k8s/overlays/local/secrets makes the same {key} again"


def secrets_by_name(tree: Tree) -> dict[str, dict[str, str]]:
    return {item["metadata"]["name"]: item["stringData"] for item in local_secrets(tree)}
