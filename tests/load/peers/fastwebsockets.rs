//! fastwebsockets on hyper; it writes every frame at once, so there is nothing
//! to batch.

use fastwebsockets::{FragmentCollector, OpCode, upgrade};
use peers::{Failure, MAX_MESSAGE, Options, serve, serve_http};

fn main() -> Result<(), Failure> {
    serve(Options::read()?, |stream| {
        serve_http(stream, |mut request| async move {
            let (response, upgraded) = upgrade::upgrade(&mut request)?;
            tokio::spawn(tokio::task::unconstrained(echo(upgraded)));
            Ok(response)
        })
    })
}

async fn echo(upgraded: upgrade::UpgradeFut) -> Result<(), Failure> {
    let mut ws = upgraded.await?;
    ws.set_max_message_size(MAX_MESSAGE);
    let mut ws = FragmentCollector::new(ws);
    loop {
        let frame = ws.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => ws.write_frame(frame).await?,
            OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
        }
    }
}
