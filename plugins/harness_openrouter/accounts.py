"""What the service's books say of a call, beside what its response said.

Counts are those of the model's own tokenizer in both (`native_tokens_…`), and must be equal; of the
output, books that keep reasoning apart from it are understood. Costs may differ by a thousandth, or
by a millionth of a cent: they are rounded in different places.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from harness_openai.secret import redacted

from harness.schema import Account, CallRecord
from harness.text import one_line, storable, whole_number
from harness_openrouter.catalog import amount
from harness_openrouter.control import OpenRouterControl
from harness_openrouter.decode import CACHE_HIT

__all__ = ["account_of", "fetch", "generation_id"]

PAUSES_S: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Before each time that the service is asked: it writes its books a little later."""
AT_ONCE: Final = 4
COST_SHARE: Final = Decimal("0.001")
COST_USD: Final = Decimal("0.00000001")
FACT_CHARS: Final = 500
_WORDS: Final = (str, int, bool)


async def fetch(
    control: OpenRouterControl, calls: Sequence[CallRecord], redact: Callable[[str], str]
) -> list[Account]:
    """One for each call, in their order."""
    idents = {call.call_id: generation_id(call) for call in calls}
    found: dict[str, Account] = {}
    for call in calls:
        if call.error is not None and call.error.code == CACHE_HIT:
            found[call.call_id] = Account(call_id=call.call_id, unknown="nothing was generated")
        elif idents[call.call_id] is None:
            why = "its response names no generation"
            found[call.call_id] = Account(call_id=call.call_id, unknown=why)
    turn = asyncio.Semaphore(AT_ONCE)

    async def ask(call: CallRecord) -> None:
        async with turn:
            data, why = await control.generation(idents[call.call_id] or "")
        if data is not None:
            found[call.call_id] = account_of(call, redacted(data, redact))
        elif why:
            found[call.call_id] = Account(call_id=call.call_id, unknown=one_line(redact(why)))

    for pause_s in PAUSES_S:
        waiting = [call for call in calls if call.call_id not in found]
        if not waiting:
            break
        await asyncio.sleep(pause_s)
        await asyncio.gather(*map(ask, waiting))
    never = f"the service did not know it in {sum(PAUSES_S):g} s"
    return [found.get(c.call_id) or Account(call_id=c.call_id, unknown=never) for c in calls]


def generation_id(call: CallRecord) -> str | None:
    """As the response names it: each of its chunks, or its head."""
    headers = call.server.get("headers")
    named = headers.get("x-generation-id") if isinstance(headers, dict) else None
    for found in (named, call.server.get("id")):
        if isinstance(found, str) and 0 < len(found) <= 200:
            return found
    return None


def account_of(call: CallRecord, data: dict[str, Any]) -> Account:
    """`data` as from /generation, fractions as text."""
    facts = {
        one_line(name, 60): value[:FACT_CHARS] if isinstance(value, str) else storable(value)
        for name, value in data.items()
        if isinstance(value, _WORDS)
    }
    return Account(call_id=call.call_id, facts=facts, disagrees=dict(_differences(call, data)))


def _differences(call: CallRecord, data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    usage = call.usage
    reasoning = whole_number(data.get("native_tokens_reasoning")) or 0
    pairs = (
        ("prompt_tokens", usage.prompt_tokens, "native_tokens_prompt", 0),
        ("output_tokens", usage.output_tokens, "native_tokens_completion", reasoning),
        ("reasoning_tokens", usage.reasoning_tokens, "native_tokens_reasoning", 0),
        ("cached_tokens", usage.cached_tokens, "native_tokens_cached", 0),
    )
    for name, said, field, apart in pairs:
        kept = whole_number(data.get(field))
        if said is not None and kept is not None and said not in (kept, kept + apart):
            yield name, f"call {said}, account {kept}"
    if call.cost is not None and call.cost.source == "provider":
        said_usd, kept_usd = amount(call.cost.usd), amount(data.get("total_cost"))
        if said_usd is not None and kept_usd is not None:
            off = abs(said_usd - kept_usd)
            if off > max(COST_USD, COST_SHARE * max(said_usd, kept_usd)):
                yield "cost_usd", f"call {said_usd:f}, account {kept_usd:f}"
