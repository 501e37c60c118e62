//! Much of what is allowed a little of.

use std::time::Duration;

use async_io::Timer;

use super::case::{Case, Outcome};
use super::frame::{BINARY, CONTINUATION, FIN, PING, PONG, TEXT, frame, text};
use super::judge::MARKER;
use super::memory::{self, mib};
use super::peer::{End, Peer};

const UNREAD: &str = "RUSTSEC-2020-0043";
const TINY: &str = "CVE-2026-48779, CVE-2026-12151";
const CONTROL: &str = "RFC 6455 §5.5.2";
const MANY: usize = 100_000;
/// How much a server may grow while answers pile up, in bytes: generous, and
/// less than the answers.
const ROOM: u64 = 128 << 20;
/// For what was taken to show in the server's memory.
const SETTLE: Duration = Duration::from_millis(500);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = unread();
    cases.extend(read());
    cases
}

/// Floods whose answers nobody reads: a server may stop reading, or close, but
/// not pile up answers.
fn unread() -> Vec<Case> {
    [
        (
            "pings-unread",
            CONTROL,
            frame(FIN | PING, &[b'a'; 125]),
            20 * MANY,
        ),
        (
            "small-messages-unread",
            UNREAD,
            text("twenty bytes of text"),
            80 * MANY,
        ),
        ("empty-messages-unread", UNREAD, text(""), 80 * MANY),
        (
            "long-messages-unread",
            UNREAD,
            frame(FIN | BINARY, &[0; 65_536]),
            4_096,
        ),
    ]
    .map(|(name, source, one, count)| {
        Case::new(
            format!("floods/{name}"),
            source,
            format!("bounded memory while {count} are sent and no answer is read"),
            move |server| async move {
                let mut peer = Peer::open(&server).await?;
                let batch = one.repeat((1 << 18) / one.len());
                let all = one.len() * count;
                let mut taken = 0;
                let resident = || server.pid.and_then(memory::resident).unwrap_or(0);
                let before = resident();
                // A server that has failed already is not to take the machine with it.
                while taken < all && resident() < before + 2 * ROOM {
                    let bytes = &batch[..batch.len().min(all - taken)];
                    let n = peer.write(bytes).await;
                    taken += n;
                    if n < bytes.len() {
                        break;
                    }
                }
                Timer::after(SETTLE).await;
                let taken = taken / one.len();
                let kept = peer.count(ROOM, SETTLE).await;
                Ok(if kept < ROOM {
                    Outcome::pass(format!("took {taken} of {count}"))
                } else {
                    let kept = mib(kept);
                    Outcome::fail(format!(
                        "took {taken} of {count}, and kept {kept} of answers"
                    ))
                })
            },
        )
        .room(ROOM)
    })
    .into()
}

/// Floods with a good message behind them: its echo, or a close frame that
/// says this is too much, has to come.
fn read() -> Vec<Case> {
    let open = |fragment: &[u8]| {
        let mut bytes = frame(TEXT, b"a");
        bytes.extend(frame(CONTINUATION, fragment).repeat(MANY));
        bytes.extend(frame(FIN | CONTINUATION, b"z"));
        bytes
    };
    let mut cases = vec![
        row("pings", CONTROL, frame(FIN | PING, b"flood").repeat(MANY)),
        row(
            "pongs",
            "RFC 6455 §5.5.3",
            frame(FIN | PONG, b"flood").repeat(MANY),
        ),
        row("empty-fragments", TINY, open(b"")),
        row("one-byte-fragments", TINY, open(b"a")),
        row("pings-between-fragments", TINY, {
            let pair = [frame(CONTINUATION, b"a"), frame(FIN | PING, b"")].concat();
            [
                frame(TEXT, b"a"),
                pair.repeat(1_000),
                frame(FIN | CONTINUATION, b"z"),
            ]
            .concat()
        }),
        row("empty-messages", TINY, text("").repeat(MANY)),
        row("small-messages", TINY, text("flood").repeat(MANY)),
    ];
    cases.push(Case::new(
        "floods/one-byte-segments",
        "ws, maxBufferedChunks",
        "echoed the message of 16 KiB",
        |server| async move {
            let payload = vec![0xa5; 16 << 10];
            let mut peer = Peer::open(&server).await?;
            peer.write_in(&frame(FIN | BINARY, &payload), 1).await;
            let seen = peer
                .exchange(b"", |r| r.over() || !r.messages.is_empty())
                .await;
            let echoed = seen.replies.messages.iter().any(|m| m.data == payload);
            let words = seen.words();
            Ok(if echoed {
                Outcome::pass(words)
            } else {
                Outcome::fail(words)
            })
        },
    ));
    cases
}

fn row(name: &str, source: &'static str, mut bytes: Vec<u8>) -> Case {
    bytes.extend(text(MARKER));
    Case::new(
        format!("floods/{name}"),
        source,
        "a good message behind it is echoed, or closed",
        |server| async move {
            let mut peer = Peer::open(&server).await?;
            let seen = peer.exchange(&bytes, |r| r.over() || r.has(MARKER)).await;
            let words = seen.words();
            let replies = seen.replies;
            let answered = replies.has(MARKER) || !replies.closes.is_empty();
            Ok(
                if replies.broken.is_some() || seen.end == End::Open && !answered {
                    Outcome::fail(words)
                } else {
                    Outcome::pass(words)
                },
            )
        },
    )
}
