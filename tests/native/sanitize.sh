#!/bin/sh
# The native tests with the compiled part built by gcc under a sanitizer. Needs gcc and Linux.
#
#     sh tests/native/sanitize.sh address [pytest options]   memory errors, undefined behaviour
#     sh tests/native/sanitize.sh thread  [pytest options]   data races: native threads and their callers
#
# With --short before the pytest options: the modules that face the network, fewer examples, and
# none of the tests that are long for another reason; about a minute with the build, for CI.
#
# PYTHON names the interpreter with the dev dependencies (.venv/bin/python). Exit status: 0 clean, 77
# if this machine cannot do it (and what it lacks), else something was found.
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
    *)
        echo "usage: sh tests/native/sanitize.sh address|thread [--short] [pytest options]" >&2
        exit 2
        ;;
esac
shift
short=
[ "${1:-}" != --short ] || { short=yes; shift; }

lacking() { echo "$1"; exit 77; }
[ "$(uname)" = Linux ] || lacking "sanitizer builds are for Linux"
command -v gcc >/dev/null || lacking "needs gcc (Debian, Ubuntu: apt-get install gcc)"
preload=
for runtime in $runtimes; do
    found=$(gcc -print-file-name=lib$runtime.so)
    # gcc answers with the bare name where it has no such file.
    [ -e "$found" ] || lacking "gcc lacks lib$runtime (Debian, Ubuntu: apt-get install \
libgcc-$(gcc -dumpversion | cut -d. -f1)-dev; Fedora: dnf install lib$runtime)"
    preload="$preload $found"
done
# gcc's TSan cannot live with address layouts as random as newer kernels make them.
plain=
if [ "$kind" = thread ]; then
    setarch -R true 2>/dev/null ||
        lacking "needs setarch -R (util-linux), which this container may not use: see --security-opt"
    plain="setarch -R"
fi

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
[ -z "$short" ] || export HARNESS_NATIVE_ONLY=clock,framing,recorder,reactor,truth,tap
CC=gcc CFLAGS="$flags" LDFLAGS="$flags" HARNESS_NATIVE_DEBUG=$debug \
    "$python" setup.py --quiet build_ext --inplace

export PYTHONPATH="$copy:$copy/plugins" PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
api=tests/native/test_framing_api.py
schedule=tests/native/test_reactor_schedule.py
cost=test_cost_grows_with_the_bytes_and_not_with_their_square
if [ -n "$short" ]; then
    set -- tests.native.slowly --deselect "$api::$cost" \
        --deselect tests/native/test_framing_http.py::test_huge_head_costs_the_same_per_byte_however_it_comes \
        --deselect tests/native/test_recorder.py::test_a_million_chunks_cost_24_bytes_each_beyond_their_payload \
        --deselect tests/native/test_framing_frames.py::test_json_text_comes_through_as_it_was \
        --deselect tests/transport/test_tap_native.py::test_a_thousand_connections_at_once \
        $api tests/native/test_framing_frames.py tests/native/test_framing_http.py \
        tests/native/test_reactor.py tests/native/test_reactor_ends.py \
        tests/native/test_reactor_life.py tests/native/test_recorder.py tests/sim/test_sender.py \
        tests/transport/test_tap_native.py "$@"
else
    set -- pytest --ignore tests/native/test_framing_fuzz.py \
        --ignore tests/native/test_memory_tools.py \
        --deselect "$schedule::test_a_million_retained_chunks_cost_24_bytes_each" \
        tests/native tests/sim/test_sender.py tests/transport/test_tap_native.py \
        tests/transport/test_tap_contract.py "$@"
fi
# --capture=sys: pytest would keep what a sanitizer writes, and lose it when the process dies.
exec $plain env LD_PRELOAD="$preload" "$python" -m "$@" --capture=sys -p no:cacheprovider \
    --deselect "$api::test_memory_goes_back" --deselect "$api::test_stubs_say_what_the_modules_are"
