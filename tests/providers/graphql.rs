//! GraphQL by both subprotocols, against the libraries they are named after.

use serde_json::{Value, json};
use smartsocket_core::client::{Auth, Provider, RequestError};

use crate::on_both;
use crate::runtimes::{Client, Runtime};
use crate::servers::Server;
use crate::survival::{Ask, Case};

on_both!(graphql_ws, subscriptions_transport_ws);

fn case(script: &'static str, provider: Provider) -> Case {
    Case {
        path: "/graphql",
        auth: Auth::first_message(),
        channel: "subscription { news { text } }",
        told_as: Some("news"),
        confirmed: true,
        say: |client, text| {
            let document = "mutation($text: String!) { say(text: $text) }";
            client.publish(None, document, &json!({ "text": text }));
        },
        news: |mut data| data["data"]["news"].take(),
        ask: Some(Ask {
            channel: None,
            event: "query($a: Int!) { add(a: $a, b: 2) }",
            data: || json!({ "a": 40 }),
            answer: || json!({ "data": { "add": 42 } }),
        }),
        ..Case::new(script, provider)
    }
}

fn graphql_ws(runtime: Runtime) {
    let case = case("graphql.mjs", Provider::GraphqlTransportWs);
    case.survives(runtime);
    assert!(case.refuses(runtime).contains("Forbidden"));
    let mut server = Server::start("graphql.mjs");
    let client = case.client(runtime, &server);
    operations(&client, &mut server);
}

fn subscriptions_transport_ws(runtime: Runtime) {
    let case = case("apollo.mjs", Provider::GraphqlWs);
    case.survives(runtime);
    assert!(case.refuses(runtime).contains("wrong token"));
    let mut server = Server::start("apollo.mjs");
    let client = case.client(runtime, &server);
    operations(&client, &mut server);
}

/// Errors, ends, and what is stopped.
fn operations(client: &Client, server: &mut Server) {
    client.connect().unwrap();
    let failed = client.ask(None, "{ fail }", &Value::Null);
    let failed: Value = serde_json::from_str(failed.unwrap().as_str()).unwrap();
    assert_eq!(failed["errors"][0]["message"], "it failed");
    assert_eq!(failed["data"], json!({ "fail": null }));
    match client.ask(None, "{ nothing }", &Value::Null) {
        Err(RequestError::Refused(words)) => assert!(words.contains("nothing"), "{words}"),
        other => panic!("{other:?}"),
    }

    let three = client.subscribe("subscription { three }");
    for n in 1..=3 {
        assert_eq!(three.json(), json!({ "data": { "three": n } }).to_string());
    }
    let end = three.next();
    assert_eq!(end.event.as_deref(), Some("complete"));

    let never = "subscription { never }";
    let _never = client.subscribe(never);
    assert!(client.is_refused(never).contains("not for you"));

    let news = client.subscribe("subscription { news { text } }");
    server.hear("subscribed news");
    drop(news);
    server.hear("completed ");
    client.disconnect();
}
