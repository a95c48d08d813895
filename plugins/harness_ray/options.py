"""What can be set, and what cannot be meant."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field

from harness.errors import MissingExtra, SpecError
from harness.protocols import ExecutorConfig
from harness.redaction import is_secret_name
from harness.text import one_line

__all__ = ["RayOptions", "checked"]

_WHERE = "$.placement.executor_options"


class RayOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Executor `ray`."""

    address: str = ""
    """Of a cluster: `auto` (the one that this machine belongs to), `host:port` of its head, or
    `ray://host:10001`. Empty: one is started on this machine for the run, and ends with it."""
    cpus: float = 1.0
    """That a trial takes, as Ray counts them. Ray binds nobody to them."""
    gpus: float = 0.0
    """That a trial takes: its CUDA_VISIBLE_DEVICES. Of 0, it sees none."""
    resources: dict[str, float] = field(default_factory=dict)
    """Custom resources that a trial takes: a kind of node, say."""
    strategy: Literal["spread", "pack"] = "spread"
    """Whether trials at once go to different nodes, or fill one before the next."""
    runtime_env: dict[str, Any] = field(default_factory=dict)
    """Handed to Ray as it is (`working_dir`, `pip`, …). It is recorded: no place for a key."""
    pass_env: tuple[str, ...] = ()
    """Names of environment variables whose values trials get from here; nobody records those."""
    connect_timeout_s: float = 120.0
    """For the cluster to answer, or to start."""
    place_timeout_s: float = 600.0
    """For a node to have room for one trial. A cluster that grows takes minutes."""


def checked(config: ExecutorConfig) -> RayOptions:
    """Raises SpecError with the path, and MissingExtra."""
    options, placement = config.options, config.placement
    assert isinstance(options, RayOptions)
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra("ray", missing="ray")
    for name in ("cpus", "gpus"):
        if getattr(placement, name):
            raise SpecError(
                "Ray hands them out",
                where=f"$.placement.{name}",
                remedy=f"leave it out; executor_options: {{{name}: 1}} is what one trial takes",
            )
    _check_address(options.address)
    for name, least in (("cpus", 0), ("gpus", 0), ("connect_timeout_s", 1), ("place_timeout_s", 1)):
        _at_least(least, getattr(options, name), f"{_WHERE}.{name}")
    for name, amount in options.resources.items():
        _at_least(1e-4, amount, f"{_WHERE}.resources.{name}")
        if name in ("CPU", "GPU"):
            raise SpecError(
                "is no custom resource",
                where=f"{_WHERE}.resources.{name}",
                remedy=f"executor_options: {{{name.lower()}s: {amount:g}}}",
            )
    if options.gpus > 1 and options.gpus % 1:
        what = f"beyond 1 Ray hands out whole GPUs, and this is {options.gpus:g}"
        raise SpecError(what, where=f"{_WHERE}.gpus")
    if options.gpus % 1 and not placement.share_gpus:
        raise SpecError(
            "a part of a GPU is one that other trials use, too",
            where=f"{_WHERE}.gpus",
            remedy="a whole number, or placement.share_gpus: true",
        )
    _check_environment(options)
    return options


def _check_address(address: str) -> None:
    """Before Ray is started, which takes seconds to say that it is none."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address in ("", "auto") or (host and port.isdecimal()):
        return
    form = "ray://HOST:10001" if address.startswith("ray://") else "HOST:6379"
    what = f"{one_line(address, 80)!r} is no address of a cluster"
    raise SpecError(what, where=f"{_WHERE}.address", remedy=f"auto, or with its port: {form}")


def _at_least(least: float, value: float, where: str) -> None:
    if not (value >= least and math.isfinite(value)):
        raise SpecError(f"must be at least {least:g}, is {value:g}", where=where)


def _check_environment(options: RayOptions) -> None:
    for index, name in enumerate(options.pass_env):
        if name not in os.environ:
            raise SpecError(
                f"the variable {name!r} is not set here", where=f"{_WHERE}.pass_env[{index}]"
            )
    given = options.runtime_env.get("env_vars")
    for name in given if isinstance(given, Mapping) else ():
        if is_secret_name(str(name)):
            raise SpecError(
                "the spec is recorded, and this is the name of a secret",
                where=f"{_WHERE}.runtime_env.env_vars.{name}",
                remedy=f"pass_env: [{name}]",
            )
