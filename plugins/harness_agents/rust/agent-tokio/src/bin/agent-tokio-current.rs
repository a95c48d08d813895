//! tokio on one thread, its tasks in a LocalSet: to the scheduler they are one task.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use agent_core::Runtime;
use agent_tokio::{Io, connect, identity, outcome};
use tokio::task::{LocalSet, spawn_local};

struct CurrentThread {
    runtime: tokio::runtime::Runtime,
    tasks: LocalSet,
}

impl Runtime for CurrentThread {
    type Io = Io;

    fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, tasks: LocalSet::new() })
    }

    fn block_on<W: Future>(&self, work: W) -> W::Output {
        self.tasks.block_on(&self.runtime, work)
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
    let flavour = "current-thread with LocalSet";
    agent_core::session::run::<CurrentThread>(&identity("rust-tokio-current", flavour, note))
}
