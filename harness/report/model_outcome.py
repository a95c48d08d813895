"""What became of one model, out of the records of its arm and cell: how large it is by whose word,
whether it passed, and why it did not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec import Struct

from harness.engine.guard import DOES_NOT_FIT
from harness.errors import SpecError
from harness.schema import CallRecord, Effective, Fit, IterationRecord, RunSpec, TrialRecord
from harness.sizes import parse_size, size_words
from harness.text import one_line

__all__ = ["Outcome", "Seen", "Size"]

Outcome: TypeAlias = Literal["passed", "failed", "skipped", "not run"]


class Size(Struct, frozen=True, kw_only=True):
    """How many parameters a model has, and who says so."""

    parameters: int | None = None
    source: Literal["server", "declared", ""] = ""
    """`server`: the backend read it back, or out of the model's files; `declared`: by the spec."""

    @property
    def words(self) -> str:
        """`7.62B`; `7.6B*` where it is only declared; a dash where it is not known."""
        return size_words(self.parameters) + ("*" if self.source == "declared" else "")


class Seen:
    """What is taken out of the records of one arm and cell."""

    def __init__(self) -> None:
        self.trials: list[TrialRecord] = []
        self.failed: list[IterationRecord] = []
        self.bad_calls: Counter[str] = Counter()
        self.calls = 0
        self._prompt_tokens: list[int | None] = []

    def add(self, record: CallRecord | IterationRecord | TrialRecord) -> None:
        if isinstance(record, TrialRecord):
            self.trials.append(record)
        elif record.phase != "measured":
            return
        elif isinstance(record, IterationRecord):
            self.failed += [record] if record.status == "error" else []
        else:
            self.calls += 1
            if record.status == "ok":
                self._prompt_tokens.append(record.usage.prompt_tokens)
            else:
                self.bad_calls[record.error.code if record.error else record.status] += 1

    @property
    def effective(self) -> Effective:
        """Of the first launch whose server said anything."""
        told = (one.effective for one in self.trials if one.effective != Effective())
        return next(told, Effective())

    @property
    def fits(self) -> list[Fit]:
        return [one.fit for one in self.trials if one.fit is not None]

    @property
    def prompt_tokens(self) -> int | None:
        known = [count for count in self._prompt_tokens if count is not None]
        return sum(known) if known and len(known) == len(self._prompt_tokens) else None

    def size(self, spec: RunSpec, model: str | None) -> Size:
        foreseen = [fit.predicted.parameters for fit in self.fits]
        for found in [*(one.effective.parameters for one in self.trials), *foreseen]:
            if found:
                return Size(parameters=found, source="server")
        for name in (model, self.effective.model):
            if name is not None and name in spec.sizes:
                try:
                    return Size(parameters=parse_size(spec.sizes[name]), source="declared")
                except SpecError:
                    break  # of a run that another version made
        return Size()

    def outcome(self, error_share_max: float) -> tuple[Outcome, str]:
        """What became of it, and why it is not simply `passed`."""
        errors = [one for one in self.trials if one.status == "error"]
        unfit = [one for one in self.trials if one.error and one.error.code == DOES_NOT_FIT]
        bad = sum(self.bad_calls.values())
        if errors:
            what = f"{len(errors)} of {len(self.trials)} launches failed: {_why(errors)}"
            return "failed", what
        if self.failed:
            return "failed", f"{len(self.failed)} iterations failed: {_why(self.failed)}"
        if bad and bad > error_share_max * self.calls:
            code = one_line(self.bad_calls.most_common(1)[0][0], 60)
            return "failed", f"{bad} of {self.calls} calls are not ok: {code}"
        if any(one.status == "ok" for one in self.trials):
            left = f"{len(unfit)} of {len(self.trials)} launches: {_unfit(unfit)}" if unfit else ""
            return "passed", left
        if unfit:
            return "skipped", _unfit(unfit)
        return "not run", "interrupted" if self.trials else "the run did not come to it"


def _why(records: Sequence[TrialRecord | IterationRecord]) -> str:
    error = next((one.error for one in records if one.error is not None), None)
    return one_line(error.message or error.code, 300) if error is not None else "for no reason told"


def _unfit(trials: Sequence[TrialRecord]) -> str:
    fit = next((one.fit for one in trials if one.fit is not None), None)
    return f"does not fit: {one_line(fit.reason, 300)}" if fit is not None else _why(trials)
