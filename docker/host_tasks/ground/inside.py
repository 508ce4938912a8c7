"""A command inside a container that ends with us.

`docker exec` without a terminal passes no signal on, and the command goes on when its client is gone (moby, exec.go;
engine 26.1, tried). So each gets a mark in its environment, which its children inherit, and whatever has the mark is
ended by a second `docker exec`: hand `stop` to runner.run as also_stop.
"""

import uuid

ROOTS_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # folders of an image that its user cannot write to
# $0 is the mark. A command that saves its work at Ctrl-C is given the time for it.
SCRIPT = r"""
for signal in INT TERM KILL; do
    for try in $(seq 50); do
        found=$(grep --files-with-matches --no-messages --null-data --line-regexp --fixed-strings -- "$0" \
            /proc/[0-9]*/environ | cut -d / -f 3)
        [ "$found" ] || exit 0
        [ "$try" != 1 ] || kill -s "$signal" $found
        sleep 0.1
    done
done
"""


def mark() -> str:
    """Return a new mark, as `NAME=value` for the environment: `docker exec --env <mark> ...`."""
    return f"HOST_TASKS_RUN={uuid.uuid4().hex}"


def stop(container: str, mark: str) -> list[str]:
    """Return the command that ends all with the mark in a container, by name or id, within 15 s."""
    return ["docker", "exec", "--env", f"PATH={ROOTS_PATH}", container, "/bin/sh", "-c", SCRIPT, mark]
