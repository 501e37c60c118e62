//! What providers have in common: where the token goes, and what stands for
//! the defaults of its ways.

use alloc::format;
use alloc::string::String;
use core::ops::Range;

use crate::http::UpgradeRequest;
use crate::message::Message;

use super::super::ConfigError;
use super::super::config::{Auth, ClientConfig, DEFAULT_TEMPLATE};
use super::super::protocol::{Attempt, Cx};
use super::super::template;

/// The URL, subprotocols and headers that every provider can have.
pub(super) fn upgrade(attempt: &Attempt<'_>) -> Result<UpgradeRequest, ConfigError> {
    upgrade_with(attempt, &[])
}

/// With these parameters too, where the URL has none of the name.
pub(super) fn upgrade_with(
    attempt: &Attempt<'_>,
    parameters: &[(&str, &str)],
) -> Result<UpgradeRequest, ConfigError> {
    let config = attempt.config;
    let token = || attempt.token.ok_or(ConfigError::NoToken);
    let mut url = config.url.clone();
    for (name, value) in parameters {
        if !has_parameter(&url, name) {
            url = with_parameter(&url, name, value);
        }
    }
    if let Auth::Query { name } = &config.auth {
        url = with_parameter(&url, name, token()?.reveal());
    }
    let mut request = UpgradeRequest::new(&url)?;
    for subprotocol in &config.subprotocols {
        request = request.subprotocol(subprotocol)?;
    }
    for (name, value) in &config.headers {
        request = request.header(name, value.reveal())?;
    }
    match &config.auth {
        Auth::None | Auth::Query { .. } => {}
        Auth::FirstMessage { .. } => {
            token()?;
        }
        Auth::Subprotocol => request = request.subprotocol(token()?.reveal())?,
        Auth::Header { name, prefix } => {
            request = request.header(name, &format!("{prefix}{}", token()?.reveal()))?;
        }
    }
    Ok(request)
}

/// Where a URL has its path.
pub(super) fn path(url: &str) -> Range<usize> {
    let start = url.find("://").map_or(url.len(), |at| at + 3);
    let start = url[start..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |at| start + at);
    let end = url[start..].find(['?', '#']);
    start..end.map_or(url.len(), |at| start + at)
}

/// Sets the path, where the URL has none.
pub(super) fn default_path(config: &mut ClientConfig, default: &str) {
    let path = path(&config.url);
    if matches!(&config.url[path.clone()], "" | "/") {
        config.url.replace_range(path, default);
    }
}

pub(super) fn has_parameter(url: &str, name: &str) -> bool {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&');
    pairs.any(|pair| pair.split_once('=').map_or(pair, |(name, _)| name) == name)
}

fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let (url, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let joint = if url.contains('?') { '&' } else { '?' };
    let (name, value) = (percent_encode(name), percent_encode(value));
    format!("{url}{joint}{name}={value}{fragment}")
}

/// As `encodeURIComponent` does.
pub(super) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The first message, where that is how we say who we are.
pub(super) fn first_message(cx: &Cx<'_>) -> Option<Message> {
    let Auth::FirstMessage { kind, template } = &cx.config.auth else {
        return None;
    };
    let token = cx.token.map_or("", |token| token.reveal());
    Some(template::fill(template, kind, token))
}

/// The provider's own name of the parameter with the token.
pub(super) fn default_query_name(config: &mut ClientConfig, own: &str) {
    if config.auth == Auth::query() {
        config.auth = Auth::Query { name: own.into() };
    }
}

/// The first message that the provider wants.
pub(super) fn default_template(config: &mut ClientConfig, first: &str) {
    if let Auth::FirstMessage { template, .. } = &mut config.auth
        && template == DEFAULT_TEMPLATE
    {
        *template = first.into();
    }
}
