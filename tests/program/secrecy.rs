//! Encrypted sessions with the program, and keys that nobody gets to see.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use rustix::process::Signal;
use serde_json::Value;
use smartsocket_core::{Seed, Tick};
use smartsocket_smol::crypt::{Handshake, Key, Offer, Opened};
use smartsocket_smol::{Message, WebSocket, block_on};

use crate::support::{Directory, Server, command, run};

fn keygen() -> String {
    let ended = run(&["keygen"], "");
    assert_eq!(ended.code, Some(0));
    let key = ended.text().trim_end();
    let parsed: Key = key.parse().unwrap();
    assert_eq!(ended.stderr, format!("key {}\n", parsed.id()));
    key.into()
}

fn event(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn next(socket: &mut WebSocket) -> Option<Message> {
    socket.recv().await.and_then(Result::ok)
}

/// What comes of an `echo` by a client with this key, or why the connection was
/// closed.
async fn echo(url: &str, key: &str) -> Result<Value, (u16, String)> {
    let mut socket = WebSocket::connect(url).await.unwrap();
    let key: Key = key.parse().unwrap();
    let seed = Seed::new([3; 32]);
    let client = Handshake::new(Some(&key), &Offer::default(), "/chat", seed).unwrap();
    let hello = serde_json::to_string(client.hello()).unwrap();
    let connect =
        format!(r#"{{"event":"CONNECT","data":{{"namespace":"/chat","encryption":{hello}}}}}"#);
    socket.send(connect).await.unwrap();
    let Some(Message::Text(answer)) = next(&mut socket).await else {
        panic!("no answer");
    };
    let answer = event(&answer);
    if answer["event"] == "error" {
        assert!(next(&mut socket).await.is_none());
        let closed = socket.closed().unwrap();
        let code = answer["data"]["code"].as_str().unwrap().to_owned();
        return Err((closed.code.into(), code));
    }
    let answer = serde_json::from_value(answer["data"]["encryption"].clone()).unwrap();
    let now = Tick::ZERO;
    let (mut session, first) = client.finish(now, &answer).unwrap();
    socket.send(Message::Binary(first)).await.unwrap();
    let said = Message::text(r#"{"event":"echo","data":{"a":[1],"__ackId":"x"}}"#);
    loop {
        let Some(Message::Binary(record)) = next(&mut socket).await else {
            panic!("no record");
        };
        match session.open(record).unwrap() {
            Opened::Ready => {
                let record = session.seal(now, &said).unwrap();
                socket.send(Message::Binary(record)).await.unwrap();
            }
            Opened::Message(Message::Text(text)) => return Ok(event(&text)),
            other @ (Opened::Message(_) | Opened::Invited | Opened::Bye) => panic!("{other:?}"),
        }
    }
}

#[test]
fn keys_of_the_file_change_on_sighup() {
    let directory = Directory::new("keys");
    let (old, new) = (keygen(), keygen());
    let line = |key: &str| format!("encryptionKey = \"{key}\"\n");
    let file = directory.file("s.toml", &line(&old));
    let server = Server::start(&["--config", &file, "--log", "info"]);
    let url = server.url("/chat");
    let takes = |key| block_on(echo(&url, key)).is_ok();
    assert_eq!((takes(&old), takes(&new)), (true, false));

    directory.file("s.toml", "encryptionKey = \"oops\"\n");
    server.program.signal(Signal::HUP);
    server
        .program
        .note("the old keys of encrypted sessions stay in use");
    assert_eq!((takes(&old), takes(&new)), (true, false));

    let both = line(&new) + &format!("encryptionKeys = [\"{old}\"]\n");
    directory.file("s.toml", &both);
    server.program.signal(Signal::HUP);
    server.program.note("keys of encrypted sessions read again");
    assert_eq!((takes(&old), takes(&new)), (true, true));

    directory.file("s.toml", &line(&new));
    server.program.signal(Signal::HUP);
    server.program.note("keys of encrypted sessions read again");
    assert_eq!((takes(&old), takes(&new)), (false, true));
}

#[test]
fn clients_need_the_key_and_nobody_sees_it() {
    let (key, older, wrong) = (keygen(), keygen(), keygen());
    assert_ne!(key, older);
    let mut serve = command(&["serve", "--port", "0", "--log", "trace"]);
    serve.env("ENCRYPTION_KEY", &key);
    serve.env("DEBUG", "smartsocket:*");
    let server = Server::spawn(serve.args(["--encryption-keys", &older]));
    let url = server.url("/chat");
    block_on(async {
        for key in [&key, &older] {
            let answer = echo(&url, key).await.unwrap();
            assert_eq!(answer["event"], "__ack__");
            assert_eq!(answer["data"]["response"]["a"], event("[1]"));
        }
        let refused = Err((4003, "ERR_CONN_004".to_owned()));
        assert_eq!(echo(&url, &wrong).await, refused);

        let mut plain = WebSocket::connect(&url).await.unwrap();
        plain.send(r#"{"event":"echo","data":1}"#).await.unwrap();
        assert!(matches!(next(&mut plain).await, Some(Message::Text(text))
            if text.contains("ERR_CONN_004")));
        assert!(next(&mut plain).await.is_none());
    });
    server.program.signal(Signal::TERM);
    let ended = server.program.wait();
    for key in [&key, &older, &wrong] {
        let bytes = BASE64_STANDARD.decode(key).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let list = format!("{bytes:?}");
        for form in [&key[..12], &hex[..12], &list[1..20]] {
            for shown in [&ended.stderr, ended.text()] {
                assert!(!shown.contains(form), "{shown}");
            }
        }
    }
}
