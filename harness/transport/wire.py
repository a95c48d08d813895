"""An exchange as bytes: what both transports put on the wire, and where they send it.

Everything that came from a person or a plugin passes here before a socket sees it: an address is
taken apart once, and a header or method that could break out of its line is refused with SpecError.
Both transports send the same head, byte for byte, so that a server cannot tell them apart.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

from harness.errors import SpecError
from harness.schema import Exchange

__all__ = [
    "FRAMING_MODES",
    "HOP_BY_HOP",
    "Scheme",
    "Target",
    "body_mode",
    "parse_url",
    "request_bytes",
    "request_fields",
]

Scheme: TypeAlias = Literal["http", "https", "http+unix"]

FRAMING_MODES: Final = {"auto": -1, "whole": 0, "sse": 1, "ndjson": 2}
"""Exchange.framing → MODE_* of harness._native.framing, or FRAMING_AUTO of the reactor."""

_SAYS_JSON = re.compile(rb"(?im)^content-type:[ \t]*application/json[ \t]*(;|\r?$)")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST = re.compile(r"[^\x00-\x20\x7f#%/:<>?@\[\\\]^|]+")

# Who owns the connection and the body's length owns these; Expect would stall a timed call.
HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Target(NamedTuple):
    """A URL taken apart."""

    scheme: Scheme
    host: str
    """Name or address, IPv6 without brackets; `localhost` for a Unix socket."""
    port: int
    """0 for a Unix socket."""
    socket_path: str
    """Of the Unix socket; else empty."""
    path: str
    """What the request line asks for: path and query."""
    host_header: str

    @property
    def origin(self) -> tuple[str, str, int, str]:
        """Equal for URLs that can share a connection."""
        return self.scheme, self.host, self.port, self.socket_path

    @property
    def label(self) -> str:
        """For messages: the origin as a person would write it."""
        if self.socket_path:
            return f"unix:{self.socket_path}"
        return f"{self.scheme}://{self.host_header}"


@lru_cache(maxsize=1024)
def parse_url(url: str) -> Target:
    """http://host:port/path, https://…, or http+unix://%2Fpath%2Fto.sock/path.

    Raises SpecError for anything else: another scheme, no host, a bad port, credentials, spaces,
    control characters or anything outside ASCII but in the host.
    """
    scheme, separator, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not separator or scheme.lower() not in ("http", "https", "http+unix"):
        raise _bad(url, "is not a URL with http://, https:// or http+unix://")
    if "@" in authority:
        # The address itself stays out of the message: it holds a password.
        raise SpecError(
            f"the address of {_shown(authority.rpartition('@')[2])} holds credentials, "
            "which records would show",
            remedy="give the key through the environment variable that the backend names",
        )
    path = rest[len(authority) :].partition("#")[0]
    if path and not _PRINTABLE.fullmatch(path):
        raise _bad(url, "has spaces, control characters or non-ASCII in its path")
    if not path.startswith("/"):
        path = "/" + path
    if scheme.lower() == "http+unix":
        return _unix_target(url, authority, path)
    return _tcp_target(url, "https" if scheme.lower() == "https" else "http", authority, path)


def _unix_target(url: str, authority: str, path: str) -> Target:
    socket_path = unquote(authority)
    if not socket_path.startswith("/") or "\0" in socket_path:
        raise _bad(url, "does not name a socket by its absolute path (slashes written as %2F)")
    if len(socket_path.encode()) > 107:
        raise _bad(url, "names a socket by a path of over 107 bytes, the limit of the system")
    return Target("http+unix", "localhost", 0, socket_path, path, "localhost")


def _tcp_target(url: str, scheme: Literal["http", "https"], authority: str, path: str) -> Target:
    default = 443 if scheme == "https" else 80
    try:
        split = urlsplit(f"{scheme}://{authority}")
        port = split.port or (default if split.port is None else 0)
        name = split.hostname or ""
    except ValueError:
        raise _bad(url, "has a host or port that cannot be read") from None
    if not authority.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise _bad(url, "has a host name that is not a valid one") from None
    bracketed = authority.startswith("[")
    if bracketed:
        if not re.fullmatch(r"[0-9a-f:.]+", name):
            raise _bad(url, "has brackets round something that is not an IPv6 address")
    elif not _HOST.fullmatch(name) or max(map(len, name.split("."))) > 63 or len(name) > 253:
        raise _bad(url, "has a host name that is not a valid one" if name else "has no host")
    if port == 0 or re.search(r"[\s\x00-\x1f\x7f]", authority):
        raise _bad(url, "has a host or port that cannot be read")
    shown = f"[{name}]" if bracketed else name
    return Target(scheme, name, port, "", path, shown if port == default else f"{shown}:{port}")


def _bad(url: str, what: str) -> SpecError:
    return SpecError(
        f"the address {_shown(url)} {what}", remedy="an address such as http://127.0.0.1:8080"
    )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")


def request_fields(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """Every header of the request, in order. SpecError for one that is not the exchange's to set,
    whose name or value is not HTTP, or for a method that is not."""
    _, fields = _head(exchange.method, exchange.url, exchange.headers)
    if exchange.body or exchange.method in _WITH_BODY:
        return [*fields, (b"Content-Length", b"%d" % len(exchange.body))]
    return list(fields)


def request_bytes(exchange: Exchange) -> bytes:
    """The whole HTTP/1.1 request, in origin form. SpecError as for `request_fields`."""
    head, _ = _head(exchange.method, exchange.url, exchange.headers)
    if exchange.body or exchange.method in _WITH_BODY:
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(exchange.body), exchange.body)
    return head + b"\r\n"


# Thousands of calls differ in their body alone, so what comes before it is made and checked once.
@lru_cache(maxsize=256)
def _head(
    method: str, url: str, headers: tuple[tuple[str, str], ...]
) -> tuple[bytes, tuple[tuple[bytes, bytes], ...]]:
    """(request line and headers, the headers alone), without Content-Length."""
    if not _TOKEN.fullmatch(method):
        raise SpecError(f"{_shown(method)} is not an HTTP method", where="exchange.method")
    target = parse_url(url)
    fields = [(b"Host", target.host_header.encode("ascii"))]
    given = {name.lower() for name, _ in headers}
    if "user-agent" not in given:
        fields.append((b"User-Agent", b"chimera-harness"))
    if "accept-encoding" not in given:
        # A compressed stream could not be split, and decompressing is not ours to time.
        fields.append((b"Accept-Encoding", b"identity"))
    fields += [_checked(name, value) for name, value in headers]
    line = f"{method} {target.path} HTTP/1.1\r\n".encode("ascii")
    return line + b"".join(b"%b: %b\r\n" % field for field in fields), tuple(fields)


def _checked(name: str, value: str) -> tuple[bytes, bytes]:
    if not _TOKEN.fullmatch(name):
        raise SpecError(f"{_shown(name)} is not an HTTP header name", where="exchange.headers")
    if name.lower() in HOP_BY_HOP:
        raise SpecError(
            f"the header {name} is set by the transport", where="exchange.headers", remedy="omit it"
        )
    # Values may be secrets: none is shown.
    if _CONTROL.search(value):
        raise SpecError(
            f"the header {name} has a line end or another control character in its value",
            where="exchange.headers",
        )
    try:
        return name.encode("ascii"), value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        raise SpecError(
            f"the header {name} has a character that HTTP headers cannot carry",
            where="exchange.headers",
        ) from None


def body_mode(status: int, said: int, framing: str, head: bytes) -> int:
    """How a response body is split, as MODE_*; the reactor applies the same rule in C.

    An error body (status ≥ 400) is one chunk, whatever it claims to be. Else Content-Type decides
    (`said`, from ResponseParser.mode) where it names a stream; where it does not, `framing` does,
    but never over a plain JSON document: that is how servers answer that ignore `stream`.
    """
    if status >= 400:
        return FRAMING_MODES["whole"]
    if said != FRAMING_MODES["whole"] or framing in ("auto", "whole"):
        return said
    if status // 100 != 2 or _SAYS_JSON.search(head):
        return said
    return FRAMING_MODES[framing]
