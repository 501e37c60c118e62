//! The header line:
//! `action:topic:version[:requestId[:parentRequestId[:timeout]]]`.

use alloc::boxed::Box;
use alloc::format;
use core::fmt;

use uuid::Uuid;

use crate::json::Json;
use crate::message::Utf8Bytes;

use super::{Action, Header, HeaderFailure, topic};

/// The longest wait a requester may ask for, in milliseconds.
const MAX_TIMEOUT: u32 = 3_600_000;
/// Before that many bytes the line has its end: the longest action, topic,
/// version, two ids and timeout, and the colons between them.
pub(super) const MAX_LINE: usize = 8 + 1 + topic::MAX_LENGTH + 1 + 20 + 1 + 36 + 1 + 36 + 1 + 7;

impl Action {
    const ALL: [Self; 3] = [Self::Publish, Self::Request, Self::Response];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Request => "request",
            Self::Response => "response",
        }
    }
}

impl Header {
    /// Reads a line without its newline.
    pub(super) fn parse(line: &Utf8Bytes) -> Result<Self, Box<HeaderFailure>> {
        let mut parts = line.split(':');
        let (Some(action), Some(topic), Some(version)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(HeaderFailure::new(
                HeaderFailure::MALFORMED_MESSAGE,
                "Invalid header format: missing action, topic, or version",
            ));
        };
        let mut optional = || parts.next().filter(|part| !part.is_empty());
        let (request_id, parent_request_id, timeout) = (optional(), optional(), optional());

        let known = Action::ALL;
        let Some(action) = known.into_iter().find(|known| known.is(action)) else {
            let valid = known.map(Action::as_str);
            return Err(malformed("Invalid action", &action.to_lowercase())
                .details([("validActions", Json::from_value(&valid).ok())]));
        };
        if !topic::is_name(topic) {
            return Err(malformed("Invalid topic name", topic)
                .details([("topic", Some(Json::string(topic)))]));
        }
        if !is_version(version) {
            return Err(bad_version(version));
        }
        if let Some(id) = request_id.filter(|id| !is_id(id)) {
            return Err(malformed("Invalid request ID format", id)
                .details([("requestId", Some(Json::string(id)))]));
        }
        if let Some(id) = parent_request_id.filter(|id| !is_id(id)) {
            return Err(malformed("Invalid parent request ID format", id)
                .details([("parentRequestId", Some(Json::string(id)))]));
        }
        Ok(Self {
            action,
            topic: topic::canonical(line.slice(topic)),
            version: line.slice(version),
            request_id: request_id.map(|id| line.slice(id)),
            parent_request_id: parent_request_id.map(|id| line.slice(id)),
            timeout: timeout.map(|text| wait(action, text)).transpose()?,
            error: false,
        })
    }

    /// Refuses a version of two numbers.
    pub(crate) fn require_full_version(&self) -> Result<(), Box<HeaderFailure>> {
        match is_short(&self.version) {
            true => Err(bad_version(&self.version)),
            false => Ok(()),
        }
    }

    /// The header of an answer to a message with this one.
    pub(crate) fn answer(&self, request_id: Option<Utf8Bytes>) -> Self {
        Self {
            action: Action::Response,
            topic: self.topic.clone(),
            version: self.version.clone(),
            request_id,
            parent_request_id: None,
            timeout: None,
            error: false,
        }
    }
}

impl Action {
    fn is(self, word: &str) -> bool {
        self.as_str().eq_ignore_ascii_case(word)
    }
}

fn malformed(what: &str, given: &str) -> Box<HeaderFailure> {
    HeaderFailure::new(HeaderFailure::MALFORMED_MESSAGE, format!("{what}: {given}"))
}

fn bad_version(version: &str) -> Box<HeaderFailure> {
    malformed("Invalid message version format", version)
        .details([("version", Some(Json::string(version)))])
}

/// Semantic versions, and those without a patch number.
fn is_version(version: &str) -> bool {
    is_short(version) || semver::Version::parse(version).is_ok()
}

/// `1.0` is what the documents of MB show, and what its server refuses.
fn is_short(version: &str) -> bool {
    version.split('.').count() == 2 && semver::Version::parse(&format!("{version}.0")).is_ok()
}

/// A UUID as MB knows them: in lower case and with hyphens, of any version,
/// as its documents use others than random ones.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 36
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && Uuid::try_parse(text).is_ok()
}

fn wait(action: Action, text: &str) -> Result<u32, Box<HeaderFailure>> {
    let failure =
        |message: &'static str| HeaderFailure::new(HeaderFailure::MALFORMED_MESSAGE, message);
    if action != Action::Request {
        let action = Some(Json::string(action.as_str()));
        return Err(
            failure("Timeout is only allowed for request actions").details([("action", action)])
        );
    }
    let given = text.parse::<i64>().ok();
    given
        .and_then(|ms| u32::try_from(ms).ok())
        .filter(|ms| (1..=MAX_TIMEOUT).contains(ms))
        .ok_or_else(|| {
            let given = given.and_then(|ms| Json::from_value(&ms).ok());
            failure("Invalid timeout value").details([("timeout", given.or(Some(Json::NULL)))])
        })
}

/// The line, without its newline.
impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:{}",
            self.action.as_str(),
            self.topic,
            self.version
        )?;
        let id = self.request_id.as_deref().unwrap_or_default();
        let parent = self.parent_request_id.as_deref().unwrap_or_default();
        match (self.timeout, parent, id) {
            (Some(timeout), _, _) => write!(f, ":{id}:{parent}:{timeout}"),
            (None, "", "") => Ok(()),
            (None, "", _) => write!(f, ":{id}"),
            (None, _, _) => write!(f, ":{id}:{parent}"),
        }
    }
}
