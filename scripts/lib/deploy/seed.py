"""A planted mistake."""

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
