"""Shipped specs: `harness run --preset NAME`.

A plugin ships one by having it in a folder `specs` of its package, as NAME.yaml, .json or .toml.
The first sentence of its `notes` is its line in `harness list`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import SpecError
from harness.schema import PluginInfo
from harness.strict import nearest

__all__ = ["Preset", "find_presets", "get_preset"]

SUFFIXES = (".yaml", ".yml", ".json", ".toml")


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One shipped spec."""

    name: str
    path: Path
    plugin: str

    def summary(self) -> str:
        """The first sentence of its notes; empty where it has none or cannot be read."""
        from harness.engine import read_spec

        try:
            raw: dict[str, Any] = read_spec(self.path)
        except SpecError:
            return ""
        notes = " ".join(str(raw.get("notes") or "").split())
        first, dot, _ = notes.partition(". ")
        return first.removesuffix(".") if dot or notes else ""


def find_presets(plugins: list[PluginInfo]) -> list[Preset]:
    """Of every plugin that loaded, by name. Where two share one, the first by plugin has it."""
    found: dict[str, Preset] = {}
    for plugin in sorted(plugins, key=lambda plugin: plugin.name):
        for path in _specs(plugin):
            preset = Preset(name=path.stem, path=path, plugin=plugin.name)
            found.setdefault(preset.name, preset)
    return sorted(found.values(), key=lambda preset: preset.name)


def get_preset(name: str, plugins: list[PluginInfo]) -> Preset:
    """Raises SpecError with the nearest name."""
    presets = {preset.name: preset for preset in find_presets(plugins)}
    if name in presets:
        return presets[name]
    raise SpecError(
        f"there is no preset {name!r}",
        where="--preset",
        remedy=nearest(name, presets) or "one of: " + ", ".join(presets),
    )


def _specs(plugin: PluginInfo) -> list[Path]:
    module = sys.modules.get(plugin.module or "") if plugin.status == "loaded" else None
    file = getattr(module, "__file__", None)
    folder = Path(file).parent / "specs" if file and hasattr(module, "__path__") else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
