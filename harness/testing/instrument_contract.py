"""The contract suite for instruments.

    class TestMine(InstrumentContract):
        name = "mine"
        def instrument(self):
            return MyInstrument(config)

pytest then runs every test below against it: what the engine relies on, and what a reader of the
figures may. Override `work` if yours sees only work of a certain kind.
"""

from __future__ import annotations

import math
import threading
from typing import ClassVar

from harness.protocols import Instrument, Observation

__all__ = ["InstrumentContract"]


class InstrumentContract:
    """Subclass it; say the name under which it is registered, and how it is made."""

    name: ClassVar[str]

    def instrument(self) -> Instrument:
        """One as its factory makes it, not opened."""
        raise NotImplementedError

    def work(self) -> None:
        """What an iteration does."""
        sum(str(number).count("7") for number in range(20_000))

    def observe(self, instrument: Instrument) -> Observation:
        instrument.start()
        self.work()
        return instrument.stop()

    # The tests. ------------------------------------------------------------------------------

    def test_is_an_instrument(self) -> None:
        made = self.instrument()
        assert isinstance(made, Instrument)
        assert isinstance(made.perturbing, bool)

    def test_observes_one_iteration_after_another(self) -> None:
        made = self.instrument()
        made.open()
        try:
            seen = [self.observe(made) for _ in range(3)]
        finally:
            made.close()
        for observation in seen:
            assert isinstance(observation, Observation)
            assert observation.metrics or observation.unknown, "it saw nothing, and does not say so"
        figures = [{m.name for m in one.metrics} | set(one.unknown) for one in seen]
        assert figures[0] == figures[1] == figures[2], "a figure must not come and go in silence"

    def test_figures_have_names_of_their_own_units_and_values(self) -> None:
        made = self.instrument()
        made.open()
        try:
            observation = self.observe(made)
        finally:
            made.close()
        names = [metric.name for metric in observation.metrics]
        assert len(set(names)) == len(names), "one figure, one name"
        for metric in observation.metrics:
            assert metric.name.startswith(f"{self.name}."), metric.name
            assert metric.unit, metric.name
            assert math.isfinite(metric.value), f"{metric.name}: unknown is no number"
        assert not set(names) & set(observation.unknown)
        assert all(reason for reason in observation.unknown.values())
        for file, content in observation.artifacts:
            assert file and "/" not in file and "\\" not in file
            assert isinstance(content, str | bytes)

    def test_leaves_nothing_running(self) -> None:
        before = set(threading.enumerate())
        made = self.instrument()
        made.open()
        self.observe(made)
        made.start()  # interrupted: it is closed without having been stopped
        made.close()
        assert set(threading.enumerate()) <= before

    def test_closes_whatever_became_of_it(self) -> None:
        self.instrument().close()

    def test_two_do_not_disturb_each_other(self) -> None:
        one, other = self.instrument(), self.instrument()
        if one.perturbing:
            return  # those are alone in their iteration
        for made in (one, other):
            made.open()
        try:
            other.start()
            inner = self.observe(one)
            outer = other.stop()
        finally:
            one.close()
            other.close()
        assert {m.name for m in inner.metrics} == {m.name for m in outer.metrics}
