//! yawc on hyper; with `--batch`, tuned as for its authors' own comparison:
//! larger buffers, and one flush for the answers to what has arrived together.

use peers::{Failure, MAX_MESSAGE, Options, echo, serve, serve_http};
use yawc::{OpCode, WebSocket};

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let mut config = yawc::Options::default()
        .with_limits(MAX_MESSAGE, 2 * MAX_MESSAGE)
        .with_utf8();
    config = if options.deflate {
        config.with_balanced_compression()
    } else {
        config.without_compression()
    };
    if options.batch {
        config = config
            .with_read_buffer_capacity(128 * 1024)
            .with_backpressure_boundary(64 * 1024);
    }
    serve(options, move |stream| {
        let config = config.clone();
        serve_http(stream, move |mut request| {
            let upgrade = WebSocket::upgrade_with_options(&mut request, config.clone());
            async move {
                let (response, upgraded) = upgrade?;
                tokio::spawn(async move {
                    let ws = upgraded.await?;
                    echo(ws, options.batch, |frame: yawc::Frame| {
                        match frame.opcode() {
                            OpCode::Text | OpCode::Binary => Ok(Some(frame)),
                            OpCode::Close => Err("closed".into()),
                            OpCode::Continuation | OpCode::Ping | OpCode::Pong => Ok(None),
                        }
                    })
                    .await
                });
                Ok(response)
            }
        })
    })
}
