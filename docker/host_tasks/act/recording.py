"""Add what was installed by hand to the files that the environment is made from."""

from host_tasks.decide import recording
from host_tasks.decide.by_hand import line, unrecorded
from host_tasks.ground import files
from host_tasks.ground.paths import ENVIRONMENT_YML, ROOT
from host_tasks.observe.observation import Observation

REQUIREMENTS_TXT = ROOT / recording.REQUIREMENTS


def record(seen: Observation) -> None:
    """Add a line for each package that no file names.

    Raises:
        HostError: environment.yml has no list to add to (65), or a file cannot be written.
    """
    conda = [line(each) for each in unrecorded(seen) if each.by == "conda"]
    pip = [line(each) for each in unrecorded(seen) if each.by == "pip"]
    before = text = ENVIRONMENT_YML.read_bytes().decode("utf-8")
    if conda:
        text = recording.with_conda(text, conda)
    if pip and (changed := recording.with_pip(text, pip)) is not None:
        text = changed
    elif pip:
        old = REQUIREMENTS_TXT.read_bytes().decode("utf-8") if REQUIREMENTS_TXT.exists() else ""
        files.write(REQUIREMENTS_TXT, recording.appended(old, pip).encode(), private=False)
    if text != before:
        files.write(ENVIRONMENT_YML, text.encode(), private=False)
