#!/bin/sh
# The native tests with the compiled part built by gcc under a sanitizer. Needs gcc and Linux.
#
#     sh tests/native/sanitize.sh address [pytest arguments]   memory errors, undefined behaviour
#     sh tests/native/sanitize.sh thread  [pytest arguments]   data races: the reactor and its callers
#
# PYTHON names the interpreter with the dev dependencies (.venv/bin/python).
#
# The tree is copied to build/sanitize/ and built in place there, so that the ordinary build stays as
# it is. The interpreter is not built for sanitizers: their runtime is loaded first instead, and
# Python's own malloc is set aside, for it would hide what happens inside its blocks. Leaks are not
# looked for, since the interpreter itself leaves much behind; tests that count memory and descriptors
# do that. Those are left out here, and so is whatever measures: a sanitizer costs both.

set -eu

kind=${1:-}
case $kind in
    address) flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined" runtimes="asan ubsan" ;;
    # No HARNESS_NATIVE_DEBUG here: line tracing takes the GIL, which would order what may race.
    thread) flags="-fsanitize=thread -fno-inline" runtimes="tsan" ;;
    *) echo "usage: sh tests/native/sanitize.sh address|thread [pytest arguments]" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- tests/native

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
copy=$root/build/sanitize/$kind

mkdir -p "$copy"
rm -rf "$copy/_native" "$copy/harness/cli" "$copy/tests"  # what was deleted or renamed is not kept
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
# To files, because pytest holds what is written to stderr and a process that dies takes it along.
reports=$copy/reports
rm -rf "$reports"
mkdir "$reports"
export PYTHONPATH="$copy:$copy/plugins" PYTHONMALLOC=malloc
export ASAN_OPTIONS="detect_leaks=0 log_path=$reports/address"
export UBSAN_OPTIONS="print_stacktrace=1 log_path=$reports/undefined"
export TSAN_OPTIONS="log_path=$reports/thread"

status=0
# setarch -R: gcc's TSan cannot live with address layouts as random as newer kernels make them.
setarch -R env LD_PRELOAD="$preload" "$python" -m pytest -p no:cacheprovider \
    --ignore tests/native/test_framing_fuzz.py \
    --deselect tests/native/test_framing_api.py::test_memory_goes_back \
    --deselect tests/native/test_framing_api.py::test_stubs_say_what_the_modules_are \
    --deselect tests/native/test_reactor_schedule.py::test_a_million_retained_chunks_cost_24_bytes_each \
    "$@" || status=$?
for report in "$reports"/*; do
    if [ -e "$report" ]; then
        cat "$report"
        status=1
    fi
done
exit $status
