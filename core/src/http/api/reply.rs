//! What is told of rooms and clients, and the answers of the HTTP API.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use serde::Serialize;

use super::super::{Origins, Request, Response};
use super::ApiConfig;
use crate::json::Json;
use crate::message::Utf8Bytes;

/// What is told of a room. As JSON, its names are `camelCase`, and what is
/// `None` is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomInfo {
    /// What rooms are addressed by.
    pub id: Utf8Bytes,
    /// What it is called.
    pub name: Utf8Bytes,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Utf8Bytes>,
    /// How many may be in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// The ids of the connections in it.
    pub connections: Vec<Utf8Bytes>,
    /// How many these are.
    pub connections_count: usize,
    /// What the application keeps with it, a JSON object.
    pub metadata: Json,
    /// RFC 3339, in UTC.
    pub created_at: Utf8Bytes,
}

/// What is told of a client. As JSON, its names are `camelCase`, and what is
/// `None` is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    /// The id of the connection, made by the server.
    pub id: Utf8Bytes,
    /// What the client calls itself.
    pub client_id: Utf8Bytes,
    /// The path it connected to.
    pub path: Utf8Bytes,
    /// The room it joined last, if it is in any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_id: Option<Utf8Bytes>,
    /// The route that serves it.
    pub handler_id: Utf8Bytes,
    /// What the application keeps with it, a JSON object.
    pub metadata: Json,
    /// RFC 3339, in UTC.
    pub created_at: Utf8Bytes,
    /// When it last answered a ping. RFC 3339, in UTC.
    pub last_ping: Utf8Bytes,
}

/// The answers to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// `Access-Control-Allow-Origin`.
    origin: Option<Utf8Bytes>,
    /// Other origins are answered otherwise.
    varies: bool,
}

impl Reply {
    pub(super) fn new(request: &Request, config: &ApiConfig, allows: bool) -> Self {
        let any = config.cors == Origins::Any;
        let origin = request.origin().filter(|_| allows);
        Self {
            origin: origin.map(|origin| if any { "*" } else { origin }.into()),
            varies: !any,
        }
    }

    /// A value as JSON.
    pub(crate) fn json<T: Serialize + ?Sized>(&self, status: u16, value: &T) -> Response {
        match serde_json::to_vec(value) {
            Ok(body) => self.content(status, "application/json", body),
            Err(_) => self.error(500, "Internal error"),
        }
    }

    /// `{"success":false,"error":"…"}`.
    pub(crate) fn error(&self, status: u16, error: &str) -> Response {
        let body = Failure {
            success: false,
            error,
        };
        self.json(status, &body)
    }

    /// `{"success":…}`.
    pub(crate) fn success(&self, success: bool) -> Response {
        self.json(200, &Success { success })
    }

    pub(crate) fn rooms(&self, rooms: &[RoomInfo]) -> Response {
        let body = Rooms {
            success: true,
            rooms,
            count: rooms.len(),
        };
        self.json(200, &body)
    }

    pub(crate) fn room(&self, room: Option<&RoomInfo>) -> Response {
        match room {
            Some(room) => self.json(
                200,
                &Room {
                    success: true,
                    room,
                },
            ),
            None => self.error(404, "Room not found"),
        }
    }

    /// A room was made, with this id.
    pub(crate) fn created(&self, room: &str) -> Response {
        let body = Created {
            success: true,
            room_id: room,
        };
        self.json(200, &body)
    }

    pub(crate) fn client(&self, client: Option<&ClientInfo>) -> Response {
        match client {
            Some(client) => {
                let body = Client {
                    success: true,
                    client,
                };
                self.json(200, &body)
            }
            None => self.error(404, "Client not found"),
        }
    }

    /// SmartSocket's answer to who asks whether it is there.
    pub(crate) fn poll(&self) -> Response {
        const THERE: &str = "{\"status\":\"ok\",\"message\":\"SmartSocket HTTP Fallback Active\",\
             \"upgrade\":\"Use WebSocket for better performance\"}";
        self.content(200, "application/json", THERE)
    }

    /// Figures in Prometheus's text format.
    pub(crate) fn prometheus(&self, text: String) -> Response {
        self.content(200, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    fn content(&self, status: u16, kind: &str, body: impl Into<Bytes>) -> Response {
        let response = with(Response::new(status).body(body), "Content-Type", kind);
        self.safe(response)
    }

    pub(super) fn preflight(&self, methods: &str) -> Response {
        let response = with(Response::new(204), "Allow", methods);
        let response = self.safe(response);
        if self.origin.is_none() {
            return response;
        }
        let response = with(response, "Access-Control-Allow-Methods", methods);
        let headers = "Authorization, Content-Type";
        let response = with(response, "Access-Control-Allow-Headers", headers);
        with(response, "Access-Control-Max-Age", "600")
    }

    /// What every answer says: nobody keeps it, nobody takes it for something
    /// else, and who may read it.
    fn safe(&self, response: Response) -> Response {
        let mut response = with(response, "Cache-Control", "no-store");
        response = with(response, "X-Content-Type-Options", "nosniff");
        if let Some(origin) = &self.origin {
            response = with(response, "Access-Control-Allow-Origin", origin);
        }
        if self.varies {
            response = with(response, "Vary", "Origin");
        }
        response
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    error: &'a str,
}

#[derive(Serialize)]
struct Success {
    success: bool,
}

#[derive(Serialize)]
struct Rooms<'a> {
    success: bool,
    rooms: &'a [RoomInfo],
    count: usize,
}

#[derive(Serialize)]
struct Room<'a> {
    success: bool,
    room: &'a RoomInfo,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    success: bool,
    room_id: &'a str,
}

#[derive(Serialize)]
struct Client<'a> {
    success: bool,
    client: &'a ClientInfo,
}

/// A response with a header more.
pub(super) fn with(response: Response, name: &str, value: &str) -> Response {
    response
        .header(name, value)
        .expect("names and values are constants, but for the origin, which came as a value")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).unwrap_or_default()
    }

    #[test]
    fn answers_are_the_bytes_that_clients_know() {
        let reply = Reply {
            origin: None,
            varies: true,
        };
        let room = RoomInfo {
            id: "room_1".into(),
            name: "general".into(),
            description: Some("General chat room".into()),
            max_connections: Some(50),
            connections: vec!["c1".into(), "c2".into()],
            connections_count: 2,
            metadata: Json::parse(r#"{"a": 1.0}"#).unwrap(),
            created_at: "2024-01-01T00:00:00.000Z".into(),
        };
        let plain = RoomInfo {
            description: None,
            max_connections: None,
            connections: vec![],
            connections_count: 0,
            metadata: Json::EMPTY,
            ..room.clone()
        };
        let client = ClientInfo {
            id: "c1".into(),
            client_id: "my id".into(),
            path: "/chat".into(),
            room_id: Some("room_1".into()),
            handler_id: "/chat".into(),
            metadata: Json::EMPTY,
            created_at: "2024-01-01T00:00:00.000Z".into(),
            last_ping: "2024-01-01T00:00:30.000Z".into(),
        };
        let nowhere = ClientInfo {
            room_id: None,
            ..client.clone()
        };
        let room_json = r#"{"id":"room_1","name":"general","description":"General chat room","maxConnections":50,"connections":["c1","c2"],"connectionsCount":2,"metadata":{"a": 1.0},"createdAt":"2024-01-01T00:00:00.000Z"}"#;
        let plain_json = r#"{"id":"room_1","name":"general","connections":[],"connectionsCount":0,"metadata":{},"createdAt":"2024-01-01T00:00:00.000Z"}"#;
        let client_json = r#"{"id":"c1","clientId":"my id","path":"/chat","roomId":"room_1","handlerId":"/chat","metadata":{},"createdAt":"2024-01-01T00:00:00.000Z","lastPing":"2024-01-01T00:00:30.000Z"}"#;
        for (response, status, body) in [
            (
                reply.rooms(&[room.clone(), plain.clone()]),
                200,
                format!(r#"{{"success":true,"rooms":[{room_json},{plain_json}],"count":2}}"#),
            ),
            (reply.rooms(&[]), 200, r#"{"success":true,"rooms":[],"count":0}"#.into()),
            (
                reply.room(Some(&room)),
                200,
                format!(r#"{{"success":true,"room":{room_json}}}"#),
            ),
            (reply.room(None), 404, r#"{"success":false,"error":"Room not found"}"#.into()),
            (reply.created("room_1"), 200, r#"{"success":true,"roomId":"room_1"}"#.into()),
            (reply.success(true), 200, r#"{"success":true}"#.into()),
            (reply.success(false), 200, r#"{"success":false}"#.into()),
            (
                reply.client(Some(&client)),
                200,
                format!(r#"{{"success":true,"client":{client_json}}}"#),
            ),
            (
                reply.client(Some(&nowhere)),
                200,
                format!(
                    r#"{{"success":true,"client":{}}}"#,
                    client_json.replace(r#""roomId":"room_1","#, "")
                ),
            ),
            (reply.client(None), 404, r#"{"success":false,"error":"Client not found"}"#.into()),
            (
                reply.poll(),
                200,
                r#"{"status":"ok","message":"SmartSocket HTTP Fallback Active","upgrade":"Use WebSocket for better performance"}"#.into(),
            ),
        ] {
            assert_eq!(response.status(), status);
            assert_eq!(core::str::from_utf8(response.content()), Ok(&body[..]));
            for (name, value) in [
                ("content-type", "application/json"),
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(header(&response, name), value);
            }
        }
        let text = reply.prometheus("a 1\n".into());
        assert_eq!(
            header(&text, "content-type"),
            "text/plain; version=0.0.4; charset=utf-8"
        );
        assert_eq!(text.content(), "a 1\n");
    }
}
