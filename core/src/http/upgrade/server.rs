//! The server's half: the check of the request, and the answer.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::extension::parse_extensions;
use super::super::headers::{Headers, elements, is_field_value, is_token, write_field};
use super::super::{Extension, HeadError, Request, Response};
use super::{VERSION, accept, is_owned};

/// A valid upgrade request, as far as the protocol judges it; the application may still refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) accept: [u8; 28],
    /// In the client's order of preference, without repeats.
    pub(crate) subprotocols: Vec<String>,
    pub(crate) extensions: Vec<Extension>,
}

/// Reads a client's handshake by RFC 6455 §4.2.1, or gives the answer that refuses it.
pub(crate) fn upgrade(request: &Request) -> Result<Upgrade, Response> {
    let headers = request.headers();
    if request.method() != "GET" {
        return Err(refusal(
            405,
            "only GET can be upgraded",
            &[("Allow", "GET")],
        ));
    }
    if !request.http_1_1 {
        return Err((&HeadError::Version).into());
    }
    if !request.is_upgrade() {
        return Err(refusal(426, "this is a websocket endpoint", &SPOKEN));
    }
    if headers.announce_content() {
        return Err(bad_request("an upgrade request has no content"));
    }
    if !headers.lists("connection", "upgrade") {
        return Err(bad_request("Connection does not name Upgrade"));
    }
    if headers.single("sec-websocket-version") != Some(VERSION) {
        return Err(refusal(
            426,
            "only websocket version 13 is spoken here",
            &SPOKEN,
        ));
    }
    let key = headers
        .single("sec-websocket-key")
        .filter(|key| is_key(key));
    let Some(key) = key else {
        return Err(bad_request("Sec-WebSocket-Key is not 16 bytes in base64"));
    };
    Ok(Upgrade {
        accept: accept(key),
        subprotocols: offered_subprotocols(headers).map_err(|error| Response::from(&error))?,
        extensions: parse_extensions(headers.get_all("sec-websocket-extensions"))
            .map_err(|error| Response::from(&error))?,
    })
}

/// The first of the server's subprotocols that the client offers too.
pub(crate) fn choose_subprotocol<'a>(server: &'a [String], offered: &[String]) -> Option<&'a str> {
    let chosen = server.iter().find(|name| offered.contains(name));
    chosen.map(String::as_str)
}

/// The headers of the answer that accepts (RFC 6455 §4.2.2). What of `extra` the handshake writes
/// itself is left out, and so is a subprotocol that is no token.
pub(crate) fn switching_protocols(
    accept: &[u8; 28],
    subprotocol: Option<&str>,
    extensions: Option<&str>,
    extra: &Headers,
) -> Headers {
    let mut headers = Headers::new();
    headers.push_checked("Upgrade", b"websocket");
    headers.push_checked("Connection", b"Upgrade");
    headers.push_checked("Sec-WebSocket-Accept", accept);
    if let Some(name) = subprotocol.filter(|name| is_token(name.as_bytes())) {
        headers.push_checked("Sec-WebSocket-Protocol", name.as_bytes());
    }
    if let Some(extensions) = extensions.filter(|value| is_field_value(value.as_bytes())) {
        headers.push_checked("Sec-WebSocket-Extensions", extensions.as_bytes());
    }
    for (name, value) in extra.iter().filter(|(name, _)| !is_owned(name)) {
        headers.push_checked(name, value);
    }
    headers
}

/// The bytes of the answer that accepts.
pub(crate) fn encode_switching_protocols(headers: &Headers) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in headers.iter() {
        write_field(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

const MAX_SUBPROTOCOLS: usize = 16;
/// RFC 9110 §15.5.22 and RFC 6455 §4.4: what a 426 has to say.
const SPOKEN: [(&str, &str); 2] = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];

fn bad_request(why: &str) -> Response {
    refusal(400, why, &[])
}

fn refusal(status: u16, why: &str, headers: &[(&str, &str)]) -> Response {
    let mut response = Response::error(status, why);
    for (name, value) in headers {
        response = response
            .header(name, value)
            .expect("the names and values are constants of this file");
    }
    response
}

fn is_key(key: &[u8]) -> bool {
    // Room for 24 characters, as if none of them were padding; more are refused.
    let mut decoded = [0; 18];
    matches!(STANDARD.decode_slice(key, &mut decoded), Ok(16))
}

fn offered_subprotocols(headers: &Headers) -> Result<Vec<String>, HeadError> {
    const MALFORMED: HeadError = HeadError::Field("sec-websocket-protocol");
    let mut offered = Vec::new();
    let values = headers.get_all("sec-websocket-protocol");
    for element in values.flat_map(elements) {
        let name = core::str::from_utf8(element).map_err(|_| MALFORMED)?;
        let full = offered.len() == MAX_SUBPROTOCOLS;
        if full || !is_token(element) || offered.iter().any(|other| other == name) {
            return Err(MALFORMED);
        }
        offered.push(name.to_string());
    }
    Ok(offered)
}

#[cfg(test)]
mod tests {
    use super::super::super::head::tests::{request as parse_request, response as parse_response};
    use super::super::super::headers::is_field_value;
    use super::super::super::response::tests::{any_text, field_name};
    use super::*;
    use alloc::format;
    use alloc::vec;
    use proptest::prelude::*;

    const ACCEPT: &[u8; 28] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
    const FIELDS: [(&str, &str); 5] = [
        ("Host", "server.example.com"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
    ];

    fn ask(line: &str, fields: &[(&str, &str)]) -> Result<Upgrade, Response> {
        let mut head = format!("{line}\r\n");
        for (name, value) in fields {
            head += &format!("{name}: {value}\r\n");
        }
        let request = parse_request((head + "\r\n").as_bytes());
        upgrade(&request.map_err(|error| Response::from(&error))?)
    }

    fn get(fields: &[(&str, &str)]) -> Result<Upgrade, u16> {
        ask("GET /chat HTTP/1.1", fields).map_err(|response| response.status())
    }

    /// The valid request with a field replaced, or left out.
    fn with(name: &str, value: Option<&str>) -> Result<Upgrade, u16> {
        let mut fields = FIELDS.to_vec();
        fields.retain(|field| !field.0.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            fields.push((name, value));
        }
        get(&fields)
    }

    /// The valid request with a field more.
    fn and(name: &str, value: &str) -> Result<Upgrade, u16> {
        let mut fields = FIELDS.to_vec();
        fields.push((name, value));
        get(&fields)
    }

    #[test]
    fn sample_handshake_of_the_rfc() {
        let upgrade = get(&FIELDS).unwrap();
        assert_eq!(&upgrade.accept, ACCEPT);
        assert_eq!(upgrade.subprotocols, Vec::<String>::new());
        let upgrade = and("Sec-WebSocket-Protocol", "chat, superchat").unwrap();
        assert_eq!(upgrade.subprotocols, ["chat", "superchat"]);
        let server = ["superchat".to_string(), "chat".to_string()];
        let chosen = choose_subprotocol(&server, &upgrade.subprotocols);
        assert_eq!(chosen, Some("superchat"));
        assert_eq!(
            choose_subprotocol(&["Chat".to_string()], &upgrade.subprotocols),
            None
        );
    }

    #[test]
    fn every_field_is_needed_exactly_once() {
        for (name, missing, doubled) in [
            ("Host", Err(400), Err(400)),
            ("Upgrade", Err(426), Ok(())),
            ("Connection", Err(400), Ok(())),
            ("Sec-WebSocket-Key", Err(400), Err(400)),
            ("Sec-WebSocket-Version", Err(426), Err(426)),
        ] {
            let value = FIELDS.iter().find(|field| field.0 == name).unwrap().1;
            for name in [name.to_string(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(with(&name, None).map(drop), missing, "{name}");
                assert!(with(&name, Some(value)).is_ok(), "{name}");
                assert_eq!(and(&name, value).map(drop), doubled, "{name}");
            }
        }
    }

    #[test]
    fn smuggling_matrix() {
        let cases: &[(&str, &[&str], &[&str])] = &[
            (
                "Upgrade",
                &[
                    "WebSocket",
                    "h2c, websocket",
                    ",websocket,",
                    "\twebsocket \t",
                ],
                &[
                    "websocket2",
                    "web socket",
                    "websocket/13",
                    "h2c",
                    "",
                    "\"websocket\"",
                ],
            ),
            (
                "Connection",
                &[
                    "upgrade",
                    "keep-alive, Upgrade",
                    "UPGRADE,close",
                    " upgrade ,",
                ],
                &["close", "upgraded", "keep-alive upgrade", "", "\"upgrade\""],
            ),
            (
                "Sec-WebSocket-Version",
                &["13", " 13\t"],
                &["12", "8", "013", "13, 13", "13,8", "+13", "1 3", "", "13.0"],
            ),
            (
                "Sec-WebSocket-Key",
                &["AAAAAAAAAAAAAAAAAAAAAA==", "+/+/+/+/+/+/+/+/+/+/+w=="],
                &[
                    "",
                    "AAAAAAAAAAAAAAAAAAAAAA=",
                    "AAAAAAAAAAAAAAAAAAAAAA",
                    "AAAAAAAAAAAAAAAAAAAAAB==",
                    "AAAAAAAAAAAAAAAAAAAAAAA=",
                    "AAAAAAAAAAAAAAAAAAAAAAAA",
                    "AAAAAAAAAAAAAAAAAAAAA===",
                    "AAAAAAAAAAA AAAAAAAAAA==",
                    "-_-_-_-_-_-_-_-_-_-_-w==",
                    "SGVsbG8sIHdvcmxkIQ==",
                    "AAAAAAAAAAAAAAAAAAAAAA==,AAAAAAAAAAAAAAAAAAAAAA==",
                ],
            ),
            (
                "Host",
                &["h", "H:80", "[::1]:9", "a-b.c."],
                &[
                    "", "a b", "a,b", "a/b", "u@h", "h:x", "h:99999", "[::1", "http://h",
                ],
            ),
            (
                "Content-Length",
                &["0"],
                &["1", "-0", "+0", "0, 0", "00", "", "x"],
            ),
            ("Transfer-Encoding", &[], &["chunked", "identity", ""]),
        ];
        for (name, good, bad) in cases {
            for value in *good {
                assert!(with(name, Some(value)).is_ok(), "{name}: {value}");
            }
            for value in *bad {
                let status = with(name, Some(value)).unwrap_err();
                let wanted = if matches!(*name, "Upgrade" | "Sec-WebSocket-Version") {
                    426
                } else {
                    400
                };
                assert_eq!(status, wanted, "{name}: {value}");
            }
        }
        let twice = [("Content-Length", "0"), ("content-length", "0")];
        assert_eq!(get(&[FIELDS.as_slice(), &twice].concat()), Err(400));
    }

    #[test]
    fn a_refusal_says_what_is_spoken() {
        let refused = |line, fields: &[_]| {
            let response = ask(line, fields).unwrap_err();
            let shown = String::from_utf8(response.encode(false)).unwrap();
            assert!(shown.contains("\r\nConnection: close\r\n"), "{shown}");
            response
        };
        let response = refused("POST / HTTP/1.1", &FIELDS);
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers().get("allow"), Some("GET"));
        assert_eq!(refused("get / HTTP/1.1", &FIELDS).status(), 405);
        assert_eq!(refused("GET / HTTP/1.0", &FIELDS).status(), 505);
        let mut old = FIELDS;
        old[4].1 = "8";
        for fields in [&old[..], &FIELDS[..1]] {
            let response = refused("GET / HTTP/1.1", fields);
            assert_eq!(response.status(), 426);
            assert_eq!(response.headers().get("upgrade"), Some("websocket"));
            assert_eq!(response.headers().get("sec-websocket-version"), Some("13"));
        }
    }

    #[test]
    fn subprotocols_are_distinct_tokens_and_few() {
        let offer = |value: &str| and("Sec-WebSocket-Protocol", value).map(|it| it.subprotocols);
        assert_eq!(
            offer(" a ,,b,A"),
            Ok(vec!["a".into(), "b".into(), "A".into()])
        );
        for value in ["a,a", "a b", "a;b", "\"a\"", "a/b", "ä", "a,(b)"] {
            assert_eq!(offer(value), Err(400), "{value}");
        }
        let names = |n: usize| {
            (0..n)
                .map(|i| format!("p{i}"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert_eq!(offer(&names(16)).unwrap().len(), 16);
        assert_eq!(offer(&names(17)), Err(400));
        let split = [
            ("Sec-WebSocket-Protocol", "a"),
            ("sec-websocket-protocol", "a"),
        ];
        assert_eq!(get(&[FIELDS.as_slice(), &split].concat()), Err(400));
    }

    #[test]
    fn malformed_extensions_are_refused() {
        let offer = |value: &str| and("Sec-WebSocket-Extensions", value);
        assert_eq!(offer("a;b=\"c\"").unwrap().extensions.len(), 1);
        for value in [";;;\"\\\\\\\\", "a;", "a;b=\"", "constructor;=x"] {
            assert_eq!(offer(value), Err(400), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_caller_text_adds_a_line_to_an_answer(
            fields in proptest::collection::vec((field_name(), any_text()), 0..6),
            subprotocol in any_text(),
            extensions in any_text(),
        ) {
            let mut extra = Headers::new();
            for (name, value) in &fields {
                let _ = extra.push(name, value);
            }
            let kept = extra.iter().filter(|(name, _)| !is_owned(name)).count();
            let spoken = usize::from(is_token(subprotocol.as_bytes()))
                + usize::from(is_field_value(extensions.as_bytes()));
            let out = encode_switching_protocols(&switching_protocols(ACCEPT, Some(&subprotocol), Some(&extensions), &extra));
            let read = parse_response(&out).unwrap();
            prop_assert_eq!(read.status(), 101);
            prop_assert_eq!(read.headers().len(), 3 + spoken + kept);
        }
    }
}
