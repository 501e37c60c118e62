//! What counts as right: answers and ends against what the RFCs say.
//!
//! A `FAIL` needs a MUST that binds the server, or harm to it. Where a rule
//! only binds the client, or is a SHOULD, or nothing but policy, the worst is a
//! `note`.

use super::case::{Outcome, Verdict};
use super::peer::{End, Seen, after};
use super::reply::{Answer, Message};

/// What is sent after an odd frame: who echoes it went on reading.
pub(crate) const MARKER: &str = "a good message after a bad one";

/// What may become of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Head {
    /// It is good: 101.
    Accept,
    /// It is good, yet a server may have reasons to refuse it: these.
    AcceptOrNote(&'static str),
    /// It is bad: an HTTP error, never 101 (RFC 6455 §4.2.1).
    Refuse,
    /// It is odd: taking it is allowed, for this reason.
    RefuseOrNote(&'static str),
    /// Any answer will do, as long as there is one.
    Answer,
}

impl Head {
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Accept => "answered 101".into(),
            Self::AcceptOrNote(why) => format!("answered 101, or refused: {why}"),
            Self::Refuse => "refused with an HTTP error".into(),
            Self::RefuseOrNote(why) => format!("refused; {why}"),
            Self::Answer => "answered in time, or closed".into(),
        }
    }

    pub(crate) fn judge(self, answer: &Answer) -> Outcome {
        let verdict = match (self, answer) {
            (Self::Accept | Self::AcceptOrNote(_), _) if answer.is_upgraded() => Verdict::Pass,
            (_, Answer::Garbled) => Verdict::Fail,
            (Self::Accept, _) => Verdict::Fail,
            (Self::AcceptOrNote(_), Answer::Response(response)) if response.status == 101 => {
                Verdict::Fail
            }
            (Self::AcceptOrNote(_), Answer::Silent(_)) => Verdict::Fail,
            (Self::AcceptOrNote(_), _) => Verdict::Note,
            (Self::Answer | Self::Refuse, Answer::Silent(_)) => Verdict::Fail,
            (Self::Answer, _) => Verdict::Pass,
            (Self::RefuseOrNote(_), Answer::Silent(_)) => Verdict::Note,
            (_, Answer::Response(response)) => match response.status {
                101 if matches!(self, Self::Refuse) => Verdict::Fail,
                // But for these two: not implemented, version not supported.
                501 | 505 => Verdict::Pass,
                101 | 500.. => Verdict::Note,
                _ => Verdict::Pass,
            },
            // RFC 6455 §4.2.1 wants an HTTP response, for the client's sake.
            (Self::Refuse, Answer::Closed | Answer::Reset) => Verdict::Note,
            (Self::RefuseOrNote(_), Answer::Closed | Answer::Reset) => Verdict::Pass,
        };
        let words = match self {
            Self::Accept | Self::AcceptOrNote(_) => answer.words(),
            Self::Refuse | Self::RefuseOrNote(_) | Self::Answer => answer.to_string(),
        };
        Outcome::new(verdict, words)
    }
}

/// What may become of a connection after something was sent on it.
#[derive(Clone, Debug)]
pub(crate) enum Frames {
    /// The connection is failed (RFC 6455 §7.1.7), by preference with a close
    /// frame of one of these codes.
    Fail(&'static [u16]),
    /// The same, but a close frame is quite optional.
    Drop,
    /// The connection is failed; taking the frame is allowed, for this reason.
    FailOrNote(&'static str),
    /// Exactly these messages come back.
    Echo(Vec<Message>),
}

impl Frames {
    pub(crate) fn expected(&self) -> String {
        match self {
            Self::Fail(codes) => {
                let codes: Vec<_> = codes.iter().map(u16::to_string).collect();
                format!("closed, with {}", codes.join(" or "))
            }
            Self::Drop => "closed".into(),
            Self::FailOrNote(why) => format!("closed; {why}"),
            Self::Echo(messages) if messages.len() == 1 => "echoed the message".into(),
            Self::Echo(messages) => format!("echoed {} messages", messages.len()),
        }
    }

    /// Whether there is nothing more to wait for.
    pub(crate) fn enough(&self, replies: &super::reply::Replies) -> bool {
        replies.over()
            || match self {
                Self::Echo(messages) => replies.messages.len() >= messages.len(),
                Self::Fail(_) | Self::Drop | Self::FailOrNote(_) => replies.has(MARKER),
            }
    }

    pub(crate) fn judge(&self, seen: &Seen<'_>) -> Outcome {
        let replies = seen.replies;
        let went_on = !replies.messages.is_empty() || !replies.pongs.is_empty();
        let closed = !replies.closes.is_empty();
        let verdict = match self {
            _ if replies.broken.is_some() => Verdict::Fail,
            Self::Echo(messages) if replies.messages == *messages => Verdict::Pass,
            Self::Echo(_) => Verdict::Fail,
            Self::Fail(_) | Self::Drop if went_on => Verdict::Fail,
            Self::FailOrNote(_) if went_on => Verdict::Note,
            Self::Fail(codes) if closed => match replies.code() {
                Some(code) if codes.contains(&code) => Verdict::Pass,
                _ => Verdict::Note,
            },
            Self::Drop | Self::FailOrNote(_) if closed => Verdict::Pass,
            Self::Fail(_) => match seen.end {
                End::Enough | End::Open => Verdict::Fail,
                // A close frame is a SHOULD (RFC 6455 §7.1.7).
                End::Closed | End::Reset => Verdict::Note,
            },
            Self::Drop => match seen.end {
                End::Enough | End::Open => Verdict::Fail,
                End::Closed | End::Reset => Verdict::Pass,
            },
            Self::FailOrNote(_) => match seen.end {
                End::Enough | End::Open => Verdict::Note,
                End::Closed | End::Reset => Verdict::Pass,
            },
        };
        let words = match self {
            Self::Echo(_) if verdict == Verdict::Pass => {
                format!("{} {}", self.expected(), after(seen.after))
            }
            Self::Fail(_) | Self::Drop | Self::FailOrNote(_) if replies.has(MARKER) => {
                format!("went on as if nothing were wrong: {}", seen.words())
            }
            Self::Echo(_) | Self::Fail(_) | Self::Drop | Self::FailOrNote(_) => seen.words(),
        };
        Outcome::new(verdict, words)
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Verdict::{Fail, Note, Pass};
    use super::super::reply::{Replies, Response};
    use super::super::request::ACCEPT;
    use super::*;
    use std::time::Duration;

    #[test]
    fn heads_are_judged_by_what_the_rfcs_demand() {
        let response = |head: &str| {
            let (response, _) = Response::parse(head.as_bytes()).unwrap().unwrap();
            Answer::Response(response)
        };
        let status = |status: u16| response(&format!("HTTP/1.1 {status} x\r\n\r\n"));
        let upgraded = response(&format!(
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        ));
        let answers = [
            upgraded,
            // No header that a client could trust.
            status(101),
            status(400),
            status(500),
            status(505),
            Answer::Garbled,
            Answer::Closed,
            Answer::Reset,
            Answer::Silent(Duration::from_secs(8)),
        ];
        for (rule, expected) in [
            (
                Head::Accept,
                [Pass, Fail, Fail, Fail, Fail, Fail, Fail, Fail, Fail],
            ),
            (
                Head::AcceptOrNote(""),
                [Pass, Fail, Note, Note, Note, Fail, Note, Note, Fail],
            ),
            (
                Head::Refuse,
                [Fail, Fail, Pass, Note, Pass, Fail, Note, Note, Fail],
            ),
            (
                Head::RefuseOrNote(""),
                [Note, Note, Pass, Note, Pass, Fail, Pass, Pass, Note],
            ),
            (
                Head::Answer,
                [Pass, Pass, Pass, Pass, Pass, Fail, Pass, Pass, Fail],
            ),
        ] {
            let verdicts = answers.each_ref().map(|answer| rule.judge(answer).verdict);
            assert_eq!(verdicts, expected, "{rule:?}");
        }
    }

    #[test]
    fn frames_are_judged_by_what_the_rfcs_demand() {
        let echo = Frames::Echo(vec![Message::text("a")]);
        let fail = Frames::Fail(&[1002]);
        let lenient = Frames::FailOrNote("");
        for (bytes, end, expected) in [
            (&b"\x81\x01a"[..], End::Enough, [Pass, Fail, Fail, Note]),
            (b"\x81\x01b", End::Enough, [Fail, Fail, Fail, Note]),
            (b"\x82\x01a", End::Enough, [Fail, Fail, Fail, Note]),
            (b"\x81\x01a\x81\x01a", End::Enough, [Fail, Fail, Fail, Note]),
            (b"\x8a\x00", End::Open, [Fail, Fail, Fail, Note]),
            (b"\x88\x02\x03\xea", End::Enough, [Fail, Pass, Pass, Pass]),
            (b"\x88\x02\x03\xe8", End::Enough, [Fail, Note, Pass, Pass]),
            (b"\x88\x00", End::Enough, [Fail, Note, Pass, Pass]),
            (b"", End::Closed, [Fail, Note, Pass, Pass]),
            (b"", End::Reset, [Fail, Note, Pass, Pass]),
            (b"", End::Open, [Fail, Fail, Fail, Note]),
            // What a server may never send.
            (b"\x81\x81\0\0\0\0a", End::Enough, [Fail, Fail, Fail, Fail]),
        ] {
            let mut replies = Replies::default();
            replies.take(bytes);
            let seen = Seen {
                replies: &replies,
                end,
                after: Duration::ZERO,
            };
            let verdicts =
                [&echo, &fail, &Frames::Drop, &lenient].map(|rule| rule.judge(&seen).verdict);
            assert_eq!(verdicts, expected, "{bytes:?} {end:?}");
        }
    }

    #[test]
    fn what_was_seen_is_told_in_words() {
        let words = |bytes: &[u8], end, rule: &Frames| {
            let mut replies = Replies::default();
            replies.take(bytes);
            let after = Duration::from_millis(3);
            let replies = &replies;
            rule.judge(&Seen {
                replies,
                end,
                after,
            })
            .seen
        };
        let fail = Frames::Fail(&[1002]);
        let echo = Frames::Echo(vec![Message::text("a")]);
        let marker = [&[0x81, 30][..], MARKER.as_bytes()].concat();
        assert_eq!(MARKER.len(), 30);
        assert_eq!(
            words(b"\x81\x01a", End::Enough, &echo),
            "echoed the message after 3 ms"
        );
        assert_eq!(
            words(b"\x88\x02\x03\xea", End::Enough, &fail),
            "closed with 1002 after 3 ms"
        );
        assert_eq!(words(b"", End::Open, &fail), "still open after 3 ms");
        assert_eq!(
            words(&marker, End::Enough, &fail),
            "went on as if nothing were wrong: sent a message after 3 ms"
        );
        assert_eq!(
            words(b"\x88\x7e", End::Enough, &fail),
            "sent a control frame of more than 125 bytes after 3 ms"
        );
    }
}
