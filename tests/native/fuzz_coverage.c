/* Edge coverage for the fuzzer: gcc -fsanitize-coverage=trace-pc calls us at every basic block.
 *
 * This file is compiled without that flag and linked into the instrumented module, so that one .so
 * holds the code, its coverage and what reads it. An edge is a pair of blocks, hashed as AFL does
 * it. How often an edge was taken is left out: with AFL's classes of counts the corpus filled with
 * inputs that differ in length only, and planted bugs were found later.
 */
#include <stdint.h>
#include <string.h>

#define EDGES 65536

static uint8_t reached[EDGES];
static uint8_t seen[EDGES];
static uintptr_t previous;

void __sanitizer_cov_trace_pc(void)
{
    /* Relative to this library, so that edges are the same ones in every process. */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)reached;
    here = (here * 0x9E3779B97F4A7C15u) >> 48;
    reached[here ^ previous] = 1;
    previous = here >> 1;
}

void fuzz_begin(void)
{
    memset(reached, 0, sizeof reached);
    previous = 0;
}

/* How many edges the last run was the first to reach. */
int fuzz_harvest(void)
{
    int fresh = 0;
    for (size_t i = 0; i < EDGES; i += 8) {
        uint64_t eight;
        memcpy(&eight, reached + i, 8);
        if (eight == 0)
            continue;
        for (size_t j = i; j < i + 8; j++) {
            fresh += reached[j] && !seen[j];
            seen[j] |= reached[j];
        }
    }
    return fresh;
}

int fuzz_edges(void)
{
    int n = 0;
    for (size_t i = 0; i < EDGES; i++)
        n += seen[i] != 0;
    return n;
}
