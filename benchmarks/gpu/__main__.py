"""`python -m benchmarks.gpu`: see __init__.py."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.measure import call_costs, counter, square_wave
from benchmarks.gpu.models import SHAPES, Ran, make_apart, run_model
from benchmarks.gpu.page import Conditions, section
from benchmarks.peers.table import put_between
from harness.devices import Device, NoDevices, Provider, open_provider, used_devices
from harness.devices.replay import record, write_recording
from harness.errors import SpecError

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
MARK = "measured on hardware"
SIZES = "0.3B,1.2B,2.7B,7B"


def main() -> None:
    asked = _arguments()
    try:
        provider = open_provider()
    except (NoDevices, SpecError) as why:
        _refuse(f"there is no GPU to check: {why}")
    real = provider.source == "nvml"
    used = used_devices(provider)
    if not used.devices:
        _refuse(used.unknown)
    device = used.devices[0]
    if asked.record:
        _record(provider, asked.record, asked.seconds)
        return
    sizes = [one for one in asked.sizes.split(",") if one] if real or asked.sizes != SIZES else []
    for size in sizes:
        if size not in SHAPES:
            _refuse(f"there is no shape {size!r}", f"one of {', '.join(SHAPES)}")
    work = _matmuls() if real else provider.clock.wait
    _say("counter and calls")
    costs, idle = call_costs(provider, device.uuid), counter(provider, device.uuid, asked.seconds)
    squares = []
    for trial in range(asked.trials):
        _say(f"square wave {trial + 1}/{asked.trials}")
        provider.clock.wait(1.0 + trial * (idle.period_ms or 100.0) / 1e3 / asked.trials)
        squares.append(square_wave(provider, device.uuid, work))
    models = [_model(size, "cuda" if real else "cpu", asked) for size in sizes]
    text = section(_conditions(provider, device), costs, idle, squares, models)
    if asked.json:
        raw = {"costs": costs, "counter": idle, "squares": squares, "models": models}
        asked.json.write_text(json.dumps({k: _plain(v) for k, v in raw.items()}, indent=1))
    print(text)
    if real and not asked.dry:
        PAGE.write_text(put_between(PAGE.read_text("utf-8"), MARK, text), "utf-8")
        _say(f"written to {PAGE}")
    elif not real:
        _say("no page is written: no GPU was measured")


def _model(size: str, device: str, asked: argparse.Namespace) -> Ran:
    _say(f"model {size}")
    with tempfile.TemporaryDirectory(prefix="harness-gpu-") as folder:
        model = Path(folder) / f"random-{size}"
        parameters = make_apart(model, size, device)
        how = {"tokens": asked.tokens, "requests": asked.requests, "iterations": asked.iterations}
        return run_model(size, parameters, model, Path(folder) / "run", device, **how)


def _matmuls() -> Callable[[float], None]:
    """Work for the GPU: products of large matrices until the time is over."""
    try:
        import torch
    except ImportError:
        _refuse("torch is not installed", "pip install 'chimera-harness[hf]'")
    if not torch.cuda.is_available():
        _refuse("torch sees no GPU", "a torch that was built for CUDA, and its driver")
    size = 8192
    one, other = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)
    torch.matmul(one, other, out=out)  # loads the library
    torch.cuda.synchronize()

    def work(seconds: float) -> None:
        from time import monotonic

        until_s = monotonic() + seconds
        while monotonic() < until_s:
            torch.matmul(one, other, out=out)
            torch.cuda.synchronize()

    return work


def _record(provider: Provider, path: Path, seconds: float) -> None:
    readings = record(provider, seconds, 0.05)
    with path.open("wb") as out:
        write_recording(
            out,
            provider.devices(),
            readings,
            source=provider.source,
            origin=provider.origin,
            recorded=_today(),
        )
    _say(f"{len(readings)} readings in {path}; play them back with HARNESS_GPU=replay:{path}")


def _conditions(provider: Provider, device: Device) -> Conditions:
    packages = ("chimera-harness", "nvidia-ml-py", "torch", "transformers")
    limit_mw = device.power_limit_mw
    return Conditions(
        date=_today(),
        source=provider.source,
        origin=provider.origin,
        gpu=device.name or "an unnamed GPU",
        memory_bytes=device.memory_bytes,
        power_limit_w=None if limit_mw is None else limit_mw / 1e3,
        machine=f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs",
        versions=", ".join(f"{name} {_version(name)}" for name in packages),
    )


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value._asdict() if hasattr(value, "_asdict") else value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(what: str, remedy: str = "") -> Any:
    remedy = remedy or "run it where an NVIDIA GPU and its driver are"
    print(f"{what} (try: {remedy})", file=sys.stderr)
    raise SystemExit(2)


def _arguments() -> argparse.Namespace:
    given = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    given.add_argument("--sizes", default=SIZES, help=f"of models: {', '.join(SHAPES)}")
    given.add_argument("--seconds", type=float, default=10.0, help="to watch the idle counter")
    given.add_argument("--trials", type=int, default=5, help="square waves")
    given.add_argument("--tokens", type=int, default=128, help="of each answer")
    given.add_argument("--requests", type=int, default=4, help="of an iteration")
    given.add_argument("--iterations", type=int, default=5, help="measured")
    given.add_argument("--json", type=Path, help="keep the raw figures")
    given.add_argument("--dry", action="store_true", help="print the section, write no page")
    given.add_argument("--record", type=Path, help="write a trace of all GPUs, and do nothing else")
    return given.parse_args()


if __name__ == "__main__":
    main()
