//! stub
#![allow(missing_docs, dead_code)]
use super::{Request, Response};
use crate::json::Json;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
#[derive(Clone, Debug, Default)]
pub struct ApiConfig {
    pub namespace: String,
    pub token: Option<String>,
    pub cors: Vec<String>,
}
pub(crate) enum Api {
    NotOurs,
    Call(ApiCall),
    Refused(Response),
}
pub(crate) enum ApiCall {
    ListRooms,
    Room(String),
    CreateRoom {
        name: String,
        description: Option<String>,
        max_connections: Option<usize>,
    },
    RoomMessage {
        room: String,
        message: String,
    },
    JoinRoom {
        room: String,
        connection: String,
    },
    LeaveRoom {
        room: String,
        connection: String,
    },
    Client(String),
    ClientRooms(String),
    Metrics {
        prometheus: bool,
    },
    Poll,
    Stats,
    ClientScript,
}
pub(crate) fn parse(_r: &Request, _p: Option<IpAddr>, _c: &ApiConfig) -> Api {
    Api::NotOurs
}
pub(crate) fn json(status: u16, v: &impl serde::Serialize) -> Response {
    Response::text(status, serde_json::to_string(v).unwrap_or_default())
}
pub(crate) fn with_cors(r: Response, _q: &Request, _c: &ApiConfig) -> Response {
    r
}
#[derive(Clone, Debug, serde::Serialize)]
pub struct RoomInfo {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub max_connections: Option<usize>,
    pub connections: Vec<String>,
    pub connections_count: usize,
    pub metadata: alloc::collections::BTreeMap<String, String>,
    pub created_at: String,
}
#[derive(Clone, Debug, serde::Serialize)]
pub struct ClientInfo {
    pub id: String,
    pub client_id: String,
    pub path: String,
    pub room_id: Option<String>,
    pub handler_id: String,
    pub metadata: Option<Json>,
    pub created_at: String,
    pub last_ping: String,
}
