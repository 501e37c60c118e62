//! The client's side of SmartSocket's reference, example by example: a function
//! for each section, by its name.
//!
//! `cargo run --release -p smartsocket-smol --example smartsocket_client [SECTION [URL]]`,
//! with the SECTION `basic` and `smartsocket serve` on this machine unless told
//! otherwise.

use std::env;
use std::error::Error;
use std::thread;
use std::time::Duration;

use serde_json::json;
use smartsocket_smol::block_on;
use smartsocket_smol::client::{
    Backoff, Client, ClientBuilder, Event, Provider, RequestError, SmartSocket, State,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let section = args.next().unwrap_or_else(|| "basic".into());
    let url = args.next().unwrap_or_else(|| "ws://127.0.0.1:3000".into());
    let builder = match section.as_str() {
        "basic" | "reconnection-events" | "rate-limited" => basic(&url),
        "configuration" => client_configuration(&url)?,
        "reconnection" => reconnection_settings(&url),
        "ack-timeout" => ack_timeout(&url),
        "encryption" => client_with_encryption(&url)?,
        "mobile" => mobile_networks(&url),
        other => return Err(format!("no section {other}").into()),
    };
    let (client, driver) = builder.build()?;
    let driver = thread::spawn(|| block_on(driver));
    match section.as_str() {
        "reconnection-events" => reconnection_events(&client),
        "rate-limited" => handling_rate_limits(&client),
        _ => {}
    }
    block_on(async {
        client.connect().await?;
        talk(&client).await?;
        client.disconnect().await;
        Ok::<_, Box<dyn Error>>(())
    })?;
    drop(client);
    driver.join().map_err(|_| "the driver panicked")?;
    Ok(())
}

fn basic(url: &str) -> ClientBuilder {
    Client::builder(Provider::SmartSocket(Box::default()), url)
}

fn client_configuration(url: &str) -> Result<ClientBuilder, Box<dyn Error>> {
    let options = SmartSocket {
        namespace: "/chat".into(),
        encryption: Some(env::var("ENCRYPTION_KEY")?.parse()?),
        api_key: Some("your-api-key".into()),
        ..SmartSocket::default()
    };
    Ok(
        Client::builder(Provider::SmartSocket(Box::new(options)), url)
            .reconnect(Some(Backoff {
                initial: Duration::from_secs(2),
                max_attempts: 15,
                ..Backoff::smartsocket()
            }))
            .request_timeout(Duration::from_secs(60)),
    )
}

/// After 1 s, 1.5 s, 2.25 s, ...; ten times at most. It is the default.
fn reconnection_settings(url: &str) -> ClientBuilder {
    basic(url).reconnect(Some(Backoff::smartsocket()))
}

fn reconnection_events(client: &Client) {
    client.on_event(|event| match event {
        Event::State(State::Authenticated) => println!("Connected!"),
        Event::State(State::Error) => eprintln!("Max reconnection attempts reached"),
        Event::Reconnecting { attempt, wait } => {
            println!("Disconnected, will reconnect in {wait:?}, attempt {attempt}");
        }
        Event::Ended(ending, _) => eprintln!("Connection error: {ending}"),
        Event::State(_)
        | Event::Message(_)
        | Event::Subscribed(_)
        | Event::SubscriptionRefused(..)
        | Event::Answered(..)
        | Event::Unreadable(_)
        | Event::Dropped(..) => {}
    });
}

/// Two minutes for what takes long.
fn ack_timeout(url: &str) -> ClientBuilder {
    basic(url).request_timeout(Duration::from_secs(120))
}

fn client_with_encryption(url: &str) -> Result<ClientBuilder, Box<dyn Error>> {
    let options = SmartSocket {
        encryption: Some(env::var("ENCRYPTION_KEY")?.parse()?),
        ..SmartSocket::default()
    };
    Ok(Client::builder(
        Provider::SmartSocket(Box::new(options)),
        url,
    ))
}

fn mobile_networks(url: &str) -> ClientBuilder {
    basic(url)
        .reconnect(Some(Backoff {
            initial: Duration::from_secs(5),
            max_attempts: 20,
            ..Backoff::smartsocket()
        }))
        .request_timeout(Duration::from_secs(60))
}

/// The client waits by itself; this is for who wants to tell people.
fn handling_rate_limits(client: &Client) {
    client.on("__rate-limited__", |info| {
        println!("Rate limited: {:?}", info.data.as_json());
    });
}

/// Events out, events in, an answer.
async fn talk(client: &Client) -> Result<(), Box<dyn Error>> {
    client.on("message", |message| {
        println!("Received: {:?}", message.data.as_json());
    });
    client.emit("message", json!({ "text": "Hello!" }))?;
    match client
        .request(None, "save-data", json!({ "name": "John" }), None)
        .await
    {
        Ok(answer) => println!("Server responded: {answer}"),
        Err(RequestError::TimedOut) => eprintln!("Server did not respond in time"),
        Err(error) => return Err(error.into()),
    }
    client.off("message");
    Ok(())
}
