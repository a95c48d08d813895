"""An example plugin: a backend, a scenario and an exporter, registered by three hooks.

The module that the entry point names should be quick to import: everything heavy belongs inside the
functions that need it.
"""

from __future__ import annotations

import harness
from harness_echo.backend import EchoBackend, EchoOptions
from harness_echo.exporter import write_tsv
from harness_echo.scenario import CountingOptions, CountingScenario

__all__ = [
    "harness_register_backends",
    "harness_register_exporters",
    "harness_register_scenarios",
]


@harness.hookimpl
def harness_register_backends(registry):
    registry.add("echo", EchoBackend, options=EchoOptions, summary="says your prompt back to you")


@harness.hookimpl
def harness_register_scenarios(registry):
    registry.add(
        "counting", CountingScenario, options=CountingOptions, summary="prompts that count upwards"
    )


@harness.hookimpl
def harness_register_exporters(registry):
    registry.add("tsv", write_tsv, suffix=".tsv", summary="one tab-separated line per call")
