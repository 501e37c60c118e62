//! soketto on smol: `soketto PORT [--deflate]`.

use std::env;
use std::error::Error;
use std::rc::Rc;

use futures_util::io::{BufReader, BufWriter};
use smol::LocalExecutor;
use smol::net::{TcpListener, TcpStream};
use soketto::Data;
use soketto::extension::deflate::Deflate;
use soketto::handshake::Server;
use soketto::handshake::server::Response;

type Failure = Box<dyn Error + Send + Sync>;

/// As for the other peers.
const MAX_MESSAGE: usize = 64 << 20;

fn main() -> Result<(), Failure> {
    let mut args = env::args().skip(1);
    let port = args.next().ok_or("no port")?.parse()?;
    let deflate = args.next().as_deref() == Some("--deflate");
    let executor = Rc::new(LocalExecutor::new());
    // A task of its own: what `run` itself waits for is polled at every turn.
    let accepting = executor.spawn(accept(Rc::clone(&executor), port, deflate));
    smol::block_on(executor.run(accepting))
}

async fn accept(
    executor: Rc<LocalExecutor<'static>>,
    port: u16,
    deflate: bool,
) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        executor
            .spawn(async move {
                // The load generator ends its connections without a word.
                let _ = echo(stream, deflate).await;
            })
            .detach();
    }
}

async fn echo(stream: TcpStream, deflate: bool) -> Result<(), Failure> {
    let mut server = Server::new(BufReader::new(BufWriter::new(stream)));
    if deflate {
        server.add_extension(Box::new(Deflate::new(soketto::Mode::Server)));
    }
    let key = server.receive_request().await?.key();
    let protocol = None;
    server
        .send_response(&Response::Accept { key, protocol })
        .await?;
    let mut builder = server.into_builder();
    builder.set_max_message_size(MAX_MESSAGE);
    builder.set_max_frame_size(MAX_MESSAGE);
    let (mut sender, mut receiver) = builder.finish();
    let mut message = Vec::new();
    loop {
        message.clear();
        match receiver.receive_data(&mut message).await? {
            Data::Binary(_) => sender.send_binary_mut(&mut message).await?,
            Data::Text(_) => sender.send_text(std::str::from_utf8(&message)?).await?,
        }
        sender.flush().await?;
    }
}
