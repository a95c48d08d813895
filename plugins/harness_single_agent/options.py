"""What a `single_agent` run can be asked for."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta, Struct

__all__ = ["SingleAgentOptions"]

Positive: TypeAlias = Annotated[int, Meta(ge=1)]


class SingleAgentOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the scenario `single_agent`."""

    corpus: str | None = None
    """Folder of CSV, JSON and Markdown files, read recursively. Default: the real benchmark files
    that ship with the project."""
    include: tuple[str, ...] = ()
    """Shell patterns for paths below the folder, such as `*.csv`; none: every accepted type."""
    files_max: Positive = 5000
    """More files than that are refused: the agent is not meant to read a whole disk."""
    file_bytes_max: Positive = 8 * 2**20
    """A larger file is not read; it is listed, with this reason."""

    max_tokens: Positive | None = None
    """Output bound of both calls, where they are not given their own."""
    analysis_max_tokens: Positive | None = None
    """Default: max_tokens, or else 256."""
    report_max_tokens: Positive | None = None
    """Default: max_tokens, or else 512."""
    ignore_eos: bool = False
    """Ask for exactly the bound, where the server can: arms then generate equally much."""

    summary_chars_max: Positive = 6000
    """Bound of the data summary in each prompt. What the model's context cannot hold is left out
    line by line, and counted as `corpus_cut_lines`; give arms of different context the same
    summary by setting this to what the smallest can hold."""
    report_context_chars_max: Positive = 4000
    """Bound of the analysis text that the report prompt repeats."""
    chars_per_token: Annotated[float, Meta(gt=0)] = 1.6
    """Characters of prompt that are taken to make one token when a prompt is fitted into the
    context. Low on purpose: the figures of the shipped corpus have 1.8 to 1.9 in two common
    vocabularies, prose about 4. Where the server counts more tokens in the analysis prompt, the
    report prompt goes by its count."""

    persona: str | None = None
    """Sent to the model as system message, in both calls."""
    unique_prefix: bool = True
    """Begin every prompt with a tag that no other has, so that no prefix cache knows it."""

    def bound(self, stage: str) -> int:
        """Output bound of a stage, in tokens."""
        own = self.analysis_max_tokens if stage == "analysis" else self.report_max_tokens
        return own or self.max_tokens or (256 if stage == "analysis" else 512)
