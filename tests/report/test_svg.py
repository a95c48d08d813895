"""Drawings that are taken into a page: only what is known, and ids that meet nobody's."""

from __future__ import annotations

import re

import pytest

from harness.report.svg import inline

HEAD = '<?xml version="1.0"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://x/svg.dtd">\n'
NAMESPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def drawing(body: str, root: str = 'viewBox="0 0 10 10"') -> str:
    return f"{HEAD}<svg {NAMESPACES} {root}>{body}</svg>"


def test_styles_become_attributes_and_ids_get_a_prefix():
    made = inline(
        drawing(
            '<defs><clipPath id="a"><rect x="1"/></clipPath></defs>'
            '<g id="b" clip-path="url(#a)" style="fill: #222222; stroke:#fff; margin: 3px">'
            '<use xlink:href="#b" x="2"/></g>'
        ),
        "p1-",
        "One",
        {"#222222": "ink"},
    )
    assert 'id="p1-a"' in made and 'clip-path="url(#p1-a)"' in made and 'href="#p1-b"' in made
    assert 'fill="#222222"' in made and 'class="f-ink"' in made
    assert "style" not in made and "margin" not in made
    assert made.startswith('<svg role="img" aria-label="One" viewBox="0 0 10 10">')


@pytest.mark.parametrize(
    "body",
    [
        "<script>PWN</script>",
        "<style>* { fill: PWN }</style>",
        "<metadata>PWN</metadata><!-- PWN -->",
        "<foreignObject><body xmlns='http://www.w3.org/1999/xhtml'>PWN</body></foreignObject>",
        '<a xlink:href="javascript:PWN"><rect/></a>',
        '<rect onload="PWN" onclick="PWN"/>',
        '<image xlink:href="http://x/PWN.png"/>',
        '<image xlink:href="data:image/svg+xml;base64,UFdO,PWN"/>',
        '<use href="http://x/PWN#a"/>',
        '<rect fill="url(http://x/PWN)"/>',
        '<rect style="fill: url(//x/PWN); behavior: url(PWN)"/>',
        '<animate attributeName="href" to="javascript:PWN"/><set to="PWN"/>',
        "<g>PWN</g>",
        "<title>PWN</title><desc>PWN</desc>",
    ],
)
def test_nothing_else_comes_along(body):
    assert "PWN" not in inline(drawing(body), "p-", "label")


def test_labels_stay_text():
    made = inline(
        drawing("<text x='1'>&lt;b&gt; \u202e<tspan>a&amp;b</tspan> c</text>"), "p-", '"<'
    )
    assert "&lt;b&gt; <tspan>a&amp;b</tspan> c" in made
    assert 'aria-label="&quot;&lt;"' in made


@pytest.mark.parametrize(
    "text",
    [
        "no drawing",
        "<html></html>",
        '<!DOCTYPE svg [<!ENTITY a "PWN">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        "<svg",
    ],
)
def test_what_is_no_drawing_is_refused(text):
    with pytest.raises(ValueError):
        inline(text, "p-", "label")


def test_a_figure_of_ours_comes_through_whole():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1))
    axes = figure.subplots()
    axes.plot([1, 2], [3, 4], label="<script>PWN</script>")
    axes.legend()
    import io

    out = io.BytesIO()
    figure.savefig(out, format="svg")
    svg = out.getvalue().decode()
    one, other = inline(svg, "p1-", "x"), inline(svg, "p2-", "x")
    ids = [re.findall(r'\sid="([^"]*)"', made) for made in (one, other)]
    assert ids[0] and not set(ids[0]) & set(ids[1])
    for made, names in zip((one, other), ids, strict=True):
        used = re.findall(r'href="#([^"]*)"', made) + re.findall(r"url\(#([^)]*)\)", made)
        assert used and set(used) <= set(names)
        assert made.count("<path") == svg.count("<path")
        assert "PWN" not in made and "http" not in made and "style" not in made
