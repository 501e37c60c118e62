//! UTF-8 in text messages (RFC 6455 §8.1).

use std::time::Duration;

use super::case::{Case, Outcome};
use super::frame::{BINARY, CONTINUATION, FIN, TEXT, Width, claim, frame};
use super::frames::row;
use super::judge::Frames::{Echo, Fail};
use super::peer::{End, Peer};
use super::reply::Message;

const UTF8: &str = "RFC 6455 §8.1, RFC 3629";
/// Text that is none.
const TEXTS: &[u16] = &[1007];
/// Long enough for a server that checks text as it comes.
const SOON: Duration = Duration::from_millis(500);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, bytes) in [
        ("lone-continuation", &b"a\x80"[..]),
        ("overlong-slash", b"\xc0\xaf"),
        ("overlong-three", b"\xe0\x80\xaf"),
        ("overlong-four", b"\xf0\x80\x80\xaf"),
        ("surrogate", b"\xed\xa0\x80"),
        ("surrogate-pair", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("above-10ffff", b"\xf4\x90\x80\x80"),
        ("byte-fe", b"\xfe"),
        ("byte-ff", b"a\xff"),
        ("cut-at-the-end", b"abc\xe2\x82"),
        ("bad-after-64-kib", &[&[b'a'; 65_536][..], b"\xff"].concat()),
    ] {
        let bytes = frame(FIN | TEXT, bytes);
        cases.push(row(&format!("utf8/{name}"), UTF8, Fail(TEXTS), bytes));
    }
    for (name, first, last) in [
        ("bad-over-two-frames", &b"\xe2"[..], &b"\x28\xa1"[..]),
        ("bad-in-the-second-frame", b"abc", b"\xff"),
        ("cut-at-the-end-of-the-second-frame", b"abc", b"\xf0\x9f"),
    ] {
        let bytes = [frame(TEXT, first), frame(FIN | CONTINUATION, last)].concat();
        cases.push(row(&format!("utf8/{name}"), UTF8, Fail(TEXTS), bytes));
    }
    let good = "\0\u{7f}ü€\u{d7ff}\u{e000}\u{feff}\u{fffe}\u{1f600}\u{10ffff}";
    cases.push(row(
        "utf8/edges",
        UTF8,
        Echo(vec![Message::text(good)]),
        frame(FIN | TEXT, good.as_bytes()),
    ));
    let split = good.as_bytes();
    let mut bytes = frame(TEXT, &split[..1]);
    for byte in &split[1..] {
        bytes.extend(frame(CONTINUATION, &[*byte]));
    }
    bytes.extend(frame(FIN | CONTINUATION, b""));
    let rule = Echo(vec![Message::text(good)]);
    cases.push(row("utf8/edges-byte-by-byte", UTF8, rule, bytes));
    cases.push(row(
        "utf8/none-in-binary",
        UTF8,
        Echo(vec![Message::binary(*b"\xff\xfe\x80")]),
        frame(FIN | BINARY, b"\xff\xfe\x80"),
    ));
    cases.push(early("at-the-end-of-a-fragment", frame(TEXT, b"abc\xff")));
    let unfinished = claim(FIN | TEXT, Width::Two, 1_000, b"abc\xff");
    cases.push(early("inside-a-frame", unfinished));
    cases
}

/// Whether bad text is refused before the message ends. It may be.
fn early(name: &str, bytes: Vec<u8>) -> Case {
    Case::new(
        format!("utf8/refused-early/{name}"),
        "RFC 6455 §8.1, Autobahn 6.3, 6.4",
        "closed before the message ends; later is allowed",
        |server| async move {
            let mut peer = Peer::open(&server).await?;
            let seen = peer.exchange_for(SOON, &bytes, |r| r.over()).await;
            let words = seen.words();
            Ok(if seen.replies.broken.is_some() {
                Outcome::fail(words)
            } else if seen.end == End::Open && seen.replies.closes.is_empty() {
                Outcome::note(words)
            } else {
                Outcome::pass(words)
            })
        },
    )
    .waiting()
}
