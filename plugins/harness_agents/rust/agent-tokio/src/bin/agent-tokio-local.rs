//! tokio's LocalRuntime: one thread, tasks that need not be Send, and no LocalSet between them and
//! the scheduler.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use agent_core::Runtime;
use agent_tokio::{Io, connect, identity, outcome};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::task::spawn_local;

struct Local(LocalRuntime);

impl Runtime for Local {
    type Io = Io;

    fn start() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).map(Self)
    }

    fn block_on<W: Future>(&self, work: W) -> W::Output {
        self.0.block_on(work)
    }

    fn threads(&self) -> usize {
        1
    }

    async fn connect(to: SocketAddr) -> io::Result<Io> {
        connect(to).await
    }

    fn spawn<W>(work: W) -> impl Future<Output = W::Output> + Send
    where
        W: Future + Send + 'static,
        W::Output: Send + 'static,
    {
        outcome(spawn_local(work))
    }

    fn detach<W>(work: W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        spawn_local(work);
    }

    async fn sleep(span: Duration) {
        tokio::time::sleep(span).await;
    }
}

fn main() -> ExitCode {
    let note = "tasks are spawned with spawn_local";
    agent_core::session::run::<Local>(&identity("rust-tokio-local", "LocalRuntime", note))
}
