"""What the hf worker does between two steps, and how long that takes: python benchmarks/hf_steps.py

A step's tokens are turned into text and a line of JSON, and the line is written to a socket, in the
thread that computes. This times that alone (`Stamper.put`), on tokens of the model `tiny`, for one
sequence and for eight; no model runs.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import threading
import time

from harness_hf import models
from harness_hf.jobs import Ask, Job
from harness_hf.memory import Meter
from harness_hf.pieces import Pieces
from harness_hf.serving import Stream
from harness_hf.steps import Row, Stamper


def drained() -> socket.socket:
    """One end of a connection whose other end is read and thrown away."""
    ours, theirs = socket.socketpair()

    def read() -> None:
        while theirs.recv(1 << 16):
            pass

    threading.Thread(target=read, daemon=True).start()
    return ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps

    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models.fetched("tiny").folder)

    def text(ids: list[int]) -> str:
        return str(tokenizer.decode(ids, skip_special_tokens=True))

    for batch in (1, 8):
        rows = [
            Row(
                Job(Ask(prompt="x"), Stream(drained())),
                [0],
                Pieces(text),
                max_tokens=steps + 1,
                full_at_end=False,
                ends=frozenset(),
            )
            for _ in range(batch)
        ]
        stamper = Stamper(rows, Meter([]), time.monotonic_ns(), {}, None)
        stamper.put(torch.zeros(batch, 1))
        tokens = torch.randint(300, 4000, (steps, batch))
        took_us = []
        for step in tokens:
            began_ns = time.perf_counter_ns()
            stamper.put(step)
            took_us.append((time.perf_counter_ns() - began_ns) / 1e3)
        cuts = statistics.quantiles(took_us, n=100)
        print(
            json.dumps({"sequences": batch, "steps": steps, "p50_us": cuts[49], "p99_us": cuts[98]})
        )


if __name__ == "__main__":
    main()
