//! Upgrade requests, good ones and ones to spoil.

use super::case::Server;

/// The key of the sample handshake in RFC 6455 §1.3, and what answers it.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request head; nothing keeps it from being nonsense.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Request {
    /// What a well-behaved client sends.
    pub(crate) fn good(server: &Server) -> Self {
        let field = |name: &str, value: &str| (name.to_string(), value.to_string());
        Self {
            method: "GET".into(),
            target: server.path.clone(),
            version: "HTTP/1.1".into(),
            fields: vec![
                field("Host", &server.host),
                field("Upgrade", "websocket"),
                field("Connection", "Upgrade"),
                field("Sec-WebSocket-Key", KEY),
                field("Sec-WebSocket-Version", "13"),
            ],
        }
    }

    /// Without this header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.fields.retain(|field| field.0 != name);
        self
    }

    /// With another value of a header that is there.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        for field in self.fields.iter_mut().filter(|field| field.0 == name) {
            field.1 = value.into();
        }
        self
    }

    /// With a header more.
    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    pub(crate) fn head(&self) -> String {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        head + "\r\n"
    }
}

impl From<Request> for Vec<u8> {
    fn from(request: Request) -> Self {
        request.head().into_bytes()
    }
}
