"""Addresses of model servers, and why one could not be reached. Public.

An address is recorded with every call and shown in every report, so it is checked before anything
is written: it may hold no secret. What is refused is never quoted where it could be one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from harness.errors import SpecError
from harness.text import one_line

__all__ = ["is_loopback", "reason", "server_address"]

SCHEMES: Final = ("http", "https", "http+unix")
_REMEDY: Final = "an address such as http://127.0.0.1:8080"


def server_address(text: str, *, where: str = "$.backend.url") -> str:
    """`text` with its scheme (`host:port` is http) and without a final slash.

    http://host:port/path, https://…, or http+unix://%2Fpath%2Fto.sock/path. Raises SpecError at
    `where` for another scheme, a missing host, a port outside 1 … 65535, and for credentials, a
    query or a fragment, whose text it does not repeat.
    """
    from harness.transport.wire import parse_url

    url = text if "://" in text else f"http://{text}"
    # Anywhere in it, not where the grammar has them: a password may hold a slash.
    if any(sign in url for sign in "@?#"):
        raise SpecError(
            "a server's address is recorded: it takes no credentials, query or fragment",
            where=where,
            remedy="http://host:port; a key goes by a variable, as the backend says",
        )
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES:
        raise SpecError(
            f"{one_line(scheme, 20)}:// is not spoken here",
            where=where,
            remedy=" or ".join(SCHEMES),
        )
    if not rest.strip("/"):
        raise SpecError("there is no host in it", where=where, remedy=_REMEDY)
    _check_port(url, where)
    url = url.rstrip("/")
    try:
        parse_url(url)
    except SpecError as error:
        raise SpecError(error.what, where=where, remedy=error.remedy) from None
    return url


def _check_port(url: str, where: str) -> None:
    try:
        if urlsplit(url).port != 0:
            return
    except ValueError:
        pass
    raise SpecError(
        "its port is not a number in 1 … 65535, or its host has stray brackets",
        where=where,
        remedy=_REMEDY,
    )


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its very name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def reason(error: BaseException) -> str:
    """One line in the system's own words: `connection refused`, `name or service not known`.

    Clients wrap them two or three deep, so causes are followed down. A timeout ends the search:
    what lies beneath it is only where the wait happened to be (a TLS handshake that waits for bytes
    carries errno 2, which would read as a missing file).
    """
    import ssl  # slow to import, and needed by no one whose server answers

    chain = list(_chain(error))
    for seen in chain:
        if _is_timeout(seen):
            shaking = any(isinstance(other, ssl.SSLError) for other in chain)
            if shaking:
                return "no answer to the TLS handshake in time; it may be a plain HTTP server"
            return _system_words(seen) or "no connection in time"
        if isinstance(seen, ssl.SSLCertVerificationError):
            return one_line(f"its certificate cannot be verified: {seen.verify_message}")
        if isinstance(seen, ssl.SSLError):
            said = (seen.reason or "closed early").lower().replace("_", " ")
            return one_line(f"the TLS handshake failed: {said}; it may be a plain HTTP server")
        if words := _system_words(seen):
            return words
    return one_line(str(error)) or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its cause, and so on; of several at once (two addresses of one name) the first."""
    seen: BaseException | None = error
    met: set[int] = set()
    while seen is not None and id(seen) not in met:
        met.add(id(seen))
        yield seen
        if isinstance(seen, BaseExceptionGroup):
            seen = seen.exceptions[0]
        else:
            seen = seen.__cause__ or seen.__context__


def _is_timeout(error: BaseException) -> bool:
    # By name too: httpx and httpcore have timeouts that are no TimeoutError, and importing either
    # to ask would cost more than the question.
    return isinstance(error, TimeoutError) or type(error).__name__ in ("ConnectTimeout",)


def _system_words(error: BaseException) -> str:
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    words = os.strerror(error.errno) if error.errno > 0 else error.strerror  # < 0: the resolver's
    return one_line(words or str(error)).lower()
