"""What must not land in a bug report or on a screen: passwords of addresses, and values of secret-like names."""

import re

SECRET = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
URL_PASSWORD = re.compile(r"(?<=://)[^/\s]+(?=@)|^[^/\s:]+:[^/\s]+(?=@)")


def masked(key: str, value: str) -> str:
    """Return the value of a key as it may be shown."""
    return "****" if SECRET.search(key) and value else URL_PASSWORD.sub("****", value)
