"""Short forms of `make sanitize` and `make valgrind`, and the proof that both can fail."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CANNOT = 77
"""Exit status of both commands: something that this machine lacks, and they say what."""

PLANTED = r"""
#include <Python.h>
#include <string.h>

/* What is to be found: a byte too many, a decision on what was never set, a block that is lost. */
static PyObject *wrong(PyObject *self, PyObject *which) {
    long kind = PyLong_AsLong(which);
    volatile char *block = malloc(24);
    long sum = 0;
    if (kind != 2) memset((void *) block, 1, 24);
    if (kind == 1) sum += block[24];
    if (kind == 2 && block[3] == 7) sum += 1;
    if (kind != 3) free((void *) block);
    return PyLong_FromLong(sum);
}
static PyMethodDef methods[] = {{"wrong", wrong, METH_O, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "planted", 0, -1, methods};
PyMODINIT_FUNC PyInit_planted(void) { return PyModule_Create(&module); }
"""


def command(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["sh", str(HERE / f"{tool}.sh"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHON": sys.executable},
    )
    print(done.stdout, done.stderr)
    if done.returncode == CANNOT:
        pytest.skip(f"make {tool}: {done.stdout.strip()}")
    return done


@pytest.fixture
def planted(tmp_path):
    """A folder with the module `planted`, built without optimisation."""
    source = tmp_path / "planted.c"
    source.write_text(PLANTED)
    compiler = os.environ.get("CC", "cc").split()
    include = sysconfig.get_path("include")
    made = [*compiler, "-O0", "-g", "-shared", "-fPIC", f"-I{include}", str(source)]
    subprocess.run([*made, "-o", str(tmp_path / "planted.so")], check=True)
    return tmp_path


@pytest.mark.timeout(600)
def test_the_sanitizers_find_nothing():
    done = command("sanitize", "address", "--short", "-q")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "passed" in done.stdout


@pytest.mark.timeout(600)
def test_valgrind_finds_nothing():
    done = command("valgrind", "--short")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "seen all" in done.stdout and "memcheck: 0 kinds" in done.stdout


def test_valgrind_finds_what_was_planted(planted):
    script = planted / "call.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(planted)!r})\n"
        "import planted; [planted.wrong(kind) for kind in range(4)]\n"
    )
    done = command("valgrind", "--on", "planted.so", str(script))
    assert done.returncode == 1, done.stdout + done.stderr
    for said in ("InvalidRead", "Uninit", "Leak_DefinitelyLost", "memcheck: 3 kinds"):
        assert said in done.stdout
    assert done.stdout.count("wrong (planted.c:") == 3
