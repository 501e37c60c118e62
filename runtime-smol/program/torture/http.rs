//! Requests that are not HTTP/1.1, or only nearly (RFC 9112), too long ones,
//! and what comes before and after their end.

use std::iter;
use std::time::Duration;

use super::case::{Attempt, Case, Outcome, Server, Verdict};
use super::frame;
use super::heads::{READ, row};
use super::judge::{Head, MARKER};
use super::peer::Peer;
use super::request::Request;
use Head::{Accept, AcceptOrNote, Refuse, RefuseOrNote};

const SMUGGLING: &str = "request smuggling";
/// More than any server lets a head be.
const ENDLESS: usize = 16 << 20;
/// How long a second answer is waited for.
const SOON: Duration = Duration::from_millis(300);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = syntax();
    cases.extend(sizes());
    cases.extend(sequences());
    cases
}

/// What is not HTTP/1.1, or only nearly.
fn syntax() -> Vec<Case> {
    const LF: &str = "RFC 9112 §2.2 lets a server take a bare LF as the end of a line";
    const FOLD: &str = "RFC 9112 §5.2 lets a server replace the fold by spaces";
    const SKIP: &str = "RFC 9112 §2.2 lets a server skip such a line";
    const LENIENT: &str = "RFC 9112 §2.2 only recommends 400";
    const BODY: &str = "RFC 6455 does not forbid content in the request";
    let line = |name: &str, source, rule, line: &'static str| {
        row(name, source, rule, move |r| {
            r.head()
                .replacen("Upgrade:", &format!("{line}\r\nUpgrade:"), 1)
        })
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

/// Long ones, and ones that take long to read.
fn sizes() -> Vec<Case> {
    const LIMIT: &str = "how long a head may be is a matter of policy";
    let before_upgrade = |name: &str, rule, count| {
        row(name, "CVE-2024-37890", rule, move |mut r| {
            let upgrade = r.fields.remove(1);
            let odd = ("a".to_string(), "b".to_string());
            r.fields.extend(iter::repeat_n(odd, count));
            r.fields.push(upgrade);
            r
        })
    };
    vec![
        before_upgrade("1000-headers", RefuseOrNote(LIMIT), 1_000),
        before_upgrade("2500-headers", Head::Answer, 2_500),
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
