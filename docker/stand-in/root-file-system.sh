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
trap 'rm -rf "${work}"' EXIT

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

mmdebstrap --quiet --variant=minbase --aptopt="${work}/apt.conf" \
    --customize-hook="${without_passwords}" \
    --include=ca-certificates,git,python3,python3-venv \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    "${VERSION_CODENAME}" "${file}" - <"${work}/sources.list"
