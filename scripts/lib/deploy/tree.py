"""One copy of what is checked, and the ways in which its overlays are rendered."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import render
from facts import Facts

# A title, the overlay, and what its kustomization says instead.
VARIANTS = {
    "local": ("local", {}),
    "eks": ("eks", {}),
    "eks by Gateway API": ("eks", {"../../components/ingress": "../../components/gateway"}),
    "eks by NLB, with Cilium": (
        "eks",
        {
            "../../components/ingress": "../../components/nlb",
            "  - ../../monitoring": "  - ../../monitoring\n  - ../../components/cilium",
        },
    ),
    "eks without KEDA": ("eks", {"  - ../../components/keda\n": ""}),
}
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob", "Job")
# What a checkout has that is checked here; the rest of the project is read, and never seeded with mistakes.
PARTS = ("k8s", ".github", "docs", "CHANGELOG.md", ".dockerignore")


@dataclass(frozen=True)
class Tree:
    """A folder with `k8s/`, `.github/` …, the facts of the code it belongs to, and where the tools are."""

    root: Path
    facts: Facts
    tools: Path
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="deploy-")))

    def copy(self) -> "Tree":
        """Another one with the same content, to be spoilt."""
        folder = Path(tempfile.mkdtemp(prefix="deploy-", dir=self.work))
        for part in PARTS:
            source = self.root / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns(".terraform", "images/*.png"))
            else:
                shutil.copy(source, folder / part)
        return Tree(folder, self.facts, self.tools, self.work)

    @cache
    def folder(self, variant: str) -> Path:
        """The kustomization of a variant: the overlay itself, or a copy that differs."""
        overlay, changes = VARIANTS[variant]
        if not changes:
            return self.root / "k8s/overlays" / overlay
        folder = Path(tempfile.mkdtemp(prefix="variant-", dir=self.work))
        shutil.copytree(self.root / "k8s", folder / "k8s")
        plan = folder / "k8s/overlays" / overlay / "kustomization.yaml"
        text = plan.read_text()
        for old, new in changes.items():
            if old not in text:
                raise render.RenderError(f"{overlay}/kustomization.yaml: there is no {old.strip()!r} to replace")
            text = text.replace(old, new)
        plan.write_text(text)
        return plan.parent

    @cache
    def objects(self, variant: str) -> list[dict]:
        return render.by_ourselves(self.folder(variant))

    def of_kind(self, variant: str, *kinds: str) -> list[dict]:
        return [item for item in self.objects(variant) if item["kind"] in kinds]

    def pods(self, variant: str) -> list["Pod"]:
        return [Pod(item) for item in self.of_kind(variant, *WORKLOADS)]

    def data(self, variant: str, config_map: str) -> dict[str, str]:
        """The content of a generated ConfigMap, by the name before its hash."""
        named = re.compile(re.escape(config_map) + r"(-[a-z0-9]{10})?$")
        found = [item for item in self.of_kind(variant, "ConfigMap") if named.match(item["metadata"]["name"])]
        return found[0]["data"] if found else {}

    def text(self, path: str) -> str:
        return (self.root / path).read_text()

    def program(self, name: str) -> str:
        """One of the tools that pip brought."""
        return str(self.tools / "venv/bin" / name)


class Pod:
    """A workload and the pods it makes."""

    def __init__(self, workload: dict):
        self.workload = workload
        self.kind = workload["kind"]
        self.name = workload["metadata"]["name"]
        spec = workload["spec"]
        template = (spec["jobTemplate"]["spec"] if self.kind == "CronJob" else spec)["template"]
        self.labels = template["metadata"].get("labels", {})
        self.spec = template["spec"]
        self.containers = [*self.spec.get("initContainers", []), *self.spec["containers"]]
        self.ports = {
            port["containerPort"]: port.get("name") for item in self.containers for port in item.get("ports", [])
        }

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    def port(self, told: int | str) -> int | None:
        """The number of a port that is named or numbered, if the pod has it."""
        return next((number for number, name in self.ports.items() if told in (number, name)), None)


def called(item: dict) -> str:
    """An object as people name it."""
    return f"{item['kind']} {item['metadata']['name']}"


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False, **options
    )
