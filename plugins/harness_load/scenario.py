"""Load: an endless, seeded stream of requests. It runs ahead of the schedule, never inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from math import ceil
from random import Random

from harness.errors import ScenarioError
from harness.protocols import RequestContext, ScenarioConfig
from harness.schema import Message, Request
from harness_load.lengths import sampler
from harness_load.options import LoadOptions
from harness_load.prompts import read_prompts
from harness_load.synthetic import PREFIX_WORDS, TextSource, prefix_salt, unique_prefix
from harness_load.words import token_costs

__all__ = ["Load"]


class Load:
    """The request scenario `load`. A prompt file is read here, once, and refused if it is empty."""

    def __init__(self, config: ScenarioConfig) -> None:
        self._options: LoadOptions = config.options
        path = self._options.prompts
        self._file = None if path is None else read_prompts(path, self._options.form)
        self._costs: tuple[float, ...] | None = None
        self._costs_known = False

    def requests(self, ctx: RequestContext) -> Iterator[Request]:
        """Endless. Equal for equal seeds, but for the prefixes, which are unique in every case."""
        options = self._options
        seed = ctx.seed if options.seed is None else options.seed
        bound = sampler(
            options.max_tokens_distribution,
            options.max_tokens,
            options.max_tokens_spread,
            Random(f"output/{seed}"),
        )
        salt = prefix_salt(ctx.salt)
        if self._file is not None:
            return self._from_file(self._file, salt, bound)
        # Not in the generator: counting the vocabulary takes a moment with some backends.
        source = TextSource(Random(f"text/{seed}"), self._token_costs(ctx))
        return self._synthetic(source, seed, salt, bound)

    def _from_file(
        self, lines: list[Request], salt: int, bound: Callable[[], int]
    ) -> Iterator[Request]:
        options = self._options
        for ordinal in count():
            line = lines[ordinal % len(lines)]
            drawn = bound()
            prefix = unique_prefix(salt, ordinal) + "\n\n" if options.unique_prefix else ""
            prompt, messages = line.prompt, line.messages
            if prompt is not None:
                prompt = prefix + prompt
            elif prefix:
                messages = (_prefixed(messages[0], prefix), *messages[1:])
            yield Request(
                prompt=prompt,
                messages=messages,
                max_tokens=drawn if line.max_tokens is None else line.max_tokens,
                ignore_eos=options.ignore_eos,
                cold=options.unique_prefix,
            )

    def _synthetic(
        self, source: TextSource, seed: int, salt: int, bound: Callable[[], int]
    ) -> Iterator[Request]:
        options = self._options
        least = source.prefix_tokens_mean() if options.unique_prefix else 1.0
        self._check_room(least)
        length = sampler(
            options.prompt_tokens_distribution,
            options.prompt_tokens_mean,
            options.prompt_tokens_spread,
            Random(f"prompt/{seed}"),
            floor=ceil(least),
        )
        bare = options.form == "prompt"
        for ordinal in count():
            tokens = length()
            unique = options.unique_prefix
            text = source.take_unique(tokens, salt, ordinal) if unique else source.take(tokens)
            yield Request(
                prompt=text if bare else None,
                messages=() if bare else (Message(role="user", content=text),),
                max_tokens=bound(),
                ignore_eos=options.ignore_eos,
                cold=options.unique_prefix,
            )

    def _token_costs(self, ctx: RequestContext) -> tuple[float, ...] | None:
        """Counted once a trial: the tokenizer does not change, and there are a thousand words."""
        if not self._costs_known:
            self._costs = token_costs(ctx.count_tokens)
            self._costs_known = True
        return self._costs

    def _check_room(self, least: float) -> None:
        mean = self._options.prompt_tokens_mean
        if mean < least:
            raise ScenarioError(
                f"prompts of {mean} tokens cannot hold a unique prefix of {PREFIX_WORDS} words "
                f"(about {least:.0f} tokens)",
                where="load",
                remedy=f"-o prompt_tokens={ceil(2 * least)}, or -o unique_prefix=false",
            )


def _prefixed(message: Message, prefix: str) -> Message:
    return Message(
        role=message.role,
        content=prefix + message.content,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
    )
