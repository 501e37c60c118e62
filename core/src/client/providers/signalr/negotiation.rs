//! What is asked by HTTP before a connection: its name, and where it is to be
//! made. It is asked where the URL has `negotiateVersion`.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use crate::http::{Response, UpgradeRequest, Url};
use crate::message::Utf8Bytes;

use super::super::super::protocol::Attempt;
use super::super::super::{Auth, ConfigError, Secret};
use super::super::shared;

const VERSION: &str = "negotiateVersion";

/// How often one server may send us to another.
const HOPS: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Negotiation {
    /// It was asked.
    asked: bool,
    /// The connection's name, which is a secret between us and the server.
    id: Option<Secret>,
    /// Another server, and the token for it.
    redirect: Option<(Secret, Option<Secret>)>,
    hops: u32,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "connectionToken")]
    token: Option<String>,
    /// In place of the token, before version 1.
    #[serde(rename = "connectionId")]
    id: Option<String>,
    #[serde(rename = "availableTransports", default)]
    transports: Vec<Transport>,
    url: Option<String>,
    #[serde(rename = "accessToken")]
    access_token: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Transport {
    transport: String,
}

impl Negotiation {
    /// The request that is next.
    pub(super) fn upgrade(&mut self, attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
        if !shared::has_parameter(&attempt.config.url, VERSION) {
            return shared::upgrade(attempt);
        }
        let mut config = attempt.config.clone();
        let mut token = attempt.token;
        if let Some((url, access)) = &self.redirect {
            // What is for the first server is not for another.
            config.url = url.reveal().to_owned();
            config.headers.clear();
            token = access.as_ref();
            config.auth = match token {
                None => Auth::None,
                Some(_) => Auth::Query {
                    name: "access_token".to_owned(),
                },
            };
        }
        if let Some(id) = &self.id {
            config.url = without_version(&config.url);
            let config = &config;
            return shared::upgrade_with(&Attempt { config, token }, &[("id", id.reveal())]);
        }
        self.asked = true;
        let path = shared::path(&config.url);
        let slash = config.url[path.clone()].ends_with('/');
        let name = if slash { "negotiate" } else { "/negotiate" };
        config.url.insert_str(path.end, name);
        let config = &config;
        let request = shared::upgrade_with(&Attempt { config, token }, &[(VERSION, "1")])?;
        Ok(request.post())
    }

    /// What is next, or why nothing is; `None` if this was no such answer.
    pub(super) fn answered(
        &mut self,
        response: &Response,
        secure: bool,
    ) -> Option<Result<(), Utf8Bytes>> {
        let asked = self.asked && self.id.is_none();
        if !asked || response.status() != 200 {
            return None;
        }
        Some(self.take(response, secure).map_err(Utf8Bytes::from))
    }

    fn take(&mut self, response: &Response, secure: bool) -> Result<(), String> {
        let body = content(response).ok_or("the answer to the negotiation is broken")?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|_| "the answer to the negotiation is no JSON of its kind")?;
        if let Some(words) = answer.error {
            return Err(words);
        }
        if let Some(url) = answer.url {
            let to = Url::parse(&url).map_err(|_| "the server sends us to what is no URL")?;
            self.hops += 1;
            if self.hops > HOPS {
                return Err("too many servers send us to others".into());
            }
            if secure && !to.secure() {
                return Err("the server sends us to one without encryption".into());
            }
            self.redirect = Some((url.into(), answer.access_token.map(Secret::from)));
            return Ok(());
        }
        let mut transports = answer.transports.iter();
        if !transports.any(|it| it.transport == "WebSockets") {
            return Err("the server does not offer WebSockets".into());
        }
        let id = answer.token.or(answer.id).map(Secret::from);
        self.id = Some(id.ok_or("the server gives the connection no name")?);
        Ok(())
    }
}

/// The body, put together where it came in chunks (RFC 9112 §7.1).
fn content(response: &Response) -> Option<Vec<u8>> {
    let mut rest = &response.content()[..];
    if response.headers().get("transfer-encoding").is_none() {
        return Some(rest.to_vec());
    }
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let size = core::str::from_utf8(&rest[..end]).ok()?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
}

/// The parameter is for the negotiation alone.
fn without_version(url: &str) -> String {
    let Some((start, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let mut pairs: Vec<_> = query.split('&').collect();
    pairs.retain(|pair| pair.split('=').next() != Some(VERSION));
    if pairs.is_empty() {
        return start.to_owned();
    }
    alloc::format!("{start}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Negotiation {
        Negotiation {
            asked: true,
            ..Negotiation::default()
        }
    }

    #[test]
    fn an_answer_may_come_in_chunks() {
        let named = r#"{"connectionId":"I","availableTransports":[{"transport":"WebSockets"}]}"#;
        let (one, other) = named.split_at(20);
        let whole = alloc::format!(
            "{:x};ext=1\r\n{one}\r\n{:X}\r\n{other}\r\n0\r\n\r\n",
            one.len(),
            other.len()
        );
        let answer = |body: &str| {
            let response = Response::new(200).header("Transfer-Encoding", "chunked");
            response.expect("a header").body(body.to_owned())
        };
        for end in 0..whole.len() {
            let taken = asked().take(&answer(&whole[..end]), true);
            // The last chunk is known by its size.
            assert_eq!(taken.is_ok(), end >= whole.len() - 2, "{end}");
        }
        for broken in ["-1\r\n", "ffffffffffffffff\r\nx", "1\r\nxy\r\n0\r\n"] {
            assert!(asked().take(&answer(broken), true).is_err(), "{broken}");
        }
    }

    #[test]
    fn encryption_is_not_given_up() {
        for (url, good) in [("https://h/hub", true), ("http://h/hub", false)] {
            let body = alloc::format!(r#"{{"url":"{url}"}}"#);
            let response = Response::new(200).body(body);
            assert_eq!(asked().take(&response, true).is_ok(), good);
            assert!(asked().take(&response, false).is_ok());
        }
    }
}
