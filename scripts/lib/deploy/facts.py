"""What the code says: names, ports and limits that manifests repeat, read from the sources and the built programs."""

import re
import subprocess
from functools import cached_property
from pathlib import Path


class Facts:
    """Of the project, whatever copy of its manifests is looked at."""

    def __init__(self, root: Path):
        self.root = root

    def source(self, *folders: str) -> str:
        files = [file for folder in folders for file in sorted((self.root / folder).rglob("*.rs"))]
        return "\n".join(file.read_text() for file in files)

    @cached_property
    def metrics(self) -> set[str]:
        """Every name that edge and box office expose, without the suffixes of histograms."""
        text = self.source("proxy/src/metrics") + (self.root / "proxy/src/metrics.rs").read_text()
        return set(re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text + self.backend_metrics))

    @cached_property
    def backend_metrics(self) -> str:
        return (self.root / "backend/src/metrics.rs").read_text()

    @cached_property
    def metric_labels(self) -> set[str]:
        text = self.source("proxy/src/metrics") + (self.root / "proxy/src/metrics.rs").read_text()
        return set(re.findall(r'"([a-z_]+)" =>', text + self.backend_metrics)) | {"le", "quantile"}

    @cached_property
    def edge_variables(self) -> set[str]:
        """Those of the command line; settings have a prefix of their own and are checked by the program."""
        return set(re.findall(r'env = "(VESTIBULE_[A-Z_]+)"', self.source("proxy/src")))

    @cached_property
    def backend_variables(self) -> set[str]:
        return set(re.findall(r'env = "([A-Z_]+)"', self.source("backend/src")))

    @cached_property
    def backend_flags(self) -> set[str]:
        """Every `#[arg(long …)]` of the box office, by the name of its field."""
        fields = re.findall(r"#\[arg\(long[^\]]*\]\s*(?:pub )?(?:pub\(\w+\) )?(\w+):", self.source("backend/src"))
        return {"--" + field.replace("_", "-") for field in fields}

    @cached_property
    def edge_connections(self) -> int | None:
        """The most that one edge takes by default."""
        found = re.search(r"^\s+connections: ([\d_]+),", (self.root / "proxy/src/edge.rs").read_text(), re.MULTILINE)
        return int(found[1].replace("_", "")) if found else None

    @cached_property
    def edge_calls(self) -> str:
        return self.source("proxy/src/desk", "proxy/src/operator")

    @cached_property
    def version(self) -> str:
        return re.search(r'^version = "(.+)"', (self.root / "Cargo.toml").read_text(), re.MULTILINE)[1]

    @cached_property
    def rust_version(self) -> str:
        return re.search(r'^rust-version = "(.+)"', (self.root / "Cargo.toml").read_text(), re.MULTILINE)[1]

    @cached_property
    def vestibule(self) -> Path | None:
        """The built edge, if somebody built it."""
        program = self.root / "target/debug/vestibule"
        return program if program.exists() else None

    def new_key(self) -> str:
        return subprocess.run(
            [self.vestibule, "keys", "new"], capture_output=True, text=True, check=True
        ).stdout.strip()
