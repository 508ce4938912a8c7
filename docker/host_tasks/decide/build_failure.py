"""What a failed build or start says of its cause; nothing but its text tells.

Read from what BuildKit 0.13 to 0.26, pip 26, py-rattler 0.28, conda 24.7 with its classic solver and with libmamba
24.11, apt 2.6, curl 7.88 and bash 5.2 write.
"""

import re
from collections.abc import Sequence

ITEMS = 4  # of the lines below an error that are told with it
LENGTH = 400  # of what is told at most, in characters

# BuildKit's plain progress: "#10 28.52 text" for what a step prints, "#10 ERROR: ..." where it ends.
_FAILED_STEP = re.compile(r"#(\d+) ERROR: process ")
_SAID = re.compile(r"(?:#(?P<step>\d+) )?\d+\.\d+ (?P<text>.*)")
_OF_A_STEP = re.compile(r"#\d+ |\d+\.\d+ ")
_ENDED = re.compile(r"process .*did not complete successfully: (exit code: \d+)")

# A line that names a cause, or stands above those that do: what is told of it is its group `told`.
_CAUSE = re.compile(
    r"""
    (?:\w*error|E|fatal|\w*NotFound):\s*(?P<told>\S.*)?
    |(?P<whole>curl:\ \(\d+\).*|wget:.*
        |.*:\ (?:command\ not\ found|bad\ interpreter|permission\ denied|no\ such\ file\ or\ directory))
    """,
    re.VERBOSE | re.IGNORECASE,
)
# pip's and our own last words, which only point at the lines above them.
_POINTS_UP = re.compile(
    r"error: (?:subprocess-exited-with-error|metadata-generation-failed|failed-wheel-build-for-install"
    r"|ResolutionImpossible: for help|externally-managed-environment)|ERROR: Failed building wheel",
    re.IGNORECASE,
)
_NO_COMPILER = re.compile(
    r"No such file or directory: '[^']*(?:cc|[gc]\+\+|clang|gfortran)'|unable to execute '[^']*(?:cc|[gc]\+\+)'"
    r"|command '[^']*(?:cc|[gc]\+\+)' failed: No such file|Unknown compiler\(s\)|CMAKE_C(?:XX)?_COMPILER not set"
)
_CRLF = re.compile(
    r"(?:\\r|\r|\^M)['\u2019]?: (?:command not found|bad interpreter|No such file)|env: ['\u2018].*(?:\\r|\r)['\u2019]:"
)
# pip 26 goes on without an index that it cannot reach, and then misses the package.
_UNREACHED = re.compile(r"after connection broken by '(.*)': /")
_UNBUILT = re.compile(r"(?:Failed to build|Failed building wheel for|Building wheel for) '?([^'\s]+)")


def said_by_step(output: str) -> list[str]:
    """Return the lines that the failed step of a build printed."""
    return _of_the_step(_lines(output))


def cause_of_failed_build(output: str) -> str:
    """Return what the failed step of a build said of its cause, else the last error, else the last line."""
    lines = _lines(output)
    said = _of_the_step(lines)
    if said:
        told = _own_words(said) or _told(said) or said[-1].strip()
    else:
        silent = [
            f"a step of the build ended with {match[1]} and said nothing"
            for match in map(_ENDED.search, lines)
            if match
        ]
        others = [line for line in lines if not _OF_A_STEP.match(line)] or lines
        told = (silent or [_told(others) or (others or ["the build said nothing"])[-1].strip()])[-1]
    return told if len(told) <= LENGTH else f"{told[: LENGTH - 4].rstrip()} ..."


def is_network(cause: str) -> bool:
    """Return whether a cause is that an address could not be reached."""
    words = r"proxy|connect|timed? ?out|resolve host|resolving host|name resolution|lookup|unreachable|no route"
    return bool(re.search(words, cause, re.IGNORECASE))


def is_full_disk(output: str) -> bool:
    """Return whether a build or a start found no space; libc spells it with a capital, Go without."""
    return "no space left on device" in output.lower()


def _lines(output: str) -> list[str]:
    """Return the lines of an output that hold something."""
    return [line.rstrip() for line in output.replace("\r\n", "\n").split("\n") if line.strip()]


def _of_the_step(lines: Sequence[str]) -> list[str]:
    """Return what the failed step printed, without BuildKit's prefix; on a terminal it has no number.

    Nothing where no step failed: the engine that went away, or a base image that it does not have.
    """
    failed = {match[1] for match in map(_FAILED_STEP.match, lines) if match}
    of_steps = [match for match in map(_SAID.fullmatch, lines) if match]
    others = [line for line in lines if not _OF_A_STEP.match(line)]
    if not failed and others and not _ENDED.search(others[-1]):
        return []
    by_number = [match["text"] for match in of_steps if match["step"] in failed]
    return [text for text in by_number or (match["text"] for match in of_steps) if text.strip()]


def _own_words(said: Sequence[str]) -> str | None:
    """Return what is told in words of ours, for the step's own are no help to who has to repair it."""
    text = "\n".join(said)
    if is_full_disk(text):
        return "no space left on device"
    if _CRLF.search(text):
        return "a script ends its lines with CR LF, which Linux does not read: see .gitattributes"
    if _NO_COMPILER.search(text):
        names = _UNBUILT.findall(text)
        what = f"{names[0]} has to be compiled" if names else "a package has to be compiled"
        return f"{what}, and the image has no compiler: take it from conda, or name build-essential in apt.txt"
    if "No matching distribution found" in text and (broken := _UNREACHED.findall(text)):
        return f"pip cannot connect to its package index: {broken[-1]}"
    if re.search(r"Cannot find command 'git'", text):
        return "a requirement of git+... needs git, and the base image has none: name git in apt.txt"
    if re.search(r"jupyter(?:-lab\w*)?: command not found", text):
        return "jupyter: command not found: environment.yml asks for no jupyterlab, and postBuild runs it"
    return None


def _told(lines: Sequence[str]) -> str | None:
    """Return the last cause among the lines, with the lines that belong to it; None where there is none."""
    for number in range(len(lines) - 1, -1, -1):
        line = lines[number]
        match = _CAUSE.match(line.strip())
        if not match or _POINTS_UP.match(line.strip()) or _ENDED.search(line) or line.startswith("      "):
            continue
        # A line alone may be one of several: apt names each package that it does not find.
        told = [match["whole"] or match["told"] or line.strip()]
        if line.startswith("E: "):
            told = [each[3:] for each in lines[: number + 1] if each.startswith("E: ")]
        return _joined(told, [*_items(lines[number + 1 :]), *_inner(lines[:number], told[0])])
    return None


def _items(below: Sequence[str]) -> list[str]:
    """Return the lines below an error that say more: indented ones, a list, or a tree; not those of another error."""
    found: list[str] = []
    for line in below:
        text = line.strip().lstrip("├└─│╰>- ").strip()
        # pip writes its last word to stderr, which may come before what it says to stdout.
        if re.match(r"(?:The conflict is caused by|The following packages? .*):?$", text) or _POINTS_UP.match(text):
            continue
        if not re.match(r"\s|[-├└│]", line) or _CAUSE.match(text) or re.match(r"\^|note: ", text):
            break
        if text:
            found.append(re.sub(r" from https?://\S+", "", text))
    return found


def _inner(above: Sequence[str], told: str) -> list[str]:
    """Return the last line of what pip ran and shows in a frame, where the error only says that it failed."""
    if not told.startswith(("Failed to build", "Failed building")):
        return []
    ends = [number for number, line in enumerate(above) if line.strip() == "[end of output]"]
    return [above[ends[-1] - 1].strip()] if ends and ends[-1] else []


def _joined(told: Sequence[str], items: Sequence[str]) -> str:
    """Return an error and what belongs to it as one line."""
    head = "; ".join(filter(None, told)).rstrip()
    shown = [*items[:ITEMS], *([f"and {len(items) - ITEMS} more"] if len(items) > ITEMS else [])]
    rest = "; ".join(shown)
    if not (head and rest):
        return head or rest
    return f"{head} {rest}" if head.endswith((":", ".")) else f"{head}: {rest}"
