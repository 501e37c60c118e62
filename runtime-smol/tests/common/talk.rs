//! A conversation in which futures are dropped and started again.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_lite::future::{yield_now, zip};
use smartsocket_smol::{CloseCode, Message, WebSocket};

use super::stream::End;

/// When futures are dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drops {
    Never,
    /// Each after it was pending this often.
    Each(usize),
    /// One alone: the one that makes this wait of the whole conversation.
    Once(usize),
}

/// Drops futures and starts them again.
pub(crate) struct Impatience {
    drops: Drops,
    pub(crate) waits: Cell<usize>,
}

impl Impatience {
    pub(crate) fn new(drops: Drops) -> Self {
        Self {
            drops,
            waits: Cell::new(0),
        }
    }

    pub(crate) async fn over<T>(&self, mut make: impl AsyncFnMut() -> T) -> T {
        loop {
            let mut waited = 0;
            let mut future = pin!(make());
            let ended = poll_fn(|cx| {
                if let Poll::Ready(value) = future.as_mut().poll(cx) {
                    return Poll::Ready(Some(value));
                }
                waited += 1;
                self.waits.set(self.waits.get() + 1);
                let drop = match self.drops {
                    Drops::Never => false,
                    Drops::Each(most) => waited == most,
                    Drops::Once(at) => self.waits.get() == at,
                };
                if drop {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            })
            .await;
            if let Some(value) = ended {
                return value;
            }
            yield_now().await;
        }
    }
}

/// Messages of all sizes, each of its own content.
pub(crate) fn messages(who: u8) -> Vec<Message> {
    (0..24_u8)
        .map(|n| match n % 4 {
            0 => Message::text(format!("{who}/{n}")),
            1 => Message::binary(vec![n ^ who; usize::from(n) * 20]),
            2 => Message::text("ä".repeat(usize::from(n) * 25) + &n.to_string()),
            _ => Message::binary(vec![n ^ who; if n == 15 { 5_000 } else { 0 }]),
        })
        .collect()
}

/// One side speaks, the other listens; then the other way round; then in
/// turns; then one closes.
pub(crate) async fn converse(
    (mut client, mut server): (WebSocket<End>, WebSocket<End>),
    impatience: &Impatience,
) {
    let (ours, theirs) = (messages(0x00), messages(0x80));
    let client_side = async {
        for message in &ours {
            let sent = impatience.over(async || client.send(message.clone()).await);
            sent.await.unwrap();
        }
        impatience.over(async || client.flush().await).await;
        let mut heard = Vec::new();
        while heard.len() < theirs.len() {
            heard.push(
                impatience
                    .over(async || client.recv().await)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        assert_eq!(heard, theirs);
        for message in &ours {
            let sent = impatience.over(async || client.send(message.clone()).await);
            sent.await.unwrap();
            let answer = impatience.over(async || client.recv().await).await;
            assert_eq!(&answer.unwrap().unwrap(), message);
        }
        impatience
            .over(async || client.close(CloseCode::NORMAL, "done").await.is_some())
            .await;
        assert_eq!(client.closed().unwrap().code, CloseCode::NORMAL);
        assert!(client.closed().unwrap().is_clean());
    };
    let server_side = async {
        let mut heard = Vec::new();
        while heard.len() < ours.len() {
            heard.push(
                impatience
                    .over(async || server.recv().await)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        assert_eq!(heard, ours);
        for message in &theirs {
            let sent = impatience.over(async || server.send(message.clone()).await);
            sent.await.unwrap();
        }
        impatience.over(async || server.flush().await).await;
        while let Some(message) = impatience.over(async || server.recv().await).await {
            let message = message.unwrap();
            let sent = impatience.over(async || server.send(message.clone()).await);
            sent.await.unwrap();
        }
        assert_eq!(server.closed().unwrap().reason.as_str(), "done");
        assert!(server.closed().unwrap().is_clean());
    };
    zip(client_side, server_side).await;
}
