//! smol on one thread: an executor that the main thread runs, connections of async-io behind hyper's
//! traits by smol-hyper.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::session::Identity;
use agent_core::{Reading, Runtime};
use smol::{Executor, Timer, net::TcpStream};
use smol_hyper::rt::FuturesIo;

// Not `smol::spawn`: its tasks run on a thread beside the one that waits for them.
static EXECUTOR: Executor<'static> = Executor::new();

/// smol, single-threaded.
pub struct Smol;

impl Runtime for Smol {
    type Io = FuturesIo<TcpStream>;

    fn start() -> io::Result<Self> {
        Ok(Self)
    }

    fn block_on<W: Future>(&self, work: W) -> W::Output {
        smol::block_on(EXECUTOR.run(work))
    }

    fn threads(&self) -> usize {
        1
    }

    async fn connect(to: SocketAddr) -> io::Result<Self::Io> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(FuturesIo::new(stream))
    }

    fn spawn<W>(work: W) -> impl Future<Output = W::Output> + Send
    where
        W: Future + Send + 'static,
        W::Output: Send + 'static,
    {
        EXECUTOR.spawn(work)
    }

    fn detach<W>(work: W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        EXECUTOR.spawn(work).detach();
    }

    async fn sleep(span: Duration) {
        Timer::after(span).await;
    }
}

/// smol, by this way of reading.
pub const fn identity(name: &'static str, flavour: &'static str, reading: Reading) -> Identity {
    Identity {
        name,
        runtime: "smol",
        flavour,
        crates: &["smol", "async-executor", "async-io", "smol-hyper"],
        note: "tasks are spawned onto an Executor that the main thread runs",
        reading,
    }
}
