//! permessage-deflate, abused (RFC 7692).

use std::rc::Rc;
use std::time::Duration;

use miniz_oxide::MZFlush;
use miniz_oxide::deflate::core::{CompressorOxide, create_comp_flags_from_zip_params};
use miniz_oxide::deflate::stream::deflate;

use super::case::{Attempt, Case, Outcome, Server, Verdict};
use super::frame::{BINARY, CONTINUATION, FIN, PING, RSV1, TEXT, frame, text};
use super::judge::{Frames, Head, MARKER};
use super::peer::{End, Peer};
use super::reply::{Message, Response};
use super::request::Request;
use Frames::{Echo, Fail, FailOrNote};

/// Every message stands alone, both ways.
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
const OFFERS: &str = "RFC 7692 §7";
const MARKS: &str = "RFC 7692 §6";
const INFLATING: &str = "RFC 7692 §7.2.2";
const EXAMPLES: &str = "RFC 7692 §7.2.3";
const BOMB: &str = "CVE-2026-1526, CVE-2018-1000518";

const MIB: usize = 1 << 20;
/// What the bomb inflates to, in MiB.
const BOMB_SIZE: usize = 256;
/// What a server may grow by while it refuses the bomb, without remark.
const BOMB_ROOM: u64 = 64 << 20;

/// What a server makes of an offer of compression; `None` if it is no answer.
pub(crate) async fn takes(server: &Server) -> bool {
    let request = Request::good(server).and("Sec-WebSocket-Extensions", OFFER);
    let opened = Peer::open_with(server, request).await;
    opened.is_ok_and(|(_, response)| deflates(&response))
}

fn deflates(response: &Response) -> bool {
    let agreed = response.header("sec-websocket-extensions");
    agreed.is_some_and(|value| value.contains("permessage-deflate"))
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = offers();
    cases.extend(messages());
    cases.extend(streams());
    cases.extend(bombs());
    cases.into_iter().map(Case::with_deflate).collect()
}

fn offers() -> Vec<Case> {
    let mut cases: Vec<_> = [
        ("server-window-7", "server_max_window_bits=7"),
        ("server-window-16", "server_max_window_bits=16"),
        ("server-window-09", "server_max_window_bits=09"),
        ("server-window-minus-1", "server_max_window_bits=-1"),
        (
            "server-window-huge",
            "server_max_window_bits=99999999999999999999",
        ),
        ("server-window-x", "server_max_window_bits=x"),
        ("server-window-missing", "server_max_window_bits"),
        ("client-window-7", "client_max_window_bits=7"),
        ("client-window-16", "client_max_window_bits=16"),
        ("takeover-with-a-value", "server_no_context_takeover=1"),
        ("unknown-parameter", "x_unheard_of"),
        (
            "parameter-twice",
            "client_no_context_takeover; client_no_context_takeover",
        ),
        (
            "parameter-twice-differing",
            "server_max_window_bits=10; server_max_window_bits=11",
        ),
    ]
    .map(|(name, parameters)| offer(name, parameters))
    .into();
    cases.push(Case::new(
        "deflate/offer/malformed",
        "RFC 6455 §9.1",
        "the handshake refused",
        |server| async move {
            let offer = "permessage-deflate; server_max_window_bits=\"\"; =1";
            let request = Request::good(&server).and("Sec-WebSocket-Extensions", offer);
            let (_, answer) = Peer::ask(&server, request).await?;
            Ok(Head::Refuse.judge(&answer))
        },
    ));
    cases.push(Case::new(
        "deflate/offer/small-window-honoured",
        "RFC 7692 §7.1.2.1",
        "declined, or agreed with server_max_window_bits of 9 or less",
        |server| async move {
            let offer = "permessage-deflate; server_max_window_bits=9";
            let request = Request::good(&server).and("Sec-WebSocket-Extensions", offer);
            let (_, response) = Peer::open_with(&server, request).await?;
            let agreed = response.header("sec-websocket-extensions").unwrap_or("");
            let bits = agreed
                .split(';')
                .filter_map(|parameter| parameter.trim().strip_prefix("server_max_window_bits="))
                .find_map(|bits| bits.trim_matches('"').parse::<u8>().ok());
            Ok(match bits {
                _ if !deflates(&response) => Outcome::pass("declined compression"),
                Some(8 | 9) => Outcome::pass(format!("agreed to {agreed}")),
                _ => Outcome::fail(format!("agreed to {agreed}")),
            })
        },
    ));
    cases
}

/// An offer that must be declined.
fn offer(name: &str, parameters: &'static str) -> Case {
    Case::new(
        format!("deflate/offer/{name}"),
        OFFERS,
        "declined: answered 101 without compression",
        move |server| async move {
            let offer = format!("permessage-deflate; {parameters}");
            let request = Request::good(&server).and("Sec-WebSocket-Extensions", &offer);
            let (_, answer) = Peer::ask(&server, request).await?;
            Ok(match answer.response() {
                Some(response) if deflates(response) => Outcome::fail("agreed to compress"),
                Some(response) if response.status == 101 => {
                    Outcome::pass("answered 101 without compression")
                }
                Some(response) if response.status < 500 => Outcome::note(format!(
                    "refused the whole handshake with {}",
                    response.status
                )),
                _ => Outcome::fail(answer.to_string()),
            })
        },
    )
}

async fn open(server: &Server) -> Result<Peer, Outcome> {
    let request = Request::good(server).and("Sec-WebSocket-Extensions", OFFER);
    let (peer, response) = Peer::open_with(server, request).await?;
    if deflates(&response) {
        Ok(peer)
    } else {
        Err(Outcome::fail(
            "compression was agreed on before, and is not now",
        ))
    }
}

fn row(name: &str, source: &'static str, rule: Frames, mut bytes: Vec<u8>) -> Case {
    if !matches!(rule, Echo(_)) {
        bytes.extend(text(MARKER));
    }
    Case::new(
        format!("deflate/{name}"),
        source,
        rule.expected(),
        |server| async move {
            let mut peer = open(&server).await?;
            Ok(rule.judge(&peer.exchange(&bytes, |replies| rule.enough(replies)).await))
        },
    )
}

/// Which frames may be marked as compressed.
fn messages() -> Vec<Case> {
    let hello = || Echo(vec![Message::text("Hello")]);
    let compressed = |payload: &[u8]| frame(FIN | RSV1 | TEXT, payload);
    let good = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    vec![
        row("plain", EXAMPLES, hello(), compressed(good)),
        row("not-compressed", MARKS, hello(), text("Hello")),
        row(
            "in-fragments",
            EXAMPLES,
            hello(),
            [
                frame(RSV1 | TEXT, &good[..3]),
                frame(FIN | CONTINUATION, &good[3..]),
            ]
            .concat(),
        ),
        row(
            "last-block-marked",
            EXAMPLES,
            hello(),
            compressed(b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
        ),
        row(
            "two-blocks",
            EXAMPLES,
            hello(),
            compressed(b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"),
        ),
        row(
            "stored-block",
            EXAMPLES,
            hello(),
            compressed(b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
        ),
        row(
            "empty-message",
            "RFC 7692 §7.2.3.6",
            Echo(vec![Message::text("")]),
            compressed(b"\x00"),
        ),
        row(
            "mark-on-continuation",
            MARKS,
            Fail(&[1002]),
            [
                frame(RSV1 | TEXT, &good[..3]),
                frame(FIN | RSV1 | CONTINUATION, &good[3..]),
            ]
            .concat(),
        ),
        row(
            "mark-only-on-continuation",
            MARKS,
            Fail(&[1002]),
            [frame(TEXT, b""), frame(FIN | RSV1 | CONTINUATION, good)].concat(),
        ),
        row(
            "mark-on-ping",
            MARKS,
            Fail(&[1002]),
            frame(FIN | RSV1 | PING, good),
        ),
        row(
            "rsv2",
            "RFC 6455 §5.2",
            Fail(&[1002]),
            frame(FIN | 0x20 | TEXT, b"odd"),
        ),
    ]
}

/// Streams of DEFLATE that are none, or take long.
fn streams() -> Vec<Case> {
    /// What servers call data that does not inflate.
    const BROKEN: &[u16] = &[1002, 1003, 1007, 1008, 1011];
    let compressed = |payload: &[u8]| frame(FIN | RSV1 | BINARY, payload);
    let empty = b"\x00\x00\x00\xff\xff";
    let hello = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
    vec![
        row(
            "block-of-reserved-kind",
            INFLATING,
            Fail(BROKEN),
            compressed(b"\x07\x00"),
        ),
        // Length 3, distance 1, with nothing before it.
        row(
            "reaches-before-the-start",
            INFLATING,
            Fail(BROKEN),
            compressed(b"\x02\x02\x00\x00"),
        ),
        row(
            "stored-length-wrong",
            INFLATING,
            Fail(BROKEN),
            compressed(b"\x00\x05\x00\x00\x00Hello\x00"),
        ),
        row(
            "cut-inside-a-block",
            INFLATING,
            FailOrNote("the RFC does not say what becomes of a part"),
            compressed(b"\x00\x64\x00\x9b\xffHello"),
        ),
        row(
            "not-utf8-inside",
            "RFC 6455 §8.1",
            Fail(&[1007]),
            frame(FIN | RSV1 | TEXT, b"\x00\x02\x00\xfd\xffa\xff\x00"),
        ),
        tedious(
            "50000-empty-blocks",
            [&empty.repeat(50_000)[..], hello].concat(),
            1 << 20,
        ),
        tedious(
            "50000-one-byte-blocks",
            [&b"\x00\x01\x00\xfe\xffa".repeat(50_000)[..], b"\x00"].concat(),
            1 << 20,
        ),
        tedious(
            "empty-blocks-in-fragments",
            [&empty.repeat(2_000)[..], b"\x00"].concat(),
            5,
        ),
    ]
}

/// A message that is good, and takes much work for little: any answer in time
/// will do.
fn tedious(name: &str, payload: Vec<u8>, piece: usize) -> Case {
    Case::new(
        format!("deflate/{name}"),
        "RUSTSEC-2026-0258",
        "echoed or closed, in time",
        move |server| async move {
            let mut bytes = Vec::new();
            let mut pieces = payload.chunks(piece).peekable();
            let mut first = RSV1 | BINARY;
            while let Some(piece) = pieces.next() {
                let fin = if pieces.peek().is_none() { FIN } else { 0 };
                bytes.extend(frame(fin | first, piece));
                first = CONTINUATION;
            }
            bytes.extend(text(MARKER));
            let mut peer = open(&server).await?;
            let seen = peer.exchange(&bytes, |r| r.over() || r.has(MARKER)).await;
            Ok(judge_work(&seen))
        },
    )
}

/// An end of any kind but silence.
fn judge_work(seen: &super::peer::Seen<'_>) -> Outcome {
    let words = seen.words();
    let silent = seen.end == End::Open && !seen.replies.over() && !seen.replies.has(MARKER);
    if seen.replies.broken.is_some() || silent {
        Outcome::fail(words)
    } else {
        Outcome::pass(words)
    }
}

fn bombs() -> Vec<Case> {
    let whole = Case::new(
        "deflate/bomb",
        BOMB,
        "refused, inflated no further than the server's limit",
        |server| async move { bomb(server, usize::MAX).await },
    );
    let pieces = Case::new(
        "deflate/bomb-in-fragments",
        BOMB,
        "refused, inflated no further than the server's limit",
        |server| async move { bomb(server, 512).await },
    );
    let unread = Case::new(
        "deflate/small-bombs-unread",
        "RUSTSEC-2020-0043",
        "bounded memory: 2,000 messages of 512 KiB out of 1 MiB, answers not read",
        |server| async move {
            let mut peer = open(&server).await?;
            let payload = [zeros(MIB / 2), vec![0]].concat();
            let message = frame(FIN | RSV1 | BINARY, &payload);
            let bytes = message.repeat(2_000);
            let taken = peer.write(&bytes).await;
            async_io::Timer::after(Duration::from_millis(500)).await;
            Ok(Outcome::pass(format!(
                "took {taken} of {} bytes",
                bytes.len()
            )))
        },
    );
    vec![
        whole.room(u64::MAX),
        pieces.room(u64::MAX),
        unread.room(128 << 20),
    ]
}

/// Far more zeros than any echo server should want.
async fn bomb(server: Rc<Server>, piece: usize) -> Attempt {
    let mib = zeros(MIB);
    // A flushed stream of zeros continues as it began.
    let payload = mib.repeat(BOMB_SIZE);
    let mut peer = open(&server).await?;
    let mut bytes = Vec::new();
    let mut first = RSV1 | BINARY;
    for piece in payload.chunks(piece) {
        bytes.extend(frame(first, piece));
        first = CONTINUATION;
    }
    bytes.extend(frame(FIN | CONTINUATION, b"\x00"));
    bytes.extend(text(MARKER));
    let watch = super::memory::watch(server.pid, async {
        let seen = peer.exchange(&bytes, |r| r.over() || r.has(MARKER)).await;
        let took = seen.replies.messages.iter().any(|m| m.data.len() >= MIB);
        let silent = seen.end == End::Open && !seen.replies.over() && !took;
        let verdict = match () {
            () if seen.replies.broken.is_some() || silent => Verdict::Fail,
            () if took => Verdict::Note,
            () => Verdict::Pass,
        };
        Outcome::new(verdict, seen.words())
    });
    let (outcome, grown) = watch.await;
    let size = format!("{} bytes that inflate to {BOMB_SIZE} MiB", payload.len());
    let outcome = outcome.and(Verdict::Pass, &size);
    Ok(match grown {
        Some(grown) if grown > (BOMB_SIZE * MIB) as u64 => {
            outcome.and(Verdict::Fail, "memory for all of it")
        }
        Some(grown) if grown > BOMB_ROOM => outcome.and(Verdict::Note, "much memory"),
        _ => outcome,
    })
}

/// Zeros, compressed and flushed: ends in an empty block, without its tail cut.
fn zeros(count: usize) -> Vec<u8> {
    let flags = create_comp_flags_from_zip_params(9, -15, 0);
    let mut compressor = CompressorOxide::new(flags);
    let mut out = vec![0; 4_096 + count / 64];
    let done = deflate(&mut compressor, &vec![0; count], &mut out, MZFlush::Sync);
    assert_eq!(done.bytes_consumed, count, "the output has room");
    out.truncate(done.bytes_written);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use miniz_oxide::inflate::decompress_to_vec;

    #[test]
    fn zeros_can_be_strung_together() {
        let piece = zeros(100_000);
        assert!(piece.ends_with(b"\0\0\xff\xff") && piece.len() < 300);
        let stream = [&piece.repeat(3)[..], b"\x01\0\0\xff\xff"].concat();
        assert_eq!(decompress_to_vec(&stream).unwrap(), vec![0; 300_000]);
    }
}
