"""Objects against the schemas of Kubernetes and of custom resources."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import yaml

from tree import VARIANTS, Tree, called, run

# The oldest release that docs/EKS.md and k8s/README.md allow.
KUBERNETES = "1.34"
HERE = Path(__file__).parent
CORE = ("v1", "apps/v1", "batch/v1", "autoscaling/v2", "policy/v1", "networking.k8s.io/v1")
# Applied by hand, in no overlay.
ALONE = ("k8s/argocd/application.yaml",)


def kubernetes_schemas(tree: Tree) -> Iterator[str]:
    """Strict: an unknown field is an error, as the API server only warns of it."""
    for variant in VARIANTS:
        for item in tree.objects(variant):
            if item["apiVersion"] in CORE:
                yield from core_problems(json.dumps(item, sort_keys=True))


@cache
def core_problems(text: str) -> list[str]:
    """Of one object as JSON: most are the same in every overlay and every spoilt copy."""
    item = json.loads(text)
    try:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = "/".join(str(step) for step in error.path)
        return [f"{called(item)}: {path}: {error.message}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{called(item)}: Kubernetes {KUBERNETES} has no {item['apiVersion']} {item['kind']}"]
    return []


def custom_schemas(tree: Tree) -> Iterator[str]:
    for item, finding in custom_findings(tree):
        for problem in finding["problems"]:
            yield f"{called(item)}: {problem}"


def without_schema(tree: Tree) -> list[str]:
    """Kinds that nothing here validates, and those that an older version stands in for."""
    told = set()
    for item, finding in custom_findings(tree):
        if finding["schema"] is None:
            told.add(f"{item['apiVersion']} {item['kind']} is not validated")
        elif finding["schema"] != item["apiVersion"]:
            told.add(f"{item['apiVersion']} {item['kind']} is validated as {finding['schema']}")
    return sorted(told)


def custom_findings(tree: Tree) -> list[tuple[dict, dict]]:
    items = [item for variant in VARIANTS for item in tree.objects(variant) if item["apiVersion"] not in CORE]
    for path in ALONE:
        items += [item for item in yaml.safe_load_all(tree.text(path)) if item]
    unique = list({json.dumps(item, sort_keys=True): item for item in items}.values())
    told = run("node", HERE / "custom.mjs", tree.tools, input=json.dumps(unique))
    if told.returncode != 0:
        raise RuntimeError(f"custom.mjs: {told.stderr}")
    return list(zip(unique, json.loads(told.stdout), strict=True))
