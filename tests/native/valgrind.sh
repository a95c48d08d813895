#!/bin/sh
# The compiled part, as it is built, under valgrind's memcheck. Needs valgrind and Linux.
#
#     sh tests/native/valgrind.sh [pytest options]    the native tests; a quarter of an hour
#     sh tests/native/valgrind.sh --short             a walk through every module; half a minute
#     sh tests/native/valgrind.sh --on PART SCRIPT    any script; errors of objects with PART in
#                                                     their path (for the proof that errors are seen)
#
# Reads and writes outside of what was asked for, use of what was never set, and blocks that nobody
# holds any more: what the sanitizers' build of the interpreter could not tell, this does. Python's
# own malloc is set aside, for it would hide what happens inside its blocks. memcheck.py then keeps
# the errors in which our modules have a part; a list of the interpreter's own (suppressions) would
# differ from one build of Python to the next.
#
# PYTHON names the interpreter with the dev dependencies (.venv/bin/python). Exit status: 0 clean,
# 1 errors, 77 if there is no valgrind, else that of what was run.

set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
part=$root/harness/_native/
cd "$root"

command -v valgrind >/dev/null || {
    echo "needs valgrind (Debian, Ubuntu: apt-get install valgrind; Fedora: dnf install valgrind)"
    exit 77
}

case ${1:-} in
    --short) set -- -m tests.native.tour ;;
    --on) part=$2; shift 2 ;;
    *)
        # Left out: what weighs resident memory, compares times or counts on a thousand calls being
        # under way before the first ends; the fuzzer; and the stubs, which mypy compares in a
        # process of its own.
        api=tests/native/test_framing_api.py
        schedule=tests/native/test_reactor_schedule.py
        set -- -m tests.native.slowly -p no:cacheprovider -o timeout=1200 \
            --ignore tests/native/test_framing_fuzz.py \
            --ignore tests/native/test_memory_tools.py \
            --deselect "$api::test_memory_goes_back" \
            --deselect "$api::test_stubs_say_what_the_modules_are" \
            --deselect "$api::test_cost_grows_with_the_bytes_and_not_with_their_square" \
            --deselect "$schedule::test_a_million_retained_chunks_cost_24_bytes_each" \
            --deselect "$schedule::test_a_thousand_streams_at_once" \
            tests/native tests/sim/test_sender.py "$@"
        ;;
esac

report=$(mktemp "${TMPDIR:-/tmp}/harness-memcheck-XXXXXX")
trap 'rm -f "$report"' EXIT

status=0
# --fair-sched: valgrind runs one thread at a time, and the reactor must get its turn.
PYTHONMALLOC=malloc valgrind --quiet --xml=yes --xml-file="$report" --num-callers=40 \
    --leak-check=full --show-leak-kinds=definite --fair-sched=try \
    "$python" "$@" || status=$?
"$python" tests/native/memcheck.py "$report" "$part" || { found=$?; [ "$status" -ne 0 ] || status=$found; }
exit "$status"
