//! sockudo-ws; with `--batch`, one flush for the answers to what has arrived
//! together.

use bytes::{Buf as _, BytesMut};
use peers::{Failure, MAX_MESSAGE, Options, echo, serve};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::handshake::{build_response, generate_accept_key, parse_request, server_handshake};
use sockudo_ws::stream::CompressedWebSocketStream;
use sockudo_ws::{Config, DeflateConfig, Message, Role, WebSocketStream, init_clock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    init_clock();
    let config = Config::builder()
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .build();
    serve(options, move |mut stream| {
        let config = config.clone();
        async move {
            if options.deflate {
                let ws = upgrade(stream, config).await?;
                echo(ws, options.batch, data).await
            } else {
                let leftover = server_handshake(&mut stream).await?.leftover;
                let role = Role::Server;
                let ws = WebSocketStream::from_raw_with_leftover(stream, role, config, leftover);
                echo(ws, options.batch, data).await
            }
        }
    })
}

fn data(message: sockudo_ws::Result<Message>) -> Result<Option<Message>, Failure> {
    let message = message?;
    Ok((message.is_text() || message.is_binary()).then_some(message))
}

/// Its servers on bare TCP do not negotiate; this does it by its parts.
async fn upgrade(
    mut stream: TcpStream,
    config: Config,
) -> Result<CompressedWebSocketStream<TcpStream>, Failure> {
    let mut buffer = BytesMut::with_capacity(4096);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("closed during the handshake".into());
        }
        let Some((request, consumed)) = parse_request(&buffer)? else {
            continue;
        };
        let agreed = request
            .extensions
            .and_then(|offers| negotiate_server_deflate(offers, &DeflateConfig::default()))
            .ok_or("no offer to compress")?;
        let accept = generate_accept_key(request.key);
        let response = build_response(&accept, None, Some(&agreed.to_response_header()));
        stream.write_all(&response).await?;
        buffer.advance(consumed);
        return Ok(CompressedWebSocketStream::server_with_leftover(
            stream,
            config,
            agreed.config,
            Some(buffer.freeze()),
        ));
    }
}
