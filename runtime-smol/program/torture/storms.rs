//! Many connections at once, and what is left of the server after them.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;

use super::case::{Attempt, Case, Outcome, Server, Verdict};
use super::frame::{BINARY, FIN, frame};
use super::memory::open_files;
use super::peer::{Peer, good_client, time};
use super::request::Request;

const STORM: &str = "RST storm";
/// Connections that end at the same time.
const WAVE: usize = 100;
/// Descriptors that may come and go by themselves.
const SPARE: usize = 16;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        storm("reset-at-once", 1_000, Peer::reset, |server| async move {
            Peer::connect(&server).await
        }),
        storm(
            "reset-after-the-request",
            1_000,
            Peer::reset,
            |server| async move {
                let mut peer = Peer::connect(&server).await?;
                peer.write(&Vec::from(Request::good(&server))).await;
                Ok(peer)
            },
        ),
        storm(
            "reset-while-open",
            1_000,
            Peer::reset,
            |server| async move { Peer::open(&server).await },
        ),
        storm(
            "reset-with-answers-unread",
            200,
            Peer::reset,
            |server| async move {
                let mut peer = Peer::open(&server).await?;
                peer.write(&frame(FIN | BINARY, &[0; 60_000]).repeat(4))
                    .await;
                Ok(peer)
            },
        ),
        storm("dropped-while-open", 1_000, drop, |server| async move {
            Peer::open(&server).await
        }),
        Case::new(
            "storms/200-half-heads",
            "slowloris",
            "a good client gets its echo meanwhile",
            |server| async move {
                let head = Request::good(&server).head();
                let mut peers = Vec::new();
                for _ in 0..200 {
                    let mut peer = Peer::connect(&server).await?;
                    peer.write(&head.as_bytes()[..40]).await;
                    peers.push(peer);
                }
                Ok(meanwhile(&server).await)
            },
        ),
        Case::new(
            "storms/500-open",
            "many idle peers",
            "a good client gets its echo meanwhile",
            |server| async move {
                let mut peers = Vec::new();
                for _ in 0..500 {
                    peers.push(Peer::open(&server).await?);
                }
                Ok(meanwhile(&server).await)
            },
        ),
    ]
}

/// A case of many connections, in waves that end all at once. The server has
/// to be rid of all of them in the end.
fn storm<F>(name: &str, count: usize, end: fn(Peer), begin: fn(Rc<Server>) -> F) -> Case
where
    F: Future<Output = Result<Peer, Outcome>> + 'static,
{
    Case::new(
        format!("storms/{name}"),
        STORM,
        format!("{count} connections later, a good client gets its echo"),
        move |server| async move {
            let before = server.pid.and_then(open_files);
            let start = Instant::now();
            for _ in 0..count / WAVE {
                let mut wave = Vec::new();
                for _ in 0..WAVE {
                    wave.push(begin(Rc::clone(&server)).await?);
                }
                wave.into_iter().for_each(end);
            }
            let seen = format!("{count} connections in {}", time(start.elapsed()));
            freed(&server, before, Outcome::pass(seen)).await
        },
    )
}

/// Waits for the descriptors of connections that are gone.
async fn freed(server: &Server, before: Option<usize>, outcome: Outcome) -> Attempt {
    let start = Instant::now();
    let leaked = || {
        let now = server.pid.and_then(open_files)?;
        now.checked_sub(before? + SPARE).filter(|more| *more > 0)
    };
    while let Some(more) = leaked() {
        if start.elapsed() > server.patience {
            let more = format!("{} descriptors more than before", more + SPARE);
            return Ok(outcome.and(Verdict::Fail, &more));
        }
        Timer::after(Duration::from_millis(20)).await;
    }
    Ok(outcome)
}

async fn meanwhile(server: &Rc<Server>) -> Outcome {
    match good_client(server).await {
        Ok(waited) => Outcome::pass(format!("a good client waited {}", time(waited))),
        Err(why) => Outcome::fail(format!("a good client got {why}")),
    }
}
