//! One connection's TLS: cipher text on one side, plain text on the other.

use alloc::vec::Vec;
use std::io::{BufRead as _, Write as _};

#[cfg(test)]
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::{ClientTls, ServerTls, TlsError};

/// The record layer of one connection.
///
/// Inputs are [`open`](Self::open), [`seal`](Self::seal), [`close`](Self::close) and
/// [`handle_eof`](Self::handle_eof). After each of them, and after construction,
/// [`take_output`](Self::take_output) may have something for the wire: handshake messages, alerts
/// and key updates come up by themselves.
#[derive(Debug)]
pub(crate) struct Layer {
    conn: Connection,
    inbound: Inbound,
    closed: bool,
}

/// What one [`Layer::open`] did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// How much of the input is used up; at least one byte of an input that is not empty.
    pub(crate) consumed: usize,
    /// No plain text will follow: the peer said `close_notify`, or we did.
    pub(crate) closed: bool,
}

#[derive(Debug)]
enum Inbound {
    Open,
    Closed,
    Failed(TlsError),
}

impl Layer {
    pub(crate) fn server(tls: &ServerTls) -> Result<Self, TlsError> {
        let conn =
            ServerConnection::new(tls.config()).map_err(|error| TlsError::from_config(&error))?;
        Ok(Self::new(conn.into()))
    }

    /// The host is what the certificate must be for: a DNS name or an IP address, in a URL's
    /// brackets or without.
    pub(crate) fn client(tls: &ClientTls, host: &str) -> Result<Self, TlsError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let name = ServerName::try_from(bare)
            .map_err(|_| TlsError::InvalidHost(host.into()))?
            .to_owned();
        let conn = ClientConnection::new(tls.config(), name)
            .map_err(|error| TlsError::from_config(&error))?;
        Ok(Self::new(conn.into()))
    }

    fn new(mut conn: Connection) -> Self {
        // What may wait is bounded by the caller, who knows how much of it there is for what.
        conn.set_buffer_limit(None);
        Self {
            conn,
            inbound: Inbound::Open,
            closed: false,
        }
    }

    /// Decrypts a piece of `data` and appends to `plain`, to be called again with the rest.
    ///
    /// A call takes no more than fits into rustls's buffer, so it appends about a record's worth of
    /// plain text, 64 KiB at the very most, and over time never more than there was cipher text.
    /// What came before an error is appended too. An error is final and comes again from every
    /// later call; its alert is in the output.
    pub(crate) fn open(
        &mut self,
        mut data: &[u8],
        plain: &mut Vec<u8>,
    ) -> Result<Opened, TlsError> {
        match &self.inbound {
            Inbound::Failed(error) => return Err(error.clone()),
            // RFC 8446 §6.1: data after close_notify is ignored.
            Inbound::Closed => {
                return Ok(Opened {
                    consumed: data.len(),
                    closed: true,
                });
            }
            // rustls takes an empty read for the end of the stream.
            Inbound::Open if data.is_empty() => {
                return Ok(Opened {
                    consumed: 0,
                    closed: false,
                });
            }
            Inbound::Open => {}
        }
        let given = data.len();
        let result = match self.conn.read_tls(&mut data) {
            Ok(_) => self.conn.process_new_packets().map_err(|error| {
                TlsError::from_peer(&error, self.conn.protocol_version().is_some())
            }),
            // The only way to fill its buffer when every call empties it.
            Err(_) => Err(TlsError::Protocol(
                "a handshake message in too many fragments".into(),
            )),
        };
        self.read_plain(plain);
        match result {
            Err(error) => {
                self.inbound = Inbound::Failed(error.clone());
                Err(error)
            }
            Ok(state) if state.peer_has_closed() => {
                self.inbound = Inbound::Closed;
                Ok(Opened {
                    consumed: given,
                    closed: true,
                })
            }
            Ok(_) => Ok(Opened {
                consumed: given - data.len(),
                closed: false,
            }),
        }
    }

    /// Encrypts. During the handshake rustls keeps the plain text and sends it right after, and not
    /// before the peer is verified: it is safe there, but in no output yet. A caller that bounds
    /// what waits counts it, or waits until [`is_handshaking`](Self::is_handshaking) ends. After
    /// [`close`](Self::close) or an error nothing can be sent any more, and the plain text is
    /// dropped.
    pub(crate) fn seal(&mut self, plain: &[u8]) {
        if self.closed || matches!(self.inbound, Inbound::Failed(_)) {
            return;
        }
        if self.conn.writer().write_all(plain).is_err() {
            // rustls must renew the keys but cannot amid half a handshake message of the peer.
            let why = "it sent half a handshake message and no more";
            self.inbound = Inbound::Failed(TlsError::Protocol(why.into()));
        }
    }

    /// Appends everything that waits for the wire.
    pub(crate) fn take_output(&mut self, out: &mut Vec<u8>) {
        while self.conn.wants_write() {
            self.conn.write_tls(out).expect("a vector takes every byte");
        }
    }

    pub(crate) fn wants_write(&self) -> bool {
        self.conn.wants_write()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// The version agreed on.
    #[cfg(test)]
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.conn.protocol_version()
    }

    /// The certificate the peer showed, in DER.
    #[cfg(test)]
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.conn.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// Says `close_notify` after everything sealed so far, once.
    ///
    /// What arrives later is dropped unread, so it is for when both WebSocket close frames have
    /// passed, for a connection given up, and for answering the peer's `close_notify`. TLS 1.2 asks
    /// for that (RFC 5246 §7.2.1), and rustls, when it meets a bad record after its own
    /// `close_notify`, would send a second alert, or panic in a debug build.
    pub(crate) fn close(&mut self) {
        self.conn.send_close_notify();
        self.closed = true;
        if matches!(self.inbound, Inbound::Open) {
            self.inbound = Inbound::Closed;
        }
    }

    /// The stream ended. True if it was cut short: nobody had said `close_notify`, so something may
    /// be missing.
    #[cfg(test)]
    pub(crate) fn handle_eof(&mut self) -> bool {
        matches!(self.inbound, Inbound::Open)
    }

    fn read_plain(&mut self, plain: &mut Vec<u8>) {
        let mut reader = self.conn.reader();
        // Its errors only say that there is nothing more for now.
        while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
            plain.extend_from_slice(chunk);
            let read = chunk.len();
            reader.consume(read);
        }
    }
}
