"""200 short runs in which nothing goes wrong get no doubt: together the rules do not cry wolf."""

from __future__ import annotations

from collections import Counter

from tests.validity.clean import OF_THE_MACHINE, host, judge, servers, specs, supported

RUNS = 200


def test_no_alarm_in_200_clean_runs(tmp_path):
    plugins = host()
    false, true = [], Counter()
    kinds: Counter[str] = Counter()
    with servers(tmp_path) as urls:
        for raw in specs(urls, RUNS):
            judged = judge(raw, plugins)
            kinds[raw.get("load", {"mode": "workflow"})["mode"]] += 1
            for alarm in judged.alarms:
                if alarm.code in OF_THE_MACHINE and supported(alarm, judged):
                    true[alarm.code] += 1
                else:
                    false.append((alarm.code, alarm.message, alarm.evidence, raw))
    print(f"{RUNS} runs ({dict(kinds)}); alarms with cause: {dict(true)}")
    assert false == []
    assert min(kinds[kind] for kind in ("closed", "open", "workflow")) >= RUNS // 10
