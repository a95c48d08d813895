//! The clock that all agents and the harness share: CLOCK_MONOTONIC, in nanoseconds.
//! (`std::time::Instant` is of the same clock, but does not say its value.)

use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Now.
pub fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Block this thread until the instant has come. Not by a runtime's timer: the start is to be the
/// same for all of them.
pub fn sleep_until(at_ns: i64) {
    let at = Timespec { tv_sec: at_ns / 1_000_000_000, tv_nsec: at_ns % 1_000_000_000 };
    while now_ns() < at_ns {
        // A signal may wake us early.
        let _ = clock_nanosleep_absolute(rustix::thread::ClockId::Monotonic, &at);
    }
}
