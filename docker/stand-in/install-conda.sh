#!/usr/bin/env bash
# Make ${CONDA_DIR} a prefix with a python and a conda in it, as the published base image has.
set -euo pipefail

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

python3 -m venv "${CONDA_DIR}"
"${CONDA_DIR}/bin/python" -m pip install --quiet --no-deps --require-hashes \
    --requirement /opt/stand-in/requirements.txt --requirement /opt/stand-in/conda.txt

# The conda that conda-lock carries calls itself conda_lock._vendor.conda: give it its own name back.
site_packages="$("${CONDA_DIR}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
mv "${site_packages}/conda_lock/_vendor/conda" "${site_packages}/conda"
grep --recursive --files-with-matches 'conda_lock\._\?vendor\.' "${site_packages}/conda" --include='*.py' |
    xargs sed --in-place --expression 's/conda_lock\._\?vendor\.//g'
"${CONDA_DIR}/bin/python" -m pip uninstall --quiet --yes conda-lock
# Its shell files are not carried: `conda run`, `conda init` and the hooks read this one from the package.
for folder in "${CONDA_DIR}" "${site_packages}/conda/shell"; do
    install -D --mode=0644 /opt/stand-in/conda.sh "${folder}/etc/profile.d/conda.sh"
done
"${CONDA_DIR}/bin/python" -m compileall -q "${site_packages}/conda"

cat >"${CONDA_DIR}/bin/conda" <<SCRIPT
#!${CONDA_DIR}/bin/python
import sys

from conda.cli import main

if __name__ == "__main__":  # conda looks for a GPU in a child process that imports this file
    sys.exit(main())
SCRIPT
chmod 0755 "${CONDA_DIR}/bin/conda"

# An empty history makes the prefix an environment in conda's eyes.
mkdir --parents "${CONDA_DIR}/conda-meta"
touch "${CONDA_DIR}/conda-meta/history"
