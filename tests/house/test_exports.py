"""`__all__` is true: sorted, importable, and public modules have one."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import harness

PACKAGES = [
    "harness",
    "harness.errors",
    "harness.protocols",
    "harness.host",
    "harness.schema",
    "harness.engine",
    "harness.store",
    "harness.transport",
    "harness.statistics",
    "harness.testing",
    "harness.cli",
]
MODULES = sorted(
    {
        *PACKAGES,
        *(
            module.name
            for module in pkgutil.walk_packages(harness.__path__, "harness.")
            if module.name != "harness.__main__"
        ),
    }
)


@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist(name):
    module = importlib.import_module(name)
    exported = getattr(module, "__all__", None)
    if exported is None:
        assert name not in PACKAGES, f"{name} is public and has no __all__"
        return
    assert len(set(exported)) == len(exported)
    for attribute in exported:
        assert hasattr(module, attribute), f"{name}.__all__ names {attribute}, which is not there"


def test_versions_agree():
    import importlib.metadata

    assert importlib.metadata.version("chimera-harness") == harness.__version__
