//! What the peers have in common: arguments, a listener, an echo loop.

use std::env;
use std::error::Error;
use std::future::Future;

use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Whatever went wrong; nobody tells failures apart here.
pub type Failure = Box<dyn Error + Send + Sync>;

/// The largest message that a peer is set up for, in bytes.
pub const MAX_MESSAGE: usize = 64 << 20;

/// Messages that are answered before they are flushed, with [`Options::batch`].
const BATCH: usize = 32;

/// `PORT [--batch] [--deflate]`
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where to listen, on 127.0.0.1.
    pub port: u16,
    /// Answer what has arrived together, then flush once.
    pub batch: bool,
    /// Agree to compress.
    pub deflate: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// If there is no port or something unknown.
    pub fn read() -> Result<Self, Failure> {
        let mut args = env::args().skip(1);
        let mut options = Self {
            port: args.next().ok_or("no port")?.parse()?,
            batch: false,
            deflate: false,
        };
        for arg in args {
            match &*arg {
                "--batch" => options.batch = true,
                "--deflate" => options.deflate = true,
                _ => return Err(format!("unknown option {arg}").into()),
            }
        }
        Ok(options)
    }
}

/// Serves each connection by a task on one thread of tokio.
///
/// # Errors
///
/// If it cannot listen or accept.
pub fn serve<F>(options: Options, mut serve: impl FnMut(TcpStream) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let served = serve(stream);
            tokio::spawn(async move {
                // The load generator ends its connections without a word.
                let _ = served.await;
            });
        }
    })
}

/// Serves a connection by hyper until `upgrade` has answered.
///
/// # Errors
///
/// If the connection fails before that.
pub async fn serve_http<B, F>(
    stream: TcpStream,
    upgrade: impl Fn(Request<Incoming>) -> F,
) -> Result<(), Failure>
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Failure>,
    F: Future<Output = Result<Response<B>, Failure>> + Send,
{
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(upgrade))
        .with_upgrades()
        .await?;
    Ok(())
}

/// Sends every message back. `data` makes an answer of what was received, or
/// `None` of what is not to be answered.
///
/// # Errors
///
/// If the connection or `data` fails.
pub async fn echo<W, T, M>(
    mut ws: W,
    batch: bool,
    data: impl Fn(T) -> Result<Option<M>, Failure>,
) -> Result<(), Failure>
where
    W: Stream<Item = T> + Sink<M> + Unpin,
    W::Error: Into<Failure>,
{
    let mut answers = Vec::new();
    while let Some(received) = ws.next().await {
        answers.extend(data(received)?);
        // All reading first: some flush whatever waits when they are read from.
        while batch && answers.len() < BATCH {
            match ws.next().now_or_never() {
                Some(Some(received)) => answers.extend(data(received)?),
                Some(None) => return Ok(()),
                None => break,
            }
        }
        for answer in answers.drain(..) {
            ws.feed(answer).await.map_err(Into::into)?;
        }
        ws.flush().await.map_err(Into::into)?;
    }
    Ok(())
}
