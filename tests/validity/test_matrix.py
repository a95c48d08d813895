"""For every rule a fault that must trigger it: through the real command, against real servers.

Each fault is put in where it would come from: the server, the network, the machine, the person at
the keyboard, a stranger's scenario, the disk. One cannot be had in a test (a step of the wall
clock), and is written into the records as they are made; so is a lost record, which would be a
defect of ours.
HARNESS_UPDATE_DOCS=1 writes the table in docs/validity.md anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.store.folder import MANIFEST, RECORDS
from tests.plugins.legacy_builders import call, rust_pair, write
from tests.sim.servers import sim, tls_front

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "validity.md"
MARKS = ("<!-- rule matrix -->", "<!-- /rule matrix -->")
CULPRIT = Path(__file__).parent / "culprit"
HARNESS = [sys.executable, "-m", "harness"]

SERVERS = {
    "plain": (
        *("--ttft", "10", "--gap", "1"),
        *("--fault", "http_500~fails", "--fault", "close_mid~breaks"),
        *("--fault", "wrong_usage~miscounts"),
    ),
    "slow": ("--ttft", "10", "--gap", "1", "--set", "slots=1"),
    "small": ("--ttft", "1", "--gap", "0", "--set", "context_length=1024"),
    "caching": ("--dialect", "llamacpp", "--ttft", "1", "--gap", "0", "--set", "prompt_cache=true"),
    "loading": ("--ttft", "1", "--gap", "0", "--set", "load=600"),
    "quick": ("--ttft", "5", "--gap", "0.2"),
    "service": (
        *("--dialect", "openrouter", "--set", "model=sim/sim", "--set", "providers=[alpha]"),
        *("--ttft", "5", "--gap", "1", "--fault", "wrong_usage~miscounts"),
        *("--set", "faults=[{kind: http_429, match: refused, retry_after_s: 0}]"),
    ),
}


class Case(NamedTuple):
    code: str
    fault: str
    """For the table."""
    severity: str
    status: int
    run: Callable
    """(place) → (exit status, caveats)"""


class Place:
    """Where one case runs: a folder of its own, and the servers."""

    def __init__(self, folder, urls):
        self.folder = folder
        self.urls = urls

    def command(self, *words, environment=None, pinned=False):
        """Exit status, and the caveats in the run folder."""
        launch = [*HARNESS, *map(str, words)]
        if pinned:
            pin = f"import os, sys; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
            launch = [sys.executable, "-c", pin + "os.execv(sys.argv[1], sys.argv[1:])", *launch]
        done = subprocess.run(
            launch,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=200,
            env={
                **os.environ,
                "PYTHONPATH": str(CULPRIT),
                "HARNESS_STATE_DIR": str(self.folder / "state"),  # no check was ever made here
                **(environment or {}),
            },
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def run(self, scenario, server, *words, backend="openai", model="sim", **how):
        where = ("--backend", backend, "--url", self.urls.get(server, server), "--model", model)
        return self.ended(self.command("run", scenario, *where, *words, "--out", "run", **how))

    def ended(self, done):
        summary = self.folder / "run" / "summary.json"
        assert summary.exists(), done.stderr
        return done.returncode, json.loads(summary.read_text())["verdict"]["caveats"]

    def prompts(self, *texts):
        path = self.folder / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
        return ("-o", f"prompts={path}", "--requests", len(texts), "--concurrency", 4)


def load(server, *words, **how):
    return lambda place: place.run("load", server, "--max-tokens", 4, *words, **how)


def scenario(name, server, *words, **how):
    return lambda place: place.run(name, server, *words, **how)


def prompts(wrong, right, word, *words):
    """`wrong` of the prompts contain the word that the server's fault goes by."""

    def run(place):
        texts = [f"this one {word}" for _ in range(wrong)] + ["this one does not"] * right
        return place.run("load", "plain", "--max-tokens", 4, *place.prompts(*texts), *words)

    return run


def arms(**options):
    """Two arms, `one` and `two`, that differ in an option."""
    ((path, values),) = options.items()
    path = path.replace("_", ".", 1)
    kind, _, option = path.partition(".")
    return [
        word
        for arm, value in zip(("one", "two"), values, strict=True)
        for word in ("--set", f"arms.{arm}.{kind}.options.{option}={value}")
    ]


def swept(**options):
    """One axis, of an option of the backend."""
    ((name, levels),) = options.items()
    axes = f"{{axes: {{backend.options.{name}: {list(levels)}}}}}"
    return ("--set", f"sweep={axes}", "--set", "isolation=inline")


PRICED = (
    "--set",
    "prices=[{backend: openai, model: sim, input_usd_per_token: '0.000001', "
    "output_usd_per_token: '0.000002', date: '2026-01-01', source: made up}]",
)


def behind_tls(place):
    """The same server, with TLS in front of it."""
    with tls_front(place.urls["plain"], place.folder) as (url, environment):
        return place.run("load", url, "--max-tokens", 4, environment=environment)


def service(word):
    """At a service that refuses calls for a while, and keeps books: one prompt has the word."""

    def run(place):
        words = ("--max-tokens", 4, "-o", "reconcile=40", "--set", "backend.options.provider=alpha")
        words += place.prompts(f"this one is {word}", *["this one is not"] * 39)
        key = {"OPENROUTER_API_KEY": "sk-or-v1-of-no-use"}
        return place.run(
            "load", "service", *words, backend="openrouter", model="sim/sim", environment=key
        )

    return run


def embedded(*words):
    """The embedded engine; no server of ours is asked."""

    def run(place):
        words_ = ("run", "load", "--backend", "llamacpp", "--requests", 3, "--max-tokens", 4)
        return place.ended(place.command(*words_, "-o", "num_ctx=256", *words, "--out", "run"))

    return run


QUICK_GPU = ("--set", "instruments=[{name: gpu, options: {idle_s: 0}}]")


def beside_gpu(spec, *words):
    """With GPUs that are made up: what is wrong with them is what the rule is to see."""
    made = {"HARNESS_GPU": f"synthetic:{spec}"}
    return load("plain", "--requests", 3, *QUICK_GPU, *words, environment=made)


def at_clocks(one, two):
    """Two arms, and a stranger's instrument `gpu` that says at what clock each of them ran."""
    figures = f"{{one: {{sm_clock_mean_mhz: {one}}}, two: {{sm_clock_mean_mhz: {two}}}}}"
    asked = f"instruments=[{{name: gpu, options: {{figures: {figures}}}}}]"
    strange = {"HARNESS_DISABLE_PLUGINS": "hardware", "CULPRIT_GPU": "1"}
    words = ("--requests", 3, "--set", "arms={one: {}, two: {}}", "--set", asked)
    return load("plain", *words, environment=strange)


def real_engine_made_up_gpu(place):
    words = ("--requests", 3, "--max-tokens", 4, "-o", "num_ctx=256", *QUICK_GPU, "--out", "run")
    made = {"HARNESS_GPU": "synthetic"}
    return place.ended(
        place.command("run", "load", "--backend", "llamacpp", *words, environment=made)
    )


def cannot_start(place):
    """Nothing listens: the port was a real one, a moment ago."""
    with sim(place.folder / "gone", "--ttft", "1") as server:
        url = server.url
    return place.run("load", url)


def damaged(damage):
    def run(place):
        place.run("load", "plain", "--max-tokens", 4)
        log = place.folder / "run" / RECORDS
        log.write_bytes(damage(log.read_bytes()))
        (place.folder / "run" / "summary.json").unlink()
        done = place.command("show", "run", "--salvage", "--json")
        return done.returncode, json.loads(done.stdout)["verdict"]["caveats"]

    return run


def torn(log):
    return log[:-3]


def corrupt(log):
    middle = len(log) // 2
    return log[:middle] + bytes(64) + log[middle + 64 :]


def table_of_results(place):
    (place.folder / "table.csv").write_text("rate\n1\n2\n")
    metrics = {"rate_tok_s": {"column": "rate", "unit": "tok/s"}}
    (place.folder / "map.json").write_text(json.dumps({"name": "table", "metrics": metrics}))
    return "import", "csv", "table.csv", "--map", "map.json", "--out", "run"


def older_files(place, speedup=None, lost=None):
    """Pairs of agents, as older programs wrote them down."""
    for number in (1, 2, 3):
        pair = rust_pair(number, [call()], [call(rate=90.0)], (2.0, 2.1), 2.2)
        if speedup is not None:
            pair["summary"]["concurrency_speedup"] = speedup
        folder = place.folder / "sweep" / f"run_{number}"
        folder.mkdir(parents=True)
        if number != lost:
            write(folder / "metrics.json", pair)
    return "import", "chimeraforge", "sweep", "--out", "run"


def taken_up(conditions):
    """A run whose log is cut in the middle, as by a kill, and then resumed; `conditions` change its
    account of the machine that it was begun on."""

    def run(place):
        place.run("load", "plain", "--max-tokens", 4)
        log, manifest = place.folder / "run" / RECORDS, place.folder / "run" / MANIFEST
        log.write_bytes(log.read_bytes()[: log.stat().st_size // 2])
        told = json.loads(manifest.read_text())
        told["environment"].update(conditions)
        manifest.write_text(json.dumps(told))
        return place.ended(place.command("run", "--resume", "run"))

    return run


def searching(path, low, high, *words):
    search = f"search={{path: {path}, low: {low}, high: {high}, step: 2, share_min: 0.8}}"
    slo = ("--set", "slo={e2e_ms: 10000}", "--set", "isolation=inline")
    return load("plain", "--set", search, *slo, *words)


BOUNDED = ("--set", "validity.error_share_max=0.1")
WORKFLOW = ("--warmup", 0, "--set", "iterations.measured=3")

CASES = (
    Case("incomplete", "Ctrl-C in the second iteration", "doubtful", 130,
         scenario("interrupts", "plain", *WORKFLOW)),
    Case("incomplete", "no server listens", "invalid", 2, cannot_start),
    Case("interrupted", "Ctrl-C between two calls", "note", 130,
         scenario("interrupts", "plain", *WORKFLOW)),
    Case("unbalanced", "every fifth record of a call is lost (put into our own writer)",
         "invalid", 4,
         load("plain", "--set", "tags=[lose]")),
    Case("empty-workload", "a scenario without requests", "invalid", 4, scenario("empty", "plain")),
    Case("errors", "1 of 20 calls gets a 500, where the spec allows 10 %", "note", 0,
         prompts(1, 19, "fails", *BOUNDED)),
    Case("errors", "1 stream of 20 breaks off, where the spec allows 10 %", "doubtful", 0,
         prompts(1, 19, "breaks", *BOUNDED)),
    Case("errors", "10 of 20 calls get a 500", "invalid", 4, prompts(10, 10, "fails")),
    Case("failures", "a scenario that raises in 2 of 3 iterations", "doubtful", 0,
         scenario("fails", "plain", *WORKFLOW, "-o", "fails_from=1")),
    Case("failures", "a scenario that raises in all iterations", "invalid", 4,
         scenario("fails", "plain", *WORKFLOW)),
    Case("schedule-slip", "100 requests/s through one connection to a server that takes 13 ms",
         "doubtful", 0, load("plain", "--rate", 100, "--set", "load.concurrency_max=1")),
    Case("client-lag", "our process is stopped for 30 of every 35 ms", "doubtful", 0,
         scenario("stopped", "plain", "--requests", 8, "--concurrency", 2)),
    Case("host-noise", "4 busy programs, which go before us, on the only core that we may use",
         "doubtful", 0,
         scenario("hogged", "quick", "--requests", 64, "--concurrency", 16, "-o", "tokens=64",
                  pinned=True)),
    Case("host-noise", "records say that a container's CPU quota held us back for half of the time "
         "(a test may not set one)", "doubtful", 0, load("plain", "--set", "tags=[held]")),
    Case("thermal", "a made-up GPU that heat holds down for half of the time", "doubtful", 0,
         beside_gpu("thermal_share=0.5")),
    Case("thermal", "one whose power limit does", "note", 0, beside_gpu("capped_share=0.5")),
    Case("clocks", "a stranger's instrument `gpu`: arms at 1700 and 1500 MHz", "doubtful", 0,
         at_clocks(1700, 1500)),
    Case("gpu-shared", "a made-up GPU with two processes of others", "doubtful", 0,
         beside_gpu("foreign=2")),
    Case("parallel-trials", "two trials at once", "note", 0,
         load("plain", "--runs", 2, "--requests", 3, "--set", "placement.parallel=2")),
    Case("parallel-trials", "the same, in one process", "doubtful", 0,
         load("plain", "--runs", 2, "--requests", 3, "--set", "placement.parallel=2",
              "--set", "isolation=inline")),
    Case("mixed-nodes", "trials by turns on two machines of one kind", "note", 0,
         load("plain", "--runs", 2, "--requests", 3, "--executor", "scatters")),
    Case("mixed-nodes", "each of two arms on a processor of its own", "doubtful", 0,
         load("plain", "--requests", 3, "--executor", "scatters", "--set", "arms={a: {}, b: {}}",
              "--set", "placement.executor_options={models: [one, two]}")),
    Case("skipped-models", "the larger of two models, where 66 MiB are said to be free", "note", 0,
         embedded("--models", "tiny,tiny-5M", "--set", "guard.free_bytes=69000000")),
    Case("memory-prediction", "a model that takes less than predicted, and no slack", "note", 0,
         embedded("--set", "validity.footprint_share_max=0", "--set",
                  "validity.footprint_slack_mib=0")),
    Case("no-steady-state", "200 requests/s to a server that can answer 77", "doubtful", 0,
         load("slow", "--rate", 200, "--requests", 80)),
    Case("prompt-truncated", "prompts of 600 tokens, `num_ctx` 256: Ollama cuts in silence",
         "doubtful", 0, load("plain", "-o", "prompt_tokens=600", "-o", "num_ctx=256",
                             backend="ollama")),
    Case("prompt-cache", "a prompt that was to be new, twice", "doubtful", 0,
         scenario("asks", "caching", "-o", "cold=true")),
    Case("token-mismatch", "usage of twice the tokens", "doubtful", 0, prompts(20, 0, "miscounts")),
    Case("config-not-effective", "`num_ctx` 8192 on a model of 1024", "doubtful", 0,
         load("small", "-o", "num_ctx=8192", backend="ollama")),
    Case("cold-in-warm", "a call with a context of its own makes the server load again",
         "doubtful", 0, scenario("asks", "loading", "--set",
                                 "scenario.options.num_ctx=[1024,512,512]", backend="ollama")),
    Case("duplicate-cells", "a sweep over `num_gpu` 60 and 99 on a model with fewer layers", "note",
         0, load("small", *swept(num_gpu=(60, 99)), backend="ollama")),
    Case("no-op-factor", "the same sweep", "doubtful", 0,
         load("small", *swept(num_gpu=(60, 99)), backend="ollama")),
    Case("unbounded-output", "arms of 4 and of 16 tokens", "doubtful", 0,
         load("plain", *arms(scenario_max_tokens=(4, 16)))),
    Case("unequal-work", "two agents that write twice as much while they are alone", "doubtful", 0,
         scenario("crew", "plain", *WORKFLOW, "-o", "alone_tokens=8")),
    Case("unequal-work", "agents that tell of their calls, and of no tokens", "note", 0,
         scenario("silent", "plain", *WORKFLOW)),
    Case("solo-missing", "calls that get a 500 while an agent is alone", "doubtful", 0,
         scenario("crew", "plain", *WORKFLOW, "-o", "alone=this fails")),
    Case("solo-missing", "two agents at once, and never one after another", "note", 0,
         scenario("duo", "plain", *WORKFLOW)),
    Case("contention", "two agents at a server with one slot", "note", 0,
         scenario("crew", "slow", *WORKFLOW)),
    Case("unobserved", "an instrument for shares of CPU, iterations of a millisecond", "note", 0,
         load("plain", "--requests", 2, "-o", "max_tokens=1", "--instrument", "psutil")),
    Case("no-energy", "joules of a window that is far below two seconds", "note", 0,
         beside_gpu("busy_s=1")),
    Case("tap-bypassed", "an agent reports a call that it made by another way", "doubtful", 0,
         scenario("bypasses", "plain", "--tap", "--warmup", 0)),
    Case("retried", "1 of 40 prompts gets a 429, each of three times", "note", 0,
         service("refused")),
    Case("account-mismatch", "a response with usage of twice the tokens, and books without",
         "doubtful", 0, service("one that miscounts")),
    Case("budget", "a budget for a few of 20 calls, at a price of our own", "doubtful", 5,
         load("plain", *PRICED, "--budget-usd", 0.002)),
    Case("unpriced", "1 of 20 streams that have a price breaks off, and its usage never comes",
         "note", 0, prompts(1, 19, "breaks", *PRICED, *BOUNDED)),
    Case("too-few", "5 requests", "note", 0, load("plain", "--requests", 5)),
    Case("single-launch", "one launch", "note", 0, load("plain")),
    Case("user-stamps", "the same server behind TLS", "note", 0, behind_tls),
    Case("clock-step", "records say that the wall clock stepped (a test cannot step it)", "note", 0,
         load("plain", "--set", "tags=[step]")),
    Case("imported", "a table of results", "note", 0,
         lambda place: place.ended(place.command(*table_of_results(place)))),
    Case("stated-differs", "an older report's file, with a speed-up that its own times do not give",
         "doubtful", 0,
         lambda place: place.ended(place.command(*older_files(place, speedup=1.99)))),
    Case("source-incomplete", "older reports' files, of which one run left none", "doubtful", 0,
         lambda place: place.ended(place.command(*older_files(place, lost=2)))),
    Case("simulated", "the truth server", "doubtful", 0, load("plain")),
    Case("simulated", "a real engine, and a made-up GPU beside it", "doubtful", 0,
         real_engine_made_up_gpu),
    Case("no-selfcheck", "no self-check was ever made here", "note", 0, load("plain")),
    Case("resumed", "the log is cut in the middle, and the run taken up again", "note", 0,
         taken_up({})),
    Case("resumed", "the same, on a machine that had another kernel before", "doubtful", 0,
         taken_up({"kernel": "2.6.32"})),
    Case("place-lost", "the worker of the first trial is taken away in the midst of it", "note", 0,
         load("plain", "--runs", 2, "--requests", 6, "--executor", "loses")),
    Case("not-narrow", "5 trials at most for an interval of a millionth", "note", 0,
         load("plain", "--requests", 4, "--set", "isolation=inline", "--set",
              "stop={metric: e2e_ms, relative_width_max: 0.000001, trials_max: 5}")),
    Case("search", "both loads that may be tried meet the SLO", "note", 0,
         searching("load.concurrency", 1, 2)),
    Case("search", "a million requests a second, which we cannot send", "doubtful", 0,
         searching("load.rate_per_s", 1000000, 2000000, "--rate", 1, "--requests", 100)),
    Case("random-weights", "llama.cpp with random weights", "note", 0,
         lambda place: place.ended(place.command(
             "run", "load", "--requests", 4, "--max-tokens", 4, "--out", "run"))),
    Case("torn-log", "the last three bytes of the log are missing", "note", 0, damaged(torn)),
    Case("corrupt-log", "64 bytes in the middle of the log are zero", "invalid", 0,
         damaged(corrupt)),
)  # fmt: skip


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    """(exit status, caveats) of every case, or what it raised."""
    root = tmp_path_factory.mktemp("rules")

    def one(numbered):
        number, case = numbered
        folder = root / f"{number:02d}"
        folder.mkdir()
        try:
            return case.run(Place(folder, urls))
        except Exception as error:  # told by the case's own test
            return error

    with contextlib.ExitStack() as stack:
        urls = {
            name: stack.enter_context(sim(root / name, *words)).url
            for name, words in SERVERS.items()
        }
        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(one, enumerate(CASES)))


@pytest.mark.quiet
@pytest.mark.real_model
@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda n: f"{CASES[n].code}-{n}")
def test_the_fault_triggers_the_rule(matrix, number):
    case, found = CASES[number], matrix[number]
    if isinstance(found, Exception):
        raise found
    status, caveats = found
    severities = {caveat["severity"] for caveat in caveats if caveat["code"] == case.code}
    assert severities == {case.severity}, caveats
    assert status == case.status
    (caveat, *_) = [caveat for caveat in caveats if caveat["code"] == case.code]
    assert caveat["message"]


def test_every_rule_has_its_row():
    """Codes as they stand in the sources: a rule that is added needs a fault here."""
    folders = (ROOT / "harness" / "engine", ROOT / "harness" / "store")
    sources = [path.read_text("utf-8") for folder in folders for path in folder.rglob("*.py")]
    codes = {c for text in sources for c in re.findall(r'Caveat\(\s*code="([a-z-]+)"', text)}
    assert codes == {case.code for case in CASES}


def table():
    rows = ["| rule | fault | severity | exit status |", "|---|---|---|---|"]
    rows += [f"| `{c.code}` | {c.fault} | {c.severity} | {c.status} |" for c in CASES]
    return "\n".join(rows) + "\n"


def test_the_page_has_the_table():
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(MARKS[0] + "\n")
    written, _, after = rest.partition(MARKS[1])
    if os.environ.get("HARNESS_UPDATE_DOCS") == "1":
        PAGE.write_text(before + MARKS[0] + "\n" + table() + MARKS[1] + after, "utf-8")
        return
    assert written == table(), "run it again with HARNESS_UPDATE_DOCS=1"
