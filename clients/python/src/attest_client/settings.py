"""Reads the endpoint, its API key and the spool folder from the environment."""

from __future__ import annotations

import hashlib
import ipaddress
import os
import pathlib
import re
from dataclasses import dataclass, field

import urllib3

_KEY = re.compile(r"[\x20-\x7e]+")  # what a header can contain (RFC 9110, section 5.5)


class NotConfigured(Exception):
    """A variable is missing or invalid. The message names the variable but never contains its value, which may be a key."""


@dataclass(frozen=True)
class Settings:
    url: str
    api_key: str = field(repr=False)
    spool: str = ""

    @property
    def host(self) -> str:
        return urllib3.util.parse_url(self.url).host or ""

    @property
    def is_encrypted(self) -> bool:
        return self.url.lower().startswith("https:")

    @property
    def folder(self) -> pathlib.Path:
        """The spool folder. Raises `OSError` if neither `ATTEST_SPOOL` nor a home folder determines one."""
        return pathlib.Path(self.spool).absolute() if self.spool else default_folder(self.url)


def read() -> Settings:
    """Validates `ATTEST_URL`, `ATTEST_API_KEY` and `ATTEST_SPOOL`. Trims whitespace, such as a line break from a key file."""
    url, api_key, spool = (os.environ.get(f"ATTEST_{name}", "").strip() for name in ("URL", "API_KEY", "SPOOL"))
    if missing := [name for name, value in [("ATTEST_URL", url), ("ATTEST_API_KEY", api_key)] if not value]:
        raise NotConfigured(f"set {' and '.join(missing)}")
    try:
        target = urllib3.util.parse_url(url)
    except urllib3.exceptions.LocationParseError:
        target = None
    if target is None or target.scheme not in ("http", "https") or not target.host:
        raise NotConfigured("ATTEST_URL is not a URL with http or https")
    if not _KEY.fullmatch(api_key):
        raise NotConfigured("ATTEST_API_KEY has characters that no key has")
    return Settings(url, api_key, spool)


def default_folder(url: str) -> pathlib.Path:
    """Returns the default folder for an endpoint's traces. Two endpoints never share a default folder."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # the XDG specification requires relative paths to be ignored
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    if not os.path.isabs(state):
        raise FileNotFoundError("the user has no home folder")
    return pathlib.Path(state, "attest", "spool", hashlib.sha256(url.encode()).hexdigest()[:16])


def is_loopback(host: str) -> bool:
    """Returns whether a host is this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback or address.is_unspecified
