#!/usr/bin/env bash
# Activate the environment, then become the command: `exec` makes it the process that signals reach.
# Activation happened before the first line: BASH_ENV names activate.sh.
set -euo pipefail

# Jupyter reads its token from this file; a token in the environment would show in `docker inspect`.
if [[ ! -s "${JUPYTER_TOKEN_FILE}" ]]; then
    (umask 077 && od -A n -t x1 -N 24 /dev/urandom | tr -d ' \n' >"${JUPYTER_TOKEN_FILE}")
fi

exec "$@"
