"""What the manual says of choices is what their table says."""

from host_tasks import choices
from host_tasks.kit.paths import DOCKER_DIR


def row(choice: choices.Choice) -> str:
    """Return a choice as a row of the manual."""
    options = f"`--{choice.option}`" + (f", `--no-{choice.option}`" if choice.switch else "")
    file = f"[`{choice.file}`]({choice.file})" if choice.file else ""
    return f"| {options} | `{choice.key}` | {choice.help} | {file} |"


def test_manual_has_a_row_for_each_choice() -> None:
    """A choice that is added, changed or deleted is told there; what is missing is printed as it is to stand."""
    text = (DOCKER_DIR / "README.md").read_text(encoding="utf-8")

    assert "\n".join(map(row, choices.table())) in text
