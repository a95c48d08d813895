"""The scenario `load`: seeds, prefixes, lengths, and the caveat about them."""

from __future__ import annotations

import re
import statistics
from itertools import islice
from pathlib import Path
from random import Random
from types import SimpleNamespace

import harness_load
import msgspec
import pytest
import yaml
from harness_load import LoadOptions
from harness_load.caveats import find_caveats
from harness_load.lengths import sampler
from harness_load.scenario import Load
from harness_load.synthetic import PREFIX_WORDS, TextSource, unique_prefix
from harness_load.words import token_costs, vocabulary
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.protocols import RequestScenario, ScenarioConfig
from harness.schema import CallRecord, Instants, RunSpec, ScenarioSpec, Usage
from harness.schema.spec import ArmSpec, BackendSpec


class Ctx:
    """A RequestContext, with a tokenizer where one is given."""

    def __init__(self, seed=1, salt="r/0", phase="measured", count_tokens=lambda _text: None):
        self.seed = seed
        self.salt = salt
        self.phase = phase
        self.count_tokens = count_tokens


def syllables(text):
    """A stand-in tokenizer: three letters a token, and a begin mark on every text."""
    return 1 + sum(-(-len(word) // 3) for word in re.findall(r"\S+", text))


def load(arm="a", cell="", **options):
    config = ScenarioConfig(options=LoadOptions(**options), seed=0, arm=arm, cell=cell)
    return Load(config)


def texts(scenario, n, **ctx):
    return [request.messages[0].content for request in islice(scenario.requests(Ctx(**ctx)), n)]


def body(text):
    return text.split(" ", PREFIX_WORDS)[-1]


def test_the_vocabulary_is_a_power_of_two_of_different_plain_words():
    words = vocabulary()
    assert len(words) == len(set(words)) == 1024
    assert all(re.fullmatch("[a-z]+", word) for word in words)


def test_is_a_request_scenario_and_endless():
    scenario = load()
    assert isinstance(scenario, RequestScenario)
    assert len(texts(scenario, 3000)) == 3000


def test_the_same_seed_makes_the_same_requests():
    first = list(islice(load().requests(Ctx(seed=5)), 50))
    assert first == list(islice(load().requests(Ctx(seed=5)), 50))
    assert first != list(islice(load().requests(Ctx(seed=6)), 50))


def test_no_two_prompts_of_a_run_begin_alike():
    options = {"prompt_tokens": 24, "seed": 3}
    prompts = [
        text
        for salt in ("run/0/warmup/0", "run/0/measured/0", "run/1/measured/0", "other/0/measured/0")
        for text in texts(load(**options), 1000, salt=salt)
    ]
    beginnings = {" ".join(text.split()[:PREFIX_WORDS]) for text in prompts}
    assert len(beginnings) == len(prompts) == 4000


def test_consecutive_prompts_differ_in_their_very_first_word():
    assert len({text.split()[0] for text in texts(load(), 1024)}) == 1024


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**30), st.integers(0, 2**30))
def test_prefixes_of_one_salt_are_unique(salt, one, other):
    assert (unique_prefix(salt, one) == unique_prefix(salt, other)) == (one == other)


def test_arms_get_the_same_work_behind_their_prefixes():
    options = {"prompt_tokens_distribution": "normal", "prompt_tokens_spread": 20.0}
    baseline = texts(load("baseline", **options), 40, salt="r/0")
    chimera = texts(load("chimera", **options), 40, salt="r/1")
    assert [body(text) for text in baseline] == [body(text) for text in chimera]
    assert not set(baseline) & set(chimera)


def test_without_the_prefix_arms_get_identical_prompts():
    scenario = load(unique_prefix=False)
    assert texts(scenario, 40, salt="r/0") == texts(scenario, 40, salt="r/1")


def test_a_seed_option_repeats_the_bodies_in_every_iteration():
    one = texts(load(seed=9), 20, seed=1, salt="r/0")
    two = texts(load(seed=9), 20, seed=2, salt="r/1")
    assert [body(text) for text in one] == [body(text) for text in two]
    assert not set(one) & set(two)
    free = texts(load(), 20, seed=1), texts(load(), 20, seed=2)
    assert [body(text) for text in free[0]] != [body(text) for text in free[1]]


@pytest.mark.parametrize("form", [None, "chat", "prompt"])
def test_the_unique_part_opens_the_prompt_in_both_forms(form):
    scenario = load(form=form, prompt_tokens=16)
    request = next(scenario.requests(Ctx()))
    bare = form == "prompt"
    assert (request.prompt is not None) == bare
    assert (len(request.messages) == 1) == (not bare)
    text = request.prompt if bare else request.messages[0].content
    assert text.split()[:PREFIX_WORDS] == texts(load(), 1)[0].split()[:PREFIX_WORDS]
    assert len(text.split()) == 16


@given(st.integers(8, 40_000), st.booleans())
def test_without_a_tokenizer_one_word_counts_as_one_token(tokens, unique):
    (text,) = texts(load(prompt_tokens=tokens, unique_prefix=unique), 1)
    assert len(text.split()) == tokens


@pytest.mark.parametrize("tokens", [20, 100, 1000, 30_000])
def test_with_a_tokenizer_the_length_is_true_to_a_word(tokens):
    for text in texts(load(prompt_tokens=tokens), 20, count_tokens=syllables):
        # A word has one to four of these tokens, and the end falls on a whole word.
        assert -3.5 <= syllables(text) - 1 - tokens <= 0.5


def test_the_tokenizer_is_asked_once_a_trial():
    asked = []
    scenario = load()
    for seed in (1, 2):
        next(scenario.requests(Ctx(seed=seed, count_tokens=lambda t: asked.append(t) or 2)))
    assert len(asked) <= 1 + 1024 + 1


def test_a_tokenizer_without_an_answer_leaves_the_estimate():
    assert token_costs(lambda _text: None) is None
    assert token_costs(lambda _text: 1) is None


@given(st.floats(0, 5000), st.integers(0, 2**32))
def test_a_text_never_has_more_than_half_a_token_too_many(tokens, seed):
    costs = [Random(i).choice((1.0, 2.0, 3.0)) for i in range(1024)]
    cost = dict(zip(vocabulary(), costs, strict=True))
    made = sum(cost[word] for word in TextSource(Random(seed), costs).take(tokens).split())
    assert tokens - 3 <= made <= tokens + 0.5


@pytest.mark.parametrize(
    ("distribution", "spread", "sd"),
    [
        ("constant", 0.0, 0.0),
        ("uniform", 60.0, 34.6),
        ("normal", 30.0, 30.0),
        ("lognormal", 50.0, 50.0),
    ],
)
def test_every_distribution_keeps_the_mean_and_its_spread(distribution, spread, sd):
    draw = sampler(distribution, 200, spread, Random(1))
    drawn = [draw() for _ in range(20_000)]
    assert statistics.fmean(drawn) == pytest.approx(200, rel=0.01)
    assert statistics.pstdev(drawn) == pytest.approx(sd, rel=0.03, abs=0.01)
    assert all(isinstance(n, int) and n >= 1 for n in drawn)


def test_output_bounds_and_flags_reach_the_request():
    request = next(load(max_tokens=7, ignore_eos=True).requests(Ctx()))
    assert (request.max_tokens, request.ignore_eos) == (7, True)
    assert next(load().requests(Ctx())).max_tokens == 64
    spread = load(max_tokens=100, max_tokens_distribution="uniform", max_tokens_spread=50.0)
    bounds = [request.max_tokens for request in islice(spread.requests(Ctx()), 200)]
    assert min(bounds) >= 50 and max(bounds) <= 150 and len(set(bounds)) > 50


def test_a_prompt_too_short_for_its_prefix_is_refused():
    with pytest.raises(ScenarioError, match=r"3 tokens cannot hold.*unique_prefix=false"):
        next(load(prompt_tokens=3).requests(Ctx()))
    assert texts(load(prompt_tokens=3, unique_prefix=False), 1)[0].count(" ") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt_tokens_spread": 3.0}, "no effect on constant"),
        ({"max_tokens_distribution": "normal"}, "needs max_tokens_spread"),
        ({"prompts": "x", "prompt_tokens": 5}, "leave out the prompt_tokens"),
        ({"prompt_tokens": 0}, ">= 1"),
        ({"prompt_token": 5}, "unknown field"),
    ],
)
def test_options_that_would_be_ignored_are_refused(options, said):
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert(options, LoadOptions)


# -------------------------------------------------------------------------------------- caveats


def run_data(counted, **options):
    call = CallRecord(
        call_id="0",
        arm="a",
        cell="",
        trial=0,
        iteration=0,
        phase="measured",
        status="ok",
        instants=Instants(due_ns=0),
        usage=Usage(prompt_tokens=counted),
    )
    spec = RunSpec(
        backend=BackendSpec(name="x"),
        scenario=ScenarioSpec(name="load"),
        arms={"a": ArmSpec(scenario={"options": options})},
    )
    return SimpleNamespace(manifest=SimpleNamespace(spec=spec), records=lambda: [call] * 3)


def test_a_length_that_the_server_contradicts_is_noted():
    (caveat,) = find_caveats(run_data(450, prompt_tokens=100)) or []
    assert (caveat.code, caveat.severity, caveat.arm) == ("prompt-length", "note", "a")
    assert caveat.evidence == {"stated_tokens": 100, "counted_tokens_mean": 450, "calls": 3}


@pytest.mark.parametrize("counted", [None, 100, 125])
def test_a_length_that_the_server_confirms_is_not(counted):
    assert find_caveats(run_data(counted, prompt_tokens=100)) is None


# ---------------------------------------------------------------------------------------- plugin


def test_registers_with_a_one_line_summary():
    added = {}
    registry = SimpleNamespace(add=lambda name, factory, **more: added.update({name: more}))
    harness_load.harness_register_scenarios(registry)
    assert added["load"]["options"] is LoadOptions
    assert "\n" not in added["load"]["summary"]


@pytest.mark.parametrize("name", ["load", "open_loop"])
def test_the_shipped_specs_decode_strictly(name):
    path = Path(harness_load.__file__).parent / "specs" / f"{name}.yaml"
    spec = msgspec.convert(yaml.safe_load(path.read_text()), RunSpec)
    assert msgspec.convert(spec.scenario.options, LoadOptions).max_tokens == 32
    assert spec.load is not None and spec.load.requests == 64
