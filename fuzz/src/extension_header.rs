//! `Sec-WebSocket-Extensions`: its grammar, and permessage-deflate negotiated
//! in both roles.

use smartsocket_core::deflate::{Deflate, Parameters, WINDOW_BITS};
use smartsocket_core::internals::{Extensions, offer};

use crate::input::{Input, bit};

/// `options of the server, of the client, the values of the header as lines`.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let server = options(input.byte());
    let client = options(input.byte());
    check_own(&server, &client);
    let Ok(extensions) = Extensions::parse(input.0.split(|byte| *byte == b'\n')) else {
        return;
    };
    assert!(extensions.iter().count() <= 8);
    assert_eq!(parse(&written(&extensions)), extensions, "the same again");
    if let Some(agreed) = extensions.accept(&server) {
        check_answer(&extensions, &server, &agreed);
    }
    if let Ok(Some(agreed)) = extensions.agree(&client) {
        // One answer, no weaker than what was asked for.
        assert_eq!(extensions.iter().count(), 1);
        assert!(agreed.server_no_context_takeover || !client.server_no_context_takeover);
        assert!(agreed.client_no_context_takeover || !client.client_no_context_takeover);
        assert!(WINDOW_BITS.contains(&agreed.client_max_window_bits));
        assert!((8..=15).contains(&agreed.server_max_window_bits));
    }
}

fn options(flags: u8) -> Deflate {
    Deflate {
        server_no_context_takeover: !bit(flags, 0),
        client_no_context_takeover: !bit(flags, 1),
        server_max_window_bits: 15 - (flags >> 2 & 7),
        client_max_window_bits: 15 - (flags >> 5 & 7),
        ..Deflate::default()
    }
}

fn parse(value: &str) -> Extensions {
    Extensions::parse([value.as_bytes()].into_iter()).expect("what we write is well-formed")
}

/// Two of us always agree, and mean the same.
fn check_own(server: &Deflate, client: &Deflate) {
    let offers = parse(&offer(client));
    let agreed = offers.accept(server).expect("our own offer");
    check_answer(&offers, server, &agreed);
    let answer = parse(&agreed.to_string());
    let understood = answer.agree(client).expect("our own answer");
    let understood = understood.expect("an answer was given");
    assert_eq!(
        understood.server_no_context_takeover,
        agreed.server_no_context_takeover
    );
    assert!(understood.client_no_context_takeover || !agreed.client_no_context_takeover);
    assert!(understood.server_max_window_bits >= agreed.server_max_window_bits);
    assert!(understood.client_max_window_bits <= agreed.client_max_window_bits);
}

/// The answer keeps to one of the offers, and says what was agreed.
fn check_answer(offers: &Extensions, server: &Deflate, agreed: &Parameters) {
    assert!(WINDOW_BITS.contains(&agreed.server_max_window_bits));
    assert!(agreed.server_no_context_takeover || !server.server_no_context_takeover);
    let fits = |params: &[(String, Option<String>)]| {
        let named = |name: &str| params.iter().find(|(key, _)| key == name);
        let bits = |name: &str| {
            let value = named(name).and_then(|(_, value)| value.as_deref());
            value.map_or(15, |value| value.parse::<u8>().unwrap_or(0))
        };
        let known = [
            "server_no_context_takeover",
            "client_no_context_takeover",
            "server_max_window_bits",
            "client_max_window_bits",
        ];
        params.iter().all(|(key, _)| known.contains(&&key[..]))
            && (agreed.server_no_context_takeover || named(known[0]).is_none())
            && (agreed.client_no_context_takeover || named(known[1]).is_none())
            && agreed.server_max_window_bits <= bits(known[2])
            && (named(known[3]).is_some() || agreed.client_max_window_bits == 15)
            && agreed.client_max_window_bits <= bits(known[3])
    };
    assert!(offers.iter().any(|(_, params)| fits(params)), "{agreed:?}");
    let answer = parse(&agreed.to_string());
    let (name, _) = answer.iter().next().expect("one element");
    assert_eq!(name, "permessage-deflate");
    // A client that asks for nothing reads the same.
    let open = Deflate {
        server_no_context_takeover: false,
        client_no_context_takeover: false,
        ..Deflate::default()
    };
    if agreed.client_max_window_bits == 15 {
        assert_eq!(answer.agree(&open), Ok(Some(*agreed)));
    }
}

fn written(extensions: &Extensions) -> String {
    let elements = extensions.iter().map(|(name, params)| {
        let params = params.iter().map(|(key, value)| match value {
            Some(value) => format!("; {key}=\"{value}\""),
            None => format!(";{key}"),
        });
        name.to_owned() + &params.collect::<String>()
    });
    elements.collect::<Vec<_>>().join(" , ")
}
