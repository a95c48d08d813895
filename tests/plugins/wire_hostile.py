"""JSON of the wrong shape: the right keys with anything under them."""

from __future__ import annotations

import json

from hypothesis import strategies as st

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def payloads(*keys: str, nested: dict[str, tuple[str, ...]]) -> st.SearchStrategy[bytes]:
    """Bytes, JSON, or objects with some of `keys`; those in `nested` hold such objects, or lists
    of them, in turn."""
    fields = dict.fromkeys(keys, values)
    for key, inner in nested.items():
        below = st.fixed_dictionaries(
            {}, optional={name: fields.get(name, values) for name in inner}
        )
        fields[key] = values | below | st.lists(below, max_size=2)
    objects = st.fixed_dictionaries({}, optional=fields)
    as_json = (values | objects).map(lambda value: json.dumps(value).encode())
    return st.binary() | as_json
