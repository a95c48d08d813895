"""Every link and picture between the pages leads somewhere, to the heading that it names."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "STYLE")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
_FENCES = re.compile(r"^```.*?^```", re.M | re.S)
_CODE = re.compile(r"`[^`\n]*`")
_TARGETS = re.compile(
    r"\]\(<?([^)>\s]+)[^)]*\)|<img\b[^>]*?\bsrc=[\"']([^\"']+)|^\[[^\]]+\]:\s*(\S+)", re.M
)


def prose(path):
    return _FENCES.sub("", path.read_text("utf-8"))


def targets(path):
    """Relative ones; code quotes links without being any."""
    found = (
        one or two or three for one, two, three in _TARGETS.findall(_CODE.sub("", prose(path)))
    )
    return [target for target in found if not re.match(r"[a-z][a-z0-9+.-]*:", target)]


def anchors(path):
    """As GitHub makes them: lower case, no punctuation, blanks as hyphens, repeats numbered."""
    seen, found = Counter(), set()
    for heading in re.findall(r"^#+ +(.*?) *#*$", prose(path), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found | set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(path)))


def broken(path):
    for target in targets(path):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists() or not there.is_relative_to(ROOT):
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(there):
            yield f"{target}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    assert list(broken(path)) == []


def test_what_is_broken_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# A `b`, c\n## Same\n## Same\n[1](#a-b-c) [2](page.md#same-1) [3](https://x.test/y)\n"
        "[4](gone.md) [5](#nothing) ![6](p.png) <img alt='x' src=\"q.png\"> `[7](code.md)`\n"
        "```text\n[8](fenced.md)\n# fenced\n```\n",
        "utf-8",
    )
    assert [one.partition(":")[0] for one in broken(page)] == [
        *("gone.md", "#nothing", "p.png", "q.png"),
    ]
    assert {"readme.md", "sim.md"} <= {path.name.lower() for path in PAGES}
    assert sum(len(targets(path)) for path in PAGES) > 20
