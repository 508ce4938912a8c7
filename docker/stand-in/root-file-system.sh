#!/usr/bin/env bash
# Write a root file system of this machine's own Debian or Ubuntu release as a tar archive: root-file-system.sh FILE
# Run as root. The machine's apt settings say where packages come from; all that it installs here is mmdebstrap.
set -euo pipefail

readonly file="$1"

if ! command -v mmdebstrap >/dev/null; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends mmdebstrap >/dev/null
fi

# shellcheck source=/dev/null
source /etc/os-release
work="$(mktemp --directory)"
trap 'umount "${work}" 2>/dev/null || true; rm -rf "${work}"' EXIT
# dpkg writes each file twice and waits for the disk: in memory, where there are 4 GB of it, that takes 5 s less.
if awk '/^MemAvailable/ && $2 > 4e6 { enough = 1 } END { exit !enough }' /proc/meminfo; then
    mount -t tmpfs -o size=2g tmpfs "${work}" 2>/dev/null || true
fi
chmod 0711 "${work}" # for apt's own user, who downloads; what is written beside may hold a password
umask 077

# The main component of this release, its updates and security; no other source that the machine may have.
# shellcheck disable=SC2016 # apt's own variables
apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
    grep -E " ${VERSION_CODENAME}(-updates|-security)? (main|universe)\$" | sort --unique >"${work}/sources.list"
# How this machine reaches them: proxies, certificates, checks of dates.
apt-config dump Acquire >"${work}/apt.conf"

# What apt needs goes into the file system too, but no password of a proxy or an archive (RFC 3986, 3.2.1).
# shellcheck disable=SC2016 # mmdebstrap's own variable
readonly without_passwords='sed --in-place --regexp-extended "s|://[^/@[:space:]\"]*@|://|" \
    "$1"/etc/apt/sources.list "$1"/etc/apt/apt.conf.d/99mmdebstrap'

# What nobody reads in a container, now and later: mmdebstrap's own --dpkgopt takes 8 s more for it.
# shellcheck disable=SC2016 # mmdebstrap's own variable
readonly without_documents='rm -rf "$1"/usr/share/doc/* "$1"/usr/share/man/* "$1"/usr/share/locale/* &&
    printf "path-exclude=/usr/share/%s/*\n" doc man locale >"$1"/etc/dpkg/dpkg.cfg.d/99without-documents'

umask 022
TMPDIR="${work}" mmdebstrap --quiet --variant=minbase --aptopt="${work}/apt.conf" \
    --customize-hook="${without_passwords}" \
    --customize-hook="${without_documents}" \
    --include=ca-certificates,git,python3,python3-venv \
    "${VERSION_CODENAME}" "${file}" - <"${work}/sources.list"
