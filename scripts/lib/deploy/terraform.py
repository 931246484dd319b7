"""Terraform: parsed, consistent in itself, and in agreement with the overlay that it serves."""

import re
from collections.abc import Iterator
from pathlib import Path

import hcl2
import yaml

from tree import Tree

FOLDER = "k8s/eks/terraform"
OVERLAY = "k8s/overlays/eks"


def files(tree: Tree) -> list[Path]:
    return sorted((tree.root / FOLDER).glob("*.tf"))


def parses(tree: Tree) -> Iterator[str]:
    for file in [*files(tree), tree.root / FOLDER / "terraform.tfvars.example"]:
        try:
            hcl2.loads(file.read_text())
        except Exception as error:  # noqa: BLE001 - a parser's errors have no common class
            yield f"{file.name}: {str(error).splitlines()[0]}"


def bare(tree: Tree) -> str:
    """All of it, without comments."""
    return "\n".join(re.sub(r"^\s*#.*$", "", file.read_text(), flags=re.MULTILINE) for file in files(tree))


def variables(tree: Tree) -> Iterator[str]:
    """What is used is declared and what is declared is used; what has no default is in the example."""
    text = bare(tree)
    declared = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    used = set(re.findall(r"\bvar\.(\w+)", text))
    for name in sorted(used - declared):
        yield f"variable {name} is used and not declared"
    inside = dict(re.findall(r'^variable "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL))
    outside = re.sub(r'^variable "\w+" \{\n.*?^\}', "", text, flags=re.MULTILINE | re.DOTALL)
    for name in sorted(declared - set(re.findall(r"\bvar\.(\w+)", outside))):
        yield f"variable {name} is declared and not used"
    example = set(re.findall(r"^(\w+)\s*=", tree.text(f"{FOLDER}/terraform.tfvars.example"), re.MULTILINE))
    for name in sorted(example - declared):
        yield f"terraform.tfvars.example sets {name}, which is no variable"
    for name in sorted(name for name, block in inside.items() if "default" not in block and name not in example):
        yield f"variable {name} has no default and is not in terraform.tfvars.example"


def references(tree: Tree) -> Iterator[str]:
    """Resources, data, modules and locals that are named exist."""
    text = bare(tree)
    known = {f"{kind}.{name}" for kind, name in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)}
    known |= {f"data.{kind}.{name}" for kind, name in re.findall(r'^data "(\w+)" "(\w+)"', text, re.MULTILINE)}
    known |= {
        f"ephemeral.{kind}.{name}" for kind, name in re.findall(r'^ephemeral "(\w+)" "(\w+)"', text, re.MULTILINE)
    }
    known |= {f"module.{name}" for name in re.findall(r'^module "(\w+)"', text, re.MULTILINE)}
    local_blocks = "".join(re.findall(r"^locals \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL))
    known |= {f"local.{name}" for name in re.findall(r"^  (\w+)\s+?= ", local_blocks, re.MULTILINE)}

    named = set(re.findall(r"(?<![\w.\"])(aws_\w+\.\w+)", text))
    named |= set(re.findall(r"\b((?:data|ephemeral)\.\w+\.\w+)", text))
    named |= set(re.findall(r"\b((?:module|local)\.\w+)", text))
    for name in sorted(named - known):
        yield f"{name} is named and does not exist"


def pins(tree: Tree) -> Iterator[str]:
    """Terraform, providers and modules have versions; modules an exact one."""
    text = bare(tree)
    if "required_version" not in text:
        yield "Terraform has no required_version"
    required = re.search(r"required_providers \{.*?^  \}", text, re.MULTILINE | re.DOTALL)[0]
    for name, block in re.findall(r"^    (\w+) = \{\n(.*?)^    \}", required, re.MULTILINE | re.DOTALL):
        if not re.search(r'version = "~> \d+\.\d+"', block):
            yield f"provider {name} is not held to a minor version"
    for name, block in re.findall(r'^module "(\w+)" \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL):
        if not re.search(r'^  version = "\d+\.\d+\.\d+"', block, re.MULTILINE):
            yield f"module {name} is not held to a version"
    providers = set(re.findall(r'source\s+= "hashicorp/(\w+)"', text))
    for kind in sorted(set(re.findall(r'^(?:resource|data|ephemeral) "([a-z]+)_', text, re.MULTILINE)) - providers):
        yield f"provider {kind} is used and not required"


def overlay(tree: Tree) -> Iterator[str]:
    """Outputs give the overlay what it reads; names and networks are the same on both sides."""
    text = bare(tree)
    defaults = dict(re.findall(r'^variable "(\w+)" \{\n(?:.*\n)*?  default\s+= (.+)\n', text, re.MULTILINE))
    given = re.search(r'^output "edge_env" \{.*?<<-ENV\n(.*?)ENV', text, re.MULTILINE | re.DOTALL)
    names = set(re.findall(r"^\s*(\w+)=", given[1], re.MULTILINE)) if given else set()
    wanted = set(re.findall(r"^(\w+)=", tree.text(f"{OVERLAY}/edge.env"), re.MULTILINE))
    if names != wanted:
        yield f"output edge_env gives {sorted(names)}, edge.env has {sorted(wanted)}"
    for subnets, path in (
        ("private_subnets", f"{OVERLAY}/edge.env"),
        ("database_subnets", f"{OVERLAY}/network-policies.yaml"),
        ("public_subnets", "k8s/components/nlb/kustomization.yaml"),
        ("public_subnets", "k8s/components/nlb/network-policy.yaml"),
        ("public_subnets", "k8s/components/cilium/policies.yaml"),
        ("public_subnets", "k8s/platform/traefik.yaml"),
    ):
        meant = set(re.findall(r"[\d.]+/\d+", defaults.get(subnets, "")))
        if meant != set(re.findall(r"\d+\.\d+\.\d+\.\d+/\d+", tree.text(path))):
            yield f"{path} does not name the networks of {subnets}"
    yield from identities(tree, text, defaults["name"].strip('"'))


def identities(tree: Tree, text: str, name: str) -> Iterator[str]:
    made = {f"{name}/{last}" for last in re.findall(r'name\s+= "\$\{var\.name\}/(\w[\w-]*)"', text)}
    made |= {f"{name}/{last}" for last in re.findall(r'"([\w-]+)"', re.search(r"toset\(\[(.*?)\]\)", text)[1])}
    secrets = set(re.findall(r"key: (\S+/\S+)", tree.text(f"{OVERLAY}/secrets.yaml")))
    if made != secrets:
        yield f"Terraform makes secrets {sorted(made)}, the overlay reads {sorted(secrets)}"
    nodes = [item for item in yaml.safe_load_all(tree.text(f"{OVERLAY}/nodes.yaml")) if item["kind"] == "EC2NodeClass"]
    role = re.search(r'node_iam_role_name\s+= "(.+)"', text)[1].replace("${var.name}", name)
    if nodes[0]["spec"]["role"] != role:
        yield f"the nodes' role is {role}, the EC2NodeClass has {nodes[0]['spec']['role']}"
    for term in nodes[0]["spec"]["subnetSelectorTerms"] + nodes[0]["spec"]["securityGroupSelectorTerms"]:
        if term["tags"].get("karpenter.sh/discovery") != name:
            yield f"the EC2NodeClass looks for {term['tags']}, Terraform tags with {name}"
    guide = tree.text("docs/EKS.md")
    for output in re.findall(r'^output "(\w+)"', text, re.MULTILINE):
        if output not in guide:
            yield f"docs/EKS.md does not say what output {output} is for"
