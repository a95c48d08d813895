"""`load` from a JSON Lines file: what is read, and how every mistake is named."""

from __future__ import annotations

import json
from itertools import islice
from types import SimpleNamespace

import pytest
from harness_load import LoadOptions
from harness_load.prompts import read_prompts
from harness_load.scenario import Load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import ScenarioError
from harness.protocols import ScenarioConfig

CTX = SimpleNamespace(seed=1, salt="r/0", phase="measured", count_tokens=lambda _text: None)


def write(folder, *lines):
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(lines), "utf-8")
    return str(path)


def requests(path, n, **options):
    config = ScenarioConfig(options=LoadOptions(prompts=path, **options), seed=0, arm="a", cell="")
    return list(islice(Load(config).requests(CTX), n))


def test_file_order_over_and_over(tmp_path):
    path = write(tmp_path, '{"prompt": "one"}', "", '{"prompt": "two", "max_tokens": 5}', "")
    found = requests(path, 5, unique_prefix=False, max_tokens=9)
    assert [request.prompt for request in found] == ["one", "two", "one", "two", "one"]
    assert [request.max_tokens for request in found] == [9, 5, 9, 5, 9]


def test_the_prefix_opens_prompts_and_first_messages(tmp_path):
    talk = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]}
    path = write(tmp_path, '{"prompt": "P"}', json.dumps(talk))
    bare, chat, again, _ = requests(path, 4)
    assert bare.prompt.endswith("\n\nP") and len(bare.prompt.split()) == 5
    assert chat.messages[0].content.endswith("\n\nS")
    assert chat.messages[1].content == "U"
    assert again.prompt != bare.prompt


def test_form_chat_wraps_bare_prompts(tmp_path):
    path = write(tmp_path, '{"prompt": "P"}')
    (request,) = requests(path, 1, form="chat", unique_prefix=False)
    assert [(m.role, m.content) for m in request.messages] == [("user", "P")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "truncated"),
        ('{"prompt": "a", "max_token": 4}', "max_token"),
        ('{"prompt": "a", "messages": []}', "exactly one"),
        ("{}", "exactly one"),
        ('{"messages": []}', "empty"),
        ('{"prompt": " "}', "empty"),
        ('{"prompt": 7}', "Expected `str"),
        ('{"prompt": "a", "max_tokens": 0}', ">= 1"),
        ('{"messages": [{"role": "judge", "content": "x"}]}', "judge"),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path, line, said):
    path = write(tmp_path, '{"prompt": "fine"}', "", line)
    with pytest.raises(ScenarioError) as caught:
        read_prompts(path, None)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_messages_cannot_become_a_bare_prompt(tmp_path):
    path = write(tmp_path, '{"messages": [{"role": "user", "content": "x"}]}')
    with pytest.raises(ScenarioError, match=":1: has `messages`"):
        read_prompts(path, "prompt")


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff\n"])
def test_an_empty_file_is_an_empty_workload(tmp_path, content):
    path = write(tmp_path, content)
    with pytest.raises(ScenarioError, match="empty workload"):
        requests(path, 1)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ScenarioError, match=r"nowhere\.jsonl: cannot read the prompts"):
        read_prompts(str(tmp_path / "nowhere.jsonl"), None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_bytes_end_in_a_traceback(tmp_path, data):
    path = tmp_path / "any.jsonl"
    path.write_bytes(data)
    try:
        found = read_prompts(str(path), None)
    except ScenarioError as error:
        assert str(path) in str(error)
    else:
        assert found
