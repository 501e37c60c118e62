//! MB Server Node's WebSocket transport: a server with its options, its
//! connections by callbacks or by a loop of one's own, its broker.
//!
//! `cargo run --release -p smartsocket-std --example mb`

use std::error::Error;
use std::net::TcpListener;

use smartsocket_std::deflate::Deflate;
use smartsocket_std::hub::Route;
use smartsocket_std::realtime::Routes;
use smartsocket_std::{Cause, Message, Server, WebSocket};

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:8080")?;
    rustix::net::listen(&listener, 1_024)?; // backlog
    let mut wss = Server::builder()
        .route(server_setup(Route::raw("/ws")), connection_handling)
        .bare(server_setup(Route::bare("/loop")), connection)
        // Header\n and JSON: topics, requests
        .route(server_setup(Route::header_line("/mb")), |_| {})
        .stop_on_signals();
    if std::path::Path::new("server.crt").exists() {
        wss = with_tls(wss)?;
    }
    wss.from_listener(listener)?.run()?;
    Ok(())
}

fn server_setup(mut route: Route) -> Route {
    route.websocket.max_message = 1_048_576; // maxPayload: 1 MB
    route.websocket.deflate = Some(Deflate::default()); // perMessageDeflate
    route
}

fn connection_handling(wss: &mut Routes) {
    wss.verify_client(|info| info.query() != Some("banned"));
    wss.on_connected(|ws| {
        // Connection established; clientTracking
        println!("{} of {} clients", ws.id(), ws.io().clients().len());
    });
    wss.on_any(|ws, data, _| {
        // Handle incoming message
        if let Some(text) = data.raw {
            ws.send(Message::Text(text));
        }
    });
    wss.on_binary(|ws, data| ws.send(Message::Binary(data)));
    wss.on_disconnected(|ws, gone| {
        // Handle connection close, and errors: both end it
        let closed = &gone.closed;
        println!("{} closed: {} {}", ws.id(), closed.code, closed.reason);
        if let Cause::Fault(error) = &closed.cause {
            eprintln!("{error}");
        }
    });
}

/// The same by a loop.
fn connection(mut ws: WebSocket) {
    while let Some(message) = ws.recv() {
        match message {
            Ok(data) => {
                if ws.send(data).is_err() {
                    break;
                }
            }
            Err(error) => eprintln!("{error}"),
        }
    }
    if let Some(closed) = ws.closed() {
        println!("closed: {} {}", closed.code, closed.reason);
    }
}

type Builder = smartsocket_std::realtime::Builder;

#[cfg(feature = "tls")]
fn with_tls(wss: Builder) -> Result<Builder, Box<dyn Error>> {
    use smartsocket_std::tls::ServerTls;
    use std::fs;

    let tls = ServerTls::from_pem(&fs::read("server.crt")?, &fs::read("server.key")?)?
        // ca, with rejectUnauthorized
        .require_client_certificates(&fs::read("ca.crt")?)?;
    Ok(wss.config(|wss| wss.listener.server_tls = Some(tls)))
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: Builder) -> Result<Builder, Box<dyn Error>> {
    Err("built without feature tls".into())
}
