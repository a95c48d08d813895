"""One model on one OpenAI-compatible server, or on several equal ones."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from harness.errors import BackendError
from harness.protocols import BackendConfig
from harness.schema import Decoded, Effective, Exchange, ModelInfo, Request
from harness.text import as_argument, listed, nearest, one_line, storable, whole_number
from harness_openai.control import Control, ProbeAnswer, base_url
from harness_openai.decode import decode
from harness_openai.identity import account_of, location_of
from harness_openai.options import OpenAIOptions
from harness_openai.prepare import Features, request_body, shared_fields, with_api
from harness_openai.secret import Secret, redacted

if TYPE_CHECKING:
    from harness._native.recorder import Record

__all__ = ["OpenAIBackend"]

_PROBE_TOKENS: Final = 2
_NOT_UNDERSTOOD: Final = (400, 422)
_PER_CALL: Final = ("max_tokens", "seed", "stop", "response_format")
"""What a request's own fields decide, or replace: what one call sent, another did not."""
_NOT_THERE: Final = ("http.404", "http.405", "http.501")
_CONTENT_FIELDS: Final = ("content", "reasoning", "reasoning_content", "tool_calls")


class OpenAIBackend:
    """Backend, ListsModels and Reads of harness.protocols.

    Made to be built upon: a subclass may set `default_url`, may call `serve_at` before it calls
    our `open` (when it starts the server itself), and may replace fields of what `effective`
    returns. `config.options` must be an OpenAIOptions.
    """

    default_url: ClassVar[str] = "http://127.0.0.1:8080/v1"
    paths = ("/chat/completions", "/completions")

    def __init__(self, config: BackendConfig) -> None:
        self.model = config.model or ""
        self.options: OpenAIOptions = config.options
        self.timeouts = config.timeouts
        self.secret = Secret(self.options.api_key_env)
        self.features = Features(
            usage=self.options.include_usage,
            continuous_usage=self.options.continuous_usage is True,
        )
        self._passive = config.passive
        self._why_not: dict[str, str] = {}
        self._fingerprint: str | None = None
        self._headers = (
            ("Content-Type", "application/json"),
            ("Accept", "text/event-stream"),
            *self.secret.headers,
        )
        self.serve_at(*(config.urls or (self.default_url,)))

    def serve_at(self, *urls: str) -> None:
        """The endpoints from now on; calls go round them in turn."""
        self.urls = tuple(base_url(url) for url in urls)
        self._turn = itertools.cycle(self.urls)

    async def open(self) -> None:
        for url in self.urls:
            async with self._control(url) as control:
                entries = await self._list(control)
                if self.model or not self._passive:
                    self._choose(url, entries)
                if self.options.probe and not self._passive:
                    await self._probe(control)

    async def effective(self) -> Effective:
        """Of the first endpoint; all are taken to be equal."""
        async with self._control(self.urls[0]) as control:
            entries = await self._list(control)
            entry = _entry(entries or [], self.model) or {}
            if self._passive and not self.model and entries:
                # Whose server it is, every entry tells; which model answers, none of them.
                entry = {"owned_by": entries[0].get("owned_by")}
            account = await account_of(control, entry)
        unknown = account.unknown | self._why_not
        for name, value in msgspec.structs.asdict(self.options).items():
            if value is None:
                unknown[f"options.{name}"] = "not sent: the server decides"
        unknown |= {f"options.{name}": why for name, why in self._set_per_call().items()}
        fingerprint = {"system_fingerprint": self._fingerprint} if self._fingerprint else {}
        return Effective(
            server=account.server,
            server_version=account.server_version,
            model=entry.get("id") or self.model or None,
            context_length=account.context_length,
            size_bytes=account.size_bytes,
            parameters=account.parameters,
            quantization=account.quantization,
            location=location_of(self.urls[0], account.server),
            simulated=entry.get("owned_by") == "harness-sim",
            options=redacted(self._as_sent(), self.secret.redact),
            details=storable(account.details | fingerprint),
            unknown=unknown,
            not_effective=self._not_effective(),
        )

    def prepare(self, request: Request) -> Exchange:
        path, body = request_body(self.model, self.options, self.features, request)
        url = next(self._turn) + path
        return Exchange(url=url, headers=self._headers, body=body, framing="sse")

    def decode(self, request: Request, record: Record) -> Decoded:
        others = "stream" in request.options  # another program's (harness.protocols.Reads)
        whole = others and request.options["stream"] is not True
        decoded = decode(record, self.secret.redact, whole=whole, others=others)
        error = decoded.error
        if error is None or error.code not in _NOT_THERE or not self._completes(request):
            return decoded
        # Many servers offer chat alone, and their 404 does not say so.
        hint = "a bare prompt goes to /completions; -o api=chat sends it as a message"
        hinted = msgspec.structs.replace(error, message=f"{error.message} ({hint})")
        return msgspec.structs.replace(decoded, error=hinted)

    async def close(self) -> None:
        """Nothing to stop."""

    async def models(self) -> list[ModelInfo]:
        async with self._control(self.urls[0]) as control:
            entries = await control.models()
        if entries is None:
            raise BackendError(
                "the server has no list of models", where=self.urls[0], remedy="--model NAME"
            )
        return [_model_info(entry) for entry in entries]

    # ------------------------------------------------------------------------------------------

    def _completes(self, request: Request) -> bool:
        """Whether this call went to /completions without having been told to."""
        api = request.options.get("api", self.options.api)
        return api == "auto" and request.prompt is not None

    def _control(self, url: str) -> Control:
        return Control(url, self.timeouts, self.secret)

    async def _list(self, control: Control) -> list[dict[str, Any]] | None:
        """Who only looks on needs no list, and perhaps has no key to ask for one."""
        try:
            return await control.models()
        except BackendError as error:
            if not self._passive or error.__context__ is not None:  # the connection's, not its own
                raise
            self._why_not["model"] = f"the list of models was refused: {error.what}"
            return None

    def _choose(self, url: str, entries: list[dict[str, Any]] | None) -> None:
        """Check that our model is there. Without a name, take the only one there is."""
        if entries is None and self.model:
            self._why_not["model"] = "the server has no list of models to check the name against"
            return
        names = [entry["id"] for entry in entries or ()]
        if not self.model:
            if len(names) != 1:
                raise BackendError(
                    "no model is named, and the server has "
                    + (f"{len(names)}: {listed(names)}" if names else "no list of them"),
                    where=url,
                    remedy=f"--model {_first(names)}",
                )
            self.model = names[0]
        elif _entry(entries or [], self.model) is None:
            close = as_argument(nearest(self.model, names) or "") or _first(names)
            raise BackendError(
                f"there is no model {one_line(self.model)!r}; the server has {listed(names)}",
                where=url,
                remedy=f"--model {close}" if names else "load one into the server",
            )

    async def _probe(self, control: Control) -> None:
        """Ask for the most first, and less where the server does not understand it."""
        for features in self._candidates():
            answer = await control.probe(*self._probe_request(features))
            if answer.status // 100 == 2:
                self._settle(features, answer)
                return
            if answer.status not in _NOT_UNDERSTOOD:
                break
            name = "continuous_usage" if features.continuous_usage else "include_usage"
            self._why_not[f"options.{name}"] = f"the server refuses it: {answer.message}"
        raise control.refused(answer.status, answer.message)

    def _candidates(self) -> list[Features]:
        """What an earlier endpoint would not do is not asked of a later one."""
        usage, continuous = self.features.usage, self.options.continuous_usage
        if "options.continuous_usage" in self._why_not:
            continuous = False
        if continuous is True:
            return [Features(usage=True, continuous_usage=True)]
        found = [Features(usage=False, continuous_usage=False)]
        if usage:
            found.insert(0, Features(usage=True, continuous_usage=False))
        if usage and continuous == "auto":
            found.insert(0, Features(usage=True, continuous_usage=True))
        return found

    def _probe_request(self, features: Features) -> tuple[str, dict[str, Any]]:
        path, options = with_api(self.options, bare=False)
        body = shared_fields(self.model, options, features)
        body[options.max_tokens_field] = _PROBE_TOKENS
        if options.api == "chat":
            body["messages"] = [{"role": "user", "content": "Hello"}]
        else:
            body["prompt"] = "Hello"
        return path, body

    def _settle(self, features: Features, answer: ProbeAnswer) -> None:
        """Keep what was asked for and came; a server may accept a field and ignore it."""
        content = [chunk for chunk in answer.chunks if _has_content(chunk)]
        counted = bool(content) and all(_counts_tokens(chunk) for chunk in content)
        if features.continuous_usage and not counted:
            why = "its chunks carry no token counts" if content else "the probe got no content"
            self._why_not["options.continuous_usage"] = why
            if self.options.continuous_usage == "auto":
                features = msgspec.structs.replace(features, continuous_usage=False)
        prints = (chunk.get("system_fingerprint") for chunk in answer.chunks)
        self._fingerprint = next((p for p in prints if isinstance(p, str)), self._fingerprint)
        self.features = features

    def _not_effective(self) -> dict[str, str]:
        """What was asked for by name, and the probe did not get. Of the other options nothing is
        read back: the API has no place for it."""
        why = self._why_not.get("options.continuous_usage")
        if self.options.continuous_usage is not True or why is None:
            return {}
        return {"continuous_usage": f"asked true, runs without: {one_line(why, 200)}"}

    def _as_sent(self) -> dict[str, Any]:
        """The options by our names, and what they became in the body, where all calls agree."""
        _, options = with_api(self.options, bare=False)
        body = shared_fields(self.model, options, self.features)
        named = {"api": self.options.api, "max_tokens_field": self.options.max_tokens_field}
        return named | {k: v for k, v in body.items() if k not in ("model", *_PER_CALL)}

    def _set_per_call(self) -> dict[str, str]:
        """Fields of a body in which one call may differ from the next, and why."""
        ours = {"seed": self.options.seed, "stop": self.options.stop or None}
        return {
            name: f"set per call; {'not sent' if own is None else repr(own)} where a call has none"
            for name, own in {**dict.fromkeys(_PER_CALL), **ours}.items()
        }


def _entry(entries: list[dict[str, Any]], model: str) -> dict[str, Any] | None:
    for entry in entries:
        aliases = entry.get("aliases")
        if entry["id"] == model or (isinstance(aliases, list) and model in aliases):
            return entry
    return None


def _has_content(chunk: dict[str, Any]) -> bool:
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT_FIELDS):
            return True
        if isinstance(choice, dict) and choice.get("text"):
            return True
    return False


def _counts_tokens(chunk: dict[str, Any]) -> bool:
    usage = chunk.get("usage")
    return isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int)


def _model_info(entry: dict[str, Any]) -> ModelInfo:
    meta = entry.get("meta")
    size = meta.get("size") if isinstance(meta, dict) else None
    return ModelInfo(
        name=entry["id"],
        size_bytes=whole_number(size),
        details=storable({k: v for k, v in entry.items() if k not in ("id", "object")}),
    )


def _first(names: list[str]) -> str:
    """The first of the names that can be typed."""
    return next(filter(None, map(as_argument, names)), "NAME")
