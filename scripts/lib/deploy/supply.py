"""Images, workflows, and files as such."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

from tree import Tree, run

HERE = Path(__file__).parent
DOCKERFILE = "k8s/images/Dockerfile"
GUIDES = ("k8s/README.md", "docs/EKS.md", "docs/OPERATIONS.md", "CHANGELOG.md")


def dockerfile_lint(tree: Tree) -> Iterator[str]:
    told = run(tree.program("hadolint"), "--failure-threshold", "style", "--no-color", tree.root / DOCKERFILE)
    yield from (line.replace(str(tree.root) + "/", "") for line in told.stdout.splitlines())


def dockerfile(tree: Tree) -> Iterator[str]:
    """Both programs, on bases of a fixed name, as nobody in particular, built as the tests build, with no secret."""
    text = tree.text(DOCKERFILE)
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM|\Z)", text, re.MULTILINE | re.DOTALL))
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        if base not in stages and "$" not in base and (":" not in base or base.endswith(":latest")):
            yield f"base image {base} has no fixed tag"
    if f"FROM rust:{tree.facts.rust_version}-" not in text:
        yield f"the builder is not Rust {tree.facts.rust_version}, as Cargo.toml wants"
    for command in re.findall(r"cargo (?:build|chef cook) .*", text):
        if "--locked" not in command or "--release" not in command:
            yield f"`{command}` is not --release --locked"
    for program in ("vestibule", "box-office"):
        stage = stages.get(program, "")
        if not re.search(r"^USER 65532:65532$", stage, re.MULTILINE):
            yield f"{program}: does not run as 65532, whom the manifests name"
        for label in ("title", "version", "revision", "licenses"):
            if f"org.opencontainers.image.{label}=" not in stage:
                yield f"{program}: has no label {label}"
        if f'ENTRYPOINT ["/usr/local/bin/{program}"]' not in stage:
            yield f"{program}: is not what it starts"
        if f"ARG VERSION={tree.facts.version}\n" not in stage:
            yield f"{program}: is not version {tree.facts.version} of Cargo.toml"
    if found := re.search(r"^(?:ARG|ENV) \w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*", text, re.MULTILINE):
        yield f"`{found[0]}`: a secret would stay in the image"


def docker_context(tree: Tree) -> Iterator[str]:
    """All that the build reads goes in, and nothing else."""
    lines = tree.text(".dockerignore").splitlines()
    if "*" not in lines:
        yield ".dockerignore does not begin with nothing"
    for part in ("Cargo.toml", "Cargo.lock", *sources(tree)):
        if f"!{part}" not in lines:
            yield f".dockerignore leaves out {part}"
    for file in [file for part in sources(tree) for file in (tree.facts.root / part).rglob("src/**/*.rs")]:
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', file.read_text()):
            wanted = (file.parent / name).resolve().relative_to(tree.facts.root.resolve())
            if wanted.parts[0] not in sources(tree) or wanted.is_relative_to("proxy/e2e"):
                yield f".dockerignore leaves out {wanted}, which {file.name} includes"


def sources(tree: Tree) -> list[str]:
    """Top folders of the workspace's members."""
    members = tomllib.loads((tree.facts.root / "Cargo.toml").read_text())["workspace"]["members"]
    return sorted({member.partition("/")[0] for member in members})


def workflow_lint(tree: Tree) -> Iterator[str]:
    told = run("node", HERE / "workflows.mjs", tree.tools, *workflows(tree))
    yield from (line.replace(str(tree.root) + "/", "") for line in (told.stdout + told.stderr).splitlines())


def workflow_schemas(tree: Tree) -> Iterator[str]:
    for schema, paths in (
        ("github-workflows", workflows(tree)),
        ("dependabot", [tree.root / ".github/dependabot.yml"]),
    ):
        told = run(tree.program("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *paths)
        if told.returncode != 0:
            yield (told.stdout + told.stderr).replace(str(tree.root) + "/", "").strip()


def workflow_audit(tree: Tree) -> Iterator[str]:
    """By zizmor: injections, rights, pins, credentials that stay."""
    told = run(
        tree.program("zizmor"),
        "--offline",
        "--no-progress",
        "--color=never",
        "--min-severity=medium",
        tree.root / ".github",
    )
    if told.returncode != 0:
        found = re.findall(r"^(?:error|warning)\[.*\n\s*-->.*", told.stdout, re.MULTILINE)
        yield from (" ".join(line.split()).replace(str(tree.root) + "/", "") for line in found or [told.stderr.strip()])


def workflow_habits(tree: Tree) -> Iterator[str]:
    """Time-outs, no rights by default, the same tests as on everybody's machine, fixed machines and actions."""
    for path in workflows(tree):
        plan = yaml.safe_load(path.read_text())
        if plan.get("permissions") != {"contents": "read"}:
            yield f"{path.name}: does not begin with `permissions: contents: read`"
        for name, job in plan["jobs"].items():
            if "uses" not in job and "timeout-minutes" not in job:
                yield f"{path.name}: job {name} has no timeout-minutes"
            if "latest" in str(job.get("runs-on", "")):
                yield f"{path.name}: job {name} runs on `latest`"
            for step in job.get("steps", []):
                if "uses" in step and not re.search(r"@[0-9a-f]{40}$", step["uses"]):
                    yield f"{path.name}: {step['uses']} is not held to a commit"
    if "run: .ci/run\n" not in tree.text(".github/workflows/test.yml"):
        yield "test.yml does not run .ci/run"


def workflows(tree: Tree) -> list[Path]:
    return sorted((tree.root / ".github/workflows").glob("*.yml"))


def yaml_style(tree: Tree) -> Iterator[str]:
    rules = "{extends: default, rules: {document-start: disable, line-length: {max: 200}, truthy: {check-keys: false}, \
braces: {max-spaces-inside: 1}, comments: {min-spaces-from-content: 1}, octal-values: disable}}"
    told = run(tree.program("yamllint"), "--format=parsable", "-d", rules, tree.root / "k8s", tree.root / ".github")
    yield from (line.replace(str(tree.root) + "/", "") for line in told.stdout.splitlines())


def shell(tree: Tree) -> Iterator[str]:
    """Scripts beside the manifests, and those inside workflows."""
    told = run("shellcheck", "--format=gcc", tree.root / "k8s/overlays/local/secrets")
    yield from (line.replace(str(tree.root) + "/", "") for line in told.stdout.splitlines())
    for path in workflows(tree):
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            for step in job.get("steps", []):
                told = run("shellcheck", "--format=gcc", "--shell=bash", "-", input=step.get("run", ""))
                yield from (f"{path.name}: {name}: {line}" for line in told.stdout.splitlines())


def links(tree: Tree) -> Iterator[str]:
    """Files exist, and headings; what lies outside the copy is looked for in the project."""
    for guide in GUIDES:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", tree.text(guide)):
            path, _, anchor = target.partition("#")
            file = ((tree.root / guide).parent / path).resolve() if path else tree.root / guide
            if not file.exists():
                file = tree.facts.root / file.relative_to(tree.root.resolve())
            if not file.exists():
                yield f"{guide}: {target} does not exist"
            elif anchor and anchor not in {
                slug(heading) for heading in re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            }:
                yield f"{guide}: {target} is no heading there"


def slug(heading: str) -> str:
    """As GitHub makes one."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def changelog(tree: Tree) -> Iterator[str]:
    text = tree.text("CHANGELOG.md")
    if "\n## [Unreleased]\n" not in text:
        yield "there is no [Unreleased]"
    if not re.search(rf"^## \[{re.escape(tree.facts.version)}\] - (unreleased|\d{{4}}-\d\d-\d\d)$", text, re.MULTILINE):
        yield f"version {tree.facts.version} of Cargo.toml has no section"


def argo(tree: Tree) -> Iterator[str]:
    """The application leads to a kustomization of this project, at its version."""
    for item in yaml.safe_load_all(tree.text("k8s/argocd/application.yaml")):
        source = item["spec"]["source"]
        if not (tree.root / source["path"] / "kustomization.yaml").exists():
            yield f"Application {item['metadata']['name']}: {source['path']} is no kustomization"
        if source["targetRevision"] != f"v{tree.facts.version}":
            yield f"Application {item['metadata']['name']}: {source['targetRevision']} is not v{tree.facts.version}"
