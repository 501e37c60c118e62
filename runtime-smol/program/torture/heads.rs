//! Requests that are no upgrade requests, or odd ones (RFC 6455 §4.2.1,
//! RFC 9112).

use std::time::Duration;

use super::case::{Attempt, Case, Outcome, Server, Verdict};
use super::frame;
use super::judge::{Head, MARKER};
use super::peer::Peer;
use super::request::{KEY, Request};
use Head::{Accept, AcceptOrNote, Refuse, RefuseOrNote};

const READ: &str = "RFC 6455 §4.2.1";
const VERSIONS: &str = "RFC 6455 §4.2.2";
const SMUGGLING: &str = "request smuggling";
/// More than any server lets a head be.
const ENDLESS: usize = 16 << 20;
/// How long a second answer is waited for.
const SOON: Duration = Duration::from_millis(300);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = fields();
    cases.extend(syntax());
    cases.extend(odd_but_good());
    cases.extend(sizes());
    cases.extend(sequences());
    cases
}

/// A case of one request, all of it in one write.
fn row<B: Into<Vec<u8>> + 'static>(
    name: &str,
    source: &'static str,
    rule: Head,
    make: fn(Request) -> B,
) -> Case {
    Case::new(
        format!("heads/{name}"),
        source,
        rule.expected(),
        move |server| async move {
            let (_, answer) = Peer::ask(&server, make(Request::good(&server))).await?;
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

/// What is not HTTP/1.1, or only nearly.
fn syntax() -> Vec<Case> {
    const LF: &str = "RFC 9112 §2.2 lets a server take a bare LF as the end of a line";
    const FOLD: &str = "RFC 9112 §5.2 lets a server replace the fold by spaces";
    const SKIP: &str = "RFC 9112 §2.2 lets a server skip such a line";
    const LENIENT: &str = "RFC 9112 §2.2 only recommends 400";
    const BODY: &str = "RFC 6455 does not forbid content in the request";
    let after_host = |line: &'static str| {
        move |r: Request| {
            r.head()
                .replacen("Upgrade:", &format!("{line}\r\nUpgrade:"), 1)
        }
    };
    // Closures that capture are no function pointers; these do it once.
    let line = |name: &str, source, rule, text: &'static str| {
        Case::new(
            format!("heads/{name}"),
            source,
            Head::expected(rule),
            move |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = after_host(text)(Request::good(&server));
                peer.write(head.as_bytes()).await;
                Ok(rule.judge(&peer.answer().await))
            },
        )
    };
    vec![
        row("bare-lf", "RFC 9112 §2.2", RefuseOrNote(LF), |r| {
            r.head().replace("\r\n", "\n")
        }),
        row("cr-in-value", "RFC 9112 §2.2", Refuse, |r| {
            r.set("Upgrade", "web\rsocket")
        }),
        row("nul-in-value", "RFC 9110 §5.5", Refuse, |r| {
            r.set("Upgrade", "web\0socket")
        }),
        line(
            "folded-line",
            "RFC 9112 §5.2",
            RefuseOrNote(FOLD),
            "X-Odd: a\r\n b",
        ),
        row("upgrade-only-in-a-fold", "RFC 9112 §5.2", Refuse, |r| {
            r.head().replacen("Upgrade:", "X-Odd: a\r\n Upgrade:", 1)
        }),
        line("space-before-colon", "RFC 9112 §5.1", Refuse, "X-Odd : a"),
        row(
            "space-before-first-header",
            "RFC 9112 §2.2",
            RefuseOrNote(SKIP),
            |r| r.head().replacen("Host:", " X-Odd: a\r\nHost:", 1),
        ),
        line("line-without-colon", READ, RefuseOrNote(LENIENT), "X-Odd"),
        line("empty-header-name", READ, RefuseOrNote(LENIENT), ": a"),
        line(
            "bracket-in-header-name",
            READ,
            RefuseOrNote(LENIENT),
            "X(Odd: a",
        ),
        line(
            "transfer-encoding",
            SMUGGLING,
            RefuseOrNote(BODY),
            "Transfer-Encoding: chunked",
        ),
        line(
            "transfer-encoding-and-content-length",
            "RFC 9112 §6.1",
            RefuseOrNote("RFC 9112 §6.1 lets a server take it"),
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
        ),
        line(
            "transfer-encoding-unknown",
            "RFC 9112 §6.3",
            Refuse,
            "Transfer-Encoding: zorg",
        ),
        line(
            "content-length-x",
            "RFC 9112 §6.3",
            Refuse,
            "Content-Length: x",
        ),
        line(
            "content-length-negative",
            "RFC 9112 §6.3",
            Refuse,
            "Content-Length: -1",
        ),
        line(
            "two-content-lengths",
            "RFC 9112 §6.3",
            Refuse,
            "Content-Length: 5\r\nContent-Length: 6",
        ),
        row("no-target", "RFC 9112 §3", Refuse, |mut r| {
            r.target.clear();
            r
        }),
        row(
            "space-in-target",
            "RFC 9112 §3.2",
            RefuseOrNote("it only recommends 400"),
            |mut r| {
                r.target += "?a b";
                r
            },
        ),
        row(
            "fragment-in-target",
            "RFC 6455 §3",
            RefuseOrNote("the rule binds the client"),
            |mut r| {
                r.target += "#a";
                r
            },
        ),
        row("tls-hello", READ, Head::Answer, |_| {
            b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00\r\n\r\n".to_vec()
        }),
        row("noise", READ, Head::Answer, |_| {
            let noise = (0..4_096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8);
            noise.chain(*b"\r\n\r\n").collect::<Vec<_>>()
        }),
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

/// Long ones, and ones that take long to read.
fn sizes() -> Vec<Case> {
    const LIMIT: &str = "how long a head may be is a matter of policy";
    let many = |count: usize| {
        move |mut r: Request| {
            let upgrade = r.fields.remove(1);
            r.fields
                .extend((0..count).map(|_| ("a".into(), "b".into())));
            r.fields.push(upgrade);
            r
        }
    };
    let many_before_upgrade = |name: &str, source, rule: Head, count| {
        Case::new(
            format!("heads/{name}"),
            source,
            rule.expected(),
            move |server| async move {
                let mut peer = Peer::connect(&server).await?;
                peer.write(&Vec::from(many(count)(Request::good(&server))))
                    .await;
                Ok(rule.judge(&peer.answer().await))
            },
        )
    };
    vec![
        many_before_upgrade("1000-headers", "CVE-2024-37890", RefuseOrNote(LIMIT), 1_000),
        many_before_upgrade("2500-headers", "CVE-2024-37890", Head::Answer, 2_500),
        row(
            "head-of-64-kib",
            "RFC 9110 §5.4",
            RefuseOrNote(LIMIT),
            |r| r.and("X-Odd", &"a".repeat(64 << 10)),
        ),
        row(
            "target-of-64-kib",
            "RFC 9110 §4.1",
            RefuseOrNote(LIMIT),
            |mut r| {
                r.target += "?";
                r.target += &"a".repeat(64 << 10);
                r
            },
        ),
        row(
            "subprotocol-of-spaces",
            "CVE-2021-32640",
            Head::Answer,
            |r| {
                r.and(
                    "Sec-WebSocket-Protocol",
                    &format!("a{}b", " ".repeat(7_000)),
                )
            },
        ),
        row(
            "extension-of-backslashes",
            "CVE-2020-7662",
            Head::Answer,
            |r| {
                r.and(
                    "Sec-WebSocket-Extensions",
                    &format!("a; b=\"{}c", "\\c".repeat(3_500)),
                )
            },
        ),
        row(
            "extension-called-constructor",
            "ws before 3.3.1",
            Head::Answer,
            |r| {
                r.and(
                    "Sec-WebSocket-Extensions",
                    "constructor, __proto__; toString",
                )
            },
        ),
        Case::new(
            "heads/endless",
            "RUSTSEC-2023-0065",
            "refused or closed before 16 MiB are there",
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let start = Request::good(&server).head();
                peer.write(start.trim_end().as_bytes()).await;
                let piece = b"\r\nX-Odd: abcdefgh".repeat(3_641);
                let mut taken = 0;
                while taken < ENDLESS {
                    match peer.write(&piece).await {
                        0 => break,
                        n => taken += n,
                    }
                }
                // A server that has refused may well read on, so that the answer arrives.
                let outcome = Head::Answer.judge(&peer.answer().await);
                Ok(outcome.and(Verdict::Pass, &format!("took {taken} bytes")))
            },
        ),
    ]
}

/// Heads in pieces, and what comes after them.
fn sequences() -> Vec<Case> {
    vec![
        Case::new(
            "heads/one-byte-at-a-time",
            "RUSTSEC-2023-0065",
            AcceptOrNote("it looks like an attack").expected(),
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = Request::good(&server).head();
                peer.write_in(head.as_bytes(), 1).await;
                let rule = AcceptOrNote("it looks like an attack");
                Ok(rule.judge(&peer.answer().await))
            },
        ),
        Case::new(
            "heads/in-three-pieces",
            "RFC 9112 §2.2",
            Accept.expected(),
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = Request::good(&server).head();
                for piece in [
                    &head[..20],
                    &head[20..head.len() - 3],
                    &head[head.len() - 3..],
                ] {
                    peer.write(piece.as_bytes()).await;
                    async_io::Timer::after(Duration::from_millis(20)).await;
                }
                Ok(Accept.judge(&peer.answer().await))
            },
        ),
        Case::new(
            "heads/frame-in-the-same-write",
            "RFC 6455 §4.1",
            "echoed; refusing is allowed, as the client was to wait",
            |server| async move {
                let mut bytes = Vec::from(Request::good(&server));
                bytes.extend(frame::text(MARKER));
                let (mut peer, answer) = Peer::ask(&server, bytes).await?;
                if !answer.is_upgraded() {
                    return Ok(Head::Answer.judge(&answer));
                }
                let seen = peer.exchange(b"", |r| r.over() || r.has(MARKER)).await;
                let words = seen.words();
                Ok(if seen.replies.has(MARKER) {
                    Outcome::pass(words)
                } else {
                    Outcome::note(format!("lost the message: {words}"))
                })
            },
        ),
        Case::new(
            "heads/content-taken-for-frames",
            SMUGGLING,
            "content of the request is refused, or not read as frames",
            |server| async move {
                let content = frame::text(MARKER);
                let length = content.len().to_string();
                let request = Request::good(&server).and("Content-Length", &length);
                let bytes = [Vec::from(request), content].concat();
                let (mut peer, answer) = Peer::ask(&server, bytes).await?;
                if !answer.is_upgraded() {
                    return Ok(Head::Answer.judge(&answer));
                }
                let seen = peer.exchange_for(SOON, b"", |r| r.over() || r.has(MARKER));
                let seen = seen.await;
                Ok(if seen.replies.has(MARKER) {
                    Outcome::note("answered 101, and read the content as a frame")
                } else {
                    Outcome::note("answered 101, and passed over the content")
                })
            },
        ),
        Case::new(
            "heads/frame-after-a-refusal",
            SMUGGLING,
            "nothing after a refused request is read as a frame",
            |server| async move {
                let bad = Request::good(&server).set("Sec-WebSocket-Version", "99");
                let bytes = [Vec::from(bad), frame::text(MARKER)].concat();
                refused_then(&server, &bytes, |rest| {
                    contains(rest, MARKER.as_bytes()).then_some("read the frame that followed")
                })
                .await
            },
        ),
        Case::new(
            "heads/request-in-refused-content",
            "RFC 9112 §6.3",
            "the content of a refused request is not read as a request",
            |server| async move {
                let hidden = Request::good(&server).head();
                let bad = Request::good(&server)
                    .set("Sec-WebSocket-Version", "99")
                    .and("Content-Length", &hidden.len().to_string());
                let bytes = [Vec::from(bad), hidden.into_bytes()].concat();
                refused_then(&server, &bytes, |rest| {
                    contains(rest, b"HTTP/1.1 101").then_some("upgraded what was in the content")
                })
                .await
            },
        ),
    ]
}

/// Sends a request that is to be refused with bytes behind it, and looks at
/// what comes after the refusal.
async fn refused_then(
    server: &Server,
    bytes: &[u8],
    harm: fn(&[u8]) -> Option<&'static str>,
) -> Attempt {
    let (mut peer, answer) = Peer::ask(server, bytes).await?;
    let outcome = Refuse.judge(&answer);
    Ok(match harm(&peer.rest(SOON).await) {
        Some(harm) => Outcome::fail(format!("{answer}, then {harm}")),
        None => outcome,
    })
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
