#!/usr/bin/env bash
# Install pip's packages: pip.sh FOLDER PREFIX SOURCE
# FOLDER is what read_files.py makes. A notebook can write what source.txt is made from, so no code of it runs here, and
# none in the server or in postBuild later: wheels only, for a wheel runs nothing as it is installed; into a folder
# of its own, which is on no isolated Python's path, and whose .pth files no Python reads (project_startup.py).
set -euo pipefail

readonly folder="$1" prefix="$2" source="$3"
install=(xargs --arg-file="${folder}/options.txt" python -m pip install --progress-bar off --root-user-action ignore)

requirements=section.txt
if [[ -e "${folder}/locked.txt" ]]; then
    requirements=locked.txt
fi
cd "${folder}" # pip takes the path of a wheel from here

if [[ -s "${requirements}" ]]; then
    # What pip takes away here is conda's, which has no other version then (pip 26, `Successfully uninstalled a-1`).
    (umask 002 && "${install[@]}" --requirement "${requirements}") |
        sed --unbuffered --regexp-extended 's/^ *Successfully uninstalled (\S+)-(\S+)$/warning: conda'"'"'s \1 \2 is replaced by pip/'
    bash "$(dirname "$0")/share.sh" "${prefix}"
fi

if [[ -s source.txt ]]; then
    # What is there stays as it is: pip would else take a package of another version away from the rest.
    python -m pip list --format=freeze >/tmp/here.txt
    "${install[@]}" --prefix "${source}" --constraint /tmp/here.txt --requirement source.txt
    rm /tmp/here.txt
fi
