"""Secrets that this process sends, kept out of everything that it writes. Public.

A key travels in a header, and a hostile (or merely helpful) server may say it back: in an error, a
header, a model's name, in the middle of an answer; as it is, or encoded. So whatever comes back is
searched for it, in the forms in which servers and proxies quote: as it stands, percent-encoded,
in base64 (also within a longer text, as in Basic credentials), in hexadecimal, escaped for JSON.

A server that knows a secret can always say it in a form that nobody looks for. What is promised is
that no form in which programs write such things by themselves gets through.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import msgspec

__all__ = [
    "NOTHING",
    "Redactor",
    "environment_secrets",
    "header_secrets",
    "is_secret_name",
    "proxy_secrets",
    "url_without_secrets",
]

LENGTH_MIN: Final = 8
"""Shorter keys are placeholders (`EMPTY`, `none`, `x`) that would be found in any text."""

_PLAIN_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "anthropic-version",
        "cache-control",
        "content-type",
        "http-referer",
        "openai-beta",
        "origin",
        "referer",
        "traceparent",
        "user-agent",
        "x-openrouter-cache",
        "x-openrouter-metadata",
        "x-openrouter-title",
        "x-request-id",
        "x-title",
    }
)
_SCHEMES: Final = frozenset({"basic", "bearer", "token", "apikey", "digest", "negotiate"})
_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
_SECRET_WORDS: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "AUTH")
_KEY_LENGTH_MIN: Final = 16


class Redactor:
    """Replaces each secret, in every form, by `[its name]`."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """name → secret. Those shorter than LENGTH_MIN are passed over."""
        forms: dict[str, str] = {}
        for name, secret in secrets.items():
            if len(secret) >= LENGTH_MIN:
                forms |= dict.fromkeys(_forms(secret), f"[{name}]")
        # The longest first: one form may be part of another.
        self._forms = sorted(forms.items(), key=lambda pair: -len(pair[0]))
        self._bytes = [(form.encode(), label.encode()) for form, label in self._forms]

    def __repr__(self) -> str:
        return f"Redactor({sorted({label for _, label in self._forms})})"

    def __bool__(self) -> bool:
        return bool(self._forms)

    def text(self, text: str) -> str:
        for form, label in self._forms:
            if form in text:
                text = text.replace(form, label)
        return text

    def content(self, content: bytes) -> bytes:
        for form, label in self._bytes:
            if form in content:
                content = content.replace(form, label)
        return content

    def value(self, value: Any) -> Any:
        """Plain data (or Structs) with every string and bytes in it, keys too, searched."""
        if not self._forms or value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self.content(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, tuple):
            return tuple(self.value(item) for item in value)
        if isinstance(value, msgspec.Struct):
            fields = {name: getattr(value, name) for name in value.__struct_fields__}
            changed = {name: self.value(item) for name, item in fields.items()}
            different = {k: v for k, v in changed.items() if v != fields[k]}
            return msgspec.structs.replace(value, **different) if different else value
        return value


NOTHING: Final = Redactor({})


def header_secrets(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What the headers of a request hold that nobody else may read: every value but those of a few
    headers that are known to hold none. `Authorization: Bearer KEY` has the secret KEY."""
    found: dict[str, str] = {}
    times: dict[str, int] = {}
    for name, value in headers:
        if name.lower() in _PLAIN_HEADERS:
            continue
        scheme, _, rest = value.strip().partition(" ")
        secret = rest.strip() if rest and scheme.lower() in _SCHEMES else value.strip()
        label = f"header {name}"
        if found.setdefault(label, secret) != secret:  # said again, and otherwise
            times[name] = times.get(name, 1) + 1
            found[f"{label} {times[name]}"] = secret
    return found


def proxy_secrets() -> dict[str, str]:
    """Passwords in the addresses of the proxies that the environment names."""
    found = {}
    for variable, value in os.environ.items():
        if variable.lower() not in _PROXIES:
            continue
        try:
            split = urlsplit(value if "://" in value else f"http://{value}")
            user, password = split.username or "", split.password or ""
        except ValueError:
            continue
        # Long enough together, even where the password alone is not.
        found[f"credentials in {variable}"] = f"{unquote(user)}:{unquote(password)}"
        found[f"password in {variable}"] = unquote(password)
        found[f"user in {variable}"] = "" if password else unquote(user)  # a token in its place
    return {name: secret for name, secret in found.items() if secret.strip(":")}


def environment_secrets() -> dict[str, str]:
    """What variables hold that are named as keys and tokens are, and look like one; and passwords
    of proxies. Wider than what we send: for messages, not for what a model said."""
    found = proxy_secrets()
    for variable, value in os.environ.items():
        long = len(value.strip()) >= _KEY_LENGTH_MIN
        if long and is_secret_name(variable) and not _is_path_or_prose(value):
            found[f"${variable}"] = value.strip()
    return found


def is_secret_name(variable: str) -> bool:
    return any(word in variable.upper() for word in _SECRET_WORDS)


def _is_path_or_prose(value: str) -> bool:
    return value.startswith(("/", "~", ".")) or " " in value.strip()


def url_without_secrets(text: str) -> str:
    """An address without user, password, query and fragment, whatever else may be wrong with it."""
    head = text.partition("#")[0].partition("?")[0]
    scheme, separator, rest = head.partition("://")
    if not separator:
        scheme, rest = "", head
    # The last @: a password may hold one, and a slash as well.
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _forms(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    escaped = json.dumps(secret)[1:-1]
    units = secret.encode("utf-16-be", "surrogatepass")
    unicode = "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    percent = {quote(secret, safe=""), quote(secret), "".join(f"%{byte:02X}" for byte in raw)}
    found = {secret, escaped, escaped.replace("/", "\\/"), raw.hex(), raw.hex().upper()}
    found |= {unicode, unicode.upper().replace("\\U", "\\u")}
    found |= percent | {_lower_percent(form) for form in percent}
    return {form for form in found | _base64_forms(raw) if len(form) >= LENGTH_MIN}


def _lower_percent(text: str) -> str:
    parts = text.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def _base64_forms(raw: bytes) -> set[str]:
    """What base64 of a text that contains `raw` must contain, wherever in it `raw` stands: the
    characters that depend on nothing else, for each of the three ways it can be aligned."""
    found = set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).rstrip(b"=").decode()
        first = (0, 2, 3)[before]
        whole = (before + len(raw)) * 8 // 6
        found |= {encoded[first:whole]}
    return found | {form.translate(str.maketrans("+/", "-_")) for form in found}
