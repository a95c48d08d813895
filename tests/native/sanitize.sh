#!/bin/sh
# The native tests with the compiled part built by gcc under a sanitizer. Needs gcc and Linux.
#
#     sh tests/native/sanitize.sh address [pytest options]   memory errors, undefined behaviour
#     sh tests/native/sanitize.sh thread  [pytest options]   data races: the reactor and its callers
#
# PYTHON names the interpreter with the dev dependencies (.venv/bin/python).
#
# The tree is copied to build/sanitize/ and built in place there, so that the ordinary build stays as
# it is. The interpreter is not built for sanitizers: their runtime is loaded first instead, and
# Python's own malloc is set aside, for it would hide what happens inside its blocks. Leaks are not
# looked for, since the interpreter itself leaves much behind; the ordinary run has tests for that.
# Left out: what weighs the resident memory, which is mostly the sanitizer's here; the stubs, which
# mypy compares in a process of its own; and the fuzzer, which has its own --asan.

set -eu

kind=${1:-}
case $kind in
    address)
        flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
        runtimes="asan ubsan"
        ;;
    # No HARNESS_NATIVE_DEBUG here: line tracing takes the GIL, which would order what may race.
    thread)
        flags="-fsanitize=thread -fno-inline"
        runtimes="tsan"
        ;;
    *) echo "usage: sh tests/native/sanitize.sh address|thread [pytest options]" >&2; exit 2 ;;
esac
shift

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
copy=$root/build/sanitize/$kind

mkdir -p "$copy"
# What was deleted or renamed is not to stay; what was compiled is kept in build/ and copied back.
rm -rf "$copy/_native" "$copy/harness" "$copy/plugins" "$copy/tests"
cd "$root"
tar -cf - --exclude=__pycache__ --exclude='*.so' \
    _native harness plugins tests setup.py pyproject.toml README.md LICENSE | tar -xf - -C "$copy"

cd "$copy"
debug=0
[ "$kind" = thread ] || debug=1
CC=gcc CFLAGS="$flags" LDFLAGS="$flags" HARNESS_NATIVE_DEBUG=$debug \
    "$python" setup.py --quiet build_ext --inplace

preload=
for runtime in $runtimes; do
    preload="$preload $(gcc -print-file-name=lib$runtime.so)"
done
export PYTHONPATH="$copy:$copy/plugins" PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
api=tests/native/test_framing_api.py
schedule=tests/native/test_reactor_schedule.py
# setarch -R: gcc's TSan cannot live with address layouts as random as newer kernels make them.
# --capture=sys: pytest would keep what a sanitizer writes, and lose it when the process dies.
exec setarch -R env LD_PRELOAD="$preload" "$python" -m pytest --capture=sys -p no:cacheprovider \
    --ignore tests/native/test_framing_fuzz.py \
    --deselect "$api::test_memory_goes_back" \
    --deselect "$api::test_stubs_say_what_the_modules_are" \
    --deselect "$schedule::test_a_million_retained_chunks_cost_24_bytes_each" \
    tests/native "$@"
