"""Who is next: slots and their queue, the model's memory, the prompt cache; and each one's answer.

No sockets here: requests and ends come in as calls, answers go out through `answer`, and what is
left of them, where streams slow each other down, through `revise`. A request's
times count from its turn, so that it does not matter how long we take to make its answer, as long
as that is less than its TTFT.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec

from harness.testing.sim.asked import Asked, NotUnderstood, read_asked, read_http
from harness.testing.sim.context import PromptCache, fit
from harness.testing.sim.control import control
from harness.testing.sim.draft import CLOSE, HOLD, KEEP, RESET, Wire, silent, whole
from harness.testing.sim.faults import (
    HTTP_STATUS,
    UNSHARED,
    UNSTREAMED,
    counts_of,
    fault_for,
    reworded,
    spoil,
)
from harness.testing.sim.job import Job
from harness.testing.sim.laws import sampler
from harness.testing.sim.models import Memory, same_model
from harness.testing.sim.ollama import OllamaVoice, created_at
from harness.testing.sim.openai import OpenAIVoice
from harness.testing.sim.openrouter import Books, rate_limit_headers
from harness.testing.sim.replay import Pace
from harness.testing.sim.sharing import Sharing
from harness.testing.sim.spec import Fault, SimSpec
from harness.testing.sim.timeline import make_timeline
from harness.testing.sim.voice import Voice, words_from

__all__ = ["Desk"]

NO_PROVIDER: Final = "No allowed providers are available for the selected model."
NO_CREDIT: Final = "This request requires more credits, or fewer max_tokens"


class Desk:
    """Use: arrive() for each request, then finished() or gone() once it is over; after some of
    these, settle()."""

    def __init__(
        self,
        spec: SimSpec,
        *,
        boot: str,
        version: str,
        offset_ns: int,
        answer: Callable[[Job, Wire], None],
        revise: Callable[[Job, Wire], None],
        refuse: Callable[[float], None],
    ) -> None:
        """`answer` hands a response to the sender, `revise` another plan for one that is under way;
        `refuse` closes the listener for some ms.
        offset_ns: CLOCK_REALTIME − CLOCK_MONOTONIC. Raises SpecError or StoreError if a run that
        the spec replays cannot be."""
        self.spec = spec
        unload = sampler(spec.unload, Random(f"{spec.seed}/unload"))
        self.memory = Memory(unload_ns=unload)
        self._pace = Pace(spec)
        self._boot = boot
        self._version = version
        self._offset_ns = offset_ns
        self._answer = answer
        self._revise = revise
        self._refuse = refuse
        self._ordinals = 0
        self._busy = 0
        self._waiting: deque[Job] = deque()
        self._prompts = PromptCache() if spec.prompt_cache else None
        self._sharing = Sharing(spec) if spec.shared_tok_s is not None else None
        self._books = Books(spec) if spec.dialect == "openrouter" else None
        self._streams: dict[int, Job] = {}
        """Those that share."""

    def arrive(self, job: Job, head: bytes, body: bytes) -> None:
        """Answers at once, or when a slot is free."""
        http = read_http(head)
        if http is None or http.chunked:
            job.status, job.keep_alive = 400 if http is None else 411, False
            said = {"error": "not HTTP/1.1" if http is None else "send a Content-Length"}
            self._say(job, job.status, said, job.arrived_ns)
            return
        job.method, job.path, job.keep_alive = http.method, http.path, http.keep_alive
        job.request_id, job.query, job.metadata = http.request_id, http.query, http.metadata
        try:
            job.asked = read_asked(http.path, body) if http.method == "POST" else None
        except NotUnderstood as error:
            self._refused(job, 400, str(error))
            return
        if job.asked is None:
            self._control(job, body)
        elif not same_model(self.spec, job.asked.model):
            self._refused(job, 404, f"model {job.asked.model!r:.100} not found")
        elif job.asked.empty and http.path.startswith("/api/"):
            self._load_only(job, job.asked)
        else:
            self._text(job, job.asked)

    def finished(self, job: Job, at_ns: int) -> bool:
        """The sender is through with its answer. False: it is not over (the client is kept
        waiting)."""
        if job.held:
            return False
        self._over(job, at_ns)
        return True

    def gone(self, job: Job, at_ns: int) -> None:
        """The client went away, before or after its turn came."""
        if job in self._waiting:
            self._waiting.remove(job)
        self._over(job, at_ns)

    def settle(self) -> None:
        """Let the streams know what became of each other's coming and going. Joins take effect with
        the first token, so that nothing that concerns them is late by being done here."""
        if self._sharing is None:
            return
        for serial, due_ns in self._sharing.plan().items():
            job = self._streams[serial]
            assert job.timeline is not None
            job.timeline = msgspec.structs.replace(job.timeline, due_ns=due_ns)
            if job.answered_ns is None:
                self._answer(job, self._made(job))
            elif job.fault is None or job.fault.kind not in UNSHARED:
                job.revised += 1
                self._revise(job, self._made(job))

    # ------------------------------------------------------------------------------ text and turns

    def _text(self, job: Job, asked: Asked) -> None:
        self._ordinals += 1
        job.ordinal = self._ordinals
        job.fault = fault_for(self.spec, asked, job.ordinal)
        if job.fault is not None and job.fault.kind in UNSTREAMED:
            self._fail(job, job.fault)
            return
        try:
            if asked.think and not self.spec.reasoning_tokens:
                raise NotUnderstood(f"{asked.model!r:.100} does not support thinking")
            fit(self.spec, asked)
        except NotUnderstood as error:
            self._refused(job, 400, str(error))
            return
        if self._books is not None and not asked.api.startswith("ollama"):
            job.route = self._books.route(asked, job.ordinal)
            if job.route is None or self._books.used_up:
                none = job.route is None
                self._refused(job, 404 if none else 402, NO_PROVIDER if none else NO_CREDIT)
                return
        slots, most = self.spec.slots, self.spec.queue_max
        if slots is None or self._busy < slots:
            self._begin(job, asked, job.arrived_ns)
        elif most is not None and len(self._waiting) >= most:
            message = "server busy, please try again.  maximum pending requests exceeded"
            self._refused(job, 503, message)
        else:
            self._waiting.append(job)

    def _begin(self, job: Job, asked: Asked, turn_ns: int) -> None:
        job.has_slot = True
        self._busy += 1
        load_ns = 0
        start_ns = turn_ns
        if asked.api.startswith("ollama"):
            load_ns = self._load(job, asked, turn_ns)
            start_ns = max(turn_ns, self.memory.ready_ns)
            self.memory.busy += 1
        assert job.ordinal is not None
        job.timeline = timeline = make_timeline(
            self.spec,
            self._pace,
            asked,
            serial=job.serial,
            ordinal=job.ordinal,
            ident=f"{self._boot}-{job.serial}",
            arrived_ns=job.arrived_ns,
            start_ns=start_ns,
            load_ns=load_ns,
            cached_tokens=self._prompts.cached(asked) if self._prompts else 0,
            realtime_offset_ns=self._offset_ns,
        )
        job.status = 200
        if self._books is not None and job.route is not None and not _is_cached(job):
            voice = self._voice(job, asked)
            assert isinstance(voice, OpenAIVoice)
            self._books.note(voice.ident, asked, timeline, job.route.provider)
        if self._sharing is None:
            self._answer(job, self._made(job))
        else:
            self._sharing.join(job.serial, turn_ns, timeline)
            self._streams[job.serial] = job

    def _made(self, job: Job) -> Wire:
        """Its answer, by its timeline."""
        asked, timeline = job.asked, job.timeline
        assert asked is not None and timeline is not None and job.ordinal is not None
        voice = self._voice(job, asked)
        words = reworded(job.fault, words_from(timeline, job.ordinal))
        counts = counts_of(job.fault, timeline)
        if not asked.stream:
            return self._whole(job, 200, voice.whole(timeline, words, counts), timeline.end_ns)
        draft = voice.draft(timeline, words, counts)
        if job.fault is not None:
            spoil(draft, job.fault, voice)
        job.held = draft.ending == HOLD
        wire = draft.wire()
        if not job.keep_alive and wire.ending == KEEP:
            wire.ending = CLOSE
        return wire

    def _over(self, job: Job, at_ns: int) -> None:
        if not job.has_slot:
            return
        job.has_slot = False
        self._busy -= 1
        if self._streams.pop(job.serial, None) is not None and self._sharing is not None:
            self._sharing.leave(job.serial, at_ns)
        if job.asked is not None and job.asked.api.startswith("ollama"):
            self.memory.busy -= 1
            self.memory.keep(job.asked, at_ns)
        slots = self.spec.slots
        while self._waiting and (slots is None or self._busy < slots):
            following = self._waiting.popleft()
            assert following.asked is not None
            self._begin(following, following.asked, at_ns)

    # ---------------------------------------------------------------------------------- the others

    def _load(self, job: Job, asked: Asked, now_ns: int) -> int:
        """ns until the model is in memory, if it has to be loaded for this request."""
        draw = sampler(self.spec.load, Random(f"{self.spec.seed}/load/{job.serial}"))
        return self.memory.load(asked, now_ns, draw)

    def _load_only(self, job: Job, asked: Asked) -> None:
        reason = "load"
        due_ns = job.arrived_ns
        if asked.keep_alive in (0, "0", "0s"):
            reason = "unload"
            self.memory.drop(due_ns)
        else:
            due_ns += self._load(job, asked, job.arrived_ns)
            self.memory.keep(asked, due_ns)
        said: dict[str, Any] = {"response": ""}
        if asked.api == "ollama_chat":
            said = {"message": {"role": "assistant", "content": ""}}
        stamp = created_at(due_ns + self._offset_ns)
        answer = {"model": asked.model, "created_at": stamp, **said}
        self._say(job, 200, answer | {"done": True, "done_reason": reason}, due_ns)

    def _control(self, job: Job, body: bytes) -> None:
        if self._books is not None:
            known = self._books.answer(job.method, job.path, job.query)
            if known is not None:
                self._say(job, *known, job.arrived_ns)
                return
        wire = control(
            self.spec,
            self.memory,
            job.method,
            job.path,
            body,
            now_ns=job.arrived_ns,
            offset_ns=self._offset_ns,
            version=self._version,
            keep_alive=job.keep_alive,
            model=self._books.model() if self._books is not None else None,
        )
        job.status = int(wire.data[9:12])
        self._answer(job, wire)

    def _fail(self, job: Job, fault: Fault) -> None:
        """A fault that leaves nothing of the stream."""
        if fault.kind in HTTP_STATUS or fault.kind == "http_status":
            status = HTTP_STATUS.get(fault.kind, fault.status)
            more: tuple[str, ...] = ()
            if status in (429, 503):
                more = (f"Retry-After: {fault.retry_after_s}",)
            if self._books is not None and status == 429:
                more += rate_limit_headers((job.arrived_ns + self._offset_ns) // 1_000_000)
            self._refused(job, status, "the truth server was told to refuse this", more)
            return
        if fault.kind == "refuse":
            self._refuse(fault.for_ms)
        job.held = fault.kind == "stall_before"
        self._answer(job, silent(job.arrived_ns, HOLD if job.held else RESET))

    def _refused(self, job: Job, status: int, message: str, more: tuple[str, ...] = ()) -> None:
        body: dict[str, object] = {"error": message}
        if job.asked is not None:
            body = self._voice(job, job.asked).error_body(status, message)
        self._say(job, status, body, job.arrived_ns, more)

    def _say(
        self, job: Job, status: int, body: object, due_ns: int, more: tuple[str, ...] = ()
    ) -> None:
        job.status = status
        self._answer(job, self._whole(job, status, body, due_ns, more))

    def _whole(
        self, job: Job, status: int, body: object, due_ns: int, more: tuple[str, ...] = ()
    ) -> Wire:
        return whole(
            status, body, due_ns, version=self._version, keep_alive=job.keep_alive, more=more
        )

    def _voice(self, job: Job, asked: Asked) -> Voice:
        if asked.api.startswith("ollama"):
            return OllamaVoice(asked, self._version, self._offset_ns)
        unix_s = (job.arrived_ns + self._offset_ns) // 1_000_000_000
        return OpenAIVoice(
            self.spec,
            asked,
            f"{self._boot}-{job.serial}",
            self._version,
            unix_s,
            route=job.route,
            metadata=job.metadata,
            from_cache=self._books is not None and _is_cached(job),
        )


def _is_cached(job: Job) -> bool:
    return job.fault is not None and job.fault.kind == "cache_hit"
