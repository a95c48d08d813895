"""The peers, each in a virtual environment of its own, and a tokenizer that both can load offline.

Everything lands below build/peers and is used again as long as the versions here are the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "HOME",
    "LATEST",
    "PEERS",
    "Peer",
    "Tokenizer",
    "closure",
    "dependencies",
    "install",
    "our_dependencies",
    "tokenizer",
]

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("HARNESS_PEERS", ROOT / "build" / "peers"))
REVISION = "0" * 39 + "1"
NAME = "local/sim"
LATEST = "latest.json"
"""Below HOME: the runs of the last comparison, also of one that was broken off."""


class Peer(NamedTuple):
    name: str
    version: str

    @property
    def folder(self) -> Path:
        return HOME / f"{self.name}-{self.version}"

    @property
    def command(self) -> Path:
        return self.folder / "bin" / self.name

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"


class Tokenizer(NamedTuple):
    folder: Path
    """As GuideLLM wants it: a folder."""
    cache: Path
    name: str
    """As AIPerf wants it: a name below HF_HOME, in the layout of Hugging Face's cache."""


PEERS = {"aiperf": Peer("aiperf", "0.13.0"), "guidellm": Peer("guidellm", "0.8.1")}


def install(peer: Peer) -> None:
    """Exits with a message if the registry cannot be reached."""
    ready = peer.folder / ".ready"
    if ready.exists() and peer.command.exists():
        return
    if shutil.disk_usage(ROOT).free < 10e9:
        sys.exit("the peers take 7 GB below build/peers, and less than 10 GB are left")
    print(f"installing {peer.name} {peer.version} into {peer.folder} (minutes)", file=sys.stderr)
    shutil.rmtree(peer.folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(peer.folder)], f"make {peer.folder}")
    pip = [str(peer.python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    _run([*pip, f"{peer.name}=={peer.version}"], f"install {peer.name}=={peer.version}")
    ready.touch()


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        shown = "\n  ".join(lines[-4:])
        sys.exit(
            f"cannot {what}:\n  {shown}\n"
            "Is the package registry reachable? PIP_INDEX_URL names another; a folder with both "
            "environments, made elsewhere, can be named by HARNESS_PEERS."
        )


TRAIN = """
import json, random, sys
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
words = json.loads(sys.stdin.read())
made = Tokenizer(models.BPE())
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
draw = random.Random(0)
texts = [" ".join(draw.choices(words, k=500)) for _ in range(200)]
made.train_from_iterator(texts, trainers.BpeTrainer(
    vocab_size=8000, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False,
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
made.save(str(folder / "tokenizer.json"))
said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "bos_token": "<s>",
        "eos_token": "</s>", "model_max_length": 131072,
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}
(folder / "tokenizer_config.json").write_text(json.dumps(said))
(folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
"""


def tokenizer(peer: Peer) -> Tokenizer:
    """Trained on the words that the server says and that our prompts are made of, so that to all
    tools a word is about a token. Made with the `tokenizers` of a peer's environment."""
    from harness.testing.sim.voice import WORDS

    cache = HOME / "hf"
    model = cache / "hub" / f"models--{NAME.replace('/', '--')}"
    folder = model / "snapshots" / REVISION
    if not (model / "refs" / "main").exists():
        words = (ROOT / "plugins" / "harness_load" / "words.txt").read_text().split()
        subprocess.run(
            [str(peer.python), "-c", TRAIN, str(folder)],
            input=json.dumps([*WORDS, *words]),
            text=True,
            check=True,
        )
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / "main").write_text(REVISION)
    return Tokenizer(folder, cache, NAME)


COUNT = """
import importlib.metadata as found, json, sys
name = sys.argv[1]
asked = [one for one in found.requires(name) or () if "extra ==" not in one]
names = {one.metadata["Name"].lower().replace("_", "-") for one in found.distributions()}
print(json.dumps({"direct": len(asked), "total": len(names - {"pip", "setuptools", name}),
                  "version": found.version(name)}))
"""


def dependencies(peer: Peer) -> dict[str, Any]:
    """{direct, total, version, disk_bytes}; total are the distributions that came with it."""
    done = subprocess.run(
        [str(peer.python), "-c", COUNT, peer.name], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    size = sum(p.lstat().st_size for p in peer.folder.rglob("*") if not p.is_dir())
    return found | {"disk_bytes": size}


def our_dependencies() -> dict[str, Any]:
    """The same for us, by what pyproject.toml names: our environment holds the tests' as well."""
    import importlib.metadata as metadata

    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    found = closure(names, metadata.requires)
    sizes = [
        Path(str(file.locate())).stat().st_size
        for name in found
        for file in metadata.files(name) or ()
        if Path(str(file.locate())).is_file()
    ]
    own = sum(p.stat().st_size for p in (ROOT / "harness").rglob("*") if p.is_file())
    return {"direct": len(names), "total": len(found), "disk_bytes": sum(sizes) + own}


def closure(asked: Iterable[str], requires: Callable[[str], Iterable[str] | None]) -> set[str]:
    """Names of all distributions that `asked` lead to here, without extras."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    ahead = list(asked)
    while ahead:
        one = Requirement(ahead.pop())
        name = one.name.lower().replace("_", "-")
        if name in found or (one.marker and not one.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        ahead += requires(name) or ()
    return found
