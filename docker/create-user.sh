#!/usr/bin/env bash
# Make the image's one user: create-user.sh USERNAME UID GID
# Any pair of ids is honoured exactly; an account of the base image that has the name or the uid has to go,
# because the engine takes groups and HOME from the first passwd entry with a uid; so has Ubuntu's own person.
set -euo pipefail

readonly username="$1" uid="$2" gid="$3"
readonly max_id=2147483647 # moby, "uids and gids must be in range 0-2147483647"
home="/home/${username}"

refuse() {
    printf 'error: %s\nfix: %s\n' "$1" "$2" >&2
    exit 1
}

is_id() {
    [[ "$1" =~ ^[0-9]{1,10}$ ]] && ((10#$1 >= $2 && 10#$1 <= max_id))
}

[[ "${username}" =~ ^[a-z][a-z0-9_-]{0,31}$ && "${username}" != root ]] ||
    refuse "username '${username}' is not a letter and at most 31 more of a-z, 0-9, _ and -, or is root" \
        "--build-arg username=al-khawarizmi"
is_id "${uid}" 1 ||
    refuse "uid '${uid}' is not between 1 and ${max_id}" "--build-arg uid=1000"
is_id "${gid}" 0 ||
    refuse "gid '${gid}' is not between 0 and ${max_id}" "--build-arg gid=100"

for taken in "$(getent passwd "${uid}" | cut -d: -f1)" "${username}" ubuntu; do
    if [[ -n "${taken}" ]] && old_home="$(getent passwd "${taken}" | cut -d: -f6)"; then
        userdel "${taken}"
        [[ "${old_home}" != /home/?* ]] || rm --recursive --force "${old_home}"
    fi
done

if ! getent group "${gid}" >/dev/null; then
    getent group "${username}" >/dev/null && group="group-${gid}" || group="${username}"
    groupadd --gid "${gid}" "${group}"
fi

# --no-log-init: a large uid would make lastlog and faillog sparse files of gigabytes (moby#5419).
# The home has no skeleton: the base image's .bashrc would activate conda's base.
useradd --no-log-init --no-create-home --home-dir "${home}" --shell /bin/bash \
    --uid "${uid}" --gid "${gid}" --groups users "${username}" 2> >(grep -v 'outside of the UID' >&2)

# What postBuild wrote to its home, for it cannot know whose home it will be.
install --directory "${home}"
if [[ -d /opt/home ]]; then
    cp --recursive --preserve=mode,timestamps,links /opt/home/. "${home}"
    chmod --recursive g-w "${home}"
    chown --recursive --no-dereference "${uid}:${gid}" "${home}"
fi

# ~/app belongs to root and holds only mount points: what is saved beside them would be lost with the container.
# So does ~/.jupyter, where Jupyter looks for configuration, which is code: only lab/ outlives the container.
install --directory --owner "${uid}" --group "${gid}" "${home}"{,/.cache,/.config,/.ipython,/.local}
install --directory --owner root --group root "${home}/.jupyter"
touch "${home}/.jupyter/migrated" # or jupyter_core 5.9 would try to write it, and fail (application.py, migrate_config)
install --directory --owner "${uid}" --group "${gid}" "${home}/.jupyter/lab"
install --directory "${home}/app"/{,bin,data,doc,notebooks,results,src}
ln --symbolic "${ENV_PREFIX}" "${home}/app/env"
# For what has to name the folder and knows no user: .devcontainer does.
ln --symbolic --no-target-directory "${home}/app" /workspace

# The user gains nothing by running a file, no-new-privileges or not; last, so that no step before it adds one.
# share.sh has seen to the environment after each step that filled it; it holds more files than all the rest.
find / -xdev -path "${ENV_PREFIX}" -prune -o -type f -perm /6000 -exec chmod a-s {} +
