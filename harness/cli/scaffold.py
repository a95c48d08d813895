"""What `harness new` writes: a package of its own, from the templates beside this file.

Every template ends in `.tmpl`; `$plain` and the like are replaced (string.Template), and the folder
`package` takes the package's name. A test generates each kind, installs it, runs its tests and uses
it, so that what a new author begins with works.
"""

from __future__ import annotations

import importlib.util
import keyword
import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from harness.errors import SpecError

if TYPE_CHECKING:
    from harness.host import Host
    from harness.registry import Registry

__all__ = ["Kind", "scaffold"]

Kind: TypeAlias = Literal["scenario", "backend", "plugin"]

NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
NAME_MAX: Final = 24
SUFFIX: Final = ".tmpl"


def scaffold(kind: Kind, name: str, folder: Path, host: Host) -> list[Path]:
    """Write the package into a new folder below `folder`; the files, in the order in which they
    should be read. Raises SpecError for a name or a folder that cannot be."""
    words = _words(kind, name, host)
    target = folder / words["distribution"]
    if target.exists():
        raise SpecError(
            "there is something of that name already",
            where=str(target),
            remedy="another name, or --dir FOLDER",
        )
    if not folder.is_dir():
        raise SpecError("there is no such folder", where=str(folder), remedy=f"mkdir -p {folder}")
    written = []
    for place, text in sorted(_templates(kind), key=lambda one: _order(one[0])):
        path = target / place.replace("package/", f"{words['package']}/", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        written.append(path)
    return written


def _words(kind: Kind, name: str, host: Host) -> dict[str, str]:
    """What the templates speak of. Raises SpecError for a name that is no good, or taken."""
    short = re.sub(r"^harness[-_]", "", name)
    plain = short.replace("-", "_")
    if not NAME.fullmatch(short) or keyword.iskeyword(plain) or len(short) > NAME_MAX:
        raise SpecError(
            f"{name!r} cannot name a package",
            where="NAME",
            remedy="small letters and digits, parts joined by `-`, such as my-bench",
        )
    package = f"harness_{plain}"
    if importlib.util.find_spec(package) is not None:
        raise SpecError(
            f"a package {package} is installed already", where="NAME", remedy="another name"
        )
    _refuse_taken(kind, plain, host)
    return {
        "kind": kind,
        "name": plain.replace("_", "-"),
        "plain": plain,
        "package": package,
        "distribution": f"harness-{plain.replace('_', '-')}",
    }


def _refuse_taken(kind: Kind, plain: str, host: Host) -> None:
    of_kind: dict[str, tuple[Registry[Any], ...]] = {
        "scenario": (host.scenarios,),
        "backend": (host.backends,),
        "plugin": (host.instruments, host.exporters),
    }
    for registry in of_kind[kind]:
        if plain in registry:
            raise SpecError(
                f"the {registry.kind} {plain!r} is there already, of plugin "
                f"{registry.get(plain).plugin!r}",
                where="NAME",
                remedy="another name",
            )
    if plain in (one.name for one in host.plugins):
        raise SpecError(f"there is a plugin {plain!r} already", where="NAME", remedy="another name")


def _templates(kind: Kind) -> list[tuple[str, str]]:
    """(place below the package's folder, text)."""
    root = resources.files("harness.cli") / "templates"
    return [
        (place.removesuffix(SUFFIX), found.read_text("utf-8"))
        for part in ("common", kind)
        for place, found in _walk(root / part, PurePosixPath())
    ]


def _walk(folder: Traversable, place: PurePosixPath) -> list[tuple[str, Traversable]]:
    found: list[tuple[str, Traversable]] = []
    for one in sorted(folder.iterdir(), key=lambda one: one.name):
        if one.is_dir():
            found += _walk(one, place / one.name)
        elif one.name.endswith(SUFFIX):
            found.append((str(place / one.name), one))
    return found


def _order(place: str) -> tuple[int, str]:
    """What to read first: the code, then its tests, then the rest."""
    first = ("package/__init__.py", "package/", "tests/", "README.md", "")
    return next(i for i, start in enumerate(first) if place.startswith(start)), place
