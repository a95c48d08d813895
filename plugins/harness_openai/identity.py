"""Which server this is, and what it says of itself.

The API has no field for either, so we look where each kind of server puts it: `owned_by` in the
list of models, and one document beside the API. What is not found is unknown, with the reason.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from msgspec import Struct, field

from harness.text import whole_number

if TYPE_CHECKING:
    from harness_openai.control import Control

__all__ = ["Account", "account_of", "location_of"]

_BY_OWNER: Final = {
    "llamacpp": "llama.cpp",
    "vllm": "vllm",
    "sglang": "sglang",
    "library": "ollama",
    "organization_owner": "lm-studio",
    "openai": "openai",
    "openai-internal": "openai",
    "system": "openai",
}
_OWN_SERVERS: Final = ("llama.cpp", "vllm", "sglang", "ollama", "lm-studio")
_VERSION_AT: Final = {
    "vllm": ("/version",),
    "ollama": ("/api/version",),
    "sglang": ("/server_info", "/get_server_info"),
}
_CONTEXT_FIELDS: Final = ("max_model_len", "context_length", "max_context_length", "context_window")
_DEFAULTS_SHOWN: Final = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "samplers",
)
_PROPS_KEPT: Final = ("model_path", "model_alias", "model_ftype", "total_slots", "modalities")


class Account(Struct, kw_only=True):
    """What could be read; `unknown` says why the rest could not."""

    server: str | None = None
    server_version: str | None = None
    context_length: int | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    quantization: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


async def account_of(control: Control, entry: dict[str, Any]) -> Account:
    """`entry` is the model's own in the list of models; empty where there is no list."""
    owner = entry.get("owned_by")
    account = Account(server=_BY_OWNER.get(owner) if isinstance(owner, str) else None)
    account.context_length = _first_number(entry, _CONTEXT_FIELDS)
    account.details |= {k: v for k, v in entry.items() if k in ("owned_by", "root")}
    meta = entry.get("meta")
    if isinstance(meta, dict):
        account.parameters = _first_number(meta, ("n_params",))
        account.quantization = _text(meta.get("ftype"))
    if account.server in (None, "llama.cpp"):
        await _ask_llama_cpp(control, entry, account)
    for path in _VERSION_AT.get(account.server or "", ()):
        found = await control.peek(path) or {}
        account.server_version = account.server_version or _text(found.get("version"))
    if account.server == "vllm" and entry.get("parent"):
        account.details["parent"] = entry["parent"]
    _explain(account, owner)
    return account


async def _ask_llama_cpp(control: Control, entry: dict[str, Any], account: Account) -> None:
    props = await control.peek("/props")
    settings = (props or {}).get("default_generation_settings")
    if props is None or not isinstance(settings, dict):
        return
    account.server = "llama.cpp"
    account.server_version = _text(props.get("build_info"))
    # Of one slot: the server divides its context among `total_slots`.
    account.context_length = _first_number(settings, ("n_ctx",)) or account.context_length
    account.details |= {k: props[k] for k in _PROPS_KEPT if k in props}
    defaults = settings.get("params")
    if isinstance(defaults, dict):
        account.details["defaults"] = {k: defaults[k] for k in _DEFAULTS_SHOWN if k in defaults}
    account.quantization = account.quantization or _text(props.get("model_ftype"))
    meta = entry.get("meta")
    if isinstance(meta, dict):
        account.size_bytes = _first_number(meta, ("size",))
        account.details["meta"] = {k: v for k, v in meta.items() if isinstance(v, int | str)}


def _explain(account: Account, owner: Any) -> None:
    reasons = {
        "server": f"nothing names it (owned_by: {owner!r:.60})",
        "server_version": "the server does not tell it",
        "context_length": "neither the list of models nor the server's properties hold it",
        "size_bytes": "the server does not tell it",
        "size_vram_bytes": "an OpenAI-compatible server does not tell it",
        "layers_on_gpu": "an OpenAI-compatible server does not tell it",
        "model_digest": "an OpenAI-compatible server does not tell it",
        "parameters": "the server does not tell it",
    }
    account.unknown |= {
        name: why for name, why in reasons.items() if getattr(account, name, None) is None
    }


def location_of(url: str, server: str | None) -> Literal["local", "api"]:
    """`api`: a service of somebody else. A server that people run themselves is theirs wherever it
    listens; of another one the address decides, and one that only the own network knows is local.
    """
    if server in _OWN_SERVERS:
        return "local"
    host = urlsplit(url).hostname or ""
    try:
        return "local" if ip_address(host).is_private else "api"
    except ValueError:
        own = "." not in host or host.endswith((".local", ".internal", ".lan", ".localhost"))
        return "local" if own else "api"


def _first_number(holder: dict[str, Any], names: tuple[str, ...]) -> int | None:
    values = (holder.get(name) for name in names)
    return next((v for v in map(whole_number, values) if v is not None), None)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
