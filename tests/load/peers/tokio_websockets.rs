//! tokio-websockets; with `--batch`, one flush for the answers to what has
//! arrived together.

use peers::{Failure, MAX_MESSAGE, Options, echo, serve};
use tokio_websockets::{Config, Limits, ServerBuilder};

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    serve(options, move |stream| {
        tokio::task::unconstrained(async move {
            let (_, ws) = ServerBuilder::new()
                .config(Config::default().frame_size(usize::MAX))
                .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE)))
                .accept(stream)
                .await?;
            echo(ws, options.batch, |message| {
                let message = message?;
                Ok((message.is_text() || message.is_binary()).then_some(message))
            })
            .await
        })
    })
}
