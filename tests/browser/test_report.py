"""The HTML report in a real browser: it renders, sorts, prints, asks for nothing, runs nothing."""

from __future__ import annotations

import io
import re
import zlib

import pytest

from harness.report import html, plots
from harness.report.plots import figures_for
from tests.browser.devtools import MISSING
from tests.report.hostile_runs import hostile_run
from tests.report.rendering import many_trials
from tests.report.sweeps import sweep_run, with_decisions

TABLE = "#cells table"


def page(path, run):
    out = io.BytesIO()
    html.write(run, out)
    path.write_bytes(out.getvalue())
    return path


@pytest.fixture(scope="session")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    made = {
        "two": page(folder / "two.html", many_trials(30)),
        "hostile": page(folder / "hostile.html", hostile_run()),
    }
    with pytest.MonkeyPatch.context() as patch:  # all of eighteen cells would take seconds
        patch.setattr(plots, "figures_for", lambda run, **more: figures_for(run, **more)[:5])
        made["sweep"] = page(folder / "sweep.html", with_decisions(sweep_run(2, 2)))
    return made


def column(tab, index: int) -> list[str]:
    """What the first line of each cell says, from top to bottom."""
    return tab.run(
        f"[...document.querySelectorAll('{TABLE} tbody tr')]"
        f".map(row => row.cells[{index}].firstChild.textContent.trim())"
    )


def sorts(tab) -> list[str | None]:
    return tab.run(
        f"[...document.querySelectorAll('{TABLE} thead th')].map(h => h.getAttribute('aria-sort'))"
    )


def test_it_is_one_file_that_asks_for_nothing_and_complains_of_nothing(tab, pages):
    tab.open(pages["sweep"])
    assert tab.requests() == [pages["sweep"].as_uri()]
    assert tab.complaints() == []
    assert tab.run("document.title") == "toy run · valid · harness"
    assert tab.run("document.querySelectorAll('#cells tbody tr').length") == 18
    assert tab.run("document.querySelectorAll('#plots figure svg').length") > 3
    drawn = tab.run("[...document.querySelectorAll('figure svg')].every(s => s.clientWidth > 200)")
    assert drawn
    ids = tab.run("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    uses = tab.run("[...document.querySelectorAll('use')].map(e => e.getAttribute('href'))")
    assert uses and {use[1:] for use in uses} <= set(ids)


def test_the_policy_refuses_what_a_page_could_fetch_or_run(tab, pages):
    tab.open(pages["two"])
    refused = tab.run(
        """(async () => {
            const seen = [];
            addEventListener('securitypolicyviolation', e => seen.push(e.effectiveDirective));
            await fetch('http://127.0.0.1:9/').catch(() => 0);
            const add = (name, fields) =>
                document.body.append(Object.assign(document.createElement(name), fields));
            add('img', {src: 'http://127.0.0.1:9/x.png'});
            add('script', {textContent: 'globalThis.PWNED = 1'});
            add('style', {textContent: 'body { display: none }'});
            add('iframe', {src: 'http://127.0.0.1:9/'});
            document.body.setAttribute('onclick', 'globalThis.PWNED = 1');
            document.body.click();
            await new Promise(done => setTimeout(done, 50));
            return seen;
        })()"""
    )
    assert {"connect-src", "img-src", "script-src-elem", "style-src-elem", "frame-src"} <= set(
        refused
    )
    assert "script-src-attr" in refused
    assert tab.run("globalThis.PWNED") is None
    assert tab.run("getComputedStyle(document.body).display") == "block"


def test_a_click_sorts_and_another_turns_it_round(tab, pages):
    tab.open(pages["sweep"])
    before = column(tab, 4)
    head = f"{TABLE} thead th:nth-child(5) button"
    tab.click(head)
    up = [float(text) for text in column(tab, 4)]
    assert up == sorted(up) and [str(x) for x in up] != before
    assert sorts(tab)[4] == "ascending" and sorts(tab).count(None) == len(sorts(tab)) - 1
    tab.click(head)
    assert [float(text) for text in column(tab, 4)] == up[::-1]
    assert sorts(tab)[4] == "descending"
    tab.click(f"{TABLE} thead th:nth-child(2) button")  # levels of an axis are numbers
    assert column(tab, 1) == ["512"] * 6 + ["1024"] * 6 + ["4096"] * 6
    assert sorts(tab)[4] is None and sorts(tab)[1] == "ascending"
    assert tab.complaints() == []


def test_the_keyboard_sorts_as_well(tab, pages):
    tab.open(pages["sweep"])
    tab.run(f"document.querySelector('{TABLE} thead th:nth-child(5) button').focus()")
    tab.key("Enter", 13)
    assert sorts(tab)[4] == "ascending"
    tab.key(" ", 32)
    assert sorts(tab)[4] == "descending"
    reached = tab.run(
        "[...document.querySelectorAll('thead button, summary, #theme, nav a')]"
        ".every(e => e.tabIndex === 0)"
    )
    assert reached


def test_unknown_figures_go_last_whichever_way(tab, pages):
    tab.open(pages["two"])
    tab.run(
        f"""(() => {{
            const row = document.querySelector('{TABLE} tbody tr');
            row.cells[2].setAttribute('data-unknown', '');
            row.cells[2].firstChild.textContent = '—';
        }})()"""
    )
    for _ in range(2):
        tab.click(f"{TABLE} thead th:nth-child(3) button")
        assert column(tab, 2)[-1] == "—"


@pytest.mark.parametrize("name", ["two", "sweep", "hostile"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_runs_over_the_edge(tab, pages, name, width):
    tab.size(width)
    tab.open(pages[name])
    tab.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.run("document.documentElement.scrollWidth") <= width
    over = tab.run(
        f"[...document.querySelectorAll('h1, h2, p, dl, figure, nav, pre, .scroll')]"
        f".filter(e => e.getBoundingClientRect().right > {width} + 1).map(e => e.outerHTML)"
    )
    assert over == []


def paper(tab) -> int:
    return lightness(tab.run("getComputedStyle(document.body).backgroundColor"))


def lightness(colour: str) -> int:
    """0 … 255."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3


def test_light_and_dark_follow_the_system_or_the_reader(tab, pages):
    for scheme, bounds in {"light": (240, 255), "dark": (0, 60)}.items():
        tab.prefers(scheme)
        tab.open(pages["two"])
        assert bounds[0] <= paper(tab) <= bounds[1]
        ink = tab.run("getComputedStyle(document.querySelector('.f-ink')).fill")
        assert (lightness(ink) > 200) is (scheme == "dark")
    tab.prefers("light")
    label = "document.getElementById('theme').textContent"
    assert tab.run(label) == "Auto"
    tab.click("#theme")
    tab.click("#theme")
    assert tab.run(label) == "Dark" and paper(tab) < 60
    tab.open(pages["two"])  # remembered
    assert paper(tab) < 60
    tab.run("localStorage.clear()")


def test_hostile_text_is_inert_and_still_there(tab, pages):
    tab.open(pages["hostile"])
    tab.run(
        "document.querySelectorAll('*').forEach(e => {"
        "for (const kind of ['mouseover', 'focus', 'click', 'load', 'error'])"
        "  if (!['A', 'BUTTON', 'SUMMARY'].includes(e.tagName))"
        "    e.dispatchEvent(new Event(kind)); })"
    )
    assert tab.run("globalThis.PWNED") is None
    assert tab.complaints() == []
    assert tab.requests() == [pages["hostile"].as_uri()]
    assert tab.run("document.querySelectorAll('script').length") == 1
    assert tab.run("document.querySelectorAll('style').length") == 1
    strangers = "iframe, img, link, base, form, object, embed, [onload], [onerror], [onmouseover]"
    assert tab.run(f"document.querySelectorAll('{strangers}').length") == 0
    links = tab.run("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert links and all(re.fullmatch(r"#\w+", link) for link in links)
    text = tab.run("document.body.textContent")
    assert "<script>globalThis.PWNED = 1</script>" in text
    assert "{{ 7 * 7 }}" in text
    assert not set(text) & set("\u202e\u202c\x1b\x00\u200b\x07")
    assert tab.run("getComputedStyle(document.body, '::after').content") == '"SIMULATED"'


def test_it_prints_with_everything_that_is_folded(tab, pages):
    tab.open(pages["sweep"])
    pdf = tab.pdf()
    assert pdf.startswith(b"%PDF-")
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", inflated(pdf))
    assert len(boxes) > 5
    assert any(float(w) > float(h) for w, h in boxes), "wide tables are turned"
    folded = tab.run("document.querySelectorAll('details[open]').length")
    assert folded == 0, "and is folded again"


def inflated(pdf: bytes) -> bytes:
    """With what object streams hold."""
    parts = [pdf]
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", pdf, re.DOTALL):
        try:
            parts.append(zlib.decompress(found[1]))
        except zlib.error:
            continue
    return b"".join(parts)


def test_without_its_script_it_is_whole(tab, pages):
    tab.command("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(pages["sweep"])
    tab.command("Emulation.setScriptExecutionDisabled", value=False)
    assert tab.run("document.querySelectorAll('#cells tbody tr').length") == 18
    assert tab.run("document.querySelectorAll('thead button').length") == 0
    assert tab.run("document.getElementById('theme').hidden")


def test_what_to_do_without_a_browser_is_said():
    assert "make browser" in MISSING and "apt-get install" in MISSING
