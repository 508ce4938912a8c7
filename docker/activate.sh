# Sourced by every shell of the image: login shells (/etc/profile.d), interactive ones (/etc/bash.bashrc),
# scripts and RUN (BASH_ENV), and the entrypoint. POSIX, for /etc/profile.d is read by sh too.

# What was handed in from the host, by the build or by docker-compose.yml: the certificate authorities it
# trusts, and the index its pip looks in. conda reads REQUESTS_CA_BUNDLE and CONDA_SSL_VERIFY.
if grep -qs 'BEGIN CERTIFICATE' /run/secrets/ca_bundle; then
    export SSL_CERT_FILE=/run/secrets/ca_bundle REQUESTS_CA_BUNDLE=/run/secrets/ca_bundle
    export CURL_CA_BUNDLE=/run/secrets/ca_bundle PIP_CERT=/run/secrets/ca_bundle
    export CONDA_SSL_VERIFY=/run/secrets/ca_bundle
fi
if [ -e /run/secrets/pip_config ] && [ ! -r /run/secrets/pip_config ]; then
    # pip passes over a file that it cannot read, and would ask PyPI for what only the host's index may answer.
    export PIP_INDEX_URL=file:///run/secrets/pip_config-cannot-be-read
elif grep -qs '^[^#]' /run/secrets/pip_config; then
    export PIP_CONFIG_FILE=/run/secrets/pip_config
fi

# The proxies of this machine, in both cases: curl reads http_proxy in lower case only, and some read upper case only.
if [ -r /run/secrets/proxies ]; then
    while IFS='=' read -r name value; do
        case "${name}" in
        HTTP_PROXY) export HTTP_PROXY="${value}" http_proxy="${value}" ;;
        HTTPS_PROXY) export HTTPS_PROXY="${value}" https_proxy="${value}" ;;
        NO_PROXY) export NO_PROXY="${value}" no_proxy="${value}" ;;
        esac
    done </run/secrets/proxies
    unset name value
fi

# conda's own Python, and one that a package's activation calls, import nothing of the folders or the home: else what a
# notebook left there would run before a container has a server, and say what its shell is to do.
activate_environment() {
    set -- "${PYTHONPATH-}" "${PROJECT_DIR-}" "${PYTHONNOUSERSITE-}"
    unset PYTHONPATH PROJECT_DIR
    export PYTHONNOUSERSITE=1
    conda activate "${ENV_PREFIX}"
    if [ -n "$1" ]; then export PYTHONPATH="${PYTHONPATH:+${PYTHONPATH}:}$1"; fi
    if [ -n "$2" ]; then export PROJECT_DIR="$2"; fi
    if [ -n "$3" ]; then export PYTHONNOUSERSITE="$3"; else unset PYTHONNOUSERSITE; fi
}

# The `conda` function, which `conda activate` needs, is not inherited; what activation did is: CONDA_SHLVL tells.
# /etc/profile resets PATH on Debian and Ubuntu, so a login shell activates anew.
if [ -d "${ENV_PREFIX:-}/conda-meta" ] && [ -e "${CONDA_DIR}/etc/profile.d/conda.sh" ]; then
    # shellcheck source=/dev/null
    . "${CONDA_DIR}/etc/profile.d/conda.sh"
    case "${CONDA_SHLVL:-0}:${CONDA_PREFIX:-}:${PATH}:" in
    0:*) activate_environment ;;
    *":${ENV_PREFIX}:"*":${CONDA_DIR}/condabin:"* | *":${ENV_PREFIX}:${ENV_PREFIX}/bin:"*) ;;
    *) activate_environment ;;
    esac
    # A shell that found it active has no prompt of it; bash alone sets PS1 before this file is read.
    case "$-:${PS1:-}" in
    *i*:"${CONDA_PROMPT_MODIFIER:-}"*) ;;
    *i*:*) PS1="${CONDA_PROMPT_MODIFIER}${PS1}" ;;
    esac
fi

# The image without conda: PATH is right from the start; the environment's variables are Python's (project_startup.py).
if [ -d "${ENV_PREFIX:-}/conda-meta" ] && ! [ -e "${CONDA_DIR}" ]; then
    case ":${PATH}:" in *":${ENV_PREFIX}/bin:"*) ;; *) export PATH="${ENV_PREFIX}/bin:${PATH}" ;; esac
    for script in "${ENV_PREFIX}"/etc/conda/activate.d/*.sh; do
        # shellcheck source=/dev/null
        if [ -r "${script}" ]; then . "${script}"; fi
    done
fi

# The commands of src/pyproject.toml (environment/own_project.py), where src/ can be imported: a login shell has lost them.
case "${PROJECT_DIR:+:${PATH}:}" in "" | *:/opt/own/bin:*) ;; *) export PATH="${PATH}:/opt/own/bin" ;; esac
