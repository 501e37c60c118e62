//! tokio-tungstenite, with its defaults; with `--batch`, tuned: a small read
//! buffer, and one flush for the answers to what has arrived together.

use peers::{Failure, MAX_MESSAGE, Options, echo, serve};
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let mut config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    if options.batch {
        config = config.read_buffer_size(8 * 1024);
    }
    serve(options, move |stream| async move {
        let ws = accept_async_with_config(stream, Some(config)).await?;
        echo(ws, options.batch, |message| {
            let message = message?;
            Ok((message.is_text() || message.is_binary()).then_some(message))
        })
        .await
    })
}
