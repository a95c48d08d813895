//! SIGTERM: calls end as `cancelled`, what is known is written, and the process ends.
//!
//! A thread waits for the signal, in every binary the same, and wakes the tasks. What it costs while
//! nothing happens: one atomic read per wake-up of a task. A process that does not come to its end is
//! ended, before the harness has to.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;
use std::{collections::HashMap, io};

use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

const GRACE: Duration = Duration::from_millis(1500);
/// As a shell says it of a process that SIGTERM ended.
const TERMINATED: i32 = 128 + SIGTERM;

/// Whether somebody asked us to stop, and who wants to know.
#[derive(Default)]
pub(crate) struct Interrupt {
    asked: AtomicBool,
    working: AtomicBool,
    waiting: Mutex<HashMap<usize, Waker>>,
}

impl Interrupt {
    /// Listen for SIGTERM. Until `work_begins`, it ends the process at once.
    pub(crate) fn listen() -> io::Result<Arc<Self>> {
        let ours = Arc::new(Self::default());
        let mut signals = Signals::new([SIGTERM])?;
        let theirs = Arc::clone(&ours);
        thread::Builder::new().name("interrupt".into()).spawn(move || {
            if signals.forever().next().is_some() {
                if theirs.working.load(Ordering::Acquire) {
                    theirs.ask();
                    thread::sleep(GRACE);
                }
                exit(TERMINATED);
            }
        })?;
        Ok(ours)
    }

    pub(crate) fn work_begins(&self) {
        self.working.store(true, Ordering::Release);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// A place in the list of those who are woken.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { interrupt: self, waker: None }
    }

    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        for waker in self.waiting().values() {
            waker.wake_by_ref();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<usize, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Place<'a> {
    interrupt: &'a Interrupt,
    waker: Option<Box<Waker>>,
}

impl Place<'_> {
    /// To be called at each poll.
    pub(crate) fn asked(&mut self, context: &Context<'_>) -> bool {
        let known = self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if !known {
            self.leave();
            let waker = Box::new(context.waker().clone());
            self.interrupt.waiting().insert(key(&waker), Waker::clone(&waker));
            self.waker = Some(waker);
        }
        // After the waker is in the list: whoever asks either sees it there, or is seen here.
        self.interrupt.is_asked()
    }

    fn leave(&mut self) {
        if let Some(waker) = self.waker.take() {
            self.interrupt.waiting().remove(&key(&waker));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The address of a box is nobody else's while it lives.
#[allow(clippy::borrowed_box)]
fn key(waker: &Box<Waker>) -> usize {
    std::ptr::from_ref::<Waker>(waker).addr()
}
