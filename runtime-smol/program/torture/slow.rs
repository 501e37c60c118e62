//! Peers that take their time, or stop in the middle.

use std::time::{Duration, Instant};

use super::case::{Case, Outcome};
use super::frame::{BINARY, FIN, TEXT, Width, claim, frame, text};
use super::judge::MARKER;
use super::peer::{End, Peer, after};
use super::request::Request;

const SLOWLORIS: &str = "slowloris";
/// Between two bytes of a slow peer.
const DRIP: Duration = Duration::from_millis(500);
/// A peer that is gone without a word should be noticed by then: most servers
/// that look ping after 25 or 30 seconds.
const HALF_OPEN: Duration = Duration::from_secs(60);
/// What is allowed to last is not watched longer than this.
const GLANCE: Duration = Duration::from_secs(3);

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = heads();
    cases.extend(frames());
    cases.extend(ends());
    cases.into_iter().map(Case::waiting).collect()
}

/// Before the upgrade nobody is known: a server has to get rid of these.
fn heads() -> Vec<Case> {
    const CLOSED: &str = "closed within the patience: it costs the attacker nothing";
    let silent = |name: &str, head: fn(Request) -> String| {
        Case::new(
            format!("slow/{name}"),
            SLOWLORIS,
            CLOSED,
            move |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = head(Request::good(&server));
                peer.write(head.as_bytes()).await;
                Ok(until_gone(&mut peer, server.patience).await)
            },
        )
    };
    vec![
        silent("says-nothing", |_| String::new()),
        silent("half-a-head", |r| {
            let head = r.head();
            head[..head.len() / 2].into()
        }),
        silent("head-without-its-end", |r| r.head().trim_end().into()),
        Case::new(
            "slow/dripping-head",
            SLOWLORIS,
            CLOSED,
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = Request::good(&server)
                    .and("X-Odd", &"a".repeat(10_000))
                    .head();
                Ok(drip(&mut peer, head.as_bytes(), server.patience).await)
            },
        ),
    ]
}

/// An open connection may be slow: it is somebody's.
fn frames() -> Vec<Case> {
    const OPEN: &str = "closed, or kept: no RFC bounds the time";
    let rest = |name: &str, bytes: Vec<u8>| {
        Case::new(
            format!("slow/{name}"),
            SLOWLORIS,
            OPEN,
            move |server| async move {
                let mut peer = Peer::open(&server).await?;
                let seen = peer.exchange_for(GLANCE, &bytes, |r| r.over()).await;
                Ok(Outcome::pass(seen.words()))
            },
        )
    };
    vec![
        rest("half-a-header", vec![FIN | TEXT]),
        rest(
            "half-a-frame",
            claim(FIN | BINARY, Width::Two, 1_000, b"five!"),
        ),
        rest("half-a-message", frame(TEXT, b"unfinished")),
        Case::new(
            "slow/dripping-frame",
            SLOWLORIS,
            OPEN,
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let bytes = frame(FIN | BINARY, &[0; 1_000]);
                let outcome = drip(&mut peer, &bytes, GLANCE).await;
                Ok(Outcome::pass(outcome.seen))
            },
        ),
        // A peer whose host lost its network looks like this to the server:
        // TCP stands, nothing comes, and pings are not answered.
        Case::new(
            "slow/half-open",
            SLOWLORIS,
            "pinged, and closed when no pong comes",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let start = Instant::now();
                let end = peer.drain(HALF_OPEN).await;
                let after = after(start.elapsed());
                Ok(match end {
                    End::Enough | End::Open => Outcome::note(format!("still open {after}")),
                    End::Closed | End::Reset => {
                        Outcome::pass(format!("ended the connection {after}"))
                    }
                })
            },
        ),
        Case::new(
            "slow/never-answers-a-close",
            "RFC 6455 §7.1.1",
            "the server ends TCP by itself within the patience",
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                let seen = peer.exchange(&frame(FIN | 3, b"odd"), |_| false).await;
                let words = seen.words();
                Ok(match seen.end {
                    End::Enough | End::Open => {
                        Outcome::note(format!("{words}, but TCP is still open"))
                    }
                    End::Closed | End::Reset => Outcome::pass(format!("{words}, and so did TCP")),
                })
            },
        ),
    ]
}

/// FIN where no FIN is due.
fn ends() -> Vec<Case> {
    const FREED: &str = "the server ends the connection too";
    let fin = |name: &str, bytes: Vec<u8>| {
        Case::new(
            format!("slow/{name}"),
            "RFC 6455 §7.1.5",
            FREED,
            move |server| async move {
                let mut peer = Peer::open(&server).await?;
                peer.write(&bytes).await;
                peer.finish();
                Ok(until_gone(&mut peer, server.patience).await)
            },
        )
    };
    vec![
        fin("fin-instead-of-close", Vec::new()),
        fin("fin-in-a-header", vec![FIN | TEXT]),
        fin(
            "fin-in-a-frame",
            claim(FIN | BINARY, Width::Two, 1_000, b"five!"),
        ),
        fin("fin-in-a-message", frame(TEXT, b"unfinished")),
        fin("fin-after-a-message", text(MARKER)),
        Case::new(
            "slow/fin-in-a-head",
            "RFC 9112 §8",
            FREED,
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                let head = Request::good(&server).head();
                peer.write(&head.as_bytes()[..40]).await;
                peer.finish();
                Ok(until_gone(&mut peer, server.patience).await)
            },
        ),
    ]
}

/// Whether the server ends the connection in time.
async fn until_gone(peer: &mut Peer, patience: Duration) -> Outcome {
    let start = Instant::now();
    let rest = peer.drain(patience).await;
    ended(rest, start, "still open")
}

/// Sends a byte now and then until the server has had enough.
async fn drip(peer: &mut Peer, bytes: &[u8], patience: Duration) -> Outcome {
    let start = Instant::now();
    let mut end = End::Open;
    for byte in bytes {
        peer.write(&[*byte]).await;
        end = peer.drain(DRIP).await;
        if end != End::Open || start.elapsed() >= patience {
            break;
        }
    }
    ended(end, start, "still reading")
}

fn ended(end: End, start: Instant, otherwise: &str) -> Outcome {
    let after = after(start.elapsed());
    match end {
        End::Enough | End::Open => Outcome::fail(format!("{otherwise} {after}")),
        End::Closed => Outcome::pass(format!("ended the connection {after}")),
        End::Reset => Outcome::pass(format!("reset the connection {after}")),
    }
}
