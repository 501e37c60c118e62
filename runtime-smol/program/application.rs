//! The built-in application: what every route does until you write your own.
//!
//! It uses the public API only, and is meant to be read as an example of it.

use serde::Deserialize;
use serde_json::json;
use smartsocket_smol::hub::{Identity, Route};
use smartsocket_smol::realtime::{Builder, Routes};
use smartsocket_smol::{Json, Message, WebSocket};

use crate::settings::Settings;

/// The token that Ignis clients show, as long as nothing else judges them.
pub(crate) const DEV_TOKEN: &str = "dev";

/// The name of this part in the log.
const SERVER: &str = "smartsocket:server";

/// Adds the routes to a server; `dev_token` says whether clients may
/// authenticate with [`DEV_TOKEN`].
pub(crate) fn routes(builder: Builder, settings: &Settings, dev_token: bool) -> Builder {
    builder
        .config(|config| settings.hub(config))
        .route(settings.smartsocket(NAMESPACES[0]), smartsocket)
        .route(settings.smartsocket(NAMESPACES[1]), smartsocket)
        .route(settings.ignis(), |ws| ignis(ws, dev_token))
        .route(settings.rnode(), watched)
        .route(settings.mb(), watched)
        .bare(settings.open(Route::bare("/echo")), echo)
        .route(settings.open(subscribers()), watched)
        .route(settings.open(Route::raw("/pub")), publishers)
}

#[derive(Deserialize)]
struct InRoom {
    room: String,
    /// As it came: nothing is lost on the way to the others.
    #[serde(default = "null")]
    data: Json,
}

const fn null() -> Json {
    Json::NULL
}

/// Logs who comes and goes, if anybody wants to know: a handler that is there
/// is called for every connection.
fn watched(routes: &mut Routes) {
    if !log::log_enabled!(target: SERVER, log::Level::Debug) {
        return;
    }
    routes.on_connected(async |socket| {
        let (id, namespace) = (socket.id(), socket.namespace());
        log::debug!(target: SERVER, "a connection opened: {id} on {namespace}");
    });
    routes.on_disconnected(async |socket, gone| {
        log::debug!(target: SERVER, "a connection ended: {} {}", socket.id(), gone.closed);
    });
}

/// SmartSocket: `echo`, `message` to everybody, and rooms.
/// Where SmartSocket is spoken.
pub(crate) const NAMESPACES: [&str; 2] = ["/", "/chat"];

fn smartsocket(routes: &mut Routes) {
    watched(routes);
    routes.on("echo", async |_, data, ack| {
        let _ = ack.send(data);
    });
    routes.on("message", async |socket, data, ack| {
        let everybody = socket.io().namespace(&socket.namespace());
        let _ = everybody.emit("message", data);
        let _ = ack.send(json!({ "success": true }));
    });
    routes.on("join", async |socket, data, ack| {
        let _ = ack.send(match data.to::<InRoom>() {
            Ok(InRoom { room, .. }) => match socket.join(&room) {
                Ok(()) => json!({ "success": true }),
                Err(error) => json!({ "error": error.to_string() }),
            },
            Err(_) => json!({ "error": "expected {\"room\":...}" }),
        });
    });
    routes.on("leave", async |socket, data, ack| {
        let left = data
            .to::<InRoom>()
            .is_ok_and(|data| socket.leave(&data.room));
        let _ = ack.send(json!({ "success": left }));
    });
    routes.on("say", async |socket, data, ack| {
        let Ok(InRoom { room, data }) = data.to::<InRoom>() else {
            let _ = ack.send(json!({ "error": "expected {\"room\":...,\"data\":...}" }));
            return;
        };
        let is_member = socket.is_in(&room);
        if is_member {
            let members = socket.io().room(&socket.namespace(), &room);
            let _ = members.emit("say", data);
        }
        let _ = ack.send(json!({ "success": is_member }));
    });
    // Any other event is well as it is.
    routes.on_any(async |_, _, ack| {
        let _ = ack.send(json!({ "success": true }));
    });
}

/// Ignis: who has the token may join any room, and speak in it.
fn ignis(routes: &mut Routes, dev_token: bool) {
    watched(routes);
    #[derive(Deserialize)]
    struct Credentials {
        token: String,
    }
    routes.authenticate(async move |_, data| {
        let credentials = data.to::<Credentials>().ok()?;
        (dev_token && credentials.token == DEV_TOKEN).then(Identity::default)
    });
    routes.validate_rooms(async |_, rooms| rooms);
    routes.on("echo", async |socket, data, _| {
        let _ = socket.emit("echo", data);
    });
    routes.on("say", async |socket, data, _| {
        if let Ok(InRoom { room, data }) = data.to::<InRoom>()
            && socket.is_in(&room)
        {
            let members = socket.io().room(&socket.namespace(), &room);
            let _ = members.emit("say", data);
        }
    });
}

/// Who connects here gets everything published.
fn subscribers() -> Route {
    let mut route = Route::raw("/sub");
    route.default_rooms = vec!["all".into()];
    route
}

/// What comes here goes to all subscribers as it is.
fn publishers(routes: &mut Routes) {
    watched(routes);
    routes.on_binary(async |socket, data| {
        socket.io().send_room("/sub", "all", Message::Binary(data));
    });
    routes.on_any(async |socket, event, _| {
        if let Some(text) = event.raw {
            socket.io().send_room("/sub", "all", Message::Text(text));
        }
    });
}

/// Sends every message back; answers to messages that came together leave
/// together.
pub(crate) async fn echo(mut websocket: WebSocket) {
    log::debug!(target: SERVER, "a connection opened");
    while let Some(Ok(message)) = websocket.recv().await {
        if websocket.send(message).await.is_err() {
            break;
        }
    }
    if let Some(closed) = websocket.closed() {
        log::debug!(target: SERVER, "a connection ended: {closed}");
    }
}
