//! async-std, discontinued in 2025 (RUSTSEC-2025-0052): here to be held against older work that used
//! it, and not to be built on. Its global executor has a thread per core.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use agent_core::session::Identity;
use agent_core::{Reading, Runtime};
use async_std::net::TcpStream;
use async_std::task;
use smol_hyper::rt::FuturesIo;

struct AsyncStd;

impl Runtime for AsyncStd {
    type Io = FuturesIo<TcpStream>;

    fn start() -> io::Result<Self> {
        Ok(Self)
    }

    fn block_on<W: Future>(&self, work: W) -> W::Output {
        task::block_on(work)
    }

    /// As async-global-executor decides it.
    fn threads(&self) -> usize {
        let said = std::env::var("ASYNC_STD_THREAD_COUNT").ok().and_then(|said| said.parse().ok());
        said.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
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
        task::spawn(work)
    }

    fn detach<W>(work: W)
    where
        W: Future<Output = ()> + Send + 'static,
    {
        task::spawn(work);
    }

    async fn sleep(span: Duration) {
        task::sleep(span).await;
    }
}

fn main() -> ExitCode {
    agent_core::session::run::<AsyncStd>(&Identity {
        name: "rust-async-std",
        runtime: "async-std",
        flavour: "",
        crates: &["async-std", "async-global-executor", "async-io", "smol-hyper"],
        note: "historic: async-std is discontinued since 2025; tasks are spawned onto its global threads",
        reading: Reading::AsItComes,
    })
}
