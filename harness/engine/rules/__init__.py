"""The rules that make a run doubtful: one function per rule, over one view of the run.

view.py      what the rules look at
complete.py  is anything missing: incomplete, counts, empty_workload
course.py    was it taken up again, stopped by a rule, searching: resumed, not_narrow, search
outcome.py   did it go well: errors, failures
figures.py   can it be read, and compared: unbounded_output, too_few, imported, contradicted,
             what_was_measured, made_up
timing.py    are the stamps and the schedule what they seem: schedule_slip, client_lag, user_stamps,
             clock_step
machine.py   did the machine do something else meanwhile: host_noise, parallel_trials
memory.py    did models fit, and as foreseen: skipped_models, memory_prediction
money.py     did the money last, and is all that was spent known: budget, unpriced
places.py    where did trials run, and was a place lost: place_lost, mixed_nodes
hardware.py  did heat, clocks or strangers on the GPU decide; are there joules: thermal, clocks,
             gpu_shared, no_energy
steady.py    did the figures come to rest: no_steady_state
instrument.py  is the error of the measuring itself known: no_selfcheck
prompts.py   did the model get the prompt that was sent: prompt_truncated
tokens.py    do the counts agree, and was the cache cold: token_mismatch, prompt_cache
agents.py    is a speed-up of the same work, and is there one: unequal_work, solo_missing,
             contention
tapping.py   did all that agents did go through the tap: tap_bypassed
service.py   what the service refused for a while, and what its books say: retried, account_mismatch
configuration.py  did the server run what was asked for: config_not_effective, cold_in_warm
factors.py   did the axes of a sweep change anything: duplicate_cells, no_op_factor

Each looks at the whole run and yields what it finds. A rule fires on facts in the records, never on
the absence of a figure that a backend does not offer. Severities:

    note        read the figures with this in mind; the verdict stays `valid`
    doubtful    some figure may mislead
    invalid     the figures do not describe what was asked for
"""

from harness.engine.rules.view import ArmView, RunView

__all__ = ["ArmView", "RunView"]
