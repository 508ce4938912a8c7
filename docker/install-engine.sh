#!/usr/bin/env bash
# Install and start a Docker engine with Compose v2 and buildx, from the distribution's own packages.
#
# What it changes (only what is missing, and printed before it acts):
#   1. Debian 12 only, whose own Compose is too old: two files that let apt take four packages, and nothing else,
#      from the next stable suite (trixie, and its security updates) of the archives this machine already uses:
#      /etc/apt/sources.list.d/conda-pip-docker.sources and /etc/apt/preferences.d/conda-pip-docker
#   2. packages, by apt-get: docker.io, the docker client, Compose, buildx and what they depend on;
#      nothing is removed, libc stays as it is, recommended packages stay out
#   3. the engine is started: by systemd, else by the init script, else as a daemon that logs to /var/log/dockerd.log
#   4. run through sudo: the calling user joins the group docker, which is as good as root on this machine
#
# With --rootless nothing of this is done, and nobody needs to be root: an engine of the caller's own is started from
# what is installed, by a unit of their systemd (~/.config/systemd/user/docker.service) where they have one, else as a
# daemon that ends with the machine; docker's context "rootless" names it, and is chosen.
#
# usage: sudo docker/install-engine.sh [--dry-run]
#        docker/install-engine.sh --rootless [--dry-run]
# Exit codes: 0 an engine answers, 64 usage, 69 unavailable (unsupported system, apt or the engine failed), 77 not root,
# or root where nobody needs to be.
set -Eeuo pipefail

readonly SOURCES=/etc/apt/sources.list.d/conda-pip-docker.sources
readonly PREFERENCES=/etc/apt/preferences.d/conda-pip-docker
readonly LOG=/var/log/dockerd.log
readonly SYSTEM_LOG=/var/log/docker.log # of Debian's init script

socket=unix:///var/run/docker.sock
again="sudo docker/install-engine.sh"
errors=""   # a file: what the last apt-get said
rollback=() # the files to delete again where apt fails

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    local -r code=$1 problem=$2 fix=$3
    say "error: ${problem}"
    say "fix: ${fix}"
    exit "${code}"
}

clean_up() {
    rm -f "${errors}"
    if ((${#rollback[@]})); then
        rm -f "${rollback[@]}"
        say "Removed again: ${rollback[*]}"
    fi
}

engine_answers() {
    # By its socket, so that no context of root's gets in between; "version" fails where no server answers,
    # "info" does not always.
    timeout --kill-after=1 10 docker --host "${socket}" version >/dev/null 2>&1
}

has() {
    command -v "$1" >/dev/null
}

missing_packages() {
    has dockerd || echo docker.io
    [[ ${ID} == ubuntu ]] || has docker || echo docker-cli # Ubuntu has the client in docker.io
    docker compose version >/dev/null 2>&1 || echo "${compose_package}"
    docker buildx version >/dev/null 2>&1 || echo docker-buildx
}

joins_docker() {
    [[ -n ${SUDO_USER:-} && ${SUDO_USER} != root && " $(id -nG "${SUDO_USER}") " != *" docker "* ]]
}

# The system, as it describes itself (os-release(5)).

read_system() {
    local -r unsupported="this script knows Debian 12 or newer and Ubuntu 24.04 or newer, not"
    local -r elsewhere="follow \"Install Docker Engine\" or \"Docker Desktop\" on docs.docker.com"
    ID="" VERSION_ID="" PRETTY_NAME=""
    if [[ -r /etc/os-release ]]; then
        # shellcheck source=/dev/null
        . /etc/os-release
    fi
    local major=${VERSION_ID%%.*}
    major=${major:-99} # Debian testing and unstable have no number
    case ${ID} in
    debian) ((major >= 12)) || ID="" ;;
    ubuntu) ((major >= 24)) || ID="" ;;
    *) ID="" ;;
    esac
    [[ -n ${ID} ]] || fail 69 "${unsupported} ${PRETTY_NAME:-$(uname -s)}" "${elsewhere}"
    compose_package=docker-compose
    [[ ${ID} != ubuntu ]] || compose_package=docker-compose-v2
    borrow=no
    [[ ${ID} != debian || ${major} != 12 ]] || borrow=yes
}

# Debian 12: four packages of trixie.

apt_targets() {
    # What apt's lists say, which know codenames; then what its settings say, which may be all there is as yet.
    # shellcheck disable=SC2016 # apt-get expands these
    local -r format='$(REPO_URI) $(CODENAME) $(RELEASE) $(COMPONENT)'
    apt-get indextargets --format "${format}" 'Created-By: Packages'
    apt-get indextargets -o APT::Get::IndexTargets::OnlyPresent=0 -o APT::Get::IndexTargets::ReleaseInfo=0 \
        --format "${format}" 'Created-By: Packages'
}

own_archive() {
    apt_targets | awk -v suite="$1" \
        '($2 == suite || $3 == suite) && $4 == "main" && !seen++ { sub("/$", "", $1); print $1 }'
}

own_signed_by() {
    # The keys that vouch for bookworm here vouch for trixie too; where none are named, apt's common keys do.
    # Both forms of sources.list(5): stanzas with Signed-By:, and lines with [signed-by=...].
    find /etc/apt -name '*.sources' -exec awk '
        BEGIN { RS = ""; FS = "\n" }
        !found && /(^|\n)Suites:[^\n]*[ \t](bookworm|stable|oldstable)([ \t\n]|$)/ {
            for (i = 1; i <= NF; i++) {
                key = $i ~ /^Signed-By:/ || (key && $i ~ /^[ \t]/)
                if (key) { print $i; found = 1 }
            }
        }' {} + -o -name '*.list' -exec sed -n \
        's/^deb *\[[^]]*signed-by=\([^] ]*\).*[ \t]bookworm[ \t].*/Signed-By: \1/p' {} + |
        awk '/^Signed-By:/ { seen++ } seen == 1'
}

stanza() {
    local -r archive=$1 suite=$2 signed_by=$3
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main%s\n' "${archive}" "${suite}" "${signed_by:+
${signed_by}}"
}

write_file() {
    local -r file=$1 content=$2
    if [[ ! -e ${file} ]]; then rollback+=("${file}"); fi
    printf '%s\n' "${content}" >"${file}.new"
    chmod 0644 "${file}.new" # readable for apt's own user, whatever the umask
    mv "${file}.new" "${file}"
}

borrow_from_trixie() {
    local archive security signed_by everything_else
    archive=$(own_archive bookworm)
    if [[ -z ${archive} ]]; then
        apt_get update || true # the settings say "oldstable": only the lists tell its codename
        archive=$(own_archive bookworm)
    fi
    security=$(own_archive bookworm-security)
    local -r suites='n=/^trixie(-security)?$/' # apt_preferences(5): a regular expression between slashes
    [[ -n ${archive} ]] || fail 69 "apt's settings name no archive with bookworm" "sudo apt-get update && sudo docker/install-engine.sh"
    everything_else="Package: *
Pin: release ${suites}
Pin-Priority: -1
"
    if [[ $(apt_targets) == *" trixie "* && ! -e ${SOURCES} ]]; then
        everything_else="" # trixie is here already: by somebody's choice, whose pins stay as they are
    else
        signed_by=$(own_signed_by)
        write_file "${SOURCES}" "# Written by docker/install-engine.sh: Debian 12's own Compose is too old.
# Delete this file and ${PREFERENCES} before an upgrade to Debian 13.
$(stanza "${archive}" trixie "${signed_by}")${security:+

$(stanza "${security}" trixie-security "${signed_by}")}"
    fi
    write_file "${PREFERENCES}" "# Written by docker/install-engine.sh: of trixie take these four packages and nothing else.
${everything_else}
Package: docker.io docker-cli docker-compose docker-buildx
Pin: release ${suites}
Pin-Priority: 990"
}

# Packages.

apt_get() {
    # force-confold: an administrator's edited configuration wins. Lock: a fresh machine often upgrades itself just now.
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C \
        apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "$@" \
        </dev/null >"${errors}" 2>&1
}

apt_error() {
    grep --max-count=1 '^E:' "${errors}" || tail -n 1 "${errors}" # the first is the cause, later ones follow from it
}

install_packages() {
    local -r install=(install --yes --no-install-recommends --no-remove "$@")
    local plan
    [[ ${borrow} == no ]] || borrow_from_trixie
    say "$ apt-get update"
    # A source of somebody else's that is broken need not matter: only the packages decide.
    apt_get update -o APT::Update::Error-Mode=any || say "warning: apt-get update: $(apt_error)"
    if ! apt_get --simulate "${install[@]}"; then
        fail 69 "apt cannot install $*: $(apt_error)" "see whether apt reaches its archive: sudo apt-get update"
    fi
    plan=$(<"${errors}")
    if grep -Eq '^(Inst|Remv) libc6[: ]' <<<"${plan}"; then
        fail 69 "apt would replace libc6" "bring the system up to date first: sudo apt-get upgrade"
    fi
    say "$ apt-get ${install[*]}"
    sed -n 's/^Inst \([^ ]*\) \(\[[^]]*\] \)\{0,1\}(\([^ ]*\) .*/  \1 \3/p' <<<"${plan}" >&2
    if ! apt_get "${install[@]}"; then
        tail -n 15 "${errors}" >&2
        fail 69 "apt-get install failed: $(apt_error)" "run again: sudo docker/install-engine.sh"
    fi
    rollback=()
}

# The engine.

wait_for_engine() {
    local -r deadline=$((SECONDS + $1))
    until engine_answers; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

start_engine() {
    if [[ -d /run/systemd/system ]]; then
        say "$ systemctl enable --now docker"
        systemctl enable --now docker >&2 </dev/null && wait_for_engine 30 && return
        not_started "$(journalctl --unit docker --lines 5 --no-pager --output cat 2>&1)"
    fi
    clear_stale_pid_files
    if [[ -x /etc/init.d/docker ]]; then
        say "$ service docker start"
        service docker start </dev/null >>"${LOG}" 2>&1 && wait_for_engine 15 && return
    fi
    # A daemon in a session of its own, with no file of the caller's left open; the engine makes the pid file itself.
    say "$ dockerd (log: ${LOG})"
    start-stop-daemon --start --oknodo --background --pidfile /var/run/docker.pid --output "${LOG}" \
        --exec "$(command -v dockerd)" </dev/null >&2 && wait_for_engine 15 && return
    not_started "$(cat "${SYSTEM_LOG}" "${LOG}" 2>/dev/null | tail -n 5)"
}

# A killed engine leaves its pid files where /run outlives it; another process may have the number by now, and then
# the engine refuses to start beside "itself".
clear_stale_pid_files() {
    local file program
    for program in dockerd containerd; do
        file=/var/run/docker.pid
        [[ "${program}" == dockerd ]] || file=/var/run/docker/containerd/containerd.pid
        if [[ -f "${file}" && "$(cat "/proc/$(cat "${file}")/comm" 2>/dev/null)" != "${program}" ]]; then
            rm "${file}"
        fi
    done
}

not_started() {
    say "$1"
    fail 69 "the engine did not answer within 30 s" "see the lines above, then run: ${again}"
}

# An engine of the caller's own.

readonly ROOTLESS_SCRIPTS=/usr/share/docker.io/contrib # of Debian's and Ubuntu's docker.io; Docker's are on the PATH
readonly UNIT=${XDG_CONFIG_HOME:-${HOME:-/nonexistent}/.config}/systemd/user/docker.service

has_user_systemd() {
    systemctl --user show-environment >/dev/null 2>&1
}

# An administrator has to do what is printed here, once: newuidmap(1) is what only root can install.
lacks_for_rootless() {
    local -A package_of=([rootlesskit]=rootlesskit [slirp4netns]=slirp4netns [newuidmap]=uidmap)
    local name packages=() ids me
    me=$(id -un 2>/dev/null) || me=${EUID}
    if ! has dockerd || ! docker compose version >/dev/null 2>&1 || ! docker buildx version >/dev/null 2>&1; then
        printf 'sudo docker/install-engine.sh\n'
    fi
    for name in rootlesskit slirp4netns newuidmap; do
        has "${name}" || packages+=("${package_of[${name}]}")
    done
    if ((${#packages[@]})); then printf 'sudo apt-get install %s\n' "${packages[*]}"; fi
    for ids in uid gid; do
        grep --quiet --extended-regexp "^(${me}|${EUID}):" "/etc/sub${ids}" 2>/dev/null ||
            printf 'sudo usermod --add-sub%ss 524288-589823 %s\n' "${ids}" "${me}"
    done
}

start_rootless() {
    local -r script=$1 log=${XDG_RUNTIME_DIR}/dockerd-rootless.log
    if has_user_systemd; then
        if [[ ! -e ${UNIT} ]]; then
            mkdir -p "${UNIT%/*}"
            write_file "${UNIT}" "# Written by docker/install-engine.sh --rootless, as Docker's own setup tool writes it.
[Service]
Environment=PATH=${PATH}
ExecStart=${script}
Restart=always
RestartSec=2
Delegate=yes
Type=notify
NotifyAccess=all
KillMode=mixed
LimitNOFILE=infinity
TasksMax=infinity

[Install]
WantedBy=default.target"
            systemctl --user daemon-reload
        fi
        say "$ systemctl --user enable --now docker"
        systemctl --user enable --now docker >&2 </dev/null && wait_for_engine 30 && return
        not_started "$(journalctl --user --unit docker --lines 5 --no-pager --output cat 2>&1)"
    fi
    say "$ ${script} (log: ${log})"
    setsid "${script}" </dev/null >"${log}" 2>&1 &
    wait_for_engine 30 || not_started "$(tail -n 5 "${log}")"
}

rootless() {
    local -r dry_run=$1
    local script fix lacking context=(docker context create rootless --docker "host=${socket}")
    ((EUID != 0)) || fail 77 "a rootless engine is nobody's but its user's, and you are root" "docker/install-engine.sh"
    PATH=${PATH}:/usr/sbin:/sbin:${ROOTLESS_SCRIPTS}
    mapfile -t lacking < <(lacks_for_rootless)
    if ((${#lacking[@]})); then
        printf -v fix ' && %s' "${lacking[@]}"
        fail 69 "a rootless engine needs what an administrator has to add" "${fix# && }"
    fi
    script=$(command -v dockerd-rootless.sh) || fail 69 "there is no dockerd-rootless.sh" "sudo docker/install-engine.sh"
    if docker context inspect rootless >/dev/null 2>&1; then context[2]=update; fi
    say "This changes:"
    engine_answers || say "  - start ${script} as you$(has_user_systemd && printf ', by %s' "${UNIT}")"
    say "  - docker's context: rootless, ${socket}"
    [[ ${dry_run} == no ]] || return 0
    [[ -d ${XDG_RUNTIME_DIR} ]] || install --directory --mode 0700 "${XDG_RUNTIME_DIR}"
    engine_answers || start_rootless "${script}"
    "${context[@]}" >/dev/null
    docker context use rootless >/dev/null
    rollback=()
    say "Your own engine answers: $(docker --host "${socket}" version --format '{{.Server.Version}}')"
    has_user_systemd || say "To end it: kill \$(cat ${XDG_RUNTIME_DIR}/docker.pid); to start it again: ${again}"
}

main() {
    local dry_run=no packages changes=()
    # The words of docker's environment would ask another engine than this machine's.
    unset DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG
    case "$*" in
    "") ;;
    --dry-run) dry_run=yes ;;
    --rootless | "--rootless --dry-run")
        # moby's own place where no systemd gives one ("Run the Docker daemon as a non-root user").
        export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-${HOME}/.docker/run}
        again="docker/install-engine.sh --rootless"
        socket=unix://${XDG_RUNTIME_DIR}/docker.sock
        [[ $* == --rootless ]] || dry_run=yes
        rootless "${dry_run}"
        return
        ;;
    *)
        say "usage: sudo docker/install-engine.sh [--dry-run], or docker/install-engine.sh --rootless [--dry-run]"
        exit 64
        ;;
    esac

    if engine_answers && docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1 &&
        ! joins_docker; then
        say "Nothing to do: the engine answers, Compose and buildx are there."
        return
    fi
    read_system
    mapfile -t packages < <(missing_packages)

    if ((${#packages[@]})); then
        if [[ ${borrow} == yes ]]; then
            changes+=("write ${SOURCES}: the suite trixie of this machine's own archives, and its security updates")
            changes+=("write ${PREFERENCES}: of trixie only docker.io, docker-cli, docker-compose, docker-buildx")
        fi
        changes+=("install ${packages[*]} and what they depend on")
    fi
    engine_answers || changes+=("start the engine")
    ! joins_docker || changes+=("add ${SUDO_USER} to the group docker, whose members can become root on this machine")
    say "This changes:"
    printf '  - %s\n' "${changes[@]}" >&2
    [[ ${dry_run} == no ]] || return 0
    if ((EUID != 0)); then
        fail 77 "only root may do this" "sudo docker/install-engine.sh"
    fi

    errors=$(mktemp)
    trap clean_up EXIT
    trap 'say "error: install-engine.sh stopped at line ${LINENO}"; say "fix: see the lines above"' ERR
    if ((${#packages[@]})); then install_packages "${packages[@]}"; fi
    engine_answers || start_engine
    if joins_docker; then gpasswd --add "${SUDO_USER}" docker >&2; fi
    say "The engine answers: $(docker --host "${socket}" version --format '{{.Server.Version}}')," \
        "Compose $(docker compose version --short), buildx $(docker buildx version | cut -d ' ' -f 2)."
}

main "$@"
