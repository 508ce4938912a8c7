"""Rules about the base image: it is here, or can be brought here."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from host_tasks.decide.plan import Finding, Step, fail, ok
from host_tasks.decide.share import spares_base
from host_tasks.ground.commands import path_word, task_command
from host_tasks.ground.errors import ExitCode
from host_tasks.ground.paths import ENV_FILE
from host_tasks.observe.images import Base

if TYPE_CHECKING:
    from host_tasks.observe.observation import Observation

CODE = "base-image"


def base_image(seen: "Observation") -> Iterator[Finding]:
    """Ask for the base image, and for a stand-in where the published one cannot be pulled."""
    base = seen.base
    outdated = base.is_stand_in and base.name != base.stand_in
    if (outdated or not base.image) and spares_base(seen):
        yield ok(CODE, f"{base.shown} is not needed: the environment is not built here")
    elif outdated:
        cause = f"{base.name} was made for another environment.yml or system than today's, which needs {base.stand_in}"
        yield _needed(cause, _stand_in_step(base))
    elif base.image:
        yield ok(CODE, f"{base.shown} is here" + (", a stand-in made on this machine" if base.is_stand_in else ""))
    elif base.is_stand_in:
        yield _needed(f"{base.name} is not on this engine any more", _stand_in_step(base))
    else:
        yield _missing(base, pulled=_pull_step(base).key in seen.tried)


def _missing(base: Base, *, pulled: bool) -> Finding:
    """Return that a published base image is not here."""
    if not pulled:
        return fail(CODE, f"{base.shown} is not on this engine", f"docker pull {base.name}", step=_pull_step(base))
    cause = f"the base image {base.shown} is neither on this engine nor can it be pulled"
    if base.chosen:
        return fail(CODE, cause, f"sed -i '/^BASE_IMAGE=/d' {path_word(ENV_FILE)}", ExitCode.UNAVAILABLE)
    if not base.can_make:
        return fail(CODE, cause, f"docker pull {base.name}", ExitCode.UNAVAILABLE)
    offer = f"Make a stand-in here, of {base.system}'s packages and PyPI's wheels, in about a minute?"
    return _needed(cause, _stand_in_step(base, f"{cause[0].upper()}{cause[1:]}. {offer}"))


def _needed(cause: str, step: Step) -> Finding:
    """Return that a stand-in has to be made."""
    return fail(CODE, cause, task_command("up --yes"), ExitCode.UNAVAILABLE, step=step)


def _pull_step(base: Base) -> Step:
    """Return the step that pulls the base image; where it fails, the next round offers a stand-in."""
    offer = "" if base.chosen or not base.can_make else ", or offer a stand-in where it cannot be reached"
    return Step("pull", f"pull {base.shown}{offer}", "the engine's images", values={"image": base.name})


def _stand_in_step(base: Base, question: str = "") -> Step:
    """Return the step that makes the stand-in and chooses it."""
    touches = "the engine's images, 600 MB; BASE_IMAGE in docker/.env"
    return Step(
        "stand-in",
        f"make the base image {base.stand_in} here",
        touches,
        values={"image": base.stand_in},
        question=question,
    )
