//! What tokio's three flavours have in common: connections, timers, and how they say who they are.

use std::io;
use std::net::SocketAddr;

use agent_core::Reading;
use agent_core::session::Identity;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A connection of tokio's, behind hyper's traits.
pub type Io = TokioIo<TcpStream>;

/// Connect, with TCP_NODELAY.
pub async fn connect(to: SocketAddr) -> io::Result<Io> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

/// The outcome of a task. A panic ends the process, so that there always is one.
pub async fn outcome<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await.expect("a task that is not cancelled comes to its end")
}

/// One of tokio's flavours.
pub const fn identity(name: &'static str, flavour: &'static str, note: &'static str) -> Identity {
    Identity {
        name,
        runtime: "tokio",
        flavour,
        crates: &["tokio", "mio", "hyper-util"],
        note,
        reading: Reading::AsItComes,
    }
}
