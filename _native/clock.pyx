# The one clock: CLOCK_MONOTONIC in int64 ns, and its distance from CLOCK_REALTIME.
#
# Kernel receive stamps are CLOCK_REALTIME, everything else here is CLOCK_MONOTONIC. The distance is
# sampled by bracketing: monotonic, realtime, monotonic. The true distance at some instant within the
# bracket is known to half its width, so of several samples the one with the narrowest bracket wins
# (a mean would mix in the samples during which the thread was interrupted).

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(_WIN32)
      #include <windows.h>
      /* QueryPerformanceCounter is what time.perf_counter_ns reads there. */
      static int64_t harness_monotonic_ns(void) {
          LARGE_INTEGER hz, now;
          QueryPerformanceFrequency(&hz);
          QueryPerformanceCounter(&now);
          return (now.QuadPart / hz.QuadPart) * 1000000000
               + (now.QuadPart % hz.QuadPart) * 1000000000 / hz.QuadPart;
      }
      static int64_t harness_realtime_ns(void) {
          FILETIME t;
          GetSystemTimePreciseAsFileTime(&t);
          /* 100 ns ticks since 1601. */
          return ((((int64_t)t.dwHighDateTime << 32) | t.dwLowDateTime) - 116444736000000000) * 100;
      }
    #else
      #include <time.h>
      static int64_t harness_read_ns(clockid_t id) {
          struct timespec t;
          clock_gettime(id, &t);  /* cannot fail: both ids are always there */
          return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
      }
      static int64_t harness_monotonic_ns(void) { return harness_read_ns(CLOCK_MONOTONIC); }
      static int64_t harness_realtime_ns(void) { return harness_read_ns(CLOCK_REALTIME); }
    #endif

    #define HARNESS_TEXT_(x) #x
    #define HARNESS_TEXT(x) HARNESS_TEXT_(x)
    #if defined(__clang__)
      #define HARNESS_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
      #define HARNESS_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
      #define HARNESS_COMPILER "msvc " HARNESS_TEXT(_MSC_VER)
    #else
      #define HARNESS_COMPILER "unknown"
    #endif
    /* setup.py defines this in debug builds only. */
    #if defined(CYTHON_TRACE_NOGIL) && CYTHON_TRACE_NOGIL
      #define HARNESS_DEBUG 1
    #else
      #define HARNESS_DEBUG 0
    #endif
    """
    int64_t harness_monotonic_ns() noexcept nogil
    int64_t harness_realtime_ns() noexcept nogil
    const char* HARNESS_COMPILER
    int HARNESS_DEBUG
    unsigned long CYTHON_HEX_VERSION


def monotonic_ns():
    return harness_monotonic_ns()


def realtime_offset_ns(int tries=16):
    cdef int64_t before, realtime, after
    cdef int64_t offset = 0
    cdef int64_t width = -1
    cdef int i
    if tries < 1:
        raise ValueError(f"tries must be 1 or more, not {tries}")
    # The GIL stays held: sixteen brackets take about a microsecond, and giving it up would only
    # invite another thread into one of them.
    for i in range(tries):
        before = harness_monotonic_ns()
        realtime = harness_realtime_ns()
        after = harness_monotonic_ns()
        if width < 0 or after - before < width:
            width = after - before
            offset = realtime - (before + width // 2)
    return offset, (width + 1) // 2


def build_info():
    cdef unsigned long v = CYTHON_HEX_VERSION
    return {
        "compiler": HARNESS_COMPILER.decode(),
        "cython": f"{v >> 24 & 255}.{v >> 16 & 255}.{v >> 8 & 255}",
        "debug": str(HARNESS_DEBUG),
    }
