//! What a runtime must be able to do.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// An async runtime, as the work uses it. The functions without `self` are called within `block_on`,
/// where every runtime knows itself.
///
/// All tasks are `Send`, also where the runtime would do without: one piece of work for all.
pub trait Runtime: Sized + 'static {
    /// With its threads running, as far as it has any.
    fn start() -> io::Result<Self>;

    /// Run this on the calling thread to its end, and tasks as the runtime does.
    fn block_on<W: Future>(&self, work: W) -> W::Output;

    /// How many threads run tasks.
    fn threads(&self) -> usize;

    /// A TCP connection, behind hyper's own traits.
    type Io: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static;

    /// Connect, with TCP_NODELAY.
    fn connect(to: SocketAddr) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// Start a task of its own; the future is its outcome.
    fn spawn<W>(work: W) -> impl Future<Output = W::Output> + Send
    where
        W: Future + Send + 'static,
        W::Output: Send + 'static;

    /// Start a task that nobody waits for.
    fn detach<W>(work: W)
    where
        W: Future<Output = ()> + Send + 'static;

    /// By the runtime's own timer.
    fn sleep(span: Duration) -> impl Future<Output = ()> + Send;
}

/// How the response's bytes reach the parser.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// Each piece as soon as hyper has it.
    AsItComes,
    /// Not before so many bytes are there, or the end: when a token came, such a reader cannot know.
    Accumulating(usize),
}

impl Reading {
    /// Why there are no instants, for a reader that cannot know them.
    pub fn blind(self) -> Option<String> {
        match self {
            Reading::AsItComes => None,
            Reading::Accumulating(bytes) => Some(format!(
                "this reader hands on nothing before it has {bytes} bytes: it cannot know when a token came"
            )),
        }
    }
}
