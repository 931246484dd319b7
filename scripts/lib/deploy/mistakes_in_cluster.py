"""Mistakes in manifests, each with the check that must find it and the words by which it must."""

from seed import Seed

EDGE = "k8s/base/edge/deployment.yaml"
BACKEND = "k8s/base/backend/deployment.yaml"
POLICIES = "k8s/base/network-policies.yaml"
SCALED = "k8s/components/keda/scaled-objects.yaml"
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

IN_CLUSTER = [
    Seed(
        "a resource that is not there",
        "overlays render, by kubectl and by us alike",
        "does not render",
        "k8s/base/kustomization.yaml",
        r"- edge/service\.yaml",
        "- edge/services.yaml",
    ),
    Seed(
        "a misspelt field",
        "Kubernetes knows every field",
        "terminationGracePeriodSecond'",
        EDGE,
        "terminationGracePeriodSeconds",
        "terminationGracePeriodSecond",
    ),
    Seed(
        "a number where there is none",
        "Kubernetes knows every field",
        "minReplicas",
        "k8s/base/edge/autoscaler.yaml",
        "minReplicas: 3",
        "minReplicas: three",
    ),
    Seed(
        "a misspelt field of a custom resource",
        "custom resources follow their definitions",
        "/spec/endpoints/0/intervall: unknown field",
        "k8s/monitoring/service-monitors.yaml",
        "interval: 15s",
        "intervall: 15s",
    ),
    Seed(
        "a custom resource without what it needs",
        "custom resources follow their definitions",
        "ScaledObject edge",
        SCALED,
        "  scaleTargetRef:\n    name: edge\n",
        "",
    ),
    Seed(
        "a container without a limit",
        "every container has requests and limits",
        "no request and limit of memory",
        EDGE,
        r"            limits:\n              cpu: \"4\"\n              memory: 1Gi\n",
        '            limits:\n              cpu: "4"\n',
    ),
    Seed(
        "a request above the limit",
        "every container has requests and limits",
        "asks for more cpu",
        BACKEND,
        r"cpu: 500m(\n +memory: 192Mi)",
        r'cpu: "3"\1',
    ),
    Seed(
        "an image called latest",
        "every image has a fixed tag, ours that of Cargo.toml",
        "redis:latest has no fixed tag",
        "k8s/overlays/local/redis.yaml",
        r"redis:7\.4-alpine",
        "redis:latest",
    ),
    Seed(
        "an image of another version",
        "every image has a fixed tag, ours that of Cargo.toml",
        "box-office:0.0.9 is not version",
        "k8s/overlays/local/kustomization.yaml",
        r'(name: box-office\n    newTag: )"[\d.]+"',
        r'\1"0.0.9"',
    ),
    Seed(
        "a root file system to write on",
        "every pod is restricted",
        "can write its root file system",
        BACKEND,
        "readOnlyRootFilesystem: true",
        "readOnlyRootFilesystem: false",
    ),
    Seed(
        "a pod that may run as root",
        "every pod is restricted",
        "may run as root",
        EDGE,
        "runAsNonRoot: true",
        "runAsNonRoot: false",
    ),
    Seed(
        "a rollout with a gap",
        "rollouts, drained nodes and zones leave somebody there",
        "leaves a gap",
        EDGE,
        "maxUnavailable: 0",
        "maxUnavailable: 1",
    ),
    Seed(
        "a budget for somebody else",
        "rollouts, drained nodes and zones leave somebody there",
        "0 PodDisruptionBudgets",
        "k8s/base/backend/disruption.yaml",
        "(matchLabels:\n      app.kubernetes.io/name:) backend",
        r"\1 backends",
    ),
    Seed(
        "replicas that an autoscaler decides",
        "rollouts, drained nodes and zones leave somebody there",
        "exactly one may decide",
        EDGE,
        "^  minReadySeconds",
        "  replicas: 3\n  minReadySeconds",
    ),
    Seed(
        "liveness that needs the store",
        "liveness asks nobody but the process",
        "liveness asks /readyz",
        EDGE,
        r"(livenessProbe:\n\s+httpGet:\n\s+path: )/livez",
        r"\1/readyz",
    ),
    Seed(
        "less grace than draining takes",
        "there is time to linger and drain",
        "of 30 s of grace",
        EDGE,
        "terminationGracePeriodSeconds: 40",
        "terminationGracePeriodSeconds: 30",
    ),
    Seed(
        "edges that have not noticed",
        "there is time to linger and drain",
        "others may not have noticed for 10 s",
        "k8s/base/backend/backend.env",
        "LINGER=12s",
        "LINGER=5s",
    ),
    Seed(
        "readiness that does not know of the end",
        "there is time to linger and drain",
        "readiness does not ask /readyz",
        BACKEND,
        "path: /readyz",
        "path: /healthz",
    ),
    Seed(
        "a pod that no policy speaks of",
        "policies close everything and speak of every pod",
        "speaks of StatefulSet stray",
        "k8s/overlays/local/redis.yaml",
        r"\A",
        STRAY,
    ),
    Seed(
        "a wall that is left out",
        "policies close everything and speak of every pod",
        "closes every pod",
        POLICIES,
        "  name: default-deny",
        "  name: default-allow",
    ),
    Seed(
        "a wall of Cilium with a hole",
        "policies close everything and speak of every pod",
        "no CiliumNetworkPolicy speaks of CronJob books",
        "k8s/components/cilium/policies.yaml",
        "app.kubernetes.io/name: books",
        "app.kubernetes.io/name: book",
    ),
    Seed(
        "a pod that reaches too far",
        "pods reach whom they should, and nobody else",
        "edge reaches postgres on 5432",
        "k8s/overlays/local/network-policies.yaml",
        r"(- key: app.kubernetes.io/name\n[^}]*?values:\n +- )backend\n( +- )books",
        r"\1edge\n\2books",
        twice=True,
    ),
    Seed(
        "a pod that does not reach its store",
        "pods reach whom they should, and nobody else",
        "edge does not reach redis on 6379",
        "k8s/overlays/local/network-policies.yaml",
        "- port: 6379",
        "- port: 6380",
    ),
    Seed(
        "a door for the whole world",
        "policies open to the outside what is meant",
        "open edge from addresses, port 8080, which nobody meant",
        "k8s/components/ingress/network-policy.yaml",
        "    - from:\n",
        "    - from:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n",
    ),
    Seed(
        "a database that pods do not reach",
        "policies open to the outside what is meant",
        "do not open backend to addresses, port 5432",
        "k8s/overlays/eks/network-policies.yaml",
        "port: 5432",
        "port: 5433",
    ),
    Seed(
        "a door that only Cilium opens",
        "Cilium's policies open the same",
        "open books to addresses, port 6379",
        "k8s/components/cilium/policies.yaml",
        r'(name: books\n(?:.*\n)*?.*port: )"5432"',
        r'\1"6379"',
    ),
    Seed(
        "a probe of a port that is not there",
        "ports exist where somebody names them",
        "readinessProbe asks port operators",
        EDGE,
        r"(path: /readyz\n\s+port: )operator",
        r"\1operators",
    ),
    Seed(
        "a service that leads nowhere",
        "ports exist where somebody names them",
        "leads to port https",
        "k8s/base/edge/service.yaml",
        "targetPort: http",
        "targetPort: https",
    ),
    Seed(
        "an Ingress to another port",
        "ports exist where somebody names them",
        "leads to edge:operator",
        "k8s/components/ingress/ingress.yaml",
        "name: http$",
        "name: operator",
    ),
    Seed(
        "an edge that listens elsewhere",
        "names lead to services, visitors' host to a room",
        "listens for [server] on 8000",
        "k8s/base/edge/edge.toml",
        r"0\.0\.0\.0:8080",
        "0.0.0.0:8000",
    ),
    Seed(
        "an upstream that is no service",
        "names lead to services, visitors' host to a room",
        "backend:8091, which is no service",
        "k8s/base/edge/edge.toml",
        "svc.cluster.local:8090",
        "svc.cluster.local:8091",
    ),
    Seed(
        "a host without a room",
        "names lead to services, visitors' host to a room",
        "no room has them",
        "k8s/components/ingress/ingress.yaml",
        "host: tickets.example.com",
        "host: tickets.example.org",
    ),
]
