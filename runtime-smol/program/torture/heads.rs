//! Requests whose headers are not those of an upgrade, or only look so
//! (RFC 6455 §4.2.1).

use super::case::{Case, Outcome};
use super::judge::Head;
use super::peer::Peer;
use super::request::{KEY, Request};
use Head::{Accept, AcceptOrNote, Refuse, RefuseOrNote};

pub(crate) const READ: &str = "RFC 6455 §4.2.1";
const VERSIONS: &str = "RFC 6455 §4.2.2";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = fields();
    cases.extend(odd_but_good());
    cases
}

/// A case of one request, all of it in one write.
pub(crate) fn row<B: Into<Vec<u8>>>(
    name: &str,
    source: &'static str,
    rule: Head,
    make: impl FnOnce(Request) -> B + 'static,
) -> Case {
    Case::new(
        format!("heads/{name}"),
        source,
        rule.expected(),
        move |server| async move {
            let request = make(Request::good(&server)).into();
            let (_, answer) = Peer::ask(&server, request).await?;
            Ok(rule.judge(&answer))
        },
    )
}

/// What a handshake must have.
fn fields() -> Vec<Case> {
    const DECODING: &str = "RFC 6455 §4.2.2 does not oblige a server to decode the key";
    const POLICY: &str = "whom to serve is a matter of policy";
    const NUMBER: &str = "a lenient reader finds the number 13";
    vec![
        row("no-host", "RFC 9112 §3.2", Refuse, |r| r.without("Host")),
        row("two-hosts", "RFC 9112 §3.2", Refuse, |r| {
            r.and("Host", "attacker.test")
        }),
        row("host-with-a-space", "RFC 9112 §3.2", Refuse, |r| {
            r.set("Host", "exa mple.test")
        }),
        row("no-upgrade", READ, Refuse, |r| r.without("Upgrade")),
        row("upgrade-to-h2c", READ, Refuse, |r| r.set("Upgrade", "h2c")),
        row("upgrade-to-websocket2", READ, Refuse, |r| {
            r.set("Upgrade", "websocket2")
        }),
        row("no-connection", READ, Refuse, |r| r.without("Connection")),
        row("connection-close", READ, Refuse, |r| {
            r.set("Connection", "close")
        }),
        row("connection-upgraded", READ, Refuse, |r| {
            r.set("Connection", "Upgraded")
        }),
        row("no-key", READ, Refuse, |r| r.without("Sec-WebSocket-Key")),
        row("empty-key", READ, Refuse, |r| {
            r.set("Sec-WebSocket-Key", "")
        }),
        row("two-keys", "RFC 6455 §11.3.1", Refuse, |r| {
            r.and("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")
        }),
        row("short-key", READ, RefuseOrNote(DECODING), |r| {
            r.set("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAA=")
        }),
        row("long-key", READ, RefuseOrNote(DECODING), |r| {
            r.set("Sec-WebSocket-Key", &KEY.repeat(40))
        }),
        row(
            "key-that-is-not-base64",
            READ,
            RefuseOrNote(DECODING),
            |r| r.set("Sec-WebSocket-Key", "!@#$%^&*()!@#$%^&*()!@=="),
        ),
        row("no-version", READ, Refuse, |r| {
            r.without("Sec-WebSocket-Version")
        }),
        row("version-14", VERSIONS, Refuse, |r| {
            r.set("Sec-WebSocket-Version", "14")
        }),
        row("version-8", VERSIONS, RefuseOrNote("drafts used it"), |r| {
            r.set("Sec-WebSocket-Version", "8")
        }),
        row("version-13x", VERSIONS, Refuse, |r| {
            r.set("Sec-WebSocket-Version", "13x")
        }),
        row("version-013", VERSIONS, RefuseOrNote(NUMBER), |r| {
            r.set("Sec-WebSocket-Version", "013")
        }),
        row(
            "two-versions",
            "RFC 6455 §11.3.5",
            RefuseOrNote(NUMBER),
            |r| r.and("Sec-WebSocket-Version", "13"),
        ),
        row("post", READ, Refuse, |mut r| {
            r.method = "POST".into();
            r
        }),
        row("get-in-lower-case", "RFC 9110 §9.1", Refuse, |mut r| {
            r.method = "get".into();
            r
        }),
        row("http-1.0", READ, Refuse, |mut r| {
            r.version = "HTTP/1.0".into();
            r
        }),
        row(
            "http-9.9",
            READ,
            RefuseOrNote("it is higher than 1.1"),
            |mut r| {
                r.version = "HTTP/9.9".into();
                r
            },
        ),
        row("no-http-version", READ, Refuse, |r| {
            r.head().replacen(" HTTP/1.1", "", 1)
        }),
        row(
            "foreign-origin",
            "RFC 6455 §10.2",
            RefuseOrNote(POLICY),
            |r| r.and("Origin", "https://attacker.test"),
        ),
        row(
            "origin-null",
            "RFC 6455 §10.2",
            RefuseOrNote(POLICY),
            |r| r.and("Origin", "null"),
        ),
        row("foreign-host", "DNS rebinding", RefuseOrNote(POLICY), |r| {
            r.set("Host", "attacker.test")
        }),
        row(
            "subprotocols-malformed",
            "RFC 6455 §4.1",
            RefuseOrNote("a server without subprotocols need not read them"),
            |r| r.and("Sec-WebSocket-Protocol", "a b, \"c\", /;"),
        ),
        row(
            "extensions-malformed",
            "RFC 6455 §9.1",
            RefuseOrNote("a server without extensions need not read them"),
            |r| r.and("Sec-WebSocket-Extensions", "a; =1, ;;b"),
        ),
    ]
}

/// What looks odd, and is right.
fn odd_but_good() -> Vec<Case> {
    const EMPTY: &str = "RFC 9112 §2.2 only recommends to skip an empty line";
    vec![
        row("plain", READ, Accept, |r| r),
        row("upgrade-in-any-case", READ, Accept, |r| {
            r.set("Upgrade", "WeBsOcKeT")
        }),
        row("connection-list-in-any-case", READ, Accept, |r| {
            r.set("Connection", "keep-alive, UPGRADE")
        }),
        row("connection-in-two-lines", "RFC 9110 §5.3", Accept, |r| {
            r.set("Connection", "keep-alive")
                .and("Connection", "Upgrade")
        }),
        row(
            "upgrade-list",
            "RFC 9110 §7.8",
            AcceptOrNote("RFC 6455 has one value only"),
            |r| r.set("Upgrade", "h2c, websocket"),
        ),
        row(
            "header-names-in-upper-case",
            "RFC 9110 §5.1",
            Accept,
            |mut r| {
                for field in &mut r.fields {
                    field.0.make_ascii_uppercase();
                }
                r
            },
        ),
        row(
            "header-names-in-lower-case",
            "RFC 9110 §5.1",
            Accept,
            |mut r| {
                for field in &mut r.fields {
                    field.0.make_ascii_lowercase();
                }
                r
            },
        ),
        row("headers-reversed", READ, Accept, |mut r| {
            r.fields.reverse();
            r
        }),
        row("tabs-around-values", "RFC 9110 §5.5", Accept, |mut r| {
            for field in &mut r.fields {
                field.1 = format!("\t {} \t", field.1);
            }
            r
        }),
        row("no-space-after-colon", "RFC 9112 §5.1", Accept, |r| {
            r.head().replace(": ", ":")
        }),
        row(
            "whole-url-as-target",
            "RFC 9112 §3.2.2",
            Accept,
            |mut r| {
                r.target = format!("http://{}{}", r.fields[0].1, r.target);
                r
            },
        ),
        row(
            "empty-line-first",
            "RFC 9112 §2.2",
            AcceptOrNote(EMPTY),
            |r| format!("\r\n{}", r.head()),
        ),
        row("unknown-extension", "RFC 6455 §9.1", Accept, |r| {
            r.and("Sec-WebSocket-Extensions", "x-unheard-of; a=1; b")
        }),
        row(
            "unknown-subprotocol",
            "RFC 6455 §4.2.2",
            AcceptOrNote("a server may insist on its subprotocols"),
            |r| r.and("Sec-WebSocket-Protocol", "x-unheard-of"),
        ),
        Case::new(
            "heads/nothing-unasked-in-the-answer",
            "RFC 6455 §4.2.2",
            "101 without extension or subprotocol",
            |server| async move {
                let (_, response) = Peer::open_with(&server, Request::good(&server)).await?;
                for header in ["sec-websocket-extensions", "sec-websocket-protocol"] {
                    if let Some(value) = response.header(header) {
                        return Ok(Outcome::fail(format!("answered {header}: {value}")));
                    }
                }
                Ok(Outcome::pass("answered 101"))
            },
        ),
        Case::new(
            "heads/version-in-the-refusal",
            VERSIONS,
            "an error with Sec-WebSocket-Version, and with Upgrade if it is 426",
            |server| async move {
                let request = Request::good(&server).set("Sec-WebSocket-Version", "99");
                let (_, answer) = Peer::ask(&server, request).await?;
                Ok(match answer.response() {
                    Some(r) if r.header("sec-websocket-version").is_none() => {
                        Outcome::fail(format!("answered {} without a version", r.status))
                    }
                    // RFC 9110 §15.5.22.
                    Some(r) if r.status == 426 && r.header("upgrade").is_none() => {
                        Outcome::fail("answered 426 without Upgrade")
                    }
                    _ => Refuse.judge(&answer),
                })
            },
        ),
    ]
}
