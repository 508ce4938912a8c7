#!/usr/bin/env bash
# Make the image's one user: create-user.sh USERNAME UID GID
# Any pair of ids is honoured exactly; an account of the base image that has the name or the uid has to go,
# because the engine takes groups and HOME from the first passwd entry with a uid; so has Ubuntu's own person.
# uid 0 is for a rootless engine only: there it is the person who started the engine, without any right of root's.
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
read -r _ root_is _ </proc/self/uid_map # user_namespaces(7): what uid 0 is outside
((root_is == 0)) && lowest=1 || lowest=0
is_id "${uid}" "${lowest}" ||
    refuse "uid '${uid}' is not between ${lowest} and ${max_id}" "--build-arg uid=1000"
is_id "${gid}" 0 ||
    refuse "gid '${gid}' is not between 0 and ${max_id}" "--build-arg gid=100"

for taken in "$(getent passwd "${uid}" | cut -d: -f1)" "${username}" ubuntu; do
    if [[ -n "${taken}" && "${taken}" != root ]] && old_home="$(getent passwd "${taken}" | cut -d: -f6)"; then
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
useradd --no-log-init --no-create-home --home-dir "${home}" --shell /bin/bash --non-unique \
    --uid "${uid}" --gid "${gid}" --groups users "${username}" 2> >(grep -v 'outside of the UID' >&2)
# The first entry of a uid counts, and root's has uid 0 too.
{ grep "^${username}:" /etc/passwd && grep --invert-match "^${username}:" /etc/passwd; } >/etc/passwd.new
mv /etc/passwd.new /etc/passwd

# What postBuild wrote to its home, for it cannot know whose home it will be.
install --directory "${home}"
if [[ -d /opt/home ]]; then
    cp --recursive --preserve=mode,timestamps,links /opt/home/. "${home}"
    chmod --recursive g-w "${home}"
    chown --recursive --no-dereference "${uid}:${gid}" "${home}"
fi

# ~/app belongs to root and holds only mount points: what is saved beside them would be lost with the container.
# So does ~/.jupyter, where Jupyter looks for configuration, which is code: only lab/ outlives the container. The mode
# is for a user whose uid is root's.
install --directory --owner "${uid}" --group "${gid}" "${home}"{,/.cache,/.config,/.ipython,/.local}
install --directory --owner root --group root --mode 0555 "${home}/.jupyter"
touch "${home}/.jupyter/migrated" # or jupyter_core 5.9 would try to write it, and fail (application.py, migrate_config)
install --directory --owner "${uid}" --group "${gid}" "${home}/.jupyter/lab"
install --directory --mode 0555 "${home}/app"/{,bin,data,doc,notebooks,results,src}
ln --symbolic "${ENV_PREFIX}" "${home}/app/env"
# For what has to name the folder and knows no user: .devcontainer does.
ln --symbolic --no-target-directory "${home}/app" /workspace

# The user gains nothing by running a file, no-new-privileges or not; last, so that no step before it adds one.
# share.sh has seen to the environment after each step that filled it; it holds more files than all the rest.
find / -xdev -path "${ENV_PREFIX}" -prune -o -type f -perm /6000 -exec chmod a-s {} +
