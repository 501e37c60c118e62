//! soketto on smol.

use std::rc::Rc;

use futures_util::io::{BufReader, BufWriter};
use peers::{Failure, MAX_MESSAGE, Options};
use smol::LocalExecutor;
use smol::net::{TcpListener, TcpStream};
use soketto::Data;
use soketto::extension::deflate::Deflate;
use soketto::handshake::Server;
use soketto::handshake::server::Response;

fn main() -> Result<(), Failure> {
    let options = Options::read()?;
    let executor = Rc::new(LocalExecutor::new());
    // A task of its own: what `run` itself waits for is polled at every turn.
    let accepting = executor.spawn(accept(Rc::clone(&executor), options));
    smol::block_on(executor.run(accepting))
}

async fn accept(executor: Rc<LocalExecutor<'static>>, options: Options) -> Result<(), Failure> {
    let listener = TcpListener::bind(("127.0.0.1", options.port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        executor
            .spawn(async move {
                // The load generator ends its connections without a word.
                let _ = echo(stream, options).await;
            })
            .detach();
    }
}

async fn echo(stream: TcpStream, options: Options) -> Result<(), Failure> {
    let mut server = Server::new(BufReader::new(BufWriter::new(stream)));
    if options.deflate {
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
