"""How each tool is started for a load: its own command, and the work made equal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers.install import PEERS, ROOT, Tokenizer
from benchmarks.peers.loads import Load

__all__ = ["TITLES", "Command", "command_of"]

TITLES = {
    "bare": "bare `recvmsg` loop",
    "ours": "harness",
    "aiperf": f"AIPerf {PEERS['aiperf'].version}",
    "guidellm": f"GuideLLM {PEERS['guidellm'].version}",
}


class Command(NamedTuple):
    words: list[str]
    environment: dict[str, str]


def command_of(tool: str, load: Load, tokens: int, url: str, words: Tokenizer) -> Command:
    """To be run in the run's own folder, where read.py looks for what it wrote."""
    made: Command = _MAKERS[tool](load, tokens, url, words)
    return made


def _bare(load: Load, tokens: int, url: str, words: Tokenizer) -> Command:
    asked = [url, str(load.streams), str(tokens)]
    return Command(
        [sys.executable, "-m", "benchmarks.peers.bare", *asked], {"PYTHONPATH": str(ROOT)}
    )


def _ours(load: Load, tokens: int, url: str, words: Tokenizer) -> Command:
    harness = str(Path(sys.executable).parent / "harness")
    return Command(
        [
            *(harness, "run", "load", "--backend", "openai", "--url", url, "--out", "run"),
            *("--concurrency", str(load.streams), "--requests", str(load.requests)),
            *("--max-tokens", str(tokens), "--warmup", str(int(load.warmup))),
        ],
        {},
    )


def _aiperf(load: Load, tokens: int, url: str, words: Tokenizer) -> Command:
    warmup = ("--warmup-request-count", str(load.streams)) if load.warmup else ()
    return Command(
        [
            *(str(PEERS["aiperf"].command), "profile", "--url", url, "--endpoint-type", "chat"),
            *("--streaming", "--model", "sim", "--tokenizer", words.name),
            *("--concurrency", str(load.streams), "--request-count", str(load.requests), *warmup),
            *("--prompt-input-tokens-mean", "128", "--prompt-output-tokens-mean", str(tokens)),
            *("--prompt-output-tokens-stddev", "0", "--use-server-token-count"),
            *("--extra-inputs", "ignore_eos:true"),
            *("--no-gpu-telemetry", "--no-server-metrics", "--ui", "none"),
            *("--artifact-dir", "artifacts"),
        ],
        _of_peer(words),
    )


def _of_peer(words: Tokenizer) -> dict[str, str]:
    """Nothing of ours in its environment, and nothing to be looked for elsewhere."""
    return {"PYTHONPATH": "", "HF_HOME": str(words.cache), "HF_HUB_OFFLINE": "1"}


def _guidellm(load: Load, tokens: int, url: str, words: Tokenizer) -> Command:
    total = load.requests + (load.streams if load.warmup else 0)
    profile = f"kind=concurrent,streams={load.streams}"
    if load.warmup:
        profile += f",warmup={load.streams / total:.9f}"  # the share of requests to leave out
    return Command(
        [
            *(str(PEERS["guidellm"].command), "run"),
            *("--backend", f"kind=openai_http,target={url},model=sim", "--profile", profile),
            *("--constraint", f"kind=max_requests,count={total}"),
            *("--tokenizer", f"kind=hf_auto,model={words.folder}"),
            *("--data", f"kind=synthetic_text,prompt_tokens=128,output_tokens={tokens}"),
            *("--output", "kind=json,path=report.json", "--output", "kind=console"),
            "--disable-console-interactive",
        ],
        _of_peer(words),
    )


_MAKERS = {"bare": _bare, "ours": _ours, "aiperf": _aiperf, "guidellm": _guidellm}
