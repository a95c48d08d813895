"""docs/presets.md lists every preset that ships, with what its plan amounts to."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from harness.engine import make_plan, read_spec, spec_from
from harness.host import Host
from harness.presets import find_presets

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presets.md"
BEGIN, END = "<!-- presets -->\n", "<!-- /presets -->\n"


def table() -> str:
    host = Host.load()
    lines = ["| preset | about | arms and cells | trials | plugin |", "|---|---|---|---|---|"]
    for preset in find_presets(host.plugins):
        plan = make_plan(spec_from(read_spec(preset.path)), host)
        per_arm = Counter(arm.name for arm in plan.arms)
        cells = ", ".join(f"{name} × {n}" if n > 1 else name for name, n in per_arm.items())
        lines.append(
            f"| `{preset.name}` | {preset.summary()} | {cells} | {len(plan.trials)} "
            f"| {preset.plugin} |"
        )
    return "\n".join(lines) + "\n"


def test_the_page_lists_what_ships():
    before, rest = PAGE.read_text("utf-8").split(BEGIN)
    written, after = rest.split(END)
    if os.environ.get("HARNESS_UPDATE_DOCS") == "1":
        PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", "utf-8")
        return
    assert written == table(), "HARNESS_UPDATE_DOCS=1 pytest tests/docs/test_presets_page.py"


def test_every_preset_says_what_it_is_about():
    for preset in find_presets(Host.load().plugins):
        assert preset.summary(), preset.path
