"""Which transport serves which addresses, and the columns made of a record."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from harness._native.recorder import FLAG_UPPER_BOUND, FLAG_USER_STAMP, Record, Recorder
from harness.errors import NativeMissing, SpecError
from harness.transport import client_lag, open_transport, pack_columns
from harness.transport.proxies import proxy_for
from harness.transport.wire import parse_url

LOCAL = "http://127.0.0.1:8080/"
UNIX = "http+unix://%2Frun%2Fx.sock/"
FAR = "http://models.example:8000/v1"
TLS = "https://models.example/v1"

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the native transport needs Linux; run this there"
)


@linux
@pytest.mark.parametrize("urls", [[], [LOCAL], [FAR], [LOCAL, UNIX]])
def test_auto_is_native_for_plain_http(urls: list[str]) -> None:
    assert open_transport("auto", urls).name == "native"
    assert open_transport("portable", urls).name == "portable"


@pytest.mark.parametrize("urls", [[TLS], [LOCAL, TLS]])
def test_auto_is_portable_where_one_address_needs_tls(urls: list[str]) -> None:
    assert open_transport("auto", urls).name == "portable"
    with pytest.raises(SpecError, match=r"TLS|Linux"):
        open_transport("native", urls)


def test_auto_is_portable_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert open_transport("auto", [LOCAL]).name == "portable"
    with pytest.raises(SpecError, match="darwin"):
        open_transport("native", [LOCAL])


@linux
def test_a_missing_reactor_is_an_error_and_no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "harness._native.reactor", None)
    monkeypatch.delitem(sys.modules, "harness.transport.native", raising=False)
    for kind in ("auto", "native"):
        with pytest.raises(NativeMissing, match=r"harness\._native\.reactor"):
            open_transport(kind, [LOCAL])
    assert open_transport("portable", [LOCAL]).name == "portable"


def test_an_address_that_cannot_be_used_is_refused_before_it_is_opened() -> None:
    for kind in ("auto", "native", "portable"):
        with pytest.raises(SpecError):
            open_transport(kind, ["gopher://h/"])


def test_importing_the_package_takes_no_heavy_library() -> None:
    check = (
        "import sys, harness.transport\n"
        "sys.exit(', '.join({'httpx', 'numpy', 'ssl', 'asyncio'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


# --------------------------------------------------------------------------------------- proxies


@linux
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_makes_it_portable(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://user:secret@proxy.example:3128")
    assert open_transport("auto", [FAR]).name == "portable"
    assert open_transport("auto", [LOCAL, UNIX]).name == "native"
    with pytest.raises(SpecError, match="proxy") as refused:
        open_transport("native", [FAR])
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "excepted", ["*", "models.example", ".example", "other,models.example", "models.example:8000"]
)
def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy.example:3128")
    assert proxy_for(parse_url(FAR)) == "http://proxy.example:3128"
    monkeypatch.setenv("NO_PROXY", excepted)
    assert proxy_for(parse_url(FAR)) is None
    assert proxy_for(parse_url("http://elsewhere.test/")) == (
        None if excepted == "*" else "http://proxy.example:3128"
    )


@pytest.mark.parametrize(
    ("host", "direct"),
    [
        ("localhost", True),
        ("model.localhost", True),
        ("127.0.0.9", True),
        ("[::1]", True),
        ("0.0.0.0", True),
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("[fd00::1]", True),
        ("[fe80::1]", False),
        ("localhost.example", False),
    ],
)
def test_this_machine_and_excepted_networks_are_reached_directly(
    monkeypatch: pytest.MonkeyPatch, host: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, fd00::/16, not/anetwork")
    assert (proxy_for(parse_url(f"http://{host}:1/")) is None) == direct


def test_https_has_a_proxy_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://tunnel.example:1")
    assert proxy_for(parse_url(TLS)) == "http://tunnel.example:1"
    assert proxy_for(parse_url(FAR)) is None


@pytest.mark.parametrize("proxy", ["gopher://secret@p/", "socks5://secret@p:1"])
def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setattr("harness.transport.proxies.find_spec", lambda name: None)
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(SpecError, match="proxy") as refused:
        open_transport("auto", [FAR])
    assert "secret" not in str(refused.value)


# --------------------------------------------------------------------------------------- records


def sealed(*chunks: tuple[int, int, int]) -> Record:
    """Of (arrival, lag, flags)."""
    recorder = Recorder(due_ns=1)
    for arrival_ns, lag_ns, flags in chunks:
        recorder.append(arrival_ns, arrival_ns + lag_ns, b"x" * 7, flags)
    return recorder.seal("complete", closed_ns=10**9)


def test_client_lag_is_that_of_reads_and_only_where_it_is_known() -> None:
    lags = [50, 10, 40, 20, 30]
    chunks = [(1000 + 100 * i, lag, 0) for i, lag in enumerate(lags)]
    merged = (1600, 9_999, FLAG_UPPER_BOUND)
    user = (1700, 0, FLAG_USER_STAMP)
    p50, p99, largest = client_lag(sealed(*chunks, merged, user))
    assert (p50, largest) == (30, 50)
    assert p99 == round(float(np.quantile(lags, 0.99)))
    assert client_lag(sealed((5, 7, 0))) == (7, 7, 7)
    assert client_lag(sealed(user)) == (None, None, None)
    assert client_lag(sealed()) == (None, None, None)


def test_columns_are_little_endian_and_complete() -> None:
    record = sealed((1000, 5, 0), (2000, 6, FLAG_UPPER_BOUND))
    columns = pack_columns(record, bytes([0, 3]))
    assert columns.count == 2
    assert np.frombuffer(columns.arrival_ns, "<i8").tolist() == [1000, 2000]
    assert np.frombuffer(columns.lag_ns, "<u4").tolist() == [5, 6]
    assert np.frombuffer(columns.size, "<u4").tolist() == [7, 7 | FLAG_UPPER_BOUND]
    assert columns.kind == b"\x00\x03"
    with pytest.raises(ValueError, match="1 kinds for 2 chunks"):
        pack_columns(record, b"\x00")
