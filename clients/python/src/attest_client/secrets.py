"""Masks the members of a call that are known to hold credentials. docs/mapping.md lists them."""

from __future__ import annotations

import re
from typing import Any

Json = Any

SECRET = "[secret]"

_VALUES = frozenset(
    (
        "authorization",
        "authorization_token",
        "access_token",
        "api_key",
        "azure_ad_token",
        "aws_secret_access_key",
        "aws_session_token",
        "aws_web_identity_token",
        "client_secret",
        "connection_string",
        "encoded_api_key",
        "vertex_credentials",
    )
)
_HOLDERS = frozenset(
    ("headers", "extra_headers", "default_headers", "requester_custom_headers", "authentication", "domain_secrets", "extra_query")
)
"""Members in which every value is a credential or may contain one."""
_KEPT = frozenset(("type", "domain", "name"))
"""Members of a holder that describe a credential but do not contain it."""
_URLS = frozenset(("server_url", "api_base", "base_url", "azure_endpoint"))
_WATCHED = _VALUES | _HOLDERS | _URLS | {"url"}
_SERVERS = frozenset(("mcp_servers", "tools"))
"""Members whose `url` is that of a server."""
_CONTENT = frozenset(("messages", "choices", "input", "output", "content", "instructions", "system", "prompt"))
"""Text by people and models. Nothing in it is masked, because text may merely look like a credential."""
_SCHEMAS = frozenset(("input_schema", "json_schema", "output_schema", "properties", "schema"))
"""Members that hold JSON Schemas. Nothing in them is masked, because an argument may merely be named like a credential."""
_PUBLIC = ("api-version",)


def without_secrets(trace: dict[str, Json]) -> dict[str, Json]:
    """Masks the credentials in a trace. Copies only the values that contain any."""
    changed = _masked("", trace, is_server=False)
    return changed if isinstance(changed, dict) else trace


def _masked(name: str, value: Json, is_server: bool) -> Json:
    if name in _CONTENT or name in _SCHEMAS or (name == "parameters" and is_server):
        return value
    if name in _VALUES or name in _HOLDERS:
        return _all(value)
    if isinstance(value, str):
        return _url(value) if name in _URLS or (name == "url" and is_server) else value
    if not isinstance(value, (dict, list)):
        return value
    is_server = is_server or name in _SERVERS
    changed: dict[Any, Json] = {}
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        # Skips most values, which are strings and numbers with other names.
        if isinstance(inner, (dict, list)) or key in _WATCHED:
            masked = _masked(key if isinstance(key, str) else "", inner, is_server)
            if masked is not inner:
                changed[key] = masked
    if not changed:
        return value
    return {**value, **changed} if isinstance(value, dict) else [changed.get(place, inner) for place, inner in enumerate(value)]


def _all(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: inner if key in _KEPT and isinstance(inner, str) else _all(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_all(inner) for inner in value]
    return value if value is None or value == "" or isinstance(value, bool) else SECRET


_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")


def _url(url: str) -> str:
    """Masks a URL's user, query values and fragment."""
    url, hash_sign, fragment = url.partition("#")
    url, question_mark, query = url.partition("?")
    query = "&".join(map(_parameter, query.split("&")))
    return _USER.sub(rf"\g<1>{SECRET}@", url) + question_mark + query + hash_sign + (SECRET if fragment else "")


def _parameter(parameter: str) -> str:
    name, sign, value = parameter.partition("=")
    if not sign:
        return SECRET if name else ""
    return parameter if name.lower() in _PUBLIC or not value else f"{name}={SECRET}"
