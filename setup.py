"""Builds the native modules. Everything else about the package is in pyproject.toml.

HARNESS_NATIVE_DEBUG=1      checks on, -O0 -g, line tracing
HARNESS_NATIVE_QUICK=1      without optimisation: to try an installation out in a third of the time
HARNESS_NATIVE_ONLY=a,b     build just these modules (while working on one)
"""

from __future__ import annotations

import os
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("HARNESS_NATIVE_DEBUG") == "1"

MODULES = ["clock", "framing", "recorder", "kernels"]
if sys.platform.startswith("linux"):
    MODULES.append("reactor")  # epoll and SO_TIMESTAMPING; elsewhere the portable transport serves
    MODULES.append("truth")  # the sending thread of `harness sim`
    MODULES.append("tap")  # the thread of `harness tap`
if only := os.environ.get("HARNESS_NATIVE_ONLY"):
    MODULES = only.split(",")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
    "cdivision": True,
    "binding": True,
    "embedsignature": True,
    "embedsignature.format": "python",
    "auto_pickle": False,
    "autotestdict": False,
    "linetrace": DEBUG,
}

FLAGS = ["-O0", "-g"] if DEBUG else ["-O3", "-g0"]
if os.environ.get("HARNESS_NATIVE_QUICK") == "1":
    FLAGS = ["-O0", "-g0"]

AT_ONCE = min(len(MODULES), os.cpu_count() or 1)


def extensions() -> list[Extension]:
    return cythonize(
        [
            Extension(
                f"harness._native.{name}",
                [f"_native/{name}.pyx"],
                extra_compile_args=["-std=c11", "-pthread", *FLAGS] if os.name == "posix" else [],
                extra_link_args=["-pthread"] if os.name == "posix" else [],
                define_macros=[("CYTHON_TRACE_NOGIL", "1")] if DEBUG else [],
            )
            for name in MODULES
        ],
        # Apart: Cython makes C again when a source is newer, not when a directive differs.
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        compiler_directives=DIRECTIVES,
        include_path=["_native"],
        nthreads=AT_ONCE,
    )


# Where processes are not forked, each that translates a module reads this file again.
if __name__ == "__main__":
    setup(ext_modules=extensions(), options={"build_ext": {"parallel": AT_ONCE}})
