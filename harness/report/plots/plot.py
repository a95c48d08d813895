"""One figure: what it is called, what it shows in words, and how it is drawn, when asked."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from harness.errors import StoreError
from harness.report.plots.style import FAINT, GREY, INK, applied
from harness.report.plots.svg import inlined
from harness.report.plots.words import drawable
from harness.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["FORMATS", "Frame", "Plot"]

FORMATS: Final = ("png", "svg", "pdf")
DPI: Final = 150
FOOT_IN: Final = 0.30
HEAD_IN: Final = 0.58


class Frame(Struct, frozen=True, kw_only=True):
    """What every figure of a run bears."""

    footer: str
    """Run, specification, verdict: where the figure comes from."""
    simulated: bool
    """No model was measured: said across the figure."""
    key: str
    """Tells the run from others on the same page."""


class Plot(Struct, frozen=True, kw_only=True):
    """A figure that can be drawn as often as you like, with the same bytes each time."""

    name: str
    """Of its file, without the suffix; unique within a run."""
    kind: str
    title: str
    subtitle: str
    """One line below the title: n, and what is marked."""
    caption: str
    """What is shown, with every n, and what was left out."""
    data: Any
    """What is drawn, as numbers."""
    size_in: tuple[float, float]
    draw: Callable[[SubFigure], None]
    """Fills what lies between title and footer. Called in our style."""
    frame: Frame

    def svg(self) -> str:
        """An `<svg>` element for a page: self-contained, ids unique to this figure."""
        digest = hashlib.sha256(f"{self.frame.key}/{self.name}".encode()).hexdigest()[:8]
        document = self.rendered("svg").decode()
        return inlined(document, f"h{digest}-", one_line(self.title), one_line(self.caption, 4000))

    def save(self, path: Path) -> None:
        """As .png, .svg or .pdf, by the name. Raises StoreError."""
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in FORMATS:
            raise StoreError(
                "a figure is a .png, .svg or .pdf file", where=str(path), remedy=f"{path.stem}.png"
            )
        content = self.rendered(suffix)
        try:
            path.write_bytes(content)
        except OSError as error:
            raise StoreError(
                f"cannot write: {(error.strerror or str(error)).lower()}",
                where=str(path),
                remedy="--out FOLDER",
            ) from None

    def rendered(self, suffix: str, *, dpi: int = DPI) -> bytes:
        """The file's bytes. `dpi` is of a .png: 84 make it as wide as a page of text."""
        from matplotlib.figure import Figure

        out = io.BytesIO()
        with applied(), warnings.catch_warnings():
            # A panel without room is drawn all the same; matplotlib says so of tiny ones.
            warnings.filterwarnings("ignore", message="constrained_layout not applied")
            figure = Figure(figsize=self.size_in, dpi=dpi, layout="constrained")
            self.draw(self._frame(figure))
            figure.savefig(out, format=suffix, metadata=self._metadata(suffix))
        return out.getvalue()

    def _frame(self, figure: Figure) -> SubFigure:
        """Title above, footer below, the watermark behind; returned is what lies between."""
        width, height = self.size_in
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.08, h_pad=0.06)
        ratios = [HEAD_IN, height - HEAD_IN - FOOT_IN, FOOT_IN]
        parts: Any = figure.subfigures(3, 1, height_ratios=ratios, hspace=0, facecolor="none")
        left = 0.12 / width
        room = int(width * 12.2)  # characters of the title that the width has room for
        figure.text(left, 1 - 0.12 / height, drawable(one_line(self.title, int(room * 0.82))),
                    ha="left", va="top", fontsize=11.5, fontweight="bold", color=INK)  # fmt: skip
        figure.text(left, 1 - 0.35 / height, drawable(one_line(self.subtitle, int(room * 1.08))),
                    ha="left", va="top", fontsize=8.5, color=GREY)  # fmt: skip
        figure.text(left, 0.09 / height, drawable(one_line(self.frame.footer, int(room * 1.3))),
                    ha="left", va="bottom", fontsize=7, color=GREY)  # fmt: skip
        if self.frame.simulated:
            figure.text(0.5, 0.5, "SIMULATED", ha="center", va="center", zorder=-1,
                        rotation=18, fontsize=min(9.0 * width, 16.0 * height),
                        fontweight="bold", color=FAINT, alpha=0.24)  # fmt: skip
        body: SubFigure = parts[1]
        return body

    def _metadata(self, suffix: str) -> dict[str, Any]:
        """What a file says of itself; no date, so that equal figures are equal bytes."""
        told = one_line(self.caption, 4000)
        if suffix == "png":
            return {"Title": one_line(self.title), "Description": told, "Software": "harness"}
        if suffix == "svg":
            return {"Title": one_line(self.title), "Date": None, "Creator": "harness"}
        return {"Title": one_line(self.title), "Subject": told, "CreationDate": None,
                "Creator": "harness", "Producer": None}  # fmt: skip
