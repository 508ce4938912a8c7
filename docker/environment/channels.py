"""Where conda's channels are, by the settings of the base's own conda; rattler knows no condarc."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

BASE = Path("/tmp/base-conda")  # noqa: S108 # what the base's conda says of itself; a stage of the Dockerfile asks it


def conda_settings() -> dict[str, Any]:
    """Return the settings of the base's conda, with the addresses and tokens of its channels."""
    found: dict[str, Any] = json.loads((BASE / "settings.json").read_text(encoding="utf-8"))
    return found


def conda_version() -> str:
    """Return the version of the base's conda."""
    return (BASE / "version").read_text(encoding="utf-8").split()[-1]


def address(channel: dict[str, Any], name: str = "") -> str:
    """Return the address of a channel as `conda config --show --json` describes it (conda 24.7, Channel.dump)."""
    login = f"{channel['auth']}@" if channel.get("auth") else ""
    token = f"/t/{channel['token']}" if channel.get("token") else ""
    path = "/".join(filter(None, (channel["location"].rstrip("/"), name)))
    if channel["scheme"] == "file":
        return f"file://{path}"
    host, _, rest = path.partition("/")
    return f"{channel['scheme']}://{login}{host}{token}/{rest}"


def addresses(word: str, settings: dict[str, Any]) -> list[str]:
    """Return where the packages of a channel are, whose name or address stands in environment.yml."""
    if "://" in word:
        return [word]
    if word.startswith("/"):
        return [f"file://{word}"]
    if word in settings["custom_multichannels"]:
        return [address(each, each["name"]) for each in settings["custom_multichannels"][word]]
    parts = word.split("/")
    for size in range(len(parts), 0, -1):
        if custom := settings["custom_channels"].get("/".join(parts[:size])):
            return [address(custom, word)]
    return [address(settings["channel_alias"], word)]


def sources(asked: list[str], settings: dict[str, Any]) -> dict[str, str]:
    """Return the channels to look in, first the one that wins: address -> the word for it.

    Those of condarc come last, unless the word `nodefaults` is among the asked (conda 24.7, env create).
    """
    words = [word for word in asked if word != "nodefaults"]
    words += [] if "nodefaults" in asked else settings["channels"]
    return {where: word for word in dict.fromkeys(words) for where in addresses(word, settings)}


def spelled_out(spec: str, settings: dict[str, Any]) -> str:
    """Return a specification whose channel is an address, for rattler knows no condarc: conda-forge::numpy."""
    channel, separator, rest = spec.rpartition("::")
    return f"{addresses(channel, settings)[0]}::{rest}" if separator else spec


def without_login(url: str) -> str:
    """Return an address, or a name, as it may be kept in the image: no user, password or token (conda's /t/TOKEN)."""
    if "://" not in url:
        return url
    scheme, host, path, query, fragment = urlsplit(url)
    parts = path.split("/")
    if parts[1:2] == ["t"]:
        del parts[1:3]
    return urlunsplit((scheme, host.rpartition("@")[2], "/".join(parts), query, fragment))
