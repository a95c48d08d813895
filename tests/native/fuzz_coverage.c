/* Edge counters for the fuzzer: gcc -fsanitize-coverage=trace-pc calls us at every basic block.
 *
 * This file is compiled without that flag and linked into the instrumented module, so that one .so
 * holds the code, its counters and what reads them. An edge is a pair of blocks, hashed as AFL does
 * it. Counts fall into three classes (once, some, many): with AFL's eight the corpus filled with
 * inputs that differ in length only, and the fuzzer was slower to find planted bugs.
 */
#include <stdint.h>
#include <string.h>

#define EDGES 65536

static uint8_t counts[EDGES];
static uint8_t seen[EDGES];
static uintptr_t previous;

void __sanitizer_cov_trace_pc(void)
{
    /* Relative to this library, so that edges are the same ones in every process. */
    uintptr_t here = (uintptr_t)__builtin_return_address(0) - (uintptr_t)counts;
    here = (here * 0x9E3779B97F4A7C15u) >> 48;
    uint8_t *count = &counts[here ^ previous];
    if (*count < 255)
        ++*count;
    previous = here >> 1;
}

void fuzz_begin(void)
{
    memset(counts, 0, sizeof counts);
    previous = 0;
}

static uint8_t class_of(uint8_t n)
{
    return n != 0;
}

/* How many (edge, class) pairs the last run was the first to reach. */
int fuzz_harvest(void)
{
    int fresh = 0;
    for (size_t i = 0; i < EDGES; i += 8) {
        uint64_t eight;
        memcpy(&eight, counts + i, 8);
        if (eight == 0)
            continue;
        for (size_t j = i; j < i + 8; j++) {
            uint8_t c = class_of(counts[j]);
            fresh += (c & ~seen[j]) != 0;
            seen[j] |= c;
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
