"""YAML and JSON that a stranger may have written, read into plain data.

Strategy: PyYAML's safe loader, which makes text, numbers, lists, mappings and dates and knows no
tag that names code, with four things forbidden that it would put up with. A key given twice (the
last would win, and the reader of the file would believe the first). Nesting without bottom. More
nodes than a spec can have, counted after aliases are followed, because nine lines of aliases can
stand for 10⁹ nodes. Merge keys (`<<`) within those bounds.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

import yaml

__all__ = ["DEPTH_MAX", "NODES_MAX", "read_json", "read_yaml"]

DEPTH_MAX: Final = 50
NODES_MAX: Final = 20_000
DIGITS_MAX: Final = 100
"""1:1:1:… is a number to the base 60, and takes time that grows with the square of its length."""
_NUMBERS: Final = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_yaml(text: str) -> Any:
    """Raises ValueError, in one line, for what is not YAML or not to be read."""
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    except (AttributeError, LookupError, OverflowError, TypeError):
        # What PyYAML's own constructors do with `!!bool maybe`.
        raise ValueError("a tag stands before a value that it does not fit") from None


def read_json(text: str) -> Any:
    """Raises ValueError for what is not JSON or not to be read."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


_TOO_DEEP: Final = f"it is nested more than {DEPTH_MAX} deep"


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        self._nodes += 1
        if self._depth > DEPTH_MAX:
            raise ValueError(_TOO_DEEP)
        if self._nodes > NODES_MAX:
            raise ValueError(f"it has more than {NODES_MAX} values")
        alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and not alias:
            self._weigh(node)
        elif node is not None and id(node) not in self._sizes:
            raise ValueError("an anchor contains itself")
        return node

    def _weigh(self, node: yaml.Node) -> None:
        """How many nodes this one stands for, aliases followed. What it holds was weighed before,
        so that this takes no longer than the file is long."""
        size = self._sizes
        total = 1
        if isinstance(node, yaml.SequenceNode):
            total += sum(size[id(item)] for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            total += sum(size[id(key)] + size[id(item)] for key, item in node.value)
            _check_keys(node)
        elif node.tag in _NUMBERS and len(node.value) > DIGITS_MAX:
            raise ValueError(f"a number of more than {DIGITS_MAX} characters{_line(node)}")
        if total > NODES_MAX:
            raise ValueError(f"it stands for more than {NODES_MAX} values, aliases followed")
        size[id(node)] = total


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"a key is a list or mapping{_line(key)}")
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise ValueError(f"the key {key.value!r} is given twice{_line(key)}")
        seen.add(key.value)


def _line(node: yaml.Node) -> str:
    mark = node.start_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice")
        found[key] = value
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
