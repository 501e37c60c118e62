//! A WebSocket route in an axum application: axum does the HTTP, the machine
//! the WebSocket, and forty lines of tokio move its bytes.
//!
//! ```text
//! cargo run --release -p smartsocket-core --features std --example axum -- 127.0.0.1:3000
//! ```

use std::env;
use std::error::Error;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use hyper_util::rt::TokioIo;
use smartsocket_core::http::{self, Headers};
use smartsocket_core::websocket::{Event, Output, Role, negotiate};
use smartsocket_core::{Bytes, Config, Fault, Message, Seed, Tick, WebSocket};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(&address).await?;
    eprintln!("listening on ws://{}/echo", listener.local_addr()?);
    let routes = Router::new()
        .route("/", get(async || "try /echo\n"))
        .route("/echo", get(upgrade));
    // Small answers should not wait for the acknowledgement of earlier ones.
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    axum::serve(listener, routes).await?;
    Ok(())
}

/// Answers the upgrade request and leaves the connection to [`echo`].
async fn upgrade(mut request: Request) -> Response<Body> {
    let config = Config::default();
    let mut headers = Headers::new();
    for (name, value) in request.headers() {
        if let Ok(value) = value.to_str() {
            let _ = headers.push(name.as_str(), value);
        }
    }
    let head = http::Request::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers,
    );
    let (headers, agreed) = match negotiate(&head, &config, false) {
        Ok(agreed) => agreed,
        Err(refusal) => {
            return response(
                refusal.status(),
                refusal.headers(),
                refusal.content().clone().into(),
            );
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let start = Instant::now();
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the operating system gives randomness");
        let machine =
            WebSocket::upgraded(Role::Server, agreed, config, Seed::new(seed), Tick::ZERO);
        drive(TokioIo::new(upgraded), machine, start).await;
    });
    response(101, &headers, Body::empty())
}

fn response(status: u16, headers: &Headers, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("core knows status codes");
    for (name, value) in headers.iter() {
        let name = axum::http::HeaderName::from_bytes(name.as_bytes()).expect("core checked it");
        let value = axum::http::HeaderValue::from_bytes(value).expect("core checked it");
        response.headers_mut().append(name, value);
    }
    response
}

/// What the application does with a message; `None` answers nothing.
fn echo(message: Message) -> Option<Message> {
    Some(message)
}

/// The whole driver: outputs, then one write, then wait for bytes or time.
async fn drive(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    mut machine: WebSocket,
    start: Instant,
) {
    let now = || Tick::from(start.elapsed());
    let mut buffer = vec![0; 16 * 1024];
    loop {
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Event(Event::Message(message)) => {
                    if let Some(answer) = echo(message)
                        && let Err(error) = machine.send(now(), answer)
                    {
                        eprintln!("{error}");
                    }
                }
                Output::Shutdown => {
                    let _ = io.shutdown().await;
                }
                Output::Close => return,
                // `unsent` tells; and nobody pauses a connection whose
                // handshake is over.
                Output::Transmit | Output::PauseRead | Output::ResumeRead | Output::Event(_) => {}
            }
        }
        let due = machine
            .next_timeout()
            .map_or(Duration::MAX, |due| due.since(now()));
        // Handles, not copies: the machine stays free while they are written.
        let unsent: Vec<Bytes> = machine.unsent().take(16).cloned().collect();
        let slices: Vec<IoSlice> = unsent.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let (mut reader, mut writer) = tokio::io::split(&mut io);
        tokio::select! {
            read = reader.read(&mut buffer) => match read {
                Ok(0) => machine.handle_eof(now()),
                Ok(n) => machine.handle_bytes(now(), &mut buffer[..n]),
                Err(error) => machine.handle_fault(now(), Fault::from(error)),
            },
            written = writer.write_vectored(&slices), if !slices.is_empty() => match written {
                Ok(n) => machine.transmitted(now(), n),
                Err(error) => machine.handle_fault(now(), Fault::from(error)),
            },
            () = tokio::time::sleep(due) => machine.handle_timeout(now()),
        }
    }
}
