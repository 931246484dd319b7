"""Overlays as plain objects, by the part of kustomize that this project uses.

No package registry has kustomize, and Debian's kubectl is too old for it. This knows: resources, components,
configMapGenerator (files, envs, literals, merge, options; names with a hash, wherever they are used), images, and
patches (strategic merge, JSON 6902, `$patch: delete`). Anything else in a kustomization is an error, never passed over.
Where there is a newer kubectl, the two are compared.
"""

import copy
import hashlib
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import yaml

# Of libyaml, ten times as fast, where PyYAML was built with it.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KNOWN = {"apiVersion", "kind", "resources", "components", "configMapGenerator", "images", "patches"}
# By which field the items of a list are told apart in a strategic merge.
MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}


class RenderError(Exception):
    """A kustomization that cannot be rendered."""


@cache
def have_kubectl() -> bool:
    """Whether there is one that knows components: 1.21 or newer, Debian's own is not."""
    if not shutil.which("kubectl"):
        return False
    told = subprocess.run(["kubectl", "version", "--client", "--output=json"], capture_output=True, text=True)
    try:
        return tuple(map(int, json.loads(told.stdout)["kustomizeVersion"].lstrip("v").split("."))) >= (4, 1)
    except (ValueError, KeyError):
        return False


def by_kubectl(folder: Path) -> list[dict]:
    told = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    if told.returncode != 0:
        raise RenderError(f"kubectl kustomize: {told.stderr.strip()}")
    return [item for item in yaml.load_all(told.stdout, Loader) if item]


def by_ourselves(folder: Path) -> list[dict]:
    objects = accumulate(folder, [])
    name_config_maps(objects)
    return objects


def accumulate(folder: Path, objects: list[dict]) -> list[dict]:
    """Adds what a kustomization has and changes; a component is given what is there already."""
    plan = load_one(folder / "kustomization.yaml")
    if unknown := set(plan) - KNOWN:
        raise RenderError(f"{folder.name}/kustomization.yaml: the small renderer does not know {sorted(unknown)}")
    for entry in plan.get("resources", []):
        path = folder / entry
        if path.is_dir():
            objects = objects + accumulate(path, [])
        else:
            objects = objects + [item for item in load_all(path) if item]
    for generator in plan.get("configMapGenerator", []):
        generate(objects, generator, folder)
    for entry in plan.get("components", []):
        objects = accumulate(folder / entry, objects)
    for patch in plan.get("patches", []):
        objects = patched(objects, patch, folder)
    for image in plan.get("images", []):
        retag(objects, image)
    return objects


def load_all(path: Path) -> list:
    try:
        return list(yaml.load_all(path.read_text(), Loader))
    except (OSError, yaml.YAMLError) as error:
        raise RenderError(f"{path.name}: {error}") from error


def load_one(path: Path) -> dict:
    return load_all(path)[0]


# --- ConfigMaps ---


def generate(objects: list[dict], generator: dict, folder: Path) -> None:
    data = {}
    for entry in generator.get("files", []):
        key, _, path = entry.rpartition("=")
        data[key or Path(path).name] = read(folder / path)
    lines = [line for entry in generator.get("envs", []) for line in read(folder / entry).splitlines()]
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    data |= dict(line.split("=", 1) for line in [*lines, *generator.get("literals", [])])

    same = [
        item for item in objects if item.get("kind") == "ConfigMap" and item["metadata"]["name"] == generator["name"]
    ]
    if generator.get("behavior", "create") == "merge":
        if not same:
            raise RenderError(f"there is no ConfigMap {generator['name']} to merge with")
        same[0]["data"] |= data
        return
    if same:
        raise RenderError(f"there are two ConfigMaps {generator['name']}")
    options = dict(generator.get("options", {}))
    hashed = not options.pop("disableNameSuffixHash", False)
    metadata = {"name": generator["name"], "namespace": generator["namespace"], **options}
    objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data, "generated": hashed})


def read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise RenderError(str(error)) from error


def name_config_maps(objects: list[dict]) -> None:
    """Puts the hash of the content behind each generated name, and the new name wherever the old one is used."""
    names = {}
    for item in objects:
        if item.pop("generated", None):
            name = item["metadata"]["name"]
            names[name] = item["metadata"]["name"] = f"{name}-{digest(item)}"
    for item in objects:
        rename(item, names)


def digest(config_map: dict) -> str:
    """As kustomize does: ten characters of a SHA-256 of the JSON (its name is always empty), none that make words."""
    plain = {"data": config_map["data"], "kind": "ConfigMap", "name": ""}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()[:10].translate(str.maketrans("013ae", "ghkmt"))


def rename(node, names: dict[str, str]) -> None:
    if isinstance(node, list):
        for child in node:
            rename(child, names)
    elif isinstance(node, dict):
        for key in ("configMap", "configMapRef", "configMapKeyRef"):
            reference = node.get(key)
            if isinstance(reference, dict) and reference.get("name") in names:
                reference["name"] = names[reference["name"]]
        for child in node.values():
            rename(child, names)


# --- Patches and images ---


def patched(objects: list[dict], patch: dict, folder: Path) -> list[dict]:
    text = patch["patch"] if "patch" in patch else read(folder / patch["path"])
    change = yaml.safe_load(text)
    target = patch.get("target") or {"kind": change["kind"], "name": change["metadata"]["name"]}
    chosen = [item for item in objects if all(wanted(item, *field) for field in target.items())]
    if not chosen and "name" in target:
        raise RenderError(f"a patch has no target: {target}")
    if isinstance(change, dict) and change.get("$patch") == "delete":
        return [item for item in objects if item not in chosen]
    for item in chosen:
        if isinstance(change, list):
            for operation in change:
                apply_operation(item, operation)
        else:
            body = {key: value for key, value in change.items() if key not in ("apiVersion", "kind", "metadata")}
            merge(item, copy.deepcopy(body))
    return objects


def wanted(item: dict, field: str, value: str) -> bool:
    return (item["kind"] if field == "kind" else item["metadata"].get(field)) == value


def apply_operation(item: dict, operation: dict) -> None:
    *way, last = operation["path"].strip("/").split("/")
    node = item
    try:
        for step in way:
            node = node[int(step)] if isinstance(node, list) else node[step.replace("~1", "/")]
    except (KeyError, IndexError) as error:
        raise RenderError(f"a patch leads nowhere: {operation['path']}") from error
    last = last.replace("~1", "/")
    if isinstance(node, list):
        node.append(operation["value"]) if last == "-" else node.insert(int(last), operation["value"])
    elif operation["op"] == "remove":
        del node[last]
    else:
        node[last] = copy.deepcopy(operation["value"])


def merge(into: dict, change: dict) -> None:
    for key, value in change.items():
        old = into.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in MERGE_KEYS:
            into[key] = merged_list(old, value, MERGE_KEYS[key])
        else:
            into[key] = value


def merged_list(old: list[dict], change: list[dict], key: str) -> list[dict]:
    known = {item[key]: item for item in old}
    for item in change:
        if item[key] in known:
            merge(known[item[key]], item)
        else:
            known[item[key]] = item
    return list(known.values())


def retag(node, image: dict) -> None:
    if isinstance(node, list):
        for child in node:
            retag(child, image)
    elif isinstance(node, dict):
        name, _, tag = str(node.get("image", "")).partition(":")
        if name == image["name"]:
            node["image"] = f"{image.get('newName', name)}:{image.get('newTag', tag)}"
        for child in node.values():
            retag(child, image)


def canonical(objects: list[dict]) -> dict[str, str]:
    """Each object as text that two renderers agree on: the order of named items does not matter."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": json.dumps(sorted_names(item), sort_keys=True) for item in objects
    }


def sorted_names(node):
    if isinstance(node, dict):
        return {key: sorted_names(value) for key, value in node.items()}
    if isinstance(node, list):
        named = all(isinstance(item, dict) and "name" in item for item in node)
        items = [sorted_names(item) for item in node]
        return sorted(items, key=lambda item: item["name"]) if named else items
    return node
