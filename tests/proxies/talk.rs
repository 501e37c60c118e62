//! The four kinds of clients: each runtime's connection that is opened once and
//! the client that stays connected, with the same options.

use std::thread;
use std::time::Duration;

use futures_lite::FutureExt as _;
use smartsocket_core::Message;
use smartsocket_core::client::{Backoff, Payload, Provider, State};
use smartsocket_core::dial::Way;

/// Far beyond the time anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the state.
const MOMENT: Duration = Duration::from_millis(5);

/// Options that all of them have, by the same names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: bool,
    pub(crate) ca: Option<String>,
    pub(crate) identity: Option<(String, String)>,
    pub(crate) any_certificate: bool,
}

impl Options {
    fn way(&self) -> Way {
        let mut way = Way::new();
        if let Some(proxy) = &self.proxy {
            way = way.proxy(proxy);
        }
        if self.no_proxy {
            way = way.no_proxy();
        }
        if let Some(ca) = &self.ca {
            way = way.ca(ca.as_bytes());
        }
        if let Some((chain, key)) = &self.identity {
            way = way.client_certificate(chain.as_bytes(), key.as_bytes());
        }
        if self.any_certificate {
            way = way.dangerous_accept_any_certificate();
        }
        way
    }
}

/// A way to say something to an echo server and to hear it; what went wrong, in
/// the words a user sees.
pub(crate) type Talk = fn(&str, &Options) -> Result<(), String>;

pub(crate) const ALL: [(&str, Talk); 4] = [
    ("smol Connect", smol_connect),
    ("smol Client", smol_client),
    ("std Connect", std_connect),
    ("std Client", std_client),
];

/// A client that stays connected: what it says is heard again after each loss
/// of its connection, which the last argument brings about.
pub(crate) type Stay = fn(&str, &Options, &dyn Fn());

pub(crate) const STAYING: [(&str, Stay); 2] = [("smol", smol_stays), ("std", std_stays)];

const LOSSES: usize = 3;

fn soon() -> Backoff {
    Backoff {
        initial: MOMENT,
        cap: MOMENT,
        max_attempts: 0,
        ..Backoff::default()
    }
}

fn smol_stays(url: &str, options: &Options, lose: &dyn Fn()) {
    use smartsocket_smol::block_on;
    use smartsocket_smol::client::Client;
    let builder = Client::builder(Provider::Echo, url).way(options.way());
    let (client, driver) = builder.reconnect(Some(soon())).build().unwrap();
    let driver = thread::spawn(|| block_on(driver));
    block_on(async {
        let mut messages = client.subscribe("*");
        client.connect().await.unwrap();
        for round in 0..=LOSSES {
            let said = round.to_string();
            client.send(said.clone());
            let late = async {
                async_io::Timer::after(PATIENCE).await;
                None
            };
            let heard = messages.next().or(late).await.expect("an answer");
            assert_eq!(heard.data, Payload::Message(Message::text(said)));
            if round < LOSSES {
                let lost = client.stats().reconnect_attempts;
                lose();
                while client.stats().reconnect_attempts == lost {
                    async_io::Timer::after(MOMENT).await;
                }
            }
        }
        client.disconnect().await;
    });
    drop(client);
    driver.join().unwrap();
}

fn std_stays(url: &str, options: &Options, lose: &dyn Fn()) {
    use smartsocket_std::client::Client;
    let builder = Client::builder(Provider::Echo, url).way(options.way());
    let client = builder.reconnect(Some(soon())).start().unwrap();
    let messages = client.subscribe("*");
    client.connect().unwrap();
    for round in 0..=LOSSES {
        let said = round.to_string();
        client.send(said.clone());
        let heard = messages.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!(heard.data, Payload::Message(Message::text(said)));
        if round < LOSSES {
            let lost = client.stats().reconnect_attempts;
            lose();
            while client.stats().reconnect_attempts == lost {
                thread::sleep(MOMENT);
            }
        }
    }
    client.disconnect();
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn smol_connect(url: &str, options: &Options) -> Result<(), String> {
    use smartsocket_smol::{Connect, block_on};
    block_on(async {
        let connect = Connect::new(url).map_err(words)?.way(options.way());
        let mut ws = connect.timeout(PATIENCE).open().await.map_err(words)?;
        ws.send("hello").await.map_err(words)?;
        let heard = ws.recv().await.expect("an answer").map_err(words)?;
        assert_eq!(heard, Message::text("hello"));
        Ok(())
    })
}

fn std_connect(url: &str, options: &Options) -> Result<(), String> {
    let connect = smartsocket_std::Connect::new(url).map_err(words)?;
    let connect = connect.way(options.way());
    let mut ws = connect.timeout(PATIENCE).open().map_err(words)?;
    ws.send("hello").map_err(words)?;
    let heard = ws.recv().expect("an answer").map_err(words)?;
    assert_eq!(heard, Message::text("hello"));
    Ok(())
}

fn smol_client(url: &str, options: &Options) -> Result<(), String> {
    use smartsocket_smol::block_on;
    use smartsocket_smol::client::Client;
    let builder = Client::builder(Provider::Echo, url)
        .way(options.way())
        .reconnect(None);
    let (client, driver) = builder.build().map_err(words)?;
    let driver = thread::spawn(|| block_on(driver));
    let result = block_on(async {
        let mut messages = client.subscribe("*");
        client.connect().await.map_err(words)?;
        client.send("hello");
        let ended = async {
            // It does not come back, so nothing else would end the wait.
            while client.state() == State::Authenticated {
                async_io::Timer::after(MOMENT).await;
            }
            None
        };
        let heard = messages.next().or(ended).await.ok_or("ended")?;
        assert_eq!(heard.data, Payload::Message(Message::text("hello")));
        client.disconnect().await;
        Ok(())
    });
    drop(client);
    driver.join().unwrap();
    result
}

fn std_client(url: &str, options: &Options) -> Result<(), String> {
    use smartsocket_std::client::Client;
    let builder = Client::builder(Provider::Echo, url)
        .way(options.way())
        .reconnect(None);
    let client = builder.start().map_err(words)?;
    let messages = client.subscribe("*");
    client.connect().map_err(words)?;
    client.send("hello");
    let heard = loop {
        match messages.recv_timeout(MOMENT) {
            Some(heard) => break heard,
            None if client.state() == State::Authenticated => {}
            None => return Err("ended".into()),
        }
    };
    assert_eq!(heard.data, Payload::Message(Message::text("hello")));
    client.disconnect();
    Ok(())
}
