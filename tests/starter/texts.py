"""The texts that come with the starter, their links, and the blocks of commands in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from host_tasks.kit.paths import ROOT

FAR = "ada@big"  # stands for another machine
CLUSTER = "sbatch"  # what only a cluster has
ARCHIVE = "save image.tar"  # what goes there, of a gigabyte
FORK = "ADDRESS-OF-YOUR-COPY"  # stands for the person's repository
REGISTRY = "registry.example"  # stands for a registry
# What the texts say may be deleted, and yet name.
MAY_GO = (
    *(".binder", ".ci", ".devcontainer", ".github", "CONTRIBUTING.md", "LICENSE", "SECURITY.md"),
    *("docker/examples", "docker/pictures", "tests/starter"),
)
# Those outside docker/ are the person's to replace and to delete: while the first line is ours, the text is.
FIRST_LINES = {
    "README.md": "# Conda + pip + Docker Compose, driven by Invoke",
    "docker/README.md": "# The starter's manual",
    "CONTRIBUTING.md": "# How the starter is built, and how to change it",
    "SECURITY.md": "# Security",
    "docker/CHANGELOG.md": "# Changelog of the starter",
}


def deleted() -> set[str]:
    """Return what of that was deleted here."""
    return {name for name in MAY_GO if not (ROOT / name).exists()}


@dataclass(frozen=True)
class Text:
    """One of them."""

    name: str  # from the clone's root
    content: str

    @property
    def path(self) -> Path:
        """Where it is."""
        return ROOT / self.name

    @property
    def blocks(self) -> list[str]:
        """The blocks of commands, in their order."""
        return re.findall(r"^```sh\n(.*?)^```", self.content, re.DOTALL | re.MULTILINE)

    @property
    def links(self) -> list[str]:
        """What its links and pictures lead to, without addresses; what stands in a block is no link."""
        prose = re.sub(r"^```\w*\n.*?^```$", "", self.content, flags=re.DOTALL | re.MULTILINE)
        return [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" not in link]

    @property
    def anchors(self) -> set[str]:
        """What a link to one of its headings ends with, as GitHub makes it: lower case, blanks to hyphens."""
        headings = re.findall(r"^#+ (.+)$", self.content, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def still_ours() -> dict[str, Text]:
    """Return the texts that are the starter's still, by name."""
    found = {}
    for name, first_line in FIRST_LINES.items():
        if (ROOT / name).is_file():
            content = (ROOT / name).read_text(encoding="utf-8")
            if content.startswith(f"{first_line}\n"):
                found[name] = Text(name, content)
    return found
