"""What docker, Compose, buildx, Jupyter, conda and pip warn of while a test runs: nothing, but for what stands here."""

import re

WARNS = re.compile(r"(?i:deprecated|warning)|WARN")
# What each line is about, as a regular expression, and why it is no fault of ours.
EXCEPTED = {
    r"^/\S+ \d+:\d+ \d+ [df]\b": "the name of a file, in a list of the image's",
    r"Kernel is running over TCP without encryption": "on 127.0.0.1 of the container, where all is the person's own",
    r"\[NbConvertApp\] WARNING \| Alternative text is missing": "of a plot in a notebook that is the person's own",
}


def warnings(said: str) -> list[str]:
    """Return the lines of an output that warn, without those that are excepted."""
    excepted = re.compile("|".join(EXCEPTED) or "(?!)")
    return [line for line in said.splitlines() if WARNS.search(line) and not excepted.search(line)]
