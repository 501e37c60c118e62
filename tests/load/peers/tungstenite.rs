//! tungstenite, with a thread for each connection.

use std::net::{TcpListener, TcpStream};
use std::thread;

use peers::{Failure, MAX_MESSAGE, Options};
use tungstenite::accept_with_config;
use tungstenite::protocol::WebSocketConfig;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    for stream in listener.incoming() {
        let stream = stream?;
        thread::Builder::new().spawn(|| {
            // The load generator ends its connections without a word.
            let _ = echo(stream);
        })?;
    }
    Ok(())
}

fn echo(stream: TcpStream) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut ws = accept_with_config(stream, Some(config)).map_err(|error| error.to_string())?;
    loop {
        let message = ws.read()?;
        if message.is_text() || message.is_binary() {
            ws.send(message)?;
        }
    }
}
