"""Mistakes of every kind, each with the check that must find it and the words by which it must."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Seed:
    title: str
    check: str
    # Part of what the check then says.
    reason: str
    file: str
    # A pattern, and what stands in its first place instead.
    old: str
    new: str
    # The pattern is there twice.
    twice: bool = False

    def plant(self, root: Path) -> list[str]:
        """Spoils the copy; says so when there was nothing to spoil."""
        path = root / self.file
        text, count = re.subn(self.old, self.new, path.read_text(), count=1 + self.twice, flags=re.MULTILINE)
        path.write_text(text)
        return [] if count else [f"{self.file} has no {self.old!r}"]


EDGE = "k8s/base/edge/deployment.yaml"
BACKEND = "k8s/base/backend/deployment.yaml"
POLICIES = "k8s/base/network-policies.yaml"
SCALED = "k8s/components/keda/scaled-objects.yaml"
TERRAFORM = "k8s/eks/terraform"
STRAY = """\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: stray
  namespace: vestibule
spec:
  serviceName: stray
  selector:
    matchLabels:
      app.kubernetes.io/name: stray
  template:
    metadata:
      labels:
        app.kubernetes.io/name: stray
    spec:
      containers:
        - name: stray
          image: redis:7.4-alpine
---
"""

SEEDS = [
    Seed("a resource that is not there", "overlays render, by kubectl and by us alike", "does not render",
         "k8s/base/kustomization.yaml", r"- edge/service\.yaml", "- edge/services.yaml"),
    Seed("a misspelt field", "Kubernetes knows every field", "terminationGracePeriodSecond'",
         EDGE, "terminationGracePeriodSeconds", "terminationGracePeriodSecond"),
    Seed("a number where there is none", "Kubernetes knows every field", "minReplicas",
         "k8s/base/edge/autoscaler.yaml", "minReplicas: 3", "minReplicas: three"),
    Seed("a misspelt field of a custom resource", "custom resources follow their definitions", "/spec/endpoints/0/intervall: unknown field",
         "k8s/monitoring/service-monitors.yaml", "interval: 15s", "intervall: 15s"),
    Seed("a custom resource without what it needs", "custom resources follow their definitions", "ScaledObject edge",
         SCALED, "  scaleTargetRef:\n    name: edge\n", ""),
    Seed("a container without a limit", "every container has requests and limits", "no request and limit of memory",
         EDGE, r"            limits:\n              cpu: \"4\"\n              memory: 1Gi\n", '            limits:\n              cpu: "4"\n'),
    Seed("a request above the limit", "every container has requests and limits", "asks for more cpu",
         BACKEND, "cpu: 500m", 'cpu: "3"'),
    Seed("an image called latest", "every image has a fixed tag, ours that of Cargo.toml", "redis:latest has no fixed tag",
         "k8s/overlays/local/redis.yaml", r"redis:7\.4-alpine", "redis:latest"),
    Seed("an image of another version", "every image has a fixed tag, ours that of Cargo.toml", "box-office:0.0.9 is not version",
         "k8s/overlays/local/kustomization.yaml", r'(name: box-office\n    newTag: )"[\d.]+"', r'\1"0.0.9"'),
    Seed("a root file system to write on", "every pod is restricted", "can write its root file system",
         BACKEND, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false"),
    Seed("a pod that may run as root", "every pod is restricted", "may run as root",
         EDGE, "runAsNonRoot: true", "runAsNonRoot: false"),
    Seed("a rollout with a gap", "rollouts, drained nodes and zones leave somebody there", "leaves a gap",
         EDGE, "maxUnavailable: 0", "maxUnavailable: 1"),
    Seed("a budget for somebody else", "rollouts, drained nodes and zones leave somebody there", "0 PodDisruptionBudgets",
         "k8s/base/backend/disruption.yaml", "(matchLabels:\n      app.kubernetes.io/name:) backend", r"\1 backends"),
    Seed("replicas that an autoscaler decides", "rollouts, drained nodes and zones leave somebody there", "exactly one may decide",
         EDGE, "^  minReadySeconds", "  replicas: 3\n  minReadySeconds"),
    Seed("liveness that needs the store", "liveness asks nobody but the process", "liveness asks /readyz",
         EDGE, r"(livenessProbe:\n\s+httpGet:\n\s+path: )/livez", r"\1/readyz"),
    Seed("less grace than draining takes", "there is time to linger and drain", "of 30 s of grace",
         EDGE, "terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 30"),
    Seed("a pod that no policy speaks of", "policies close everything and speak of every pod", "speaks of StatefulSet stray",
         "k8s/overlays/local/redis.yaml", r"\A", STRAY),
    Seed("a wall that is left out", "policies close everything and speak of every pod", "closes every pod",
         POLICIES, "  name: default-deny", "  name: default-allow"),
    Seed("a wall of Cilium with a hole", "policies close everything and speak of every pod", "no CiliumNetworkPolicy speaks of CronJob books",
         "k8s/components/cilium/policies.yaml", "app.kubernetes.io/name: books", "app.kubernetes.io/name: book"),
    Seed("a pod that reaches too far", "pods reach whom they should, and nobody else", "edge reaches postgres on 5432",
         "k8s/overlays/local/network-policies.yaml", r"(- key: app.kubernetes.io/name\n[^}]*?values:\n +- )backend\n( +- )books",
         r"\1edge\n\2books", twice=True),
    Seed("a pod that does not reach its store", "pods reach whom they should, and nobody else", "edge does not reach redis on 6379",
         "k8s/overlays/local/network-policies.yaml", "- port: 6379", "- port: 6380"),
    Seed("a door for the whole world", "policies open to the outside what is meant", "open edge from addresses, port 8080, which nobody meant",
         "k8s/components/ingress/network-policy.yaml", "    - from:\n", "    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n"),
    Seed("a database that pods do not reach", "policies open to the outside what is meant", "do not open backend to addresses, port 5432",
         "k8s/overlays/eks/network-policies.yaml", "port: 5432", "port: 5433"),
    Seed("a door that only Cilium opens", "Cilium's policies open the same", "open books to addresses, port 6379",
         "k8s/components/cilium/policies.yaml", r'(name: books\n(?:.*\n)*?.*port: )"5432"', r'\1"6379"'),
    Seed("a probe of a port that is not there", "ports exist where somebody names them", "readinessProbe asks port operators",
         EDGE, r"(path: /readyz\n\s+port: )operator", r"\1operators"),
    Seed("a service that leads nowhere", "ports exist where somebody names them", "leads to port https",
         "k8s/base/edge/service.yaml", "targetPort: http", "targetPort: https"),
    Seed("an Ingress to another port", "ports exist where somebody names them", "leads to edge:operator",
         "k8s/components/ingress/ingress.yaml", "name: http$", "name: operator"),
    Seed("an edge that listens elsewhere", "names lead to services, visitors' host to a room", "listens for [server] on 8000",
         "k8s/base/edge/edge.toml", r"0\.0\.0\.0:8080", "0.0.0.0:8000"),
    Seed("an upstream that is no service", "names lead to services, visitors' host to a room", "backend:8091, which is no service",
         "k8s/base/edge/edge.toml", "svc.cluster.local:8090", "svc.cluster.local:8091"),
    Seed("a host without a room", "names lead to services, visitors' host to a room", "no room has them",
         "k8s/components/ingress/ingress.yaml", "host: tickets.example.com", "host: tickets.example.org"),
    Seed("a misspelt setting", "the edge accepts the settings", "total_active_user",
         "k8s/base/edge/edge.toml", "total_active_users", "total_active_user"),
    Seed("a misspelt variable of a setting", "the edge accepts the settings", "TRUSTED_PROXY",
         "k8s/overlays/eks/edge.env", "TRUSTED_PROXIES", "TRUSTED_PROXY"),
    Seed("a value that the box office refuses", "the box office accepts its settings", "box-office ends with 64",
         "k8s/base/backend/backend.env", "MAX_QTY=8", "MAX_QTY=eight"),
    Seed("an address that the box office refuses", "the box office accepts its settings", "PASS_JWKS_URL",
         "k8s/base/backend/backend.env", "PASS_JWKS_URL=http:", "PASS_JWKS_URL=https:"),
    Seed("a Redis that gives the edge no right to scripts", "an edge starts on the local overlay's Redis", "the edge is not ready",
         "k8s/overlays/local/secrets", r"\+@scripting ", ""),
    Seed("a Redis that forgets places", "an edge starts on the local overlay's Redis", "it would evict places",
         "k8s/overlays/local/redis.yaml", "- noeviction", "- allkeys-lru"),
    Seed("a variable that nobody reads", "variables and flags are some that programs read", "reads no variable HOLD_TTL_SECONDS",
         "k8s/base/backend/backend.env", "HOLD_TTL_SEC", "HOLD_TTL_SECONDS"),
    Seed("a flag that is none", "variables and flags are some that programs read", "has no flag --check-book",
         "k8s/base/backend/books.yaml", "--check-books", "--check-book"),
    Seed("a metric that nobody counts", "metrics and labels are some that programs have", "unknown metric vestibule_request_total",
         SCALED, "vestibule_requests_total", "vestibule_request_total"),
    Seed("an autoscaler's metric that nobody counts", "metrics and labels are some that programs have", "unknown metric ws_connection",
         "k8s/base/edge/autoscaler.yaml", "name: ws_connections", "name: ws_connection"),
    Seed("a label that no metric has", "metrics and labels are some that programs have", "unknown label release",
         SCALED, 'service="edge-operator"', 'release="edge-operator"'),
    Seed("a metric that the adapter does not serve", "the metrics adapter serves the autoscalers", "does not serve ws_connections",
         "k8s/platform/prometheus-adapter.yaml", "as: ws_connections", "as: sockets"),
    Seed("an alert with another number of connections", "edges are added before they are full", "divides by 20000 connections",
         "k8s/monitoring/rules.yaml", "/ 18000", "/ 20000"),
    Seed("edges that fill up first", "edges are added before they are full", "aims at 20000 sockets",
         SCALED, 'threshold: "12000"', 'threshold: "20000"'),
    Seed("a Secret that nobody makes", "every ConfigMap and Secret is made by somebody", "nobody makes Secret databases",
         BACKEND, "name: database\n", "name: databases\n"),
    Seed("a ConfigMap that nobody makes", "every ConfigMap and Secret is made by somebody", "nobody makes ConfigMap edge-setting",
         EDGE, "name: edge-settings", "name: edge-setting"),
    Seed("a key that the script forgets", "local secrets are fresh and complete", "makes no key pass-1",
         "k8s/overlays/local/secrets", "pass-1", "pass-2"),
    Seed("Terraform that is none", "Terraform parses", "cache.tf",
         f"{TERRAFORM}/cache.tf", r'resource "aws_elasticache_subnet_group" "store" \{', 'resource "aws_elasticache_subnet_group" "store"'),
    Seed("a variable that is not declared", "Terraform's variables are declared and used", "log_day is used and not declared",
         f"{TERRAFORM}/logs.tf", r"var\.log_days", "var.log_day"),
    Seed("a variable that is not used", "Terraform's variables are declared and used", "spare is declared and not used",
         f"{TERRAFORM}/variables.tf", r"\A", 'variable "spare" {\n  type    = string\n  default = ""\n}\n\n'),
    Seed("a resource that does not exist", "Terraform names what exists", "aws_security_group.stores is named",
         f"{TERRAFORM}/cache.tf", r"\[aws_security_group\.store\.id\]", "[aws_security_group.stores.id]"),
    Seed("a module without a version", "Terraform's versions are held", "module vpc is not held",
         f"{TERRAFORM}/network.tf", r'  version = "6\.6\.0"\n', ""),
    Seed("an output that the overlay does not read", "Terraform and the overlay agree", "output database_env gives",
         f"{TERRAFORM}/outputs.tf", "DATABASE_HOST=", "DATABASE_ADDRESS="),
    Seed("a network that is another one", "Terraform and the overlay agree", "does not name the networks of database_subnets",
         f"{TERRAFORM}/variables.tf", r"10\.40\.145\.0/24", "10.40.155.0/24"),
    Seed("a secret of another name", "Terraform and the overlay agree", "Terraform makes secrets",
         f"{TERRAFORM}/secrets.tf", '"edge-keys"', '"edge-key"'),
    Seed("a Dockerfile that hadolint refuses", "the Dockerfile passes hadolint", "DL3003",
         "k8s/images/Dockerfile", r"^RUN cargo build", "RUN cd proxy && cargo build"),
    Seed("an image that runs as root", "images are small, unprivileged, built as tested", "vestibule: does not run as 65532",
         "k8s/images/Dockerfile", r"^USER 65532:65532\n", ""),
    Seed("a build that ignores the lock", "images are small, unprivileged, built as tested", "is not --release --locked",
         "k8s/images/Dockerfile", "cargo build --release --locked", "cargo build --release"),
    Seed("a secret in an image", "images are small, unprivileged, built as tested", "a secret would stay",
         "k8s/images/Dockerfile", "^ARG REVISION=unknown", "ARG REVISION=unknown\nENV SIGNING_KEY=abc"),
    Seed("a context without the lock", "the build context is what the build reads", "leaves out Cargo.lock",
         ".dockerignore", r"^!Cargo\.lock\n", ""),
    Seed("a workflow with a wrong expression", "workflows pass actionlint", "picture",
         ".github/workflows/images.yml", r"steps\.image\.outputs\.version", "steps.picture.outputs.version"),
    Seed("a workflow with a wrong field", "workflows and updates follow their schemas", "test.yml",
         ".github/workflows/test.yml", "    timeout-minutes: 45", "    timeout-minute: 45"),
    Seed("a workflow that runs what strangers write", "workflows pass an audit of their security", "template-injection",
         ".github/workflows/test.yml", r"- run: \.ci/run deploy", r"- run: echo ${{ github.head_ref }}; .ci/run deploy"),
    Seed("an action that may change", "workflows have bounds and run what everybody runs", "is not held to a commit",
         ".github/workflows/test.yml", "checkout@[0-9a-f]{40}", "checkout@v7"),
    Seed("a job without an end", "workflows have bounds and run what everybody runs", "has no timeout-minutes",
         ".github/workflows/advisories.yml", "    timeout-minutes: 15\n", ""),
    Seed("untidy YAML", "YAML is tidy", "wrong indentation",
         "k8s/base/edge/service.yaml", r"^  selector:\n    app", "  selector:\n     app"),
    Seed("a careless script", "shell scripts pass shellcheck", "SC2086",
         "k8s/overlays/local/secrets", r'"\$\(fresh\)" pass-1', '$store pass-1'),
    Seed("a careless step of a workflow", "shell scripts pass shellcheck", "SC2086",
         ".github/workflows/release.yml", r'"\$NAME"$', "$NAME"),
    Seed("a link to nowhere", "links in the guides lead somewhere", "is no heading there",
         "docs/OPERATIONS.md", r"EDGE\.md\)", "EDGE.md#nowhere)"),
    Seed("a release that the changelog does not know", "the changelog knows the version", "has no section",
         "CHANGELOG.md", r"^## \[0\.1\.0\]", "## [0.0.9]"),
    Seed("an application that leads nowhere", "Argo CD finds the overlay", "is no kustomization",
         "k8s/argocd/application.yaml", "path: k8s/overlays/eks", "path: k8s/overlays/aws"),
    Seed("a sidecar that HAProxy refuses", "HAProxy accepts the sidecar's file", "verify",
         "k8s/overlays/eks/haproxy.cfg", "ssl verify required", "ssl verify needed"),
]
