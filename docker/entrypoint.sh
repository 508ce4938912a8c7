#!/usr/bin/env bash
# Activate the environment, then become the command: `exec` makes it the process that signals reach.
# Activation happened before the first line: BASH_ENV names activate.sh.
set -euo pipefail

# The forms in which the server is called, and what is to run then.
server=""
case "${1##*/} ${2:-}" in
"jupyter lab" | "jupyter notebook" | "jupyter server")
    server="jupyter-$2"
    shift 2
    ;;
"jupyter-lab "* | "jupyter-notebook "* | "jupyter-server "* | "jupyterhub-singleuser "*)
    server="${1##*/}"
    shift
    ;;
esac

# A container that starts again has its token still. Where its server was killed, or has been away for long, a stranger
# of the same machine may have held its port since, and an open tab have told him that token: it is no longer used.
# A server that ends in peace leaves the mark (jupyter_server_config.py).
ended="${JUPYTER_TOKEN_FILE}.ended"
if [[ -n "${server}" && ($$ == 1 || "${PPID}" == 1) ]]; then
    if [[ -z "$(find "${ended}" -newermt '-30 seconds' 2>/dev/null)" ]]; then
        rm --force "${JUPYTER_TOKEN_FILE}"
    fi
    rm --force "${ended}"
fi

# Jupyter reads its token from this file; a token in the environment would show in `docker inspect`.
if [[ ! -s "${JUPYTER_TOKEN_FILE}" ]]; then
    (umask 077 && od -A n -t x1 -N 24 /dev/urandom | tr -d ' \n' >"${JUPYTER_TOKEN_FILE}")
fi

# A server without its configuration has no rules for its token and its files, and Jupyter serves all the same where a
# file cannot be read or does not run. The last line makes it end there (traitlets 5.14, config/application.py).
if [[ -n "${server}" ]]; then
    configuration=/etc/jupyter/jupyter_server_config.py
    if [[ ! -r "${configuration}" || ! -s "${configuration}" ]]; then
        echo "error: ${configuration} cannot be read, and no server starts without it" >&2
        echo "fix: build the image again" >&2
        exit 78
    fi
    export PATH="${PATH//:\/opt\/own\/bin/}" # it finds no command of src/; kernels and terminals do
    set -- "${ENV_PREFIX}/bin/python" -I -B /etc/jupyter/serve.py "${server}" "$@"
    export TRAITLETS_APPLICATION_RAISE_CONFIG_FILE_ERROR=1
fi

exec "$@"
