# shellcheck shell=bash disable=SC2016,SC2154,SC2329
# What the batch script that `invoke slurm` prints does: it is read there, behind the #SBATCH lines and what is set here:
# project, kept and image (folders), folders (the six), environment, options, login, workers (how many), and command;
# none = JupyterLab. A worker's job is the same script with two words more: the job that it works for, and the address there.
set -euo pipefail

own="$(mktemp --directory)" # on this node: home, /tmp, runtime files and token; only this user gets in
mkdir "${own}"/{home,tmp,app}

children=()
clean_up() {
    if [[ -n "${jobs:-}" ]]; then scancel "${jobs}" || true; fi
    rm --force ${issued:+"${issued}"}
    if ((${#children[@]})); then
        kill "${children[@]}" 2>/dev/null || true
        # Slurm kills what is there after KillWait, this script too: by then nothing is to be left on the node.
        (for _ in {1..100}; do sleep 0.1; done && kill -s KILL "${children[@]}") 2>/dev/null &
        wait "${children[@]}" 2>/dev/null || true
        kill "$!" 2>/dev/null || true
    fi
    chmod --recursive u+w "${own}" && rm --recursive --force "${own}"
}
trap clean_up EXIT
trap 'exit 143' TERM
for name in USR1 USR2; do # of --signal=B:USR1@30, which is for the program
    # shellcheck disable=SC2064
    trap "kill -s ${name} \"\${main:-}\" 2>/dev/null || true" "${name}"
done

if [[ -d "${image}/conda-meta" ]]; then # an environment and no system: made of a lock, for this node's own system
    app="${project}" home="${own}/home" tmp="${own}/tmp"
    enter=(env)
    # What is saved outside the six folders is on a disk as well, and is deleted where a person says so.
    files=(--ServerApp.contents_manager_class=jupyter_server.services.contents.largefilemanager.AsyncLargeFileManager
        --AsyncLargeFileManager.delete_to_trash=False)
else
    files=()
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
        printf "fix: echo 'image: environment.lock' >>%q # or name as setup there what brings one: module load apptainer\n" \
            "${project}/slurm.yml" >&2
        exit 69
        ;;
    esac
fi

# What Slurm says of the job goes in, and nothing else of this node's environment; a token is in no argument, which
# everybody on the node can read.
# A Dask scheduler that listens on this node is a stranger's, whom `Client()` is not to find (project_startup.py).
words=(
    "${environment[@]}" "HOME=${home}" "TMPDIR=${tmp}" "USER=$(id --user --name)" "PROJECT_DIR=${app}"
    "JUPYTER_RUNTIME_DIR=${home}/runtime" "JUPYTER_TOKEN_FILE=${home}/token"
    "SLURM_CPUS_ON_NODE=${SLURM_CPUS_ON_NODE:-1}" DASK_SCHEDULER_ADDRESS=None
)
for name in "${!SLURM_@}" CUDA_VISIBLE_DEVICES ROCR_VISIBLE_DEVICES OMP_NUM_THREADS; do
    if [[ -n "${!name+set}" && "${name}" != SLURM_JWT ]]; then words+=("${name}=${!name}"); fi
done
where=.
begin() { # a command in the environment, in the background
    "${enter[@]}" /usr/bin/env --ignore-environment "${words[@]}" \
        /bin/bash -c 'cd "${PROJECT_DIR}/$1" && exec "${@:2}"' bash "${where}" "$@" &
    children+=($!)
}

if ((workers)); then
    # Dask runs what anybody sends, and its ports are open to the cluster: who talks to it shows this job's certificate.
    key="${kept}/${1:-${SLURM_JOB_ID}}.pem"
    if ! (($#)); then
        issued="${key}"
        (umask 077 && openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=dask -keyout "${key}" -out "${key}" 2>/dev/null)
    fi
    cp --preserve=mode "${key}" "${own}/home/dask.pem"
    for name in CA_FILE {SCHEDULER,WORKER,CLIENT}__{CERT,KEY}; do
        words+=("DASK_DISTRIBUTED__COMM__TLS__${name}=${home}/dask.pem")
    done
    words+=(DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True DASK_DISTRIBUTED__COMM__DEFAULT_SCHEME=tls)
    # Its pages ask nobody for anything, so there are none.
    words+=("DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES=[]" "DASK_DISTRIBUTED__WORKER__HTTP__ROUTES=[]")
fi
if (($#)); then
    if ! ((${#command[@]})); then where=notebooks; fi # as its kernels
    memory="${SLURM_MEM_PER_NODE:+${SLURM_MEM_PER_NODE}MiB}"
    command=(
        dask worker --nworkers 1 --nthreads "${SLURM_CPUS_ON_NODE:-1}" --memory-limit "${memory:-auto}"
        --no-dashboard --local-directory "${tmp}" --death-timeout 60 --name "${SLURM_JOB_ID}" "$2"
    )
elif ((workers)); then
    begin dask scheduler --port 0 --no-dashboard --dashboard-address 127.0.0.1:0 --scheduler-file "${home}/dask.json" \
        &>"${kept}/${SLURM_JOB_ID}-scheduler.out"
    until address="$(sed -n 's/^  "address": "\(.*\)",*$/\1/p' "${own}/home/dask.json" 2>/dev/null)" && [[ "${address}" ]]; do
        kill -0 "${children[0]}" || exit 1
        sleep 0.2
    done
    words+=("DASK_SCHEDULER_ADDRESS=${address}")
    jobs="$(sbatch --parsable --array="1-${workers}" --job-name=dask-worker \
        --output="${kept}/${SLURM_JOB_ID}-%a.out" "$0" "${SLURM_JOB_ID}" "${address}")"
    jobs="${jobs%%;*}" # a cluster's name may follow
    echo "Dask's workers are the jobs ${jobs}_1 to ${jobs}_${workers}." >&2
fi

if ((${#command[@]})); then
    begin "${command[@]}"
    main=$!
else
    od -A n -t x1 -N 24 /dev/urandom | tr --delete ' \n' >"${own}/home/token"
    begin python -I -B -m jupyterlab --ServerApp.port=0 --ServerApp.log_level=WARN "${files[@]}"
    main=$!
    # Jupyter writes this file once it listens, with the port that it was given.
    until port="$(sed -n 's/^ *"port": \([0-9]*\),*$/\1/p' "${own}"/home/runtime/jpserver-*.json 2>/dev/null)" && [[ "${port}" ]]; do
        kill -0 "${main}" || exit 1
        sleep 0.2
    done
    echo "On your own machine, keep this running:"
    echo "    ssh -N -L 127.0.0.1:${port}:${SLURMD_NODENAME:-$(hostname)}:${port} ${login}"
    echo "and open:"
    echo "    http://127.0.0.1:${port}/?token=$(<"${own}/home/token")"
fi

if ((${#children[@]} > 1)); then
    while kill -0 "${main}" && kill -0 "${children[0]}"; do wait -n && code=0 || code=$?; done 2>/dev/null # a signal too
    if kill -0 "${main}" 2>/dev/null; then
        echo "error: Dask's scheduler has ended with ${code}; what runs here goes on without it" >&2
        echo "fix: scancel ${SLURM_JOB_ID}; then submit the script again" >&2
    fi
fi
code=0
until wait "${main}" && code=0 || code=$? && ! kill -0 "${main}" 2>/dev/null; do :; done
exit "${code}"
