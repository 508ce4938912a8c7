"""What a failed build or start says of its cause; nothing but its text tells."""

import re

# What a step of the build prints itself, behind BuildKit's "#10 28.52 "; BuildKit's own line names only the command.
STEP_ERROR = re.compile(r"(?:#\d+ )?(?:\d+\.\d+ )?\w*error: (?!process |failed to )(.+)", re.IGNORECASE)


def cause_of_failed_build(output: str) -> str:
    """Return the last error that a step printed, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [match[1] for match in map(STEP_ERROR.match, lines) if match]
    return (causes or lines or ["the build said nothing"])[-1]


def is_network(cause: str) -> bool:
    """Return whether a cause is that an address could not be reached."""
    words = r"proxy|connect|timed? ?out|resolve host|resolving host|name resolution|lookup|unreachable|no route"
    return bool(re.search(words, cause, re.IGNORECASE))


def is_full_disk(output: str) -> bool:
    """Return whether a build or a start found no space; libc spells it with a capital, Go without."""
    return "no space left on device" in output.lower()
