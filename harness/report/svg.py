"""A drawing made fit for being part of a page: parsed, and written anew from what is allowed.

A plot is a document of its own. Inside a page it would bring along what the page's policy forbids
(inline styles), what only a document may have (prolog, metadata), and ids that meet those of the
next plot. Its labels hold names that others chose. So nothing of it is passed through as text:
known elements with known attributes are written again, and everything else is left out.

    style="fill: #123"      → fill="#123"
    id="a", url(#a), #a     → with a prefix of the plot's own
    href, src               → only into the plot itself, or an image that is in it as data
    fill="#222222"          → with a class as well, where the page gives that ink a dark twin
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final

from harness.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from xml.etree.ElementTree import Element

__all__ = ["inline"]

# fmt: off
_ELEMENTS: Final = frozenset((
    "svg", "g", "defs", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon",
    "use", "symbol", "marker", "clipPath", "mask", "pattern", "linearGradient", "radialGradient",
    "stop", "text", "tspan", "image",
))
_ATTRIBUTES: Final = frozenset((
    "id", "d", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry", "fx", "fy", "dx",
    "dy", "width", "height", "points", "transform", "viewBox", "preserveAspectRatio",
    "gradientUnits", "gradientTransform", "patternUnits", "clipPathUnits", "offset", "refX",
    "refY", "markerWidth", "markerHeight", "markerUnits", "orient", "overflow", "rotate", "fill",
    "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity",
    "clip-path", "clip-rule", "mask", "stop-color", "stop-opacity", "font", "font-family",
    "font-size", "font-style", "font-weight", "text-anchor", "text-decoration",
    "dominant-baseline", "letter-spacing", "marker-start", "marker-mid", "marker-end", "display",
    "visibility", "color", "image-rendering", "shape-rendering",
))
# fmt: on
_OWN_IDS: Final = re.compile(r"url\(\s*[\"']?#([^\"')]+)[\"']?\s*\)")
_FONT: Final = re.compile(
    r"(?:(?P<style>italic|oblique)\s+)?(?:(?P<weight>bold|[1-9]00)\s+)?"
    r"(?P<size>[\d.]+(?:px|pt))\s+(?P<family>[\w ,'\"-]+)"
)
_HREF: Final = ("href", "{http://www.w3.org/1999/xlink}href")
_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/=\s]+")
_DOCTYPE: Final = re.compile(r"<!DOCTYPE[^>\[]*>")


def inline(svg: str, prefix: str, label: str, inks: Mapping[str, str] | None = None) -> str:
    """`svg` as an element of an HTML page.

    prefix   ids begin with it
    label    what a reader who does not see it is told
    inks     colour (`#222222`) → name: such a fill gets the class `f-name`, a stroke `s-name`

    ValueError if it is no drawing, or declares entities.
    """
    import xml.etree.ElementTree as ElementTree

    text = _DOCTYPE.sub("", svg, count=1)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise ValueError("a drawing with declarations of its own is not taken into a page")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not a drawing: {error}") from None
    if _name(root) != "svg":
        raise ValueError(f"not a drawing: <{_name(root)}>")
    head = f'role="img" aria-label="{escape(plain(label))}"'
    return "".join(_written(root, prefix, inks or {}, head))


def _written(
    element: Element, prefix: str, inks: Mapping[str, str], head: str = ""
) -> Iterator[str]:
    name = _name(element)
    if name not in _ELEMENTS:
        return
    attributes = dict(_attributes(element, prefix))
    if classes := " ".join(_classes(attributes, inks)):
        attributes["class"] = classes
    shown = " ".join(f'{key}="{escape(plain(value))}"' for key, value in attributes.items())
    yield f"<{name}" + "".join(f" {part}" for part in (head, shown) if part) + ">"
    if element.text and name in ("text", "tspan"):
        yield escape(plain(element.text))
    for child in element:
        yield from _written(child, prefix, inks)
        if child.tail and name in ("text", "tspan"):
            yield escape(plain(child.tail))
    yield f"</{name}>"


def _classes(attributes: Mapping[str, str], inks: Mapping[str, str]) -> Iterator[str]:
    for key, short in (("fill", "f"), ("stroke", "s")):
        if name := inks.get(attributes.get(key, "").lower()):
            yield f"{short}-{name}"


def _attributes(element: Element, prefix: str) -> Iterator[tuple[str, str]]:
    for raw, value in element.attrib.items():
        if raw in _HREF:
            if value.startswith("#"):
                yield "href", f"#{prefix}{value[1:]}"
            elif _name(element) == "image" and _IMAGE.fullmatch(value):
                yield "href", value
        elif raw == "style":
            for key, said in _declarations(value):
                yield from _allowed(key, said, prefix)
        else:
            yield from _allowed(raw, value, prefix)


def _allowed(key: str, value: str, prefix: str) -> Iterator[tuple[str, str]]:
    if key == "id":
        yield key, f"{prefix}{value}"
    elif key == "font":
        yield from _font(value)
    elif key in _ATTRIBUTES:
        within = _OWN_IDS.sub(rf"url(#{prefix}\1)", value)
        if "(" not in _OWN_IDS.sub("", value) or key in ("transform", "gradientTransform"):
            yield key, within
        elif re.fullmatch(r"(?:rgba?|hsla?)\([\d.,%\s]+\)", value):
            yield key, value


def _font(value: str) -> Iterator[tuple[str, str]]:
    """The shorthand has no attribute of its own."""
    found = _FONT.fullmatch(value.strip())
    if found:
        yield from ((f"font-{key}", said) for key, said in found.groupdict().items() if said)


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    for declaration in style.split(";"):
        key, colon, value = declaration.partition(":")
        if colon:
            yield key.strip(), value.strip()


def _name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]
