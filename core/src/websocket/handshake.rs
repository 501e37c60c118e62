//! The opening handshake, both roles (RFC 6455 §4).
//!
//! ```text
//! server:  Request ──(head)──► [[Content ──►] Deciding ──(answer)──►] 101 ► Open
//!             └────────────────────┴────────────┴──► another response ► Ending
//! client:  [Tunnel ──►] Response ──(101)──► Open
//!             └──(other)──► Body ──► Ended
//! ```

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::{fmt, mem};

use crate::deflate::Parameters;
use crate::http::{
    self, Extension, HandshakeError, HeadKind, HeadReader, Headers, Request, Response, Upgrade,
    UpgradeRequest,
};
use crate::proxy::Tunnel;
use crate::time::Tick;

use super::codec::Codec;
use super::endpoint::{Endpoint, Phase};
use super::event::{Accept, Answer, Cause, Decision, Event, Negotiated, Opened, Ticket, Violation};
use super::{Config, Role, Shared};

#[cfg(feature = "tls")]
use super::secure::Tls;

/// Bytes of a refusal's body that a client keeps.
pub(super) const MAX_BODY: usize = 16 * 1024;
/// Early bytes after which a server stops reading until it has an answer ...
const EARLY_PAUSE: usize = 4 * 1024;
/// ... and those after which it gives up on the client.
pub(super) const EARLY_MAX: usize = 128 * 1024;

/// The first block of a request's content; a longer one grows by doubling.
const FIRST_BLOCK: usize = 1024;

/// Where the handshake stands.
pub(super) enum Handshake {
    /// Server: the request's head is coming.
    Request(HeadReader),
    /// Server: the content of a request that is no upgrade is coming.
    Content {
        request: Request,
        length: usize,
        body: Vec<u8>,
    },
    /// Server: the application decides; bytes that came early are kept.
    Deciding {
        upgrade: Option<Upgrade>,
        early: Vec<u8>,
    },
    /// Client: a proxy is asked for a way to the server.
    Tunnel {
        tunnel: Box<Tunnel>,
        request: Box<UpgradeRequest>,
        /// What to put below once there is one.
        #[cfg(feature = "tls")]
        tls: Option<Box<Tls>>,
    },
    /// Client: the response's head is coming.
    Response {
        reader: HeadReader,
        request: Box<UpgradeRequest>,
        key: [u8; 24],
    },
    /// Client: the body of a response other than 101 is coming.
    Body {
        response: Response,
        length: Option<usize>,
        body: Vec<u8>,
    },
}

impl Handshake {
    pub(super) fn server(config: &Config) -> Self {
        Self::Request(HeadReader::new(HeadKind::Request, config.head))
    }

    /// The client's state and its request.
    pub(super) fn client(request: UpgradeRequest, shared: &mut Shared) -> (Self, Vec<u8>) {
        let key = http::encode_key(shared.entropy.bytes());
        let offer = shared
            .config
            .deflate
            .as_ref()
            .map(crate::deflate::Deflate::offer);
        let head = request.encode(&key, offer.as_deref());
        let reader = HeadReader::new(HeadKind::Response, shared.config.head);
        (
            Self::Response {
                reader,
                request: Box::new(request),
                key,
            },
            head,
        )
    }

    /// Whether the application decides about a request that is no upgrade.
    pub(super) const fn is_plain(&self) -> bool {
        matches!(self, Self::Deciding { upgrade: None, .. })
    }

    /// Whether it is a proxy that we speak to.
    pub(super) const fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel { .. })
    }

    pub(super) const fn is_deciding(&self) -> bool {
        matches!(self, Self::Deciding { .. })
    }
}

/// Lengths of what came, not what came.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(reader) => f.debug_tuple("Request").field(reader).finish(),
            Self::Content {
                request,
                length,
                body,
            } => f
                .debug_struct("Content")
                .field("request", request)
                .field("length", length)
                .field("body", &body.len())
                .finish(),
            Self::Deciding { upgrade, early } => f
                .debug_struct("Deciding")
                .field("upgrade", upgrade)
                .field("early", &early.len())
                .finish(),
            Self::Tunnel {
                tunnel, request, ..
            } => f
                .debug_struct("Tunnel")
                .field("tunnel", tunnel)
                .field("request", request)
                .finish_non_exhaustive(),
            Self::Response {
                reader, request, ..
            } => f
                .debug_struct("Response")
                .field("reader", reader)
                .field("request", request)
                .finish_non_exhaustive(),
            Self::Body {
                response,
                length,
                body,
            } => f
                .debug_struct("Body")
                .field("response", response)
                .field("length", length)
                .field("body", &body.len())
                .finish(),
        }
    }
}

impl Endpoint {
    /// Takes bytes of the handshake; gives back how many it used.
    pub(super) fn handshake_bytes(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        data: &mut [u8],
    ) -> usize {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return 0;
        };
        // What is not whole yet grows where it is.
        let read = match &mut **handshake {
            Handshake::Request(reader) | Handshake::Response { reader, .. } => reader.read(data),
            Handshake::Tunnel { tunnel, .. } => {
                let mut answer = Vec::new();
                let read = tunnel.read(data, &mut answer);
                if !answer.is_empty() {
                    self.put_plain(answer);
                }
                return match read {
                    Ok(None) => data.len(),
                    Ok(Some(used)) => {
                        self.tunnelled(shared);
                        #[cfg(feature = "tls")]
                        if self.tls.is_some() {
                            self.handle_cipher(shared, now, &data[used..]);
                            return data.len();
                        }
                        used
                    }
                    Err(error) => {
                        self.end(Cause::Tunnel(error));
                        data.len()
                    }
                };
            }
            Handshake::Deciding { early, .. } => {
                let len = early.len() + data.len();
                if len > EARLY_MAX {
                    self.violate(Violation::TooEarly);
                } else {
                    early.extend_from_slice(data);
                    if len > EARLY_PAUSE {
                        self.pause();
                    }
                }
                return data.len();
            }
            Handshake::Content { length, body, .. } => {
                let used = data.len().min(*length - body.len());
                let held = body.len() + used;
                if held > body.capacity() {
                    // Never more than twice what came, nor than will come.
                    let capacity = (2 * body.capacity()).max(FIRST_BLOCK).max(held);
                    body.reserve_exact(capacity.min(*length) - body.len());
                }
                body.extend_from_slice(&data[..used]);
                if held == *length {
                    self.content_came(shared);
                }
                return used;
            }
            Handshake::Body { length, body, .. } => {
                let room = length.unwrap_or(MAX_BODY).min(MAX_BODY) - body.len();
                body.extend_from_slice(&data[..room.min(data.len())]);
                if data.len() >= room {
                    self.refused();
                }
                return data.len();
            }
        };
        match read {
            Ok(None) => data.len(),
            Ok(Some(used)) => {
                self.head_came(shared, now);
                used
            }
            Err(error) => {
                self.phase = Phase::Ended;
                match self.role {
                    Role::Server => self.refuse_head(shared, error),
                    Role::Client => self.end(Cause::Head(error)),
                }
                data.len()
            }
        }
    }

    /// The head is whole: judges it.
    fn head_came(&mut self, shared: &mut Shared, now: Tick) {
        let Phase::Handshake(handshake) = mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        match *handshake {
            Handshake::Request(reader) => match reader.into_request() {
                Ok(request) => self.requested(shared, now, request),
                Err(error) => self.refuse_head(shared, error),
            },
            Handshake::Response {
                reader,
                request,
                key,
            } => match reader.into_response() {
                Ok(response) => self.responded(shared, now, response, &request, &key),
                Err(error) => self.end(Cause::Head(error)),
            },
            // No head is awaited in these.
            Handshake::Content { .. }
            | Handshake::Deciding { .. }
            | Handshake::Tunnel { .. }
            | Handshake::Body { .. } => {}
        }
    }

    /// The proxy gave a way: what comes now is the server's.
    fn tunnelled(&mut self, shared: &mut Shared) {
        let Phase::Handshake(handshake) = mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        let Handshake::Tunnel {
            request,
            #[cfg(feature = "tls")]
            tls,
            ..
        } = *handshake
        else {
            return;
        };
        let (handshake, head) = Handshake::client(*request, shared);
        self.phase = Phase::Handshake(Box::new(handshake));
        #[cfg(feature = "tls")]
        if let Some(mut tls) = tls {
            // What the proxy has yet to get goes before the records.
            mem::swap(&mut tls.wire, &mut self.sender.wire);
            self.tls = Some(tls);
        }
        self.put_plain(head);
    }

    /// The content of a request is whole.
    fn content_came(&mut self, shared: &mut Shared) {
        let Phase::Handshake(handshake) = mem::replace(&mut self.phase, Phase::Ended) else {
            return;
        };
        if let Handshake::Content { request, body, .. } = *handshake {
            self.ask(shared, request.with_body(body), None);
        }
    }

    /// A client's refusal has all of its body, or all that will come.
    pub(super) fn refused(&mut self) {
        if let Phase::Handshake(handshake) = &mut self.phase
            && let Handshake::Body { response, body, .. } = &mut **handshake
        {
            let response = response.clone().body(mem::take(body));
            self.end(Cause::Refused(Box::new(response)));
        }
    }

    /// The application answered.
    pub(crate) fn decide(&mut self, shared: &mut Shared, now: Tick, decision: Decision) {
        self.tick(now);
        let Phase::Handshake(handshake) = &mut self.phase else {
            return;
        };
        let Handshake::Deciding { upgrade, early } = &mut **handshake else {
            return;
        };
        let mut early = mem::take(early);
        let upgrade = upgrade.take();
        match (decision.answer, upgrade) {
            (Answer::Accept(accept), Some(upgrade)) => {
                self.accept(shared, now, upgrade, accept, *decision.request);
            }
            // `Ticket::accept` makes a response of this; an answer to another
            // connection's ticket could still come here.
            (Answer::Accept(_), None) => self.respond(shared, Response::new(426), false, None),
            (Answer::Respond(response), _) => {
                let head_only = decision.request.method() == "HEAD";
                self.respond(shared, response, head_only, None);
            }
        }
        self.handle_plain(shared, now, &mut early);
        self.resume();
    }

    fn requested(&mut self, shared: &mut Shared, now: Tick, request: Request) {
        let decide = shared.config.decide;
        let upgrade = if request.is_upgrade() || !decide {
            match judge(&request, &shared.config, self.is_secure()) {
                Ok(upgrade) => Some(upgrade),
                Err(response) => {
                    let head_only = request.method() == "HEAD";
                    return self.respond(shared, response, head_only, None);
                }
            }
        } else {
            None
        };
        match upgrade {
            Some(upgrade) if !decide => {
                self.accept(shared, now, upgrade, Accept::default(), request)
            }
            None if shared.config.max_body > 0 => match self.await_content(shared, &request) {
                Ok(0) => self.ask(shared, request, None),
                Ok(length) => {
                    self.phase = Phase::Handshake(Box::new(Handshake::Content {
                        request,
                        length,
                        body: Vec::new(),
                    }));
                }
                Err(response) => {
                    let head_only = request.method() == "HEAD";
                    self.respond(shared, response, head_only, None);
                }
            },
            upgrade => self.ask(shared, request, upgrade),
        }
    }

    /// How much content a request brings; tells the client to send it, if it
    /// waits for that.
    fn await_content(&mut self, shared: &Shared, request: &Request) -> Result<usize, Response> {
        let length = request.content_length(shared.config.max_body)?;
        // Whatever of it is here already: the answer depends on no cut.
        if request.expects_continue()? && length > 0 {
            self.put_plain(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
        }
        Ok(length)
    }

    /// Asks the application.
    fn ask(&mut self, shared: &mut Shared, request: Request, upgrade: Option<Upgrade>) {
        let ticket = Ticket {
            request: Box::new(request),
            upgrade: upgrade.is_some(),
        };
        self.phase = Phase::Handshake(Box::new(Handshake::Deciding {
            upgrade,
            early: Vec::new(),
        }));
        shared.events.push(Event::Request(ticket));
    }

    /// Sends the 101 and opens.
    fn accept(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        upgrade: Upgrade,
        accept: Accept,
        request: Request,
    ) {
        let (headers, agreed) = answer(&shared.config, &upgrade, accept);
        self.put_plain(http::encode_switching_protocols(&headers));
        self.open(
            shared,
            now,
            Opened {
                request: Some(request),
                response: None,
                agreed,
            },
        );
    }

    /// Judges the server's answer (RFC 6455 §4.1).
    fn responded(
        &mut self,
        shared: &mut Shared,
        now: Tick,
        response: Response,
        request: &UpgradeRequest,
        key: &[u8; 24],
    ) {
        if (100..200).contains(&response.status()) && response.status() != 101 {
            // Interim responses come before the one that counts (RFC 9110 §15.2).
            let reader = HeadReader::new(HeadKind::Response, shared.config.head);
            let request = Box::new(request.clone());
            self.phase = Phase::Handshake(Box::new(Handshake::Response {
                reader,
                request,
                key: *key,
            }));
            return;
        }
        if response.status() != 101 {
            let length = response
                .headers()
                .get("content-length")
                .and_then(|length| length.parse().ok());
            self.phase = Phase::Handshake(Box::new(Handshake::Body {
                response,
                length,
                body: Vec::new(),
            }));
            if length == Some(0) {
                self.refused();
            }
            return;
        }
        match agree(&shared.config, &response, request, key) {
            Ok(agreed) => self.open(
                shared,
                now,
                Opened {
                    request: None,
                    response: Some(Box::new(response)),
                    agreed,
                },
            ),
            Err(error) => self.end(Cause::Handshake(error)),
        }
    }

    fn open(&mut self, shared: &mut Shared, now: Tick, opened: Opened) {
        self.start(now, self.make_codec(&opened.agreed, &shared.config));
        shared.events.push(Event::Open(Box::new(opened)));
    }

    pub(super) fn make_codec(&self, agreed: &Negotiated, config: &Config) -> Option<Box<Codec>> {
        agreed
            .deflate
            .map(|parameters: Parameters| Box::new(Codec::new(self.role, parameters, config)))
    }

    fn refuse_head(&mut self, shared: &mut Shared, error: http::HeadError) {
        self.respond(
            shared,
            Response::from(&error),
            false,
            Some(Cause::Head(error)),
        );
    }

    /// Answers the request with something else than 101 and ends.
    pub(super) fn respond(
        &mut self,
        _shared: &mut Shared,
        response: Response,
        head_only: bool,
        cause: Option<Cause>,
    ) {
        self.put_plain(response.encode(head_only));
        self.end(cause.unwrap_or(Cause::Answered(response.status())));
    }
}

/// Judges an upgrade request that another HTTP implementation read, for
/// [`WebSocket::upgraded`](crate::WebSocket::upgraded): the headers of the 101
/// to send and what they agree on. `secure` tells whether TLS is below.
///
/// ```
/// use smartsocket_core::Config;
/// use smartsocket_core::http::{Headers, Request};
/// use smartsocket_core::websocket::negotiate;
///
/// let mut headers = Headers::new();
/// for (name, value) in [
///     ("Host", "example.com"),
///     ("Connection", "Upgrade"),
///     ("Upgrade", "websocket"),
///     ("Sec-WebSocket-Version", "13"),
///     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
/// ] {
///     headers.push(name, value)?;
/// }
/// let request = Request::new("GET", "/chat", headers);
/// let (headers, _agreed) = negotiate(&request, &Config::default(), false).map_err(|_| "refused")?;
/// assert_eq!(headers.get("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The response that refuses the request.
pub fn negotiate(
    request: &Request,
    config: &Config,
    secure: bool,
) -> Result<(Headers, Negotiated), Response> {
    let upgrade = judge(request, config, secure)?;
    Ok(answer(config, &upgrade, Accept::default()))
}

/// Whether a request may become a WebSocket, or what to answer instead.
fn judge(request: &Request, config: &Config, secure: bool) -> Result<Upgrade, Response> {
    let upgrade = http::upgrade(request)?;
    if config.origins.allows(request, secure) {
        Ok(upgrade)
    } else {
        Err(Response::error(403, "origin not allowed"))
    }
}

/// The headers of a 101 and what they agree on.
fn answer(config: &Config, upgrade: &Upgrade, accept: Accept) -> (Headers, Negotiated) {
    let offered = &upgrade.subprotocols;
    let subprotocol = match accept.subprotocol {
        Some(chosen) => offered.contains(&chosen).then_some(chosen),
        None => http::choose_subprotocol(&config.subprotocols, offered).map(String::from),
    };
    let deflate = config
        .deflate
        .as_ref()
        .and_then(|deflate| deflate.accept(offers(&upgrade.extensions)));
    let mut extra = config.headers.clone();
    extra.extend(&accept.headers);
    let extension = deflate.map(|parameters| parameters.to_string());
    let headers = http::switching_protocols(
        &upgrade.accept,
        subprotocol.as_deref(),
        extension.as_deref(),
        &extra,
    );
    (
        headers,
        Negotiated {
            subprotocol,
            deflate,
        },
    )
}

fn agree(
    config: &Config,
    response: &Response,
    request: &UpgradeRequest,
    key: &[u8; 24],
) -> Result<Negotiated, HandshakeError> {
    let agreed = http::check_response(response, key, request)?;
    if agreed
        .extensions
        .iter()
        .any(|extension| extension.name != "permessage-deflate")
    {
        return Err(HandshakeError::Extensions);
    }
    let deflate = match &config.deflate {
        None if agreed.extensions.is_empty() => None,
        None => return Err(HandshakeError::Extensions),
        Some(deflate) => {
            let accepted: Vec<_> = offers(&agreed.extensions).collect();
            deflate
                .agree(&accepted)
                .map_err(|_| HandshakeError::Extensions)?
        }
    };
    Ok(Negotiated {
        subprotocol: agreed.subprotocol,
        deflate,
    })
}

fn offers(extensions: &[Extension]) -> impl Iterator<Item = crate::deflate::Params<'_>> {
    extensions
        .iter()
        .filter(|extension| extension.name == "permessage-deflate")
        .map(|extension| &extension.params[..])
}
