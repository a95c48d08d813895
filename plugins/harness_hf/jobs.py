"""Requests that wait for the model, and which of them are computed together."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from typing import Any, Protocol

from msgspec import Struct

__all__ = ["Answer", "Ask", "Job", "Jobs", "Order"]


class Ask(Struct, frozen=True, kw_only=True):
    """The body of one request to the worker."""

    messages: list[dict[str, Any]] | None = None
    prompt: str | None = None
    max_tokens: int | None = None
    """None: until the context is full."""
    ignore_eos: bool = False
    seed: int = 0
    stop: tuple[str, ...] = ()
    template_options: dict[str, Any] = {}
    temperature: float = 0.0
    top_k: int = 50
    top_p: float = 1.0
    repeat_penalty: float = 1.0

    @property
    def way(self) -> tuple[object, ...]:
        """Requests that differ in it cannot be computed together."""
        return (self.ignore_eos, self.temperature, self.top_k, self.top_p, self.repeat_penalty)


class Answer(Protocol):
    """Where the lines of a response go. Its methods are called by the model's thread."""

    @property
    def gone(self) -> bool:
        """Nobody reads it any more."""

    def refuse(self, status: int, message: str) -> None:
        """Instead of any line."""

    def line(self, content: object) -> None: ...

    def end(self) -> None:
        """After the last line; also of a response that was refused, or is `gone`."""


class Job:
    """One request, from when it was read."""

    def __init__(self, ask: Ask, answer: Answer) -> None:
        self.ask = ask
        self.answer = answer
        self.received_ns = time.monotonic_ns()


class Order:
    """Something else that is done between two batches; `said` then has what came of it."""

    def __init__(self) -> None:
        self.said: queue.SimpleQueue[str] = queue.SimpleQueue()


class Jobs:
    """A queue: many connections put, the model's thread takes."""

    def __init__(self, batch: int, wait_ms: float) -> None:
        self._batch = batch
        self._wait_s = wait_ms / 1e3 if batch > 1 else 0.0
        self._waiting: deque[Job] = deque()
        self._orders: deque[Order] = deque()
        self._changed = threading.Condition()

    def put(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def order(self) -> str:
        """Wait until it is carried out."""
        order = Order()
        with self._changed:
            self._orders.append(order)
            self._changed.notify()
        return order.said.get()

    def take(self) -> list[Job] | Order:
        """Wait for one. With a request come those that wait as well and can be computed together
        with it, in the order in which they came."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._orders)
            if self._orders:
                return self._orders.popleft()
            if self._wait_s:
                self._changed.wait_for(self._is_full, self._wait_s)
            alike = self._alike()
            for job in alike:
                self._waiting.remove(job)
            return alike

    def _alike(self) -> list[Job]:
        way = self._waiting[0].ask.way
        return [job for job in self._waiting if job.ask.way == way][: self._batch]

    def _is_full(self) -> bool:
        return len(self._alike()) >= self._batch
