"""Why a build or a start failed, and which line of which file it is about; nothing but the words of programs tells.

Read from what BuildKit 0.13 to 0.26 (bake too), pip 26, py-rattler 0.28, conda 24.7 with its classic solver and with
libmamba 24.11, apt 2.6, curl 7.88 and bash 5.2 write. A line is blamed only for the package, file or channel that a
program names in its own form of words, never by search: a word such as `pip` stands in many a message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from host_tasks.kit.words import ExitCode, masked, task_command
from host_tasks.loop import Finding, Seen, fail
from host_tasks.subjects import environment, network, settings
from host_tasks.subjects.package_lines import name_of

UNKNOWN = "we do not know why; more: {}"  # the fix where no words are known; {} = a command
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
# What stands above a list, and says less than its lines.
_HEADING = re.compile(r"(?:The conflict is caused by|The following packages? .*):?$")
_NETWORK = re.compile(
    r"proxy|connect|timed? ?out|resolve host|resolving host|name resolution|lookup|unreachable|no route", re.IGNORECASE
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
# In the frame in which pip shows what it ran: what says more than its last line (setuptools, psycopg2, GCC 12).
_FRAME = re.compile(r"fatal error: |executable not found|No module named|(?:header|library|package)\b.* not found")
# dpkg 1.21: the first of these is the cause, the next line says why, and the one above may say more.
_DPKG = re.compile(r"(?:(.*error.*)\n)?(dpkg: error processing .*)\n(.*)")
_BROKEN = re.compile(r"dpkg: error processing (?:package|archive) ([\w.+-]+)")
_UNBUILT = re.compile(r"(?:Failed to build|Failed building wheel for|Building wheel for) '?([^'\s]+)")

# Files that read_files.py makes, and what of: a lock's lines are in no file of a person.
_MADE = {"source.txt": environment.SOURCE, "locked.txt": "environment.lock"}
Place = tuple[str, int]  # a file, from the clone's root, and a line of it, from 1
_WORD = r"[A-Za-z0-9][\w.+-]*"
# "(from -r b.txt (line 2))", "-r b.txt (line 2)", "(from line 1 of d.txt)": pip 26, req_file.py and factory.py.
_FROM = re.compile(r"-[rc] (?:\S*/)?(\S+) \(line (\d+)\)")
_FROM_LINE = re.compile(r"\(from line (\d+) of (?:\S*/)?(\S+)\)")
_PARENT = re.compile(rf"satisfies the requirement .*\(from (?!versions:){_WORD}\)")
_PIP = re.compile(
    rf"requirement [^(]*\(from ({_WORD})\)|No matching distribution found for ({_WORD})"
    rf"|(?:Failed to build|Failed building wheel for) '?({_WORD})|({_WORD}) has to be compiled"
)
_CONFLICT = re.compile(r"Cannot install (.+?) because")
_APT = re.compile(rf"Unable to locate package ({_WORD})|Package '({_WORD})' has no installation candidate")
_CONDA = re.compile(rf"No candidates were found for ({_WORD})|nothing provides requested ({_WORD})")
_UNMET = re.compile(rf"- ({_WORD}).*: no (?:such version|package of this name)")  # records.py
_QUOTED = re.compile(r"(?:^\s*|[\[,]\s*)['\"]([A-Za-z0-9][\w.-]*)")  # the name in an item of a list of TOML
_LOCKED = re.compile(rf"(?:you require|and) ({_WORD})[<>=!~]")
_ROOT = re.compile(rf"[├└]─ ({_WORD})")  # rattler's and libmamba's trees: what was asked for; its branches were not
_LISTED = re.compile(r"(?:ResolvePackageNotFound|not available from current channels): (.*)")
_ADDRESS = re.compile(r"https?://[^\s)'\"]+")


class Known(NamedTuple):
    """A cause in the words of the engine, its client or Compose, and what cures it; {} is what the words name."""

    words: re.Pattern[str]
    cause: str
    fix: str
    code: ExitCode = ExitCode.UNAVAILABLE


# The versions that write so: of the engine, unless another program is named.
_KNOWN = (
    Known(  # docker's command 26.1, buildx 0.13
        re.compile(r'error getting credentials.*exec: "(docker-credential-[^"]+)": executable file not found'),
        "{}, which keeps logins by your ~/.docker/config.json, is not on the PATH",
        "install {}, or take the line that names it (credsStore, credHelpers) out of ~/.docker/config.json",
        ExitCode.CONFIG,
    ),
    Known(  # 26.1, and 27 to 28.5
        re.compile(r"could not find an available, non-overlapping IPv4 address pool|all predefined address pools have"),
        "the engine has no addresses left for a further network",
        "docker network prune",
    ),
    Known(  # 26.1; the same of an engine in a Snap; Docker Desktop 4
        re.compile(
            r"bind source path does not exist: (\S.*)|error while creating mount source path '([^']+)'"
            r"|[Tt]he path (/.*) is not shared from the host"
        ),
        "the engine does not see {}: it runs in a machine or container of its own, or may not go there",
        "move the clone to a folder that the engine sees, such as one below your home; where it runs says: docker info",
    ),
    Known(  # Go 1.21 to 1.24
        re.compile(
            r"dial tcp: lookup (\S+)(?: on \S+)?: |https?://([^/\s\"]+)\S* net/http: (?:TLS hand|request canc)"
            r"|dial tcp (\S+): (?:i/o timeout|connect: (?:connection refused|network is unreachable|no route to host))"
        ),
        "it needs the network, and {} cannot be reached",
        "",
    ),
)


# judge


def explained(said: str, seen: Seen) -> Finding:
    """Return why a build failed: the line that it is about, and the proxy where no address was reached."""
    cause, values, step = cause_of_failed_build(said), settings.now(seen).values, _of_the_step(_lines(said))
    proxies = [f"{name}={masked(name, values[name])}" for name in network.PROXIES if name in values]
    through = f" (the build goes through {', '.join(proxies)} of docker/.env)"
    more = through if proxies and _NETWORK.search(cause) else ""
    if known := known_cause(said):
        return replace(known, cause=known.cause + more)
    places = [f"{name}:{line}" for name, line in _places(cause, step, seen)]
    named = " and ".join(places[:2]) or ("what the lines above name" if step else "")
    for name, line in _FROM.findall(cause):  # pip's names of our files become those of the clone
        place = _in_file(name, int(line), seen)
        own = f"{place[0]}:{place[1]}" if place else _MADE.get(name, f"{name}:{line}")
        cause = re.sub(rf"-[rc] (?:\S*/)?{re.escape(name)} \(line {line}\)", own, cause)
    fix = f"correct {named}, then: {task_command('up')}" if named else UNKNOWN.format(task_command("doctor"))
    return fail(": ".join([*places[:1], cause]) + more, fix, ExitCode.SOFTWARE)


def known_cause(said: str) -> Finding | None:
    """Return why a build or a start failed where its words are known, with the cure; None where they are not."""
    if is_full_disk(said):
        return fail("the disk is full", "docker system df", ExitCode.IO)
    told = cause_of_failed_build(said)
    for known in _KNOWN:
        if match := known.words.search(told):
            name = next(filter(None, match.groups()), "")
            fix = known.fix.format(name) or task_command("doctor")
            return fail(known.cause.format(name), fix, known.code)
    return None


def is_full_disk(output: str) -> bool:
    """Return whether a build or a start found no space; libc spells it with a capital, Go without."""
    return "no space left on device" in output.lower()


def cause_of_failed_build(output: str) -> str:
    """Return what the failed step of a build said of its cause, else the last error, else the last line."""
    lines = _lines(output)
    if said := _of_the_step(lines):
        told = _own_words(said) or _told(said) or said[-1].strip()
    elif ends := [match[1] for match in map(_ENDED.search, lines) if match]:
        told = f"a step of the build ended with {ends[-1]} and said nothing"
    else:
        others = [line for line in lines if not _OF_A_STEP.match(line)] or lines or ["the build said nothing"]
        told = _told(others) or others[-1].strip()
    return told if len(told) <= LENGTH else f"{told[: LENGTH - 4].rstrip()} ..."


def _lines(output: str) -> list[str]:
    """Return the lines of an output that hold something; bake puts the name of what it builds before its last word."""
    lines = output.replace("\r\n", "\n").split("\n")
    return [re.sub(r"^target \S+: (?=failed to solve: )", "", line.rstrip()) for line in lines if line.strip()]


def _of_the_step(lines: Sequence[str]) -> list[str]:
    """Return what the failed step printed, without BuildKit's prefix; on a terminal it has no number.

    Nothing where no step failed: the engine that went away, or a base image that it does not have.
    """
    failed = {match[1] for match in map(_FAILED_STEP.match, lines) if match}
    of_steps = [match for match in map(_SAID.fullmatch, lines) if match]
    others = [line for line in lines if not _OF_A_STEP.match(line)]
    if not failed and others and not any(map(_ENDED.search, others)):
        return []
    by_number = [match["text"] for match in of_steps if match["step"] in failed]
    return [text for text in by_number or (match["text"] for match in of_steps) if text.strip()]


def _own_words(said: Sequence[str]) -> str | None:
    """Return what is told in words of ours, since the step's own do not tell how to repair it."""
    text = "\n".join(said)
    if is_full_disk(text):
        return "no space left on device"
    if _CRLF.search(text):
        return "a script ends its lines with CR LF, which Linux does not read: see .gitattributes"
    if broken := _DPKG.search(text):
        return " ".join(filter(None, [broken[2], broken[3].strip(), broken[1]]))
    if _NO_COMPILER.search(text):
        what = (_UNBUILT.findall(text) or ["a package"])[0]
        fix = "take it from conda, or name build-essential in apt.txt"
        return f"{what} has to be compiled, and the image has no compiler: {fix}"
    if "No matching distribution found" in text and (unreached := _UNREACHED.findall(text)):
        return f"pip cannot connect to its package index: {unreached[-1]}"
    if re.search(r"Cannot find command 'git'", text):
        return "a requirement of git+... needs git, and the base image has none: name git in apt.txt"
    if re.search(r"jupyter(?:-lab\w*)?: command not found", text):
        return "jupyter: command not found: environment.yml asks for no jupyterlab, and postBuild runs it"
    return None


def _told(lines: Sequence[str]) -> str | None:
    """Return the last cause among the lines, with the lines that belong to it; None where there is none."""
    for number, line in reversed(list(enumerate(lines))):
        match = _CAUSE.match(line.strip())
        if not match or _POINTS_UP.match(line.strip()) or _ENDED.search(line) or line.startswith("      "):
            continue
        head = (match["whole"] or match["told"] or line.strip()).rstrip()
        if line.startswith("E: "):  # it may be one of several: apt names each package that it does not find
            head = "; ".join(text[3:] for text in lines[: number + 1] if text.startswith("E: "))
        items = list(_items(lines[number + 1 :]))
        if head.startswith(("Failed to build", "Failed building")):  # pip shows what it ran in a frame above
            items += _of_frame(lines[:number])
        rest = "; ".join([*items[:ITEMS], *([f"and {len(items) - ITEMS} more"] if len(items) > ITEMS else [])])
        return f"{head}{' ' if head.endswith((':', '.')) else ': '}{rest}" if rest else head
    return None


def _of_frame(lines: Sequence[str]) -> list[str]:
    """Return the line that says most in the last frame of what pip ran; nothing where there is none."""
    ends = [end for end, text in enumerate(lines) if end and text.strip() == "[end of output]"]
    starts = [start for start, text in enumerate(lines) if text.rstrip().endswith("lines of output]")]
    frame = [line.strip() for line in lines[starts[-1] + 1 : ends[-1]]] if starts and ends else []
    return [line for line in frame if _FRAME.search(line)][:1] or frame[-1:]


def _items(below: Sequence[str]) -> Iterator[str]:
    """Yield the lines below an error that say more: indented ones, a list, or a tree; not those of another error."""
    for line in below:
        text = line.strip().lstrip("├└─│╰>- ").strip()
        # pip writes its last word to stderr, which may come before what it says to stdout.
        if _HEADING.match(text) or _POINTS_UP.match(text):
            continue
        if not re.match(r"\s|[-├└│]", line) or _CAUSE.match(text) or re.match(r"\^|note: ", text):
            break
        if text:
            yield re.sub(r" from https?://\S+", "", text)


def _places(cause: str, said: Sequence[str], seen: Seen) -> list[Place]:
    """Return the lines that a cause is about, the first one first; `said` is all that the failed step printed."""
    found = [_in_file(name, int(line), seen) for name, line in _FROM.findall(cause)]
    lines = "\n".join(line for line in said if "adding trusted host" not in line)  # it tells where that stands
    found += [_in_file(name, int(line), seen) for line, name in _FROM_LINE.findall(lines)]
    asked, own = list(_asked(seen)), environment.asked(seen)
    for blamed in _blamed(cause, said):
        found += [place for package, place in asked if package == blamed]
    for address in _ADDRESS.findall(cause):
        for channel, line in own.channels.items():
            if address.startswith(f"{channel.rstrip('/')}/") or f"/{channel}/" in address:
                found.append((environment.NAME, line))
    return list(dict.fromkeys(place for place in found if place))


def _in_file(name: str, line: int, seen: Seen) -> Place | None:
    """Return where a line of a file is; section.txt is made of the pip section (read_files.py)."""
    if name != "section.txt":
        return (name, line) if name in environment.beside(seen) else None
    lines = [*environment.asked(seen).pip.values()]
    return (environment.NAME, lines[line - 1]) if line <= len(lines) else None


def _asked(seen: Seen) -> Iterator[tuple[str, Place]]:
    """Yield each package that the files ask for, as `_blamed` names it, and where it stands."""
    own = environment.asked(seen)
    for spec, number in own.conda.items():  # [channel::]name[ version]
        yield f"conda {''.join(_words([spec.rpartition('::')[2]])).lower()}", (environment.NAME, number)
    for line, number in own.pip.items():
        yield f"pip {_requirement(line)}", (environment.NAME, number)
    for number, line in enumerate((environment.source(seen) or "").splitlines(), 1):
        yield from ((f"pip {name_of(name)}", (environment.SOURCE, number)) for name in re.findall(_QUOTED, line))
    for name, text in environment.beside(seen).items():
        for number, line in enumerate(text.splitlines(), 1):
            word = line.partition("#")[0].strip()
            yield f"apt {word}" if name == "apt.txt" else f"pip {_requirement(word)}", (name, number)


def _blamed(cause: str, said: Sequence[str]) -> Iterator[str]:
    """Yield the packages that programs blame, each after the program that installs it."""
    # pip's line that names what requires the missing package, where that is not one of our files.
    parents = [line for line in said if _PARENT.search(line)]
    conflicts = [item for text in _CONFLICT.findall(cause) for item in re.split(r", | and ", text)]
    listed = [item.strip() for text in _LISTED.findall(cause) for item in text.split(";")]
    roots = [match[1] for pattern in (_ROOT, _UNMET) for match in map(pattern.match, said) if match]
    yield from (f"pip {name_of(name)}" for name in (*_named(_PIP, [*parents[-1:], cause][0]), *_words(conflicts)))
    if "packages cannot be locked" in cause:  # uv 0.13; what pip may not have is often conda's
        for name in _LOCKED.findall(cause):
            yield from (f"pip {name_of(name)}", f"conda {name.lower()}")
    yield from (f"conda {name.lower()}" for name in (*roots, *_named(_CONDA, cause), *_words(listed)))
    broken = [match[1] for match in map(_BROKEN.match, said) if match]
    yield from (f"apt {name}" for name in (*_named(_APT, cause), *broken))


def _named(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return what the groups of a pattern hold, in the order of the text."""
    return [next(filter(None, match.groups())) for match in pattern.finditer(text)]


def _words(items: Sequence[str]) -> list[str]:
    """Return the name with which each item begins: of `a==1, b and c>=2`, or of a specification."""
    return [match[0] for item in items if (match := re.match(_WORD, item))]


def _requirement(line: str) -> str:
    """Return the name in a requirement (PEP 508), normalized; "" in an option, a path or an address."""
    match = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:$|[\[<>=!~;@(\s])", line)
    return name_of(match[1]) if match else ""
