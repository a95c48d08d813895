//! tokio's multi-thread scheduler, as most programs use it: a worker per core, work stealing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use agent_core::Runtime;
use agent_tokio::{Io, connect, identity, outcome};

struct MultiThread(tokio::runtime::Runtime);

impl Runtime for MultiThread {
    type Io = Io;

    fn start() -> io::Result<Self> {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map(Self)
    }

    fn block_on<W: Future>(&self, work: W) -> W::Output {
        self.0.block_on(work)
    }

    fn threads(&self) -> usize {
        self.0.metrics().num_workers()
    }

    async fn connect(to: SocketAddr) -> io::Result<Io> {
        connect(to).await
    }

    fn spawn<W>(work: W) -> impl Future<Output = W::Output> + Send
    where
        W: Future + Send + 'static,
        W::Output: Send + 'static,
    {
        outcome(tokio::spawn(work))
    }

    fn detach<W>(work: W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(work);
    }

    async fn sleep(span: Duration) {
        tokio::time::sleep(span).await;
    }
}

fn main() -> ExitCode {
    let note = "tasks are spawned onto all workers";
    agent_core::session::run::<MultiThread>(&identity("rust-tokio", "multi-thread", note))
}
