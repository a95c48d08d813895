"""Scenarios that nobody registered, by reference: what a spec or a person names explicitly.

    bench.py            the one benchmark in that file
    path/bench.py:name  a function, a decorated one by either of its names, or a scenario class
    package.mod:name    the same, of a module that can be imported from the current folder

The module is imported when it is named, and never otherwise: to name a file is to run it. The
reference is all that another process needs, if it starts in the same folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from harness.callables import MARK, Benchmark, FunctionFactory, benchmarks_in, describe
from harness.errors import HarnessError, SpecError
from harness.registry import Entry, NoOptions
from harness.text import nearest, one_line

__all__ = ["is_reference", "listed", "resolve", "source_digest"]

FILE: Final = ".py"


def is_reference(name: str) -> bool:
    """Whether it names a place in code, as no registered name does."""
    return ":" in name or name.endswith(FILE)


def resolve(name: str, where: str = "") -> Entry[Any]:
    """The scenario at that place. Raises SpecError."""
    place, attribute = _parts(name)
    module = _load(place, where)
    target = _find(module, attribute, name, where) if attribute else _only(module, name, where)
    if inspect.isclass(target):
        return _of_class(name, target, where)
    benchmark = describe(target, where or name)
    return Entry(
        name=name,
        factory=FunctionFactory(benchmark),
        options=benchmark.options,
        summary=benchmark.summary,
        plugin=place,
    )


def listed(place: str) -> list[Benchmark]:
    """The decorated functions of a file or module. Raises SpecError."""
    return benchmarks_in(_load(_parts(place)[0], place))


def source_digest(name: str) -> str:
    """`sha256:…` of the file that the reference leads to; empty where it has none."""
    module = _load(_parts(name)[0], name)
    path = getattr(module, "__file__", None)
    return f"sha256:{hashlib.sha256(Path(path).read_bytes()).hexdigest()}" if path else ""


def _parts(name: str) -> tuple[str, str]:
    place, colon, attribute = name.rpartition(":")
    return (place, attribute) if colon else (name, "")


def _load(place: str, where: str) -> ModuleType:
    try:
        return _file(Path(place), where) if place.endswith(FILE) else _module(place)
    except HarnessError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's module: sys.exit included
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "") in place
        remedy = "a module that can be imported from here, or the path of a .py file"
        raise SpecError(
            f"{place!r} cannot be imported: {type(error).__name__}: {one_line(str(error), 300)}",
            where=where,
            remedy=remedy if missing else f"python -c 'import {Path(place).stem}' shows where",
        ) from error


def _module(place: str) -> ModuleType:
    _importable(Path.cwd())
    return importlib.import_module(place)


def _file(path: Path, where: str) -> ModuleType:
    """The file as a module, run once per process; what lies beside it can be imported."""
    whole = path.resolve()
    if not whole.is_file():
        raise SpecError(f"there is no file {str(path)!r}", where=where, remedy="harness list")
    digest = hashlib.sha256(str(whole).encode()).hexdigest()[:8]
    name = f"{path.stem}_{digest}" if path.stem.isidentifier() else f"benchmarks_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    _importable(whole.parent)
    spec = importlib.util.spec_from_file_location(name, whole)
    assert spec is not None and spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _find(module: ModuleType, attribute: str, name: str, where: str) -> Callable[..., Any]:
    """By the name in the code; a decorated function by its name as a benchmark too."""
    target: Any = module
    for part in attribute.split("."):
        target = getattr(target, part, None)
    if target is None:
        named = [one for one in benchmarks_in(module) if one.name == attribute]
        target = named[0].function if named else None
    if target is None:
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise SpecError(
            f"{name!r}: there is no {attribute!r}",
            where=where,
            remedy=nearest(attribute, known) or "one of: " + (", ".join(known) or "none"),
        )
    if not callable(target):
        raise SpecError(
            f"{name!r} is a {type(target).__name__}", where=where, remedy="a function or a class"
        )
    found: Callable[..., Any] = target
    return found


def _only(module: ModuleType, name: str, where: str) -> Callable[..., Any]:
    found = benchmarks_in(module)
    if len(found) == 1:
        return found[0].function
    names = ", ".join(f"{name}:{one.name}" for one in found)
    raise SpecError(
        f"{name!r} has {len(found) or 'no'} functions marked as benchmarks",
        where=where,
        remedy=f"one of: {names}"
        if found
        else f"@{MARK.strip('_').replace('_', '.')}, or {name}:FUNCTION",
    )


def _of_class(name: str, kind: type, where: str) -> Entry[Any]:
    """A scenario class is its own factory; its options type is its attribute `Options`."""
    if not (hasattr(kind, "execute") or hasattr(kind, "requests")):
        raise SpecError(
            f"the class {name!r} has neither `execute` nor `requests`",
            where=where,
            remedy="see harness.protocols.WorkflowScenario",
        )
    options = getattr(kind, "Options", NoOptions)
    if not (isinstance(options, type) and issubclass(options, msgspec.Struct)):
        raise SpecError(f"{name}.Options is no msgspec.Struct type", where=where)
    summary = (inspect.getdoc(kind) or "").partition("\n")[0]
    return Entry(name=name, factory=kind, options=options, summary=summary, plugin=_parts(name)[0])
