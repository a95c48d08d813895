"""What is asked beside text: models, versions, health, a pull. Answered at once."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from harness.testing.sim.draft import END, Draft, Wire, http_head, whole
from harness.testing.sim.models import Memory, listed, running, same_model, shown
from harness.testing.sim.spec import SimSpec

__all__ = ["OWNER", "control"]

OWNER: Final = "harness-sim"
MODELS: Final = ("/v1/models", "/api/v1/models")
PULL_STEP_NS: Final = 1_000_000


def control(
    spec: SimSpec,
    memory: Memory,
    method: str,
    path: str,
    body: bytes,
    *,
    now_ns: int,
    offset_ns: int,
    version: str,
    keep_alive: bool,
    model: dict[str, Any] | None = None,
) -> Wire:
    """The answer to anything but a request for text. `model`: more of it, for the list of /v1."""

    def say(answer: object, status: int = 200) -> Wire:
        return whole(status, answer, now_ns, version=version, keep_alive=keep_alive)

    realtime_ns = now_ns + offset_ns
    match method, path:
        case "GET" | "HEAD", "/":
            return say(b"Ollama is running")
        case "GET", "/health":
            return say({"status": "ok"})
        case "GET", "/api/version":
            return say({"version": f"{OWNER} {version}"})
        case "GET", "/api/tags":
            return say(listed(spec, realtime_ns))
        case "GET", "/api/ps":
            return say(running(spec, memory, now_ns, offset_ns))
        case "POST", "/api/show":
            named = _field(body, "model")
            if not isinstance(named, str) or not same_model(spec, named):
                return say({"error": f"model {named!r:.100} not found"}, 404)
            return say(shown(spec, realtime_ns))
        case "POST", "/api/pull":
            return _pull(spec, body, now_ns, version, keep_alive)
        case "GET", _ if path in MODELS:
            return say({"object": "list", "data": [_model(spec, version) | (model or {})]})
        case _:
            return say({"error": f"{method} {path[:100]} is not served here"}, 404)


def _model(spec: SimSpec, version: str) -> dict[str, Any]:
    """`owned_by` names us, whichever server's dialect is spoken."""
    return {
        "id": spec.model,
        "object": "model",
        "created": 0,
        "owned_by": OWNER,
        "max_model_len": spec.context_length,
        "harness_sim": {"version": version, "dialect": spec.dialect},
    }


def _pull(spec: SimSpec, body: bytes, now_ns: int, version: str, keep_alive: bool) -> Wire:
    """The one model is there already; the words are those of a real pull."""
    named = _field(body, "model") or _field(body, "name")
    if not isinstance(named, str) or not same_model(spec, named):
        said = {"error": "pull model manifest: file does not exist"}
        draft = Draft(
            head=http_head(200, "application/x-ndjson", version=version), head_due_ns=None
        )
        draft.add(msgspec.json.encode(said) + b"\n", now_ns, END)
        return draft.wire()
    if _field(body, "stream") is False:
        return whole(200, {"status": "success"}, now_ns, version=version, keep_alive=keep_alive)
    entry = listed(spec, 0)["models"][0]
    digest, size = f"sha256:{entry['digest']}", spec.size_bytes
    states: list[dict[str, Any]] = [{"status": "pulling manifest"}]
    for done in (0, size // 2, size):
        part = {"status": f"pulling {entry['digest'][:12]}", "digest": digest, "total": size}
        states.append(part | ({"completed": done} if done else {}))
    words = ("verifying sha256 digest", "writing manifest", "removing unused layers", "success")
    states += [{"status": word} for word in words]
    head = http_head(200, "application/x-ndjson", version=version)
    draft = Draft(head=head, head_due_ns=None)
    for index, state in enumerate(states):
        draft.add(msgspec.json.encode(state) + b"\n", now_ns + index * PULL_STEP_NS, END)
    return draft.wire()


def _field(body: bytes, name: str) -> Any:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found.get(name) if isinstance(found, dict) else None
