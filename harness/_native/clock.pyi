"""The one clock. All instants are CLOCK_MONOTONIC in int64 ns (what time.perf_counter_ns reads on
Linux)."""

def monotonic_ns() -> int:
    """Now, on CLOCK_MONOTONIC."""

def realtime_offset_ns(tries: int = 16) -> tuple[int, int]:
    """(CLOCK_REALTIME − CLOCK_MONOTONIC, uncertainty): the tightest of `tries` bracketed samples.

    The uncertainty is half the width of the bracket. Raises ValueError if tries < 1.
    """

def build_info() -> dict[str, str]:
    """Compiler, Cython version and `debug` ("0" or "1") of this build."""
