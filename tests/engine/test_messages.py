"""What goes between a run and a trial in another process, and through which pipes."""

from __future__ import annotations

import asyncio
import inspect
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import errors
from harness.engine.messages import (
    Ended,
    Failure,
    Kept,
    decode_job,
    decode_message,
    encode_message,
    log_level_of,
)
from harness.engine.perform import perform
from harness.engine.pipes import LENGTH, Frames, PipeWriter
from harness.errors import HarnessError, MissingExtra, PluginError, StoreError
from harness.schema import CallRecord, Instants, IterationRecord

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, HarnessError) and kind is not MissingExtra
]


def framed(messages):
    return b"".join(LENGTH.pack(len(message)) + message for message in messages)


@given(st.lists(st.binary(max_size=300)), st.data())
def test_messages_come_whole_however_they_are_cut(messages, data):
    stream = framed(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    frames = Frames()
    assert [message for part in parts for message in frames.feed(part)] == messages


def iteration(**more):
    return IterationRecord(
        arm="a", cell="base", trial=0, iteration=0, phase="measured", status="ok",
        start_ns=1, end_ns=2, planned_calls=0, **more,
    )  # fmt: skip


def test_what_a_record_holds_comes_through():
    data = {"text": "ä", "list": [1, 2.5, None], "bytes": b"\0", "deep": {"a": {"b": []}}}
    record = iteration(data=data)
    assert decode_message(encode_message(record)) == record
    for content in ("text", b"bytes"):
        kept = Kept(ticket="1", name="n", content=content)
        assert decode_message(encode_message(kept)) == kept


def test_half_a_character_costs_no_run():
    call = CallRecord(
        call_id="0", arm="a", cell="base", trial=0, iteration=0, phase="measured", status="ok",
        instants=Instants(due_ns=0), text="a\ud800b", payloads=[b"\xff"],
    )  # fmt: skip
    found = decode_message(encode_message(call))
    assert (found.text, found.payloads) == ("a?b", [b"\xff"])


def test_what_cannot_be_written_down_is_refused_as_a_store_does():
    with pytest.raises(StoreError, match=r"a IterationRecord cannot be stored: .*ctx\.note"):
        encode_message(iteration(data={"it": object()}))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_is_the_same_at_home(kind):
    error = kind("what", where="where", remedy="this")
    ended = Ended(record=None, failure=Failure.of(error))
    home = decode_message(encode_message(ended)).failure.error()
    assert type(home) is kind
    assert (str(home), home.what, home.where, home.remedy) == (
        str(error), "what", "where", "this",
    )  # fmt: skip


def test_so_is_one_that_is_made_of_other_words():
    error = MissingExtra("hf", missing="torch")
    home = Failure.of(error).error()
    assert (type(home), str(home)) == (type(error), str(error))


def test_a_strangers_error_is_a_plugins():
    assert str(Failure.of(ValueError("odd")).error()) == "ValueError: odd"
    assert isinstance(Failure.of(asyncio.CancelledError()).error(), asyncio.CancelledError)


# -------------------------------------------------------------------------------------- the pipe


def test_a_writer_waits_for_nobody_and_loses_nothing():
    """Far more than a pipe holds, before anybody reads."""

    async def main():
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        pipe = PipeWriter(writer, broken=bool)
        sent = [bytes([number % 256]) * 1000 for number in range(3000)]
        for message in sent:
            pipe.send(message)
        frames, found, whole = Frames(), [], asyncio.Event()
        loop = asyncio.get_running_loop()

        def read():
            found.extend(frames.feed(os.read(reader, 50_000)))
            if len(found) == len(sent):
                whole.set()

        loop.add_reader(reader, read)
        await pipe.drain()
        await whole.wait()
        loop.remove_reader(reader)
        pipe.close()
        pipe.close()
        os.close(reader)
        assert found == sent

    asyncio.run(main())


def test_a_writer_says_once_that_nobody_reads():
    async def main():
        reader, writer = os.pipe()
        os.close(reader)
        told = []
        pipe = PipeWriter(writer, broken=lambda: told.append(1))
        pipe.send(b"one")
        pipe.send(b"two")
        await pipe.drain()
        pipe.close()
        assert told == [1]

    asyncio.run(main())


def test_the_job_of_another_version_is_refused_and_says_so():
    job = msgspec.msgpack.encode({"version": "9.0", "log_level": 10, "spec": {"unheard_of": 1}})
    assert log_level_of(job) == 10
    with pytest.raises(PluginError, match="planned by another version"):
        decode_job(job)
    said = []
    asyncio.run(perform(job, said.append))
    (ended,) = map(decode_message, said)
    assert ended.record is None
    assert ended.failure.kind == "PluginError" and "another version" in ended.failure.what
