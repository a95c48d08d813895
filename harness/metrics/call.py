"""CALL_METRICS: every figure of one call, from its record alone.

Which calls have a figure
  A difference of two stamps exists wherever both do, however the call ended: the TTFT of a stream
  that broke off later is a fact. What speaks of the whole response (E2E, TPOT, rates, the server's
  account) exists for `ok` calls only. Summaries average `ok` calls only, whatever the metric.

  A call that was sent more than once, because its server had refused it for a while, has no times
  at all: the wait is in some of them, and none is a sample of what the others are.

Signs
  A duration that comes out negative means that a clock or a stamp is wrong: it is None. The queue
  residual alone is signed: it is what two clocks leave over, and to drop its negative half would
  bias its mean.
"""

from __future__ import annotations

from typing import Final

from harness.metrics import server
from harness.metrics.chunks import agent_delays, gaps, itl_unknown_because
from harness.metrics.cost import call_cost_usd
from harness.metrics.metric import Metric, definer, find
from harness.schema import CallRecord

__all__ = ["CALL_METRICS", "LOCAL", "TAPPED", "call_metric"]


def call_metric(name: str) -> Metric[CallRecord]:
    """The call metric of that name; SpecError if there is none."""
    return find(name, CALL_METRICS)


# ------------------------------------------------------------------------------ between two stamps


def ttft(record: CallRecord) -> float | None:
    return _once_ms(record, record.instants.sent_ns, record.instants.first_token_ns)


def ttft_from_due(record: CallRecord) -> float | None:
    return _once_ms(record, record.instants.due_ns, record.instants.first_token_ns)


def ttfa(record: CallRecord) -> float | None:
    return _once_ms(record, record.instants.sent_ns, record.instants.first_answer_ns)


def send_lag(record: CallRecord) -> float | None:
    return _once_ms(record, record.instants.due_ns, record.instants.sent_ns)


def _once_ms(record: CallRecord, start_ns: int | None, end_ns: int | None) -> float | None:
    return _ms(start_ns, end_ns) if record.attempts == 1 else None


def _ms(start_ns: int | None, end_ns: int | None) -> float | None:
    if start_ns is None or end_ns is None or end_ns < start_ns:
        return None
    return (end_ns - start_ns) / 1e6


# ------------------------------------------------------------------------------- the whole response


def e2e(record: CallRecord) -> float | None:
    return _ms(record.instants.sent_ns, record.instants.end_ns) if _timed(record) else None


def e2e_from_due(record: CallRecord) -> float | None:
    return _ms(record.instants.due_ns, record.instants.end_ns) if _timed(record) else None


def tpot(record: CallRecord) -> float | None:
    # No time between the first chunk and the last (one chunk, or one read) is no measurement of it.
    span_ms = _ms(record.instants.first_token_ns, record.instants.last_token_ns)
    tokens = server.output_tokens(record)
    if not _timed(record) or not span_ms or tokens is None or tokens < 2:
        return None
    return span_ms / (tokens - 1)


def decode_rate_client(record: CallRecord) -> float | None:
    per_token_ms = tpot(record)
    return None if per_token_ms is None else 1e3 / per_token_ms


def batch_ratio(record: CallRecord) -> float | None:
    tokens = server.output_tokens(record)
    return record.content_chunks / tokens if _ok(record) and tokens else None


def inter_chunk_p50(record: CallRecord) -> float | None:
    found = gaps(record) if _timed(record) else None
    return None if found is None or found.p50_ns is None else found.p50_ns / 1e6


def inter_chunk_max(record: CallRecord) -> float | None:
    found = gaps(record) if _timed(record) else None
    return None if found is None or found.max_ns is None else found.max_ns / 1e6


def itl_p50(record: CallRecord) -> float | None:
    return None if itl_unknown_because(record) else inter_chunk_p50(record)


def _ok(record: CallRecord) -> bool:
    return record.status == "ok"


def _timed(record: CallRecord) -> bool:
    return _ok(record) and record.attempts == 1


# ----------------------------------------------------------------------------- the server's account


def server_load(record: CallRecord) -> float | None:
    return server.load_ms(record) if _timed(record) else None


def server_prompt(record: CallRecord) -> float | None:
    return server.prompt_ms(record) if _timed(record) else None


def prefill_rate(record: CallRecord) -> float | None:
    evaluated = server.prefill(record) if _timed(record) else None
    return evaluated[0] / evaluated[1] * 1e3 if evaluated and evaluated[0] > 0 else None


def decode_rate_server(record: CallRecord) -> float | None:
    generated = _generated(record)
    return generated[0] / generated[1] * 1e3 if generated else None


def decode_rate_server_n1(record: CallRecord) -> float | None:
    generated = _generated(record)
    return (generated[0] - 1) / generated[1] * 1e3 if generated else None


def _generated(record: CallRecord) -> tuple[float, float] | None:
    # The first token comes with the prompt: one token alone has a duration of about 0 and no rate.
    generated = server.decode(record) if _timed(record) else None
    return generated if generated and generated[0] >= 2 else None


def queue_residual(record: CallRecord) -> float | None:
    waited_ms = ttft(record)
    accounted_ms = server.accounted_ms(record) if _timed(record) else None
    return None if waited_ms is None or accounted_ms is None else waited_ms - accounted_ms


def server_queue(record: CallRecord) -> float | None:
    return server.queue_ms(record) if _ok(record) else None


def allocated_peak(record: CallRecord) -> float | None:
    return _peak_mib(record, "allocated")


def reserved_peak(record: CallRecord) -> float | None:
    return _peak_mib(record, "reserved")


def process_peak(record: CallRecord) -> float | None:
    return _peak_mib(record, "process")


def _peak_mib(record: CallRecord, measure: str) -> float | None:
    peak_bytes = server.peak_bytes(record, measure) if _ok(record) else None
    return None if peak_bytes is None else peak_bytes / 2**20


def ttft_load_plus_prompt_eval(record: CallRecord) -> float | None:
    load_ms, eval_ms = server_load(record), ttft_prompt_eval(record)
    return None if load_ms is None or eval_ms is None else load_ms + eval_ms


def ttft_prompt_eval(record: CallRecord) -> float | None:
    return server.eval_ms(record) if _timed(record) else None


# --------------------------------------------------------------------------------- the instrument


def client_lag_p50(record: CallRecord) -> float | None:
    return _us(record.client_lag_p50_ns)


def client_lag_p99(record: CallRecord) -> float | None:
    return _us(record.client_lag_p99_ns)


def client_lag_max(record: CallRecord) -> float | None:
    return _us(record.client_lag_max_ns)


# ------------------------------------------------------------------ agent programs, through the tap


def agent_send_delay(record: CallRecord) -> float | None:
    if record.tap is None or record.reported is None:
        return None
    return _between_us(record.reported.sent_ns, record.tap.request_ns)


def agent_first_token_delay(record: CallRecord) -> float | None:
    if record.tap is None or record.reported is None:
        return None
    return _between_us(record.tap.first_token_ns, record.reported.first_token_ns)


def agent_last_token_delay(record: CallRecord) -> float | None:
    if record.tap is None or record.reported is None:
        return None
    return _between_us(record.tap.last_token_ns, record.reported.last_token_ns)


def agent_chunk_delay_p50(record: CallRecord) -> float | None:
    found = agent_delays(record)
    return None if found is None else found.p50_ns / 1e3


def agent_chunk_delay_p99(record: CallRecord) -> float | None:
    found = agent_delays(record)
    return None if found is None else found.p99_ns / 1e3


def tap_request_delay(record: CallRecord) -> float | None:
    if record.tap is None:
        return None
    return _between_us(record.tap.request_ns, record.instants.sent_ns)


def tap_delay_p50(record: CallRecord) -> float | None:
    return _us(record.tap.delay_p50_ns) if record.tap is not None else None


def tap_delay_p99(record: CallRecord) -> float | None:
    return _us(record.tap.delay_p99_ns) if record.tap is not None else None


def tap_delay_max(record: CallRecord) -> float | None:
    return _us(record.tap.delay_max_ns) if record.tap is not None else None


def _between_us(start_ns: int | None, end_ns: int | None) -> float | None:
    between_ms = _ms(start_ns, end_ns)
    return None if between_ms is None else between_ms * 1e3


def _us(lag_ns: int | None) -> float | None:
    return None if lag_ns is None or lag_ns < 0 else lag_ns / 1e3


# ------------------------------------------------------------------------------------- the registry


_define = definer("call", CallRecord)


# fmt: off
_OF_ANY_CALL: Final[tuple[Metric[CallRecord], ...]] = (
    _define("ttft_ms", "ms", "lower", "measured", ttft,
            "Time to first token: the first chunk with content minus the instant of sending."),
    _define("ttft_from_due_ms", "ms", "lower", "measured", ttft_from_due,
            "Time to first token from when the schedule wanted the request to start."),
    _define("ttfa_ms", "ms", "lower", "measured", ttfa,
            "Time to first answer token: TTFT with reasoning left out."),
    _define("e2e_ms", "ms", "lower", "measured", e2e,
            "End-to-end latency: the proper end of the stream minus the instant of sending."),
    _define("e2e_from_due_ms", "ms", "lower", "measured", e2e_from_due,
            "End-to-end latency from when the schedule wanted the request to start."),
    _define("send_lag_ms", "ms", "lower", "measured", send_lag,
            "How much later than due the request was sent."),
    _define("tpot_ms", "ms", "lower", "derived", tpot,
            "Time per output token: first to last token over (output tokens − 1), as the server "
            "counts them."),
    _define("decode_rate_client_tok_s", "tok/s", "higher", "derived", decode_rate_client,
            "Decode rate as the client saw it: 1 / TPOT."),
    _define("decode_rate_server_tok_s", "tok/s", "higher", "declared", decode_rate_server,
            "Decode rate as the server defines it: tokens generated / time of generating, the "
            "first token counted although its time is not."),
    _define("decode_rate_server_n1_tok_s", "tok/s", "higher", "declared", decode_rate_server_n1,
            "Decode rate over the server's own intervals: (tokens generated − 1) / time of "
            "generating."),
    _define("prefill_rate_tok_s", "tok/s", "higher", "declared", prefill_rate,
            "Prompt tokens evaluated / time of evaluating them; unknown where cached tokens may be "
            "in the count."),
    _define("queue_residual_ms", "ms", "lower", "derived", queue_residual,
            "TTFT minus the server's loading and prompt time: the wait that no server field shows; "
            "may be negative by what the two clocks differ."),
    _define("server_load_ms", "ms", "lower", "declared", server_load,
            "Time until the model was ready for the request, as the server reports it."),
    _define("server_prompt_ms", "ms", "lower", "declared", server_prompt,
            "Time spent on the prompt, cached tokens excluded, as the server reports it."),
    _define("ttft_load_plus_prompt_eval_ms", "ms", "lower", "declared", ttft_load_plus_prompt_eval,
            "What older reports call TTFT: the server's load_duration + prompt_eval_duration; "
            "blind to queueing and to the network."),
    _define("ttft_prompt_eval_ms", "ms", "lower", "declared", ttft_prompt_eval,
            "What other older reports call TTFT: the server's prompt_eval_duration alone."),
    _define("inter_chunk_p50_ms", "ms", "lower", "measured", inter_chunk_p50,
            "Median gap between successive content chunks of the call."),
    _define("inter_chunk_max_ms", "ms", "lower", "measured", inter_chunk_max,
            "Longest gap between successive content chunks of the call: its worst stall."),
    _define("itl_p50_ms", "ms", "lower", "measured", itl_p50,
            "Median inter-token latency of the call; unknown unless each content chunk is known to "
            "hold one token."),
    _define("batch_ratio", "chunks/tok", "neither", "derived", batch_ratio,
            "Content chunks / output tokens: 1 is a token a chunk, less is several."),
    _define("client_lag_p50_us", "us", "lower", "measured", client_lag_p50,
            "Median over the call's reads of user-space stamp minus kernel stamp."),
    _define("client_lag_p99_us", "us", "lower", "measured", client_lag_p99,
            "99th percentile over the call's reads of user-space stamp minus kernel stamp."),
    _define("client_lag_max_us", "us", "lower", "measured", client_lag_max,
            "Largest user-space stamp minus kernel stamp among the call's reads."),
)
_OF_PRICED_CALLS: Final[tuple[Metric[CallRecord], ...]] = (
    _define("cost_usd", "USD", "lower", "derived", call_cost_usd,
            "What the call cost: the provider's own account of it (then declared), else its tokens "
            "at the price of the day."),
)
_OF_LOCAL_CALLS: Final[tuple[Metric[CallRecord], ...]] = (
    _define("server_queue_ms", "ms", "lower", "declared", server_queue,
            "Time that the request waited in the server until it was begun with, as it reports."),
    _define("allocated_peak_mib", "MiB", "lower", "declared", allocated_peak,
            "Most GPU memory that tensors took during the call, by the server's own allocator."),
    _define("reserved_peak_mib", "MiB", "lower", "declared", reserved_peak,
            "Most GPU memory that the server's allocator kept during the call, free blocks "
            "included."),
    _define("process_peak_mib", "MiB", "lower", "declared", process_peak,
            "Most memory that the server's process took: on a GPU as its driver says, else its "
            "resident memory."),
)
_OF_TAPPED_CALLS: Final[tuple[Metric[CallRecord], ...]] = (
    _define("agent_send_delay_us", "us", "lower", "measured", agent_send_delay,
            "From the agent's own instant of sending until its request was with the tap."),
    _define("agent_first_token_delay_us", "us", "lower", "measured", agent_first_token_delay,
            "From when the tap sent the first token on until the agent saw it: the delay of its "
            "own runtime."),
    _define("agent_last_token_delay_us", "us", "lower", "measured", agent_last_token_delay,
            "From when the tap sent the last token on until the agent saw it."),
    _define("agent_chunk_delay_p50_us", "us", "lower", "measured", agent_chunk_delay_p50,
            "Median over the call's content chunks of the time from when the tap sent one on until "
            "the agent saw it."),
    _define("agent_chunk_delay_p99_us", "us", "lower", "measured", agent_chunk_delay_p99,
            "99th percentile over the call's content chunks of the time from when the tap sent one "
            "on until the agent saw it."),
    _define("tap_request_delay_us", "us", "lower", "measured", tap_request_delay,
            "How long the tap had the request: from its last byte's arrival until right before it "
            "was sent on."),
    _define("tap_delay_p50_us", "us", "lower", "measured", tap_delay_p50,
            "Median over the call's reads of how long the tap had them before it sent them on."),
    _define("tap_delay_p99_us", "us", "lower", "measured", tap_delay_p99,
            "99th percentile over the call's reads of how long the tap had them."),
    _define("tap_delay_max_us", "us", "lower", "measured", tap_delay_max,
            "Longest time that the tap had a read of the call before it sent it on."),
)
# fmt: on
CALL_METRICS: Final = (
    *_OF_ANY_CALL,
    *_OF_LOCAL_CALLS,
    *_OF_PRICED_CALLS,
    *_OF_TAPPED_CALLS,
)
LOCAL: Final = tuple(one.name for one in _OF_LOCAL_CALLS)
"""Of calls to a server that tells what it took of memory, and how long requests waited in it."""
TAPPED: Final = tuple(one.name for one in _OF_TAPPED_CALLS)
"""Of calls that went through the tap alone."""
