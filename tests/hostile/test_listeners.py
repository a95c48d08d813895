"""Whatever of ours listens, listens on this machine alone, unless somebody said otherwise.

The sockets of the command and of everything it starts are looked at while it runs, and asked of the
system rather than of us.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address

import pytest

from tests.hostile.processes import listening, tree, watch
from tests.sim.servers import sim

HARNESS = [sys.executable, "-m", "harness"]


def addresses(seen):
    return {ip_address(ip) for sockets in seen for ip, _ in sockets}


def serve(folder, *words):
    """(addresses it listens on, what it printed)"""
    command = [*HARNESS, "sim", "--until-eof", "--log", folder / "log", *words]
    with tree(command, folder) as process:
        seen = watch(process, listening, until="'")
    return addresses(seen), (folder / "output").read_text()


def test_the_truth_server(tmp_path):
    found, printed = serve(tmp_path)
    assert found == {ip_address("127.0.0.1")}
    assert "warning" not in printed


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_truth_server_told_otherwise_warns(tmp_path, host):
    found, printed = serve(tmp_path, "--host", host)
    assert found == {ip_address(host)}
    assert f"warning: this listens on {host} port" in printed
    assert "over the network" in printed


def test_a_run_with_a_server_of_its_own(tmp_path):
    command = [*HARNESS, "run", "load", "--requests", "10", "--max-tokens", "8"]
    with tree(command, tmp_path) as process:
        seen = watch(process, listening)
    assert addresses(seen) == {ip_address("127.0.0.1")}, "llama.cpp's, and no other"


@pytest.mark.parametrize("transport", ["native", "portable"])
def test_a_run_against_another_server_opens_no_door(tmp_path, transport):
    with sim(tmp_path / "log", "--ttft", 1, "--gap", 1) as server:
        words = (
            "--backend",
            "openai",
            "--url",
            server.url,
            "--requests",
            "12",
            "--max-tokens",
            "8",
        )
        words = ("run", "load", *words, "--set", f"transport={transport}")
        with tree([*HARNESS, *words], tmp_path) as process:
            seen = watch(process, listening)
        server.stop()
    assert addresses(seen) == set()


def test_listing_models_opens_none_either(tmp_path):
    with tree([*HARNESS, "models", "--backend", "llamacpp"], tmp_path) as process:
        seen = watch(process, listening)
    assert addresses(seen) <= {ip_address("127.0.0.1")}
