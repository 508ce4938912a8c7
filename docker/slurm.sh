# shellcheck shell=bash disable=SC2016,SC2154
# The end of the batch script that `invoke slurm` prints. Before it stand the #SBATCH lines and what is set here:
# project and image (folders), folders (the six), environment, options, login, and command; none = JupyterLab.
set -euo pipefail

own="$(mktemp --directory)" # on this node: home, /tmp, runtime files and token; only this user gets in
mkdir "${own}"/{home,tmp,app}

clean_up() {
    if [[ -n "${child:-}" ]]; then
        kill "${child}" 2>/dev/null || true
        wait "${child}" 2>/dev/null || true
    fi
    chmod --recursive u+w "${own}" && rm --recursive --force "${own}"
}
trap clean_up EXIT
trap 'exit 143' TERM

if [[ -d "${image}/conda-meta" ]]; then # an environment and no system: made of a lock, for this node's own system
    app="${project}" home="${own}/home" tmp="${own}/tmp"
    enter=(env)
    # What is saved outside the six folders is on a disk as well, and is deleted where a person says so.
    files=(--ServerApp.contents_manager_class=jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager
        --AsyncLargeFileManager.delete_to_trash=False)
else
    app=/srv home=/mnt tmp=/tmp # in every Debian and Ubuntu, and empty
    binds=("${own}/tmp:${tmp}" "${own}/home:${home}" "${own}/app:${app}")
    for name in "${folders[@]}"; do
        mkdir "${own}/app/${name}"
        binds+=("${project}/${name}:${app}/${name}")
    done
    chmod 500 "${own}/app" # what is saved beside the six would be lost
    for runtime in apptainer singularity ch-run podman none; do
        if command -v "${runtime}" >/dev/null; then break; fi
    done
    case "${runtime}" in
    apptainer | singularity) enter=("${runtime}" exec --containall "${options[@]}" "${binds[@]/#/--bind=}" "${image}") ;;
    ch-run) enter=(ch-run "${options[@]}" "${binds[@]/#/--bind=}" "${image}" --) ;;
    podman)
        enter=(podman run --rm --network=host --userns=keep-id --cap-drop=all --read-only "${options[@]}")
        enter+=("${binds[@]/#/--volume=}" --rootfs "${image}")
        ;;
    none)
        echo "error: none of apptainer, singularity, ch-run and podman is on the PATH of $(hostname)" >&2
        echo "fix: name what brings one, such as 'module load apptainer', as setup in slurm.yml; or the lock, which" \
            "needs none: image: environment.lock" >&2
        exit 69
        ;;
    esac
fi

# Nothing of this node's environment goes in, and a token is in no argument, which everybody on the node can read.
# A Dask scheduler that listens on this node is a stranger's, whom `Client()` is not to find (project_startup.py).
inside=(
    /usr/bin/env --ignore-environment "${environment[@]}"
    "HOME=${home}" "TMPDIR=${tmp}" "USER=$(id --user --name)" "PROJECT_DIR=${app}" "JUPYTER_RUNTIME_DIR=${home}/runtime"
    "JUPYTER_TOKEN_FILE=${home}/token" "SLURM_JOB_ID=${SLURM_JOB_ID}" "SLURM_CPUS_ON_NODE=${SLURM_CPUS_ON_NODE:-1}"
    DASK_SCHEDULER_ADDRESS=None
    /bin/bash -c 'cd "${PROJECT_DIR}" && exec "$@"' bash
)

if ((${#command[@]})); then
    "${enter[@]}" "${inside[@]}" "${command[@]}" &
    child=$!
    wait "${child}" && code=0 || code=$?
    child=''
    exit "${code}"
fi

od -A n -t x1 -N 24 /dev/urandom | tr --delete ' \n' >"${own}/home/token"
"${enter[@]}" "${inside[@]}" jupyter lab --ServerApp.port=0 --ServerApp.log_level=WARN "${files[@]}" &
child=$!
# Jupyter writes this file once it listens, with the port that it was given.
until port="$(sed -n 's/^ *"port": \([0-9]*\),*$/\1/p' "${own}"/home/runtime/jpserver-*.json 2>/dev/null)" && [[ "${port}" ]]; do
    kill -0 "${child}" || exit 1
    sleep 0.2
done
echo "On your own machine, keep this running:"
echo "    ssh -N -L 127.0.0.1:${port}:${SLURMD_NODENAME:-$(hostname)}:${port} ${login}"
echo "and open:"
echo "    http://127.0.0.1:${port}/?token=$(<"${own}/home/token")"
wait "${child}"
