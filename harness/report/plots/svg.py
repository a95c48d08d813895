"""matplotlib's SVG, made fit to stand within a page among others.

It comes as a document of its own: prolog, doctype, metadata with addresses, comments that repeat
every text, a `<style>` that would speak for the whole page, and ids such as `p1` that two figures
would share. All of that goes or gets a prefix. Text is drawn as paths, so that a name cannot be
markup and the page needs no font; what a screen reader says is the title, escaped.
"""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape, quoteattr

__all__ = ["inlined"]

_PROLOG: Final = re.compile(r"\A.*?(?=<svg\b)", re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_METADATA: Final = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_STYLE: Final = re.compile(r"<defs>\s*<style\b.*?</style>\s*</defs>\s*", re.DOTALL)
_ROOT: Final = re.compile(r"<svg\b[^>]*>")
_VIEW: Final = re.compile(r'viewBox="([^"]*)"')
_ID: Final = re.compile(r'(?<=\sid=")([^"]*)(?=")')
_HREF: Final = re.compile(r'\s(?:xlink:)?href="#([^"]*)"')
_URL: Final = re.compile(r"url\(#([^)]*)\)")
_NUMBERS: Final = re.compile(r"(?<=\.\d\d)\d+")
_PATHS: Final = re.compile(r'(?<=\sd=")[^"]*(?=")')


def inlined(document: str, prefix: str, title: str, description: str) -> str:
    """One `<svg>` element: no prolog, metadata, comment, style sheet or reference to the outside;
    every id is `prefix` and a number. Coordinates keep two decimals: a hundredth of a point."""
    text = _STYLE.sub("", _METADATA.sub("", _COMMENT.sub("", _PROLOG.sub("", document, count=1))))
    opening = _ROOT.search(text)
    view = _VIEW.search(opening[0]) if opening else None
    if opening is None or view is None:
        raise ValueError("not an SVG document")
    body = text[opening.end() :]
    names = {name: f"{prefix}{i}" for i, name in enumerate(dict.fromkeys(_ID.findall(body)))}
    body = _ID.sub(lambda found: names[found[1]], body)
    body = _HREF.sub(lambda found: f' href="#{names.get(found[1], prefix)}"', body)
    body = body.replace(" xlink:href=", " href=")
    body = _URL.sub(lambda found: f"url(#{names.get(found[1], prefix)})", body)
    body = _PATHS.sub(lambda found: _NUMBERS.sub("", found[0]), body)
    width, height = (f"{float(part):.0f}" for part in view[1].split()[2:])
    name = f"{prefix}title"
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox={quoteattr(view[1])} '
        f'width="{width}pt" height="{height}pt" role="img" aria-labelledby="{name}" '
        'style="stroke-linejoin:round;stroke-linecap:butt">'
        f'<title id="{name}">{escape(title)}</title><desc>{escape(description)}</desc>'
    )
    return f"{root}\n{body.strip()}\n"
