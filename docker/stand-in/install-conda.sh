#!/usr/bin/env bash
# Make ${CONDA_DIR} a prefix with a python and a conda in it, as the published base image has.
set -euo pipefail

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# The system's own pip, from the wheel that it is packed in, brings a newer one: to install it first, as venv does, and
# to compile what is installed on one processor takes as long as all the rest.
python3 -m venv --without-pip "${CONDA_DIR}"
pip="$(echo /usr/share/python-wheels/pip-*.whl)/pip"
"${CONDA_DIR}/bin/python" "${pip}" install --quiet --no-compile --no-deps --require-hashes \
    --requirement /opt/stand-in/requirements.txt --requirement /opt/stand-in/conda.txt

# The conda that conda-lock carries calls itself conda_lock._vendor.conda: give it its own name back.
site_packages="$("${CONDA_DIR}/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
mv "${site_packages}/conda_lock/_vendor/conda" "${site_packages}/conda"
grep --recursive --files-with-matches 'conda_lock\._\?vendor\.' "${site_packages}/conda" --include='*.py' |
    xargs sed --in-place --expression 's/conda_lock\._\?vendor\.//g'
# Python 3.13, Debian 13's, has no functions for logging's lock any longer; the lock itself has the same name in all.
sed --in-place 's/logging\._\(acquire\|release\)Lock()/logging._lock.\1()/' "${site_packages}/conda/common/io.py"
rm --recursive "${site_packages}"/conda_lock{,-*.dist-info} "${CONDA_DIR}/bin/conda-lock"
# Its shell files are not carried: `conda run`, `conda init` and the hooks read this one from the package.
for folder in "${CONDA_DIR}" "${site_packages}/conda/shell"; do
    install -D --mode=0644 /opt/stand-in/conda.sh "${folder}/etc/profile.d/conda.sh"
done
"${CONDA_DIR}/bin/python" -m compileall -q -j 0 "${site_packages}"

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
