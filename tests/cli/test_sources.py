"""What a compiled module is made from: cimports are followed, and as Cython follows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.sources import native_sources

FOLDER = Path(__file__).resolve().parents[2] / "_native"


def write(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def names(module, folder):
    return {path.name for path in native_sources(module, folder)}


def test_cimports_are_followed_however_they_are_written(tmp_path):
    write(
        tmp_path,
        a__pyx="cimport b\nfrom c cimport (\n    x, y,\n)\nfrom libc.math cimport sin\n",
        b__pxd="cimport d as e, f  # both\n",
        c__pxd='if True:\n    from g cimport z\ninclude "h.pxi"\n',
        **{f"{name}__pxd": "" for name in "dfg"},
        h__pxi="cimport i\n",
        i__pxd="cimport b\n",
    )
    made_from = {"a.pyx", "b.pxd", "c.pxd", "d.pxd", "f.pxd", "g.pxd", "h.pxi", "i.pxd"}
    assert names("a", tmp_path) == made_from


def test_what_is_not_a_cimport_is_not_followed(tmp_path):
    write(
        tmp_path,
        a__pyx="# cimport b\nimport c\nfrom d import cimport\nx = 1  # see from e cimport f\n",
        **{f"{name}__pxd": "" for name in "bcde"},
    )
    assert names("a", tmp_path) == {"a.pyx"}


def test_a_header_of_the_same_name_belongs_to_the_module(tmp_path):
    write(tmp_path, a__pyx="", a__pxd="cimport b\n", b__pxd="")
    assert names("a", tmp_path) == {"a.pyx", "a.pxd", "b.pxd"}


def test_a_circle_ends(tmp_path):
    write(tmp_path, a__pyx="cimport b\n", b__pxd="cimport c\n", c__pxd="cimport b\n")
    assert names("a", tmp_path) == {"a.pyx", "b.pxd", "c.pxd"}


def test_nothing_there_is_made_from_nothing(tmp_path):
    assert native_sources("a", tmp_path) == set()


@pytest.mark.parametrize("module", sorted(path.stem for path in FOLDER.glob("*.pyx")))
def test_our_modules_are_made_from_what_cython_says(module, monkeypatch):
    dependencies = pytest.importorskip(
        "Cython.Build.Dependencies", reason="needs Cython, as building does: pip install cython"
    )
    from Cython.Compiler.Main import Context
    from Cython.Compiler.Options import CompilationOptions

    monkeypatch.chdir(FOLDER.parent)
    context = Context.from_options(CompilationOptions(include_path=[str(FOLDER)]))
    tree = dependencies.DependencyTree(context, quiet=True)
    seen = tree.all_dependencies(str(FOLDER / f"{module}.pyx"))
    ours = {path.resolve() for path in map(Path, seen) if path.resolve().parent == FOLDER}
    assert native_sources(module, FOLDER) == ours
