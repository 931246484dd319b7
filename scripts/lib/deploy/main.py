"""Everything that is deployed, checked without a cluster; then each check held to its word by a seeded mistake.

main.py ROOT TOOLS      ROOT: the project; TOOLS: a folder with what pip and npm brought
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import live
import network
import pods
import programs
import render
import schemas
import supply
import terraform
import walls
from facts import Facts
from mistakes_in_cluster import IN_CLUSTER
from mistakes_in_programs import IN_PROGRAMS
from mistakes_in_supply import IN_SUPPLY
from tree import VARIANTS, Tree, run

SEEDS = IN_CLUSTER + IN_PROGRAMS + IN_SUPPLY


def renderers_agree(tree: Tree) -> Iterator[str]:
    """The small renderer says what kubectl says; where there is no kubectl, it only has to render."""
    for variant in VARIANTS:
        ours = render.canonical(render.by_ourselves(tree.folder(variant)))
        if not render.have_kubectl():
            continue
        theirs = render.canonical(render.by_kubectl(tree.folder(variant)))
        for name in sorted(ours.keys() ^ theirs.keys()):
            yield f"{variant}: only {'ours' if name in ours else 'kubectl'} has {name}"
        for name in sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]):
            yield f"{variant}: {name} differs"


CHECKS: dict[str, Callable[[Tree], Iterator[str]]] = {
    "overlays render, by kubectl and by us alike": renderers_agree,
    "Kubernetes knows every field": schemas.kubernetes_schemas,
    "custom resources follow their definitions": schemas.custom_schemas,
    "every container has requests and limits": pods.limits,
    "every image has a fixed tag, ours that of Cargo.toml": pods.images,
    "every pod is restricted": pods.restricted,
    "rollouts, drained nodes and zones leave somebody there": pods.rollouts,
    "liveness asks nobody but the process": pods.probes,
    "there is time to linger and drain": pods.endings,
    "policies close everything and speak of every pod": network.policies_cover,
    "pods reach whom they should, and nobody else": network.flows,
    "policies open to the outside what is meant": walls.outside,
    "Cilium's policies open the same": walls.cilium,
    "ports exist where somebody names them": network.ports,
    "names lead to services, visitors' host to a room": network.names,
    "the edge accepts the settings": programs.settings,
    "the box office accepts its settings": programs.box_office,
    "somebody migrates, and not every server": programs.migrations,
    "the box office knows whom it speaks to": programs.database_tls,
    "an edge starts on the local overlay's Redis": live.edge_starts,
    "variables and flags are some that programs read": programs.arguments,
    "metrics and labels are some that programs have": programs.metrics,
    "the metrics adapter serves the autoscalers": programs.adapter,
    "edges are added before they are full": programs.scaling,
    "every ConfigMap and Secret is made by somebody": programs.references,
    "local secrets are fresh and complete": programs.local_keys,
    "Terraform parses": terraform.parses,
    "Terraform's variables are declared and used": terraform.variables,
    "Terraform names what exists": terraform.references,
    "Terraform's versions are held": terraform.pins,
    "Terraform and the overlay agree": terraform.overlay,
    "the Dockerfile passes hadolint": supply.dockerfile_lint,
    "images are small, unprivileged, built as tested": supply.dockerfile,
    "the build context is what the build reads": supply.docker_context,
    "workflows pass actionlint": supply.workflow_lint,
    "workflows and updates follow their schemas": supply.workflow_schemas,
    "workflows pass an audit of their security": supply.workflow_audit,
    "workflows have bounds and run what everybody runs": supply.workflow_habits,
    "YAML is tidy": supply.yaml_style,
    "shell scripts pass shellcheck": supply.shell,
    "links in the guides lead somewhere": supply.links,
    "the changelog knows the version": supply.changelog,
    "Argo CD finds the overlay": supply.argo,
}


# What a check cannot do without; it is skipped, and so are its mistakes, where that is missing.
NEEDS: dict[str, tuple[str, ...]] = {
    "the edge accepts the settings": ("target/debug/vestibule",),
    "the box office accepts its settings": ("target/debug/vestibule", "target/debug/box-office"),
    "an edge starts on the local overlay's Redis": ("target/debug/vestibule", "redis-server"),
    "shell scripts pass shellcheck": ("shellcheck",),
}


def missing(name: str, tree: Tree) -> str | None:
    for need in NEEDS.get(name, ()):
        if not ((tree.facts.root / need).exists() if "/" in need else shutil.which(need)):
            return need
    return None


class Report:
    def __init__(self) -> None:
        self.passed = self.failed = 0

    def line(self, name: str, problems: list[str]) -> None:
        say(f"{'FAILED ' if problems else 'ok     '} {name}")
        for problem in list(dict.fromkeys(problems))[:12]:
            say("        " + problem.replace("\n", "\n        "))
        self.failed += bool(problems)
        self.passed += not problems


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def problems_of(name: str, tree: Tree) -> list[str]:
    """What a check finds; what it cannot read is a finding too."""
    try:
        return list(CHECKS[name](tree))
    except render.RenderError as error:
        return [f"does not render: {error}"]
    except Exception as error:  # noqa: BLE001 - whatever a spoilt tree does to a check, the others go on
        return [f"{type(error).__name__}: {error}"]


def check_all(tree: Tree, report: Report) -> None:
    for name in CHECKS:
        if need := missing(name, tree):
            say(f"skipped {name}: there is no {need}")
        else:
            report.line(name, problems_of(name, tree))


def check_seeds(tree: Tree, report: Report) -> None:
    """Each mistake in a copy of its own: the check it is meant for finds it, for the right reason."""
    for seed in SEEDS:
        if missing(seed.check, tree):
            continue
        spoilt = tree.copy()
        unplanted = seed.plant(spoilt.root)
        found = [] if unplanted else problems_of(seed.check, spoilt)
        seen = any(seed.reason in problem for problem in found)
        what = unplanted or ([] if seen else [f"`{seed.check}` says {found or 'nothing'}, not {seed.reason!r}"])
        report.line(f"finds {seed.title}", what)
        shutil.rmtree(spoilt.root)
    unseeded = CHECKS.keys() - {seed.check for seed in SEEDS}
    report.line("every check is held to its word", [f"no mistake is planted for `{name}`" for name in sorted(unseeded)])


def notes(tree: Tree) -> None:
    for note in schemas.without_schema(tree):
        say(f"note    {note}")
    if not render.have_kubectl():
        say("note    there is no kubectl 1.21 or newer: rendered by the small renderer alone")
    for program in ("vestibule", "box-office"):
        built = tree.facts.root / "target/release" / program
        if built.exists() and shutil.which("strip"):
            bare = tree.work / program
            run("strip", "-o", bare, built)
            say(f"note    {program} is {bare.stat().st_size / 2**20:.1f} MiB in its image")


def main(root: str, tools: str) -> int:
    started = time.monotonic()
    tree = Tree(Path(root), Facts(Path(root)), Path(tools))
    report = Report()
    try:
        check_all(tree, report)
        notes(tree)
        check_seeds(tree, report)
    finally:
        shutil.rmtree(tree.work)
    say(f"note    {len(CHECKS)} checks, {len(SEEDS)} seeded mistakes, {time.monotonic() - started:.0f} s")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
