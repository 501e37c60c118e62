//! Close frames (RFC 6455 §5.5.1, §7).

use super::case::{Case, Outcome, Verdict};
use super::frame::{CLOSE, FIN, TEXT, close, frame, text};
use super::judge::MARKER;
use super::peer::{End, Peer, Seen};
use super::reply::Replies;

const CLOSING: &str = "RFC 6455 §5.5.1";
const CODES: &str = "RFC 6455 §7.4";

/// What may answer a close frame.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// It is good: a close frame comes back.
    Good,
    /// It is bad: 1002 comes back; another close frame is allowed as long as
    /// it is a good one.
    Bad,
    /// Its code is registered but younger than RFC 6455.
    Young,
}

impl Close {
    const fn expected(self) -> &'static str {
        match self {
            Self::Good => "a close frame comes back",
            Self::Bad => "closed with 1002 or 1007; another close frame is allowed if it is good",
            Self::Young => "a close frame comes back; 1002 is allowed",
        }
    }

    /// Judges the answer to a close frame with this code.
    fn judge(self, sent: Option<u16>, seen: &Seen<'_>) -> Outcome {
        let replies = seen.replies;
        let good = replies.closes.first().is_some_and(|close| is_good(close));
        let refused = matches!(replies.code(), Some(1002 | 1007)) && replies.code() != sent;
        let verdict = match self {
            _ if replies.broken.is_some() || !replies.messages.is_empty() => Verdict::Fail,
            // Every close frame is answered (RFC 6455 §5.5.1) ...
            Self::Good if !good || refused => Verdict::Fail,
            Self::Good => Verdict::Pass,
            Self::Young if good && !refused => Verdict::Pass,
            Self::Bad if refused => Verdict::Pass,
            // ... but one that breaks the rules may just end the connection.
            _ if replies.closes.is_empty() => match seen.end {
                End::Enough | End::Open => Verdict::Fail,
                End::Closed | End::Reset => Verdict::Note,
            },
            _ if good => Verdict::Note,
            // A code may be returned as it came, but for those that must never
            // be sent, and a payload that is none.
            _ if replies.code().is_some_and(|code| !never_sent(code)) && is_text(replies) => {
                Verdict::Note
            }
            Self::Bad | Self::Young => Verdict::Fail,
        };
        Outcome::new(verdict, seen.words())
    }
}

/// RFC 6455 §7.4.1.
const fn never_sent(code: u16) -> bool {
    matches!(code, 1005 | 1006 | 1015)
}

/// Whether a server may send a close frame with this payload.
fn is_good(payload: &[u8]) -> bool {
    match payload {
        [] => true,
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let known = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            known && std::str::from_utf8(reason).is_ok()
        }
        _ => false,
    }
}

fn is_text(replies: &Replies) -> bool {
    let reason = replies.closes.first().and_then(|close| close.get(2..));
    reason.is_some_and(|reason| std::str::from_utf8(reason).is_ok())
}

fn row(name: &str, source: &'static str, rule: Close, sent: Option<u16>, bytes: Vec<u8>) -> Case {
    Case::new(
        format!("closing/{name}"),
        source,
        rule.expected(),
        move |server| async move {
            let mut peer = Peer::open(&server).await?;
            let seen = peer.exchange(&bytes, Replies::over).await;
            Ok(rule.judge(sent, &seen))
        },
    )
}

pub(crate) fn cases() -> Vec<Case> {
    let odd = |name, source, rule, bytes| row(name, source, rule, None, bytes);
    let mut cases = vec![
        odd("empty", CLOSING, Close::Good, frame(FIN | CLOSE, b"")),
        odd(
            "reason-of-123-bytes",
            CLOSING,
            Close::Good,
            close(1000, &[b'a'; 123]),
        ),
        odd(
            "inside-a-message",
            "RFC 6455 §5.4",
            Close::Good,
            [frame(TEXT, b"a"), close(1000, b"")].concat(),
        ),
        odd("one-byte", CLOSING, Close::Bad, frame(FIN | CLOSE, b"\x03")),
        odd(
            "reason-not-utf8",
            "RFC 6455 §8.1",
            Close::Bad,
            close(1000, b"a\xff"),
        ),
    ];
    let good = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 4999,
    ];
    let young = [1012, 1013, 1014];
    let bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    for (codes, source, rule) in [
        (&good[..], CODES, Close::Good),
        (&young, "IANA, WebSocket close codes", Close::Young),
        (&bad, CODES, Close::Bad),
    ] {
        for code in codes.iter().copied() {
            let name = format!("code-{code}");
            cases.push(row(&name, source, rule, Some(code), close(code, b"bye")));
        }
    }
    cases.extend(after());
    cases
}

/// What comes after the close frame.
fn after() -> [Case; 3] {
    [
        Case::new(
            "closing/message-after-close",
            "RFC 6455 §1.4, §5.5.1",
            "the message is not answered",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let bytes = [close(1000, b""), text(MARKER)].concat();
                let seen = peer.exchange(&bytes, |_| false).await;
                let words = seen.words();
                Ok(
                    if seen.replies.broken.is_some() || seen.replies.after_close > 0 {
                        Outcome::fail(format!("sent data after its close frame: {words}"))
                    } else if seen.replies.closes.is_empty() {
                        Outcome::fail(words)
                    } else if seen.replies.has(MARKER) {
                        Outcome::note(words)
                    } else {
                        Outcome::pass(words)
                    },
                )
            },
        )
        .waiting(),
        Case::new(
            "closing/two-closes",
            CLOSING,
            "one close frame comes back",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let bytes = [close(1000, b""), close(1001, b"")].concat();
                let seen = peer.exchange(&bytes, |_| false).await;
                let words = seen.words();
                Ok(match seen.replies.closes.len() {
                    1 => Outcome::pass(words),
                    0 => Outcome::fail(words),
                    n => Outcome::fail(format!("sent {n} close frames: {words}")),
                })
            },
        )
        .waiting(),
        Case::new(
            "closing/tcp-ends-too",
            "RFC 6455 §5.5.1, §7.1.1",
            "the server ends the TCP connection when both have closed",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let seen = peer.exchange(&close(1000, b""), |_| false).await;
                let words = seen.words();
                Ok(match seen.end {
                    _ if seen.replies.closes.is_empty() => Outcome::fail(words),
                    End::Enough | End::Open => {
                        Outcome::fail(format!("{words}, but TCP is still open"))
                    }
                    End::Closed => Outcome::pass(format!("{words}, and so did TCP")),
                    End::Reset => Outcome::note(format!("{words}, and reset TCP")),
                })
            },
        )
        .waiting(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn close_frames_are_judged_by_what_may_be_sent() {
        use Verdict::{Fail, Note, Pass};
        for (sent, bytes, end, expected) in [
            (
                1000,
                &b"\x88\x02\x03\xe8"[..],
                End::Enough,
                [Pass, Note, Pass],
            ),
            (1000, b"\x88\x00", End::Enough, [Pass, Note, Pass]),
            (1000, b"\x88\x02\x03\xea", End::Enough, [Fail, Pass, Note]),
            (1002, b"\x88\x02\x03\xea", End::Enough, [Pass, Note, Pass]),
            // 1005 must never be sent; 999 is only unused.
            (1005, b"\x88\x02\x03\xed", End::Enough, [Fail, Fail, Fail]),
            (999, b"\x88\x02\x03\xe7", End::Enough, [Fail, Note, Note]),
            (1000, b"\x88\x01\x03", End::Enough, [Fail, Fail, Fail]),
            (
                1000,
                b"\x88\x03\x03\xe8\xff",
                End::Enough,
                [Fail, Fail, Fail],
            ),
            (1000, b"\x81\x01a", End::Enough, [Fail, Fail, Fail]),
            (1000, b"", End::Open, [Fail, Fail, Fail]),
            (1000, b"", End::Closed, [Fail, Note, Note]),
        ] {
            let mut replies = Replies::default();
            replies.take(bytes);
            let seen = Seen {
                replies: &replies,
                end,
                after: Duration::ZERO,
            };
            let verdicts = [Close::Good, Close::Bad, Close::Young]
                .map(|rule| rule.judge(Some(sent), &seen).verdict);
            assert_eq!(verdicts, expected, "{sent} {bytes:?} {end:?}");
        }
    }
}
