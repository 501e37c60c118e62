//! Servers that take messages as they are.

use serde_json::json;
use smartsocket_core::Message;
use smartsocket_core::client::{Payload, Provider};

use crate::on_both;
use crate::runtimes::Runtime;
use crate::servers::Server;
use crate::survival::Case;

on_both!(echo);

fn echo(runtime: Runtime) {
    let case = Case::new("echo.mjs", Provider::Echo);
    case.survives(runtime);

    let server = Server::start("echo.mjs");
    let client = case.client(runtime, &server);
    client.connect().unwrap();
    let all = client.subscribe("*");
    let long = json!({ "text": "κόσμε 🦀".repeat(20_000) }).to_string();
    client.send(long.as_str());
    client.send(Message::binary(vec![0, 255, 7]));
    assert_eq!(all.json(), long);
    let bytes = Payload::Message(Message::binary(vec![0, 255, 7]));
    assert_eq!(all.next().data, bytes);
    client.disconnect();
}
