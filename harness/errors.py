"""Every error that the harness raises on purpose.

HarnessError                  a person can act on it: printed in one line, never as a traceback
├── SpecError                 the spec (or a command-line value) is wrong; names the field
├── PluginError               a plugin broke a contract; names the plugin
│   └── MissingExtra          a plugin needs a package that is not installed
├── BackendError              the model server: not there, refuses, does not know the model
├── ScenarioError             the scenario cannot run on this input (an empty corpus, say)
├── BudgetError               the money that the run may cost is spent
├── StoreError                a run folder that cannot be made, written or read
├── TrialLostError            the process or machine of a trial is gone: killed, or out of memory
│   └── PlaceLostError        … by no doing of the trial's: it may be begun anew elsewhere
└── NativeMissing             the compiled part is absent; we never fall back silently

Each carries `what` happened, `where`, and the `remedy`: the next command or edit to try.
Anything that is not a HarnessError is a bug of ours or of a plugin, and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BudgetError",
    "HarnessError",
    "MissingExtra",
    "NativeMissing",
    "PlaceLostError",
    "PluginError",
    "ScenarioError",
    "SpecError",
    "StoreError",
    "TrialLostError",
]


class HarnessError(Exception):
    """`str(error)` is one line: where, what, and what to try next."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text} (try: {remedy})" if remedy else text)


class SpecError(HarnessError):
    """`where` is the path of the mistake, such as `$.load.concurrency`."""


class PluginError(HarnessError):
    """`where` is the plugin's entry point name."""


class MissingExtra(PluginError):  # noqa: N818
    """An optional package is missing; the remedy is the pip command that adds it."""

    def __init__(self, extra: str, *, missing: str) -> None:
        super().__init__(
            f"needs the package {missing!r}, which is not installed",
            where=extra,
            remedy=f"pip install 'chimera-harness[{extra}]'",
        )


class BackendError(HarnessError):
    """`where` is the address that was tried."""


class ScenarioError(HarnessError):
    """`where` is the scenario's name."""


class BudgetError(HarnessError):
    """No further call fits into `$.budget_usd`. What was measured is kept."""


class StoreError(HarnessError):
    """`where` is the path."""


class TrialLostError(HarnessError):
    """`where` is the trial. What it delivered before that is kept, and the run goes on."""


class PlaceLostError(TrialLostError):
    """The worker or the machine that a trial ran on is gone. What it delivered is void, and the
    trial is begun anew at another place."""


class NativeMissing(HarnessError):  # noqa: N818
    """The compiled modules are not there or do not fit this interpreter."""
