"""What was installed by hand in the running environment, and is named in no file."""

from dataclasses import asdict

from host_tasks.decide.by_hand import unrecorded
from host_tasks.ground import report
from host_tasks.observe.observation import Observation


def print_by_hand(seen: Observation, *, json: bool) -> None:
    """Print each package, who installed it, and which version."""
    found = unrecorded(seen)
    if json:
        report.as_json([asdict(each) for each in found])
    elif found:
        rows = [(each.name, each.version, each.by) for each in found]
        report.result(report.table(("package", "version", "installed by"), rows))
    else:
        report.result("Nothing was installed by hand that no file names.")
