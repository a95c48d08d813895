"""Bytes that no server should send. Each call ends in one status, on both transports, with bounded
memory; and what the hostile bytes leave behind on a connection is never taken for the answer to
the next call.

The random part is drawn from SEED, or from HARNESS_TEST_SEED; a failure names it.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from harness_openai.decode import decode

from harness.engine.sealing import status_of
from harness.schema import Exchange
from harness.transport import open_transport
from tests.faults.cases import AMPLE, ANY, CASES, FAILED, GOOD, Case
from tests.faults.raw import CLOSE, RESET, Later, Raw, sized, stream

KINDS = ("native", "portable")
SEED = int(os.environ.get("HARNESS_TEST_SEED", "20261120"))
HANG_S = 100  # against hanging only


def read(record):
    decoded = decode(record, str)
    status, error = status_of(record, decoded)
    assert (status == "ok") == (error is None)
    return status, decoded.text


async def one(kind, server, name, case, turn):
    """(status, what the next call on the same transport got)"""
    transport = open_transport(kind, [server.origin])
    await transport.open()
    try:
        post = {"body": b"{}", "framing": "sse"}
        answer = await transport.send(Exchange(url=server.url(name), **post), case.timeouts)
        status, text = read(answer)
        assert "smuggled" not in text, f"{name}: {text}"
        if any(isinstance(step, Later) for step in case.script):
            await server.release(name)
        good = f"good/{turn}"
        after = read(await transport.send(Exchange(url=server.url(good), **post), AMPLE))
        assert after == ("ok", good), f"after {name}"
        return status
    finally:
        await transport.close()


def play(kind, cases):
    """{name: status}"""

    async def main():
        room = asyncio.Semaphore(16)
        async with asyncio.timeout(HANG_S), Raw({k: c.script for k, c in named.items()}) as server:

            async def bounded(turn, name):
                async with room:
                    return await one(kind, server, name, named[name], turn)

            statuses = await asyncio.gather(*(bounded(*pair) for pair in enumerate(named)))
            return dict(zip(cases, statuses, strict=True)), server.flooded

    named = {f"{number}": case for number, case in enumerate(cases.values())}
    statuses, flooded = asyncio.run(main())
    names = list(cases)
    return statuses, {names[int(number)]: sent for number, sent in flooded.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_ends_as_it_must(kind):
    statuses, flooded = play(kind, CASES)
    wrong = {k: s for k, s in statuses.items() if s not in CASES[k].expected}
    assert wrong == {}
    endless = {k: sent for k, sent in flooded.items() if sent >= CASES[k].sent_max}
    assert endless == {}, "the client took all that it was sent"


def mutants(count):
    """A good response with something done to it, and plain noise."""
    rng = random.Random(f"{SEED}/mutants")
    found = {}
    for index in range(count):
        data = bytearray(rng.choice((GOOD, sized(stream("hello")), GOOD + GOOD)))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            match rng.randrange(5):
                case 0:
                    data[at] = rng.randrange(256)
                case 1:
                    del data[at : at + rng.randint(1, 20)]
                case 2:
                    data[at:at] = rng.randbytes(rng.randint(1, 20))
                case 3:
                    data[at:at] = data[rng.randrange(len(data)) :][:50]
                case _:
                    data[at : at + 1] = rng.choice((b"\r\n", b"\0", b"\n\n", b"0\r\n\r\n", b":"))
            data = data or bytearray(b"x")
        script = [bytes(data), rng.choice((CLOSE, CLOSE, RESET))]
        found[f"mutant {index} of seed {SEED}"] = Case(script, ANY)
    for index in range(count // 4):
        noise = rng.randbytes(rng.randint(1, 2000))
        found[f"noise {index} of seed {SEED}"] = Case([noise, CLOSE], FAILED)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage(kind):
    cases = mutants(120)
    statuses, _ = play(kind, cases)
    wrong = {k: s for k, s in statuses.items() if s not in cases[k].expected}
    assert wrong == {}


@pytest.mark.parametrize("end", [RESET, CLOSE])
@pytest.mark.parametrize("kind", KINDS)
def test_the_connection_breaks_at_every_byte(kind, end):
    """Nothing short of the last byte is a whole call, and all of it is one."""
    cases = {
        at: Case([GOOD[:at], end], {"ok"} if at == len(GOOD) and end is CLOSE else ANY)
        for at in range(len(GOOD) + 1)
    }
    statuses, _ = play(kind, cases)
    assert {at for at, status in statuses.items() if status == "timeout"} == set()
    assert {at for at, status in statuses.items() if status == "ok"} <= {len(GOOD)}
    if end is CLOSE:
        assert statuses[len(GOOD)] == "ok"
