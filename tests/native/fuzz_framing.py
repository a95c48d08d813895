"""Coverage-guided fuzzing of the framing against its readable twins. Needs gcc and nothing else.

    python tests/native/fuzz_framing.py --seconds 3600        a long run; build/fuzz/corpus is kept
    python tests/native/fuzz_framing.py --seconds 600 --asan  the same under ASan and UBSan
    python tests/native/fuzz_framing.py --replay FILE         one input again, with its traceback

A wrong answer is shrunk and written to build/fuzz/finding-*; after a crash, the input is in
build/fuzz/corpus.last-input (beside --corpus).

Strategy
  The module is built a second time with -fsanitize-coverage=trace-pc, which calls us at every
  basic block (fuzz_coverage.c). An input that reaches an edge that none reached before joins the
  corpus; new inputs are mutations of corpus members. Atheris was rejected: it sees Python lines,
  not the C of a Cython module, unless clang builds both; libFuzzer and AFL++ want clang or a
  package. Every input is run whole, cut at random and byte by byte, and each run is compared with
  the oracle, so that what is looked for is a wrong answer and not only a crash.

An input is three bytes of choices (what to run, limit, seed of the cuts) and then the stream.
"""

from __future__ import annotations

import argparse
import array
import ctypes
import hashlib
import importlib.util
import os
import random
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.native import drive_framing as drive  # noqa: E402

BUILD = ROOT / "build" / "fuzz"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g"]
LONGEST_INPUT = 600

Plant = tuple[str, str]
"""A text of some header and what to put in its place: a bug, to see that it is found."""


# ------------------------------------------------------------------------------------------ build


def build(plant: Plant | None = None, *, asan: bool = False) -> Path:
    """The instrumented module; made again only when its sources or the flags differ."""
    headers = {path.name: path.read_text() for path in (ROOT / "_native").glob("*.pxd")}
    if plant:
        if "".join(headers.values()).count(plant[0]) != 1:
            raise SystemExit(f"_native/*.pxd do not hold this exactly once: {plant[0]!r}")
        headers = {name: text.replace(*plant) for name, text in headers.items()}
    sources = {
        **dict(sorted(headers.items())),
        "framing.pyx": (ROOT / "_native" / "framing.pyx").read_text(),
        "fuzz_coverage.c": Path(__file__).with_name("fuzz_coverage.c").read_text(),
    }
    key = hashlib.sha256(repr((sources, asan, sys.version)).encode()).hexdigest()[:16]
    folder = BUILD / key
    library = folder / "framing.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (folder / name).write_text(text)
        compile_in(folder, SANITIZE if asan else [])
    return library


def compile_in(folder: Path, flags: list[str]) -> None:
    cc = shlex.split(os.environ.get("CC", "gcc"))
    include = ["-I", sysconfig.get_paths()["include"], "-I", sysconfig.get_paths()["platinclude"]]
    common = [*cc, "-std=c11", "-O1", "-fPIC", "-w", *flags]
    cython = [sys.executable, "-m", "cython", "-3", "-X", "wraparound=False,boundscheck=False"]
    for command in (
        [*cython, "framing.pyx"],
        [*common, *include, "-fsanitize-coverage=trace-pc", "-c", "framing.c"],
        [*common, "-c", "fuzz_coverage.c"],
        [*common, "-shared", "framing.o", "fuzz_coverage.o", "-o", "framing.new"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "framing.new").rename(folder / "framing.so")  # whole or not there at all


class Target:
    """The instrumented module, and its coverage."""

    def __init__(self, library: Path, *, last: Path, exact: bool = False) -> None:
        self.last = os.open(last, os.O_CREAT | os.O_WRONLY)
        loader = ExtensionFileLoader("framing", str(library))
        spec = importlib.util.spec_from_loader("framing", loader)
        assert spec is not None
        self.framing: Any = importlib.util.module_from_spec(spec)
        loader.exec_module(self.framing)
        if exact:
            self.framing = in_exact_blocks(self.framing)
        self.coverage = ctypes.PyDLL(str(library))

    def covers_more(self, data: bytes) -> bool:
        """Whether this input reached something new. AssertionError: a wrong answer."""
        os.pwrite(self.last, data, 0)  # a crash leaves its input behind
        os.ftruncate(self.last, len(data))
        self.coverage.fuzz_begin()
        check(self.framing, data)
        return bool(self.coverage.fuzz_harvest())

    @property
    def edges(self) -> int:
        return int(self.coverage.fuzz_edges())


class ExactBlocks:
    """Feeds each piece in a block of its exact size, so that ASan sees a read past its end.

    A bytes object has a NUL there, which may be read unseen; a slice of an array has nothing.
    """

    def __init__(self, machine: Any) -> None:
        self.machine = machine

    def feed(self, data: bytes) -> Any:
        return self.machine.feed(array.array("B", data)[:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)


def in_exact_blocks(framing: Any) -> SimpleNamespace:
    return SimpleNamespace(
        Splitter=lambda *given, **named: ExactBlocks(framing.Splitter(*given, **named)),
        ResponseParser=lambda *given, **named: ExactBlocks(framing.ResponseParser(*given, **named)),
    )


# ------------------------------------------------------------------------------------------ checks


def check(framing: Any, data: bytes) -> None:
    choice, limit, seed = data[:3].ljust(3, b"\0")
    stream = data[3:]
    cuts = random.Random(seed).choices(range(LONGEST_INPUT), k=1 + seed % 8)
    for pieces in ([stream], drive.split_at(stream, cuts), drive.byte_by_byte(stream)):
        if choice % 8 < 5:
            drive.check_frames(framing, choice % 3, pieces, limit or 1 << 26)
        else:
            method = "HEAD" if choice & 16 else "POST"
            drive.check_response(framing, pieces, method=method, eof=bool(choice & 32))


# --------------------------------------------------------------------------------------- mutations

FRAME_WORDS = drive.SSE_WORDS + drive.NDJSON_WORDS
HTTP_WORDS = drive.HEAD_WORDS + drive.CHUNK_WORDS
LETTERS = b"\r\n\t :;,0159afxXdeE\x00\x0b\x7f\x80\xef\xff"
FEW_SEEDS = [
    b"\x01\x00\x00event: a\r\ndata: b\r\n\r\n: c\n\n",
    b"\x02\x00\x01{}\n{}\n",
    b"\x00\x00\x02whole",
    b"\x05\x00\x03HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"\x05\x00\x04HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"\x25\x00\x05HTTP/1.0 200 OK\r\n\r\nuntil close",
]


def seeds() -> list[bytes]:
    """The cases of the ordinary tests, so that what is known does not have to be found again."""
    from tests.native.test_framing_frames import NDJSON_CASES, SSE_CASES
    from tests.native.test_framing_http import BAD_BODIES, CHUNKED, GOOD

    wires = [*GOOD.values(), *(CHUNKED + body for body in BAD_BODIES.values())]
    return [
        *FEW_SEEDS,
        *(b"\x01\x00\x00" + body for body in SSE_CASES.values()),
        *(b"\x02\x00\x01" + body for body in NDJSON_CASES.values()),
        *(b"\x05\x00\x02" + wire[:LONGEST_INPUT] for wire in wires),
    ]


def is_http(data: bytes) -> bool:
    return data[:1] != b"" and data[0] % 8 >= 5


def mutate(rng: random.Random, parent: bytes, corpus: list[bytes]) -> bytes:
    data = bytearray(parent)
    words = HTTP_WORDS if is_http(parent) else FRAME_WORDS
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        # Half of the edits begin and end where a line does: there the grammar has its joints.
        line_starts = [3, *(i + 1 for i, byte in enumerate(data) if byte == 10 and i >= 3)]
        at = rng.choice(line_starts) if rng.random() < 0.5 else rng.randrange(len(data) + 1)
        later = [start for start in line_starts if start > at]
        end = later[0] if later and rng.random() < 0.5 else at + rng.randrange(1, 9)
        piece = bytes(data[at:end])
        kind = rng.randrange(8)
        if kind == 0 and piece:
            data[at] = rng.randrange(256)
        elif kind == 1 and piece:
            data[at] = rng.choice(LETTERS)
        elif kind == 2:
            data[at:at] = bytes([rng.choice(LETTERS)])
        elif kind == 3:
            data[at:at] = rng.choice(words)
        elif kind == 4:
            data[at:end] = rng.choice(words)
        elif kind == 5:
            del data[at:end]
        elif kind == 6:
            to = rng.choice(line_starts)
            data[to:to] = piece
        elif kind == 7:
            other = rng.choice(corpus)
            data[at:] = other[rng.randrange(len(other) + 1) :]
    return bytes(data[:LONGEST_INPUT])


# -------------------------------------------------------------------------------------------- runs


class FoundError(Exception):
    """`data` makes the native code and its oracle disagree."""

    def __init__(self, data: bytes, runs: int) -> None:
        self.data = data
        super().__init__(f"after {runs} runs, on {data!r}")


def fuzz(
    target: Target,
    seeds: Iterable[bytes],
    *,
    seed: int,
    runs: int,
    seconds: float,
    guided: bool = True,
) -> tuple[list[bytes], int]:
    """(corpus, runs made); stops at `runs` or `seconds`. Raises FoundError."""
    rng = random.Random(seed)
    corpus: list[bytes] = []
    picks: list[int] = []
    queue = list(seeds)[::-1]
    done = 0
    stop = time.monotonic() + seconds
    while queue or (done < runs and time.monotonic() < stop):
        data = queue.pop() if queue else mutate(rng, pick(rng, corpus, picks), corpus)
        done += 1
        try:
            is_new = target.covers_more(data)
        except Exception as error:
            raise FoundError(data, done) from error
        if (is_new and guided) or done <= len(FEW_SEEDS):
            corpus.append(data)
            picks.append(0)
    return corpus, done


def pick(rng: random.Random, corpus: list[bytes], picks: list[int]) -> bytes:
    """The least used of a few: what is new gets its turn at once, and nothing is forgotten."""
    some = [rng.randrange(len(corpus)) for _ in range(4)]
    chosen = min(some, key=lambda i: picks[i])
    picks[chosen] += 1
    return corpus[chosen]


def shrink(target: Target, data: bytes) -> bytes:
    """Cut out what the failure does not need."""
    size = len(data) // 2
    while size:
        at = 3
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            try:
                target.covers_more(shorter)
                at += size
            except Exception:
                data = shorter
        size //= 2
    return data


def run_under_asan() -> None:
    """Start again with the sanitizer's runtime loaded first, and malloc where it can watch."""
    cc = shlex.split(os.environ.get("CC", "gcc"))
    runtime = [
        subprocess.check_output([*cc, f"-print-file-name=lib{name}.so"], text=True).strip()
        for name in ("asan", "ubsan")
    ]
    os.environ.update(
        LD_PRELOAD=" ".join(runtime), ASAN_OPTIONS="detect_leaks=0", PYTHONMALLOC="malloc"
    )
    os.execv(sys.executable, [sys.executable, *sys.argv])


def main() -> int:
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of the framing")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=None, help="of the mutations; printed")
    parser.add_argument("--asan", action="store_true", help="with address and UB sanitizers")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input and stop")
    parser.add_argument("--corpus", type=Path, default=BUILD / "corpus", help="kept between runs")
    parser.add_argument("--plant", nargs=2, metavar=("OLD", "NEW"), help="put a bug into a header")
    parser.add_argument("--unguided", action="store_true", help="ignore coverage, to compare")
    given = parser.parse_args()
    if given.asan and "libasan" not in os.environ.get("LD_PRELOAD", ""):
        build(given.plant, asan=True)  # the compiler itself is not to run under the sanitizer
        run_under_asan()
    given.corpus.mkdir(parents=True, exist_ok=True)
    last = given.corpus.with_name(given.corpus.name + ".last-input")
    target = Target(build(given.plant, asan=given.asan), last=last, exact=given.asan)
    if given.replay:
        check(target.framing, given.replay.read_bytes())
        return 0
    kept = [path.read_bytes() for path in sorted(given.corpus.iterdir())]
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}, {len(kept)} inputs from {given.corpus}", flush=True)
    try:
        corpus, runs = fuzz(
            target,
            seeds() + kept,
            seed=seed,
            runs=given.runs,
            seconds=given.seconds,
            guided=not given.unguided,
        )
    except FoundError as finding:
        data = shrink(target, finding.data)
        path = BUILD / f"finding-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        print(f"FOUND {finding}\nshrunk to {data!r}\nreplay with --replay {path}")
        return 1
    for data in corpus:
        (given.corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"ok: {runs} runs, {target.edges} edges, corpus {len(corpus)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
