"""Run by test_hf_engine.py in a process of its own: the engine in many ways, one import of torch.

python hf_variants.py FOLDER        a line of JSON: variant → what came of it
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

from harness_hf.engine import Engine
from harness_hf.jobs import Ask, Job
from harness_hf.options import HfOptions
from harness_hf.worker import _libraries, _Work

from harness.errors import HarnessError

CHAT = [{"role": "user", "content": "Compare the two arms."}]
FOUND: dict[str, Any] = {}


class Kept:
    """An Answer that keeps its lines."""

    def __init__(self) -> None:
        self.gone = False
        self.lines: list[Any] = []

    def refuse(self, status: int, message: str) -> None:
        self.lines.append({"refused": status, "message": message})

    def line(self, content: Any) -> None:
        self.lines.append(content)

    def end(self) -> None:
        self.lines.append("end")


def run(engine: Engine, *asks: Ask) -> list[list[Any]]:
    answers = [Kept() for _ in asks]
    engine.run([Job(one, answer) for one, answer in zip(asks, answers, strict=True)])
    return [answer.lines for answer in answers]


def chat(**how: Any) -> Ask:
    return Ask(messages=CHAT, **{"max_tokens": 24, **how})


def refused(folder: str, **options: Any) -> str:
    try:
        Engine(folder, HfOptions(**options)).load()
    except (HarnessError, ImportError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def main(folder: str) -> None:
    _libraries()
    plain = Engine(folder, HfOptions())
    plain.load()
    plain.warm_up()
    FOUND["facts"] = plain.facts
    FOUND["greedy"] = run(plain, chat())
    FOUND["again"] = run(plain, chat())
    FOUND["sampled"] = [run(plain, chat(temperature=1.0, seed=seed))[0] for seed in (5, 5, 6)]
    FOUND["penalty"] = run(plain, chat(repeat_penalty=1.5))
    text = "".join(one.get("text", "") for one in FOUND["greedy"][0][:-1])
    FOUND["stop string"] = run(plain, chat(stop=(text[20:24],)))
    FOUND["bare"] = run(plain, Ask(prompt="the the the", max_tokens=4))
    FOUND["empty"] = run(_without_begin_mark(folder), Ask(prompt="", max_tokens=4))

    asks = [chat(max_tokens=5), Ask(prompt="the the", max_tokens=9), chat(max_tokens=3)]
    FOUND["alone"] = [run(plain, one)[0] for one in asks]
    FOUND["batch"] = run(plain, *asks)

    own = Engine(folder, HfOptions(loop="own"))
    own.load()
    FOUND["own"] = run(own, chat())
    FOUND["own sampled"] = run(own, chat(temperature=0.8, top_p=0.9, repeat_penalty=1.2))
    FOUND["own batch"] = run(own, *asks)
    _ends(plain, own)

    lookup = Engine(folder, HfOptions(prompt_lookup=4))
    lookup.load()
    FOUND["lookup"] = run(lookup, chat(max_tokens=60))
    FOUND["long"] = run(plain, chat(max_tokens=60))
    guess = Engine(folder, HfOptions(assistant="tiny"), folder)
    guess.load()
    FOUND["assistant"] = run(guess, chat())
    static = Engine(folder, HfOptions(cache="static"))
    static.load()
    FOUND["static"] = run(static, chat())

    narrow = Engine(folder, HfOptions(num_ctx=32, dtype="bfloat16", attention="eager"))
    narrow.load()
    FOUND["narrow facts"] = narrow.facts
    FOUND["narrow"] = run(narrow, chat(max_tokens=100))
    FOUND["beyond"] = run(narrow, Ask(prompt="the " * 40, max_tokens=4))
    off = Engine(folder, HfOptions(chat_template="off"))
    off.load()
    FOUND["off"] = run(off, chat(max_tokens=2))
    own_words = Engine(folder, HfOptions(chat_template="{{ messages[0]['content'] }} {{ more }}"))
    own_words.load()
    FOUND["own template"] = run(own_words, chat(max_tokens=2, template_options={"more": "the"}))
    broken = Engine(folder, HfOptions(chat_template="{{ raise_exception('only pairs') }}"))
    broken.load()
    FOUND["broken template"] = run(broken, chat())
    FOUND["refused"] = {
        "cuda": refused(folder, device="cuda:7"),
        "no device": refused(folder, device="toaster"),
        "bnb": refused(folder, quantization="bnb-nf4"),
        "template": refused(folder, chat_template="/no/such.jinja"),
        "remote code": refused(_of_nobody(folder)),
    }
    FOUND["out of memory"] = _out_of_memory(plain)
    plain.unload()
    FOUND["unloaded"] = run(plain, chat(max_tokens=2))
    print(json.dumps(FOUND))


def _of_nobody(folder: str) -> str:
    """A model of a kind that transformers does not have, with code of its own."""
    copy = Path(folder).parent / "nobodys"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text("utf-8"))
    code = {"AutoConfig": "nobodys.Config", "AutoModelForCausalLM": "nobodys.Model"}
    config |= {"model_type": "nobodys", "auto_map": code}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    (copy / "nobodys.py").write_text("raise SystemExit('this was run')", "utf-8")
    return str(copy)


def _without_begin_mark(folder: str) -> Engine:
    engine = Engine(folder, HfOptions())
    engine.load()
    engine._whole = lambda text: engine.tokens(text)
    return engine


def _ends(plain: Engine, own: Engine) -> None:
    """A token of the greedy reply becomes the one that ends it: the first that is new there, and
    that its text is turned into again."""
    texts = [one["text"] for one in FOUND["greedy"][0][:24]]
    at, ids = next(
        (at, ids)
        for at, text in enumerate(texts)
        if at > 1 and text not in texts[:at] and len(ids := plain.tokens(text)) == 1
    )
    FOUND["end at"] = at
    for name, engine in (("generate", plain), ("own", own)):
        before, engine._ends = engine._ends, tuple(ids)
        FOUND[f"ended {name}"] = run(engine, chat())
        FOUND[f"ignored {name}"] = run(engine, chat(ignore_eos=True))
        engine._ends = before


def _out_of_memory(engine: Engine) -> list[Any]:
    import torch
    from harness_hf.serving import Stream

    lines: list[Any] = []

    class Sent(Stream):
        def _send(self, data: bytes) -> None:
            lines.append(data.decode())

    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB")

    forward, engine._model.forward = engine._model.forward, full
    _Work(engine)._answer([Job(chat(), Sent(None))])  # type: ignore[arg-type]
    engine._model.forward = forward
    return lines


if __name__ == "__main__":
    warnings.simplefilter("default")
    main(sys.argv[1])
