"""The look: can series be told apart in colour, without colour, and on paper?"""

from __future__ import annotations

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest

from harness.report.plots.style import LOOKS, applied, look

# Machado, Oliveira & Fernandes (2009), severity 1.0, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip
SIX = [one.colour for one in LOOKS[:6]]


def linear(colour):
    row = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(row <= 0.04045, row / 12.92, ((row + 0.055) / 1.055) ** 2.4)


def luminance(colour):
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(colour))


def lab(rgb):
    matrix = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    part = matrix @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    x, y, z = np.where(part > 0.008856, np.cbrt(part), 7.787 * part + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("colour", SIX)
def test_every_colour_stands_out_from_paper(colour):
    """3 : 1, as WCAG 1.4.11 asks of graphics."""
    assert 1.05 / (luminance(colour) + 0.05) >= 3.0


@pytest.mark.parametrize("sight", SIGHT)
def test_the_six_colours_differ_to_every_eye(sight):
    """A ΔE of 10 is seen at a glance."""
    seen = [lab(SIGHT[sight] @ linear(colour)) for colour in SIX]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2)) >= 10


def test_nothing_rests_on_colour_alone():
    """In grey, the marker alone tells the first seven apart; marker and dash all of them."""
    assert len({one.marker for one in LOOKS[:6]}) == 6
    assert len({(one.marker, str(one.dash)) for one in LOOKS[:35]}) == 35
    assert len({(one.colour, one.marker) for one in LOOKS}) == len(LOOKS)
    assert look(len(LOOKS) + 3) == look(3)


def test_the_style_leaves_no_trace():
    before = dict(mpl.rcParams)
    with applied():
        assert mpl.rcParams["text.parse_math"] is False
    assert dict(mpl.rcParams) == before
