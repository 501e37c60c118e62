//! Protocol OS's document, example by example: a function for each section, by
//! its name.
//!
//! `cargo run --release -p smartsocket-smol --example protocol_os [SECTION [URL]]`,
//! with the SECTION `manager` and an echo on this machine unless told otherwise:
//! what is published there comes back, and requests are answered by themselves.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use serde_json::json;
use smartsocket_smol::client::{
    Auth, Backoff, Client, ClientBuilder, Event, Ping, Priority, Provider, close_reason,
    parse_message,
};
use smartsocket_smol::{CloseCode, Message, block_on};

const ECHO: &str = "ws://127.0.0.1:3000/echo";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let section = args.next().unwrap_or_else(|| "manager".into());
    let url = args.next().unwrap_or_else(|| ECHO.into());
    let builder = match section.as_str() {
        "manager" | "handlers" | "utilities" | "none" => no_authentication(&url),
        "query" => query_parameter(&url),
        "first-message" => first_message(&url),
        "subprotocol" => subprotocol(&url),
        "keep-alive" => keep_alive(&url),
        "reconnect" => auto_reconnection(&url),
        "graphql" => graphql(&url),
        "socket-io" => socket_io(&url),
        "binance" => Client::builder(Provider::Binance, url),
        other => return Err(format!("no section {other}").into()),
    };
    let (client, driver) = builder.build()?;
    let driver = thread::spawn(|| block_on(driver));
    block_on(async {
        match section.as_str() {
            "handlers" => event_handlers(&client),
            "utilities" => message_utilities(&client)?,
            _ => {}
        }
        client.connect().await?;
        match section.as_str() {
            "binance" => binance(&client).await,
            _ => manager(&client).await?,
        }
        client
            .disconnect_with(CloseCode::NORMAL, "User logged out")
            .await;
        Ok::<_, Box<dyn Error>>(())
    })?;
    drop(client);
    driver.join().map_err(|_| "the driver panicked")?;
    Ok(())
}

/// The token of the examples.
fn token() -> String {
    env::var("WS_TOKEN").unwrap_or_else(|_| "your-token".into())
}

/// `wss://api.example.com/ws?token=your-token`
fn query_parameter(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url)
        .auth(Auth::query())
        .token(token())
}

/// `{"type":"authenticate","token":"your-token"}`, before all else.
fn first_message(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url)
        .auth(Auth::first_message())
        .token(token())
}

fn subprotocol(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url)
        .auth(Auth::Subprotocol)
        .token(token())
}

fn no_authentication(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url)
}

fn keep_alive(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url).ping(Some(Ping {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
    }))
}

fn auto_reconnection(url: &str) -> ClientBuilder {
    Client::builder(Provider::Custom, url).reconnect(Some(Backoff {
        initial: Duration::from_secs(1),
        max_attempts: 10, // 0: without end
        ..Backoff::default()
    }))
}

fn graphql(url: &str) -> ClientBuilder {
    Client::builder(Provider::GraphqlTransportWs, url)
        .auth(Auth::FirstMessage {
            kind: "connection_init".into(),
            template:
                r#"{"type":"connection_init","payload":{"authorization":"Bearer {{token}}"}}"#
                    .into(),
        })
        .token(token())
}

fn socket_io(url: &str) -> ClientBuilder {
    Client::builder(Provider::SocketIo, url)
        .auth(Auth::FirstMessage {
            kind: "auth".into(),
            template: r#"42["auth",{"token":"{{token}}"}]"#.into(),
        })
        .token(token())
}

/// Market data, until a minute has passed.
async fn binance(client: &Client) {
    let mut ticker = client.subscribe("btcusdt@ticker");
    let minute = async_io::Timer::after(Duration::from_secs(60));
    futures_lite::future::or(
        async {
            while let Some(message) = ticker.next().await {
                println!("{:?}", message.data.as_json());
            }
        },
        async {
            minute.await;
        },
    )
    .await;
}

/// Subscriptions, requests, figures.
async fn manager(client: &Client) -> Result<(), Box<dyn Error>> {
    let mut chat = client.subscribe("chat");
    let chat = thread::spawn(move || {
        let message = block_on(chat.next());
        println!("Chat message: {:?}", message.map(|message| message.data));
    });
    let user = client
        .request(None, "getUser", json!({ "id": "123" }), None)
        .await?;
    println!("Response: {user}");
    client.publish(
        Some("chat"),
        "publish",
        json!({ "text": "Hello!" }),
        Priority::Normal,
    )?;
    chat.join().map_err(|_| "nothing to print to")?;
    let stats = client.stats();
    println!("Messages received: {}", stats.messages_received);
    println!("Latency: {:?}", stats.latency);
    Ok(())
}

/// What happens, told to callbacks.
fn event_handlers(client: &Client) {
    client.on_event(|event| match event {
        Event::State(state) => println!("State: {state}"),
        Event::Message(message) => println!("Received: {:?}", message.data),
        Event::Reconnecting { attempt, wait } => {
            println!("Reconnecting in {wait:?}, attempt {attempt}");
        }
        Event::Ended(ending, verdict) => {
            if !ending.was_clean() {
                eprintln!("Abnormal close: {ending}, so {verdict:?}");
            }
            println!("Close reason: {}", close_reason(ending.code()));
        }
        Event::Subscribed(channel) => println!("Subscribed: {channel}"),
        Event::SubscriptionRefused(channel, words) => eprintln!("Refused: {channel}, {words}"),
        Event::Unreadable(words) => eprintln!("Unreadable: {words}"),
        Event::Dropped(messages, why) => eprintln!("Dropped: {messages}, {why}"),
        Event::Answered(..) => {}
    });
}

fn message_utilities(client: &Client) -> Result<(), Box<dyn Error>> {
    let message = client.create_message("chat", json!({ "text": "Hi!" }), Some("msg-123"))?;
    println!("{:?}", parse_message(&message));
    println!("{:?}", parse_message(&Message::text("not JSON")));
    println!("{}", close_reason(CloseCode::ABNORMAL));
    client.send(message);
    Ok(())
}
