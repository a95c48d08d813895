"""docs/openrouter.md has every option that the backend adds, and the refusals that it explains."""

from __future__ import annotations

import re
from pathlib import Path

from harness_openai.options import OpenAIOptions
from harness_openrouter.options import OpenRouterOptions
from harness_openrouter.refusals import REFUSED_FOR_A_WHILE

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "openrouter.md").read_text("utf-8")


def test_every_option_is_there_with_its_default():
    part = PAGE.partition("<!-- options -->")[2].partition("<!-- /options -->")[0]
    rows = dict(re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", part, re.M))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    own = set(OpenRouterOptions.__struct_fields__) - set(OpenAIOptions.__struct_fields__)
    assert named == own | {"api_key_env"}
    defaults = OpenRouterOptions()
    for name in ("retries", "retry_wait_max_s", "reconcile"):
        assert float(rows[f"`{name}`"]) == getattr(defaults, name)
    assert rows["`api_key_env`"].strip() == f"`{defaults.api_key_env}`"


def test_what_is_sent_again_is_what_the_page_says():
    again = re.findall(r"^\| ([\d, ]+)[^|]*\|[^|]*\| yes \|", PAGE, re.M)
    assert {f"http.{status.strip()}" for status in again} == set(REFUSED_FOR_A_WHILE)
