"""Which processes belong together: ours with its children, and a server on this machine.

A local server is found by the port of the backend's loopback address: whoever listens there, and
its children. One that this process started is among our own children too; its figures are then in
both groups, and are not to be added up. Public: for instruments.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import psutil

__all__ = ["NOT_HERE", "server_processes", "with_children"]

NOT_HERE: Final = "the server is not on this machine: its address is no loopback one"

LISTED: Final = Path("/proc/thread-self/children").exists()
"""Whether the kernel lists a thread's children (Linux, CONFIG_PROC_CHILDREN)."""


def with_children(roots: list[psutil.Process]) -> list[psutil.Process]:
    """The living ones of `roots` and everything below them, each once."""
    found: dict[int, psutil.Process] = {}
    for root in roots:
        if not root.is_running():
            continue
        found[root.pid] = root
        try:
            below = _descendants(root.pid) if LISTED else root.children(recursive=True)
            found.update({one.pid: one for one in below})
        except (psutil.Error, OSError):
            continue  # it ended just now
    return list(found.values())


def _descendants(pid: int) -> list[psutil.Process]:
    """By the kernel's own lists, which cost a tenth of a look at every process there is."""
    found: list[psutil.Process] = []
    pids = _children(pid)
    while pids:
        try:
            found.append(psutil.Process(one := pids.pop()))
            pids += _children(one)
        except (psutil.Error, OSError):
            continue  # it ended just now
    return found


def _children(pid: int) -> list[int]:
    tasks = f"/proc/{pid}/task"
    pids: list[int] = []
    for task in os.listdir(tasks):  # noqa: PTH208 - cheaper
        try:
            with open(f"{tasks}/{task}/children", "rb") as file:  # noqa: PTH123 - cheaper
                pids += map(int, file.read().split())
        except OSError:
            continue  # a thread that ended just now
    return pids


def server_processes(urls: tuple[str, ...]) -> tuple[list[psutil.Process], str]:
    """Those that listen at `urls`, or none and why. Takes some ten milliseconds: the system is
    asked for every socket it has."""
    if not urls:
        return [], "the backend has no server"
    ports, sockets = set(), set()
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme == "http+unix":
            sockets.add(unquote(parts.netloc) or parts.path)
        elif not _is_loopback(parts.hostname or ""):
            return [], NOT_HERE
        else:
            ports.add(parts.port or (443 if parts.scheme == "https" else 80))
    try:
        pids = _listeners(ports) | _unix_listeners(sockets)
    except (psutil.Error, OSError) as error:
        return [], f"the system does not tell who listens: {error}"
    if None in pids or not pids:
        return [], "no process was found listening there, or it is another user's"
    if os.getpid() in pids:
        return [], "the server is a part of this very process"
    found = []
    for pid in pids:
        try:
            found.append(psutil.Process(pid))
        except psutil.Error:
            return [], "the server ended"
    return found, ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _listeners(ports: set[int]) -> set[int | None]:
    if not ports:
        return set()
    return {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port in ports
    }


def _unix_listeners(paths: set[str]) -> set[int | None]:
    """Whoever has the socket's file: accepted connections carry its name too."""
    if not paths:
        return set()
    ours = {one.pid for one in psutil.net_connections("unix") if str(one.laddr) in paths}
    return ours - {os.getpid(), None} or ours
