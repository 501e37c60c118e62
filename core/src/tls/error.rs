//! What goes wrong with TLS, told so that a human knows what to change.

use alloc::boxed::Box;
use alloc::string::ToString;
use core::fmt;

use rustls::{AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage};

/// Why TLS cannot be set up, or why it ended.
///
/// Nothing in here is secret: no PEM text and no key material is carried along.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    // What the caller gave.
    /// No section of the needed kind, which is also what DER bytes or a wrong file look like.
    Missing(Pem),
    /// A section that does not end, or is not base64.
    Malformed(Pem),
    /// Good PEM around something that is no usable certificate or key.
    Unusable(Pem),
    /// The private key is protected by a passphrase.
    EncryptedKey,
    /// The private key belongs to another certificate.
    KeyMismatch,
    /// A client that trusts nobody can connect to nobody.
    NoRoots,
    /// Neither a DNS name nor an IP address.
    InvalidHost(Box<str>),
    /// The configuration was made elsewhere, so changing it is up to its maker.
    ForeignConfig,
    /// rustls or the process's crypto provider does not accept the configuration.
    Config(Box<str>),

    // What the peer did.
    /// The first bytes are not TLS.
    PlainText,
    /// Nobody we trust signed the peer's certificate.
    UnknownIssuer,
    /// The peer's certificate is past its end.
    Expired,
    /// The peer's certificate has not begun.
    NotYetValid,
    /// The peer's certificate is for other names.
    WrongName(Box<str>),
    /// The peer's certificate is bad in another way.
    BadCertificate(Box<str>),
    /// The peer showed no certificate where one is required.
    NoCertificate,
    /// The peer ended it with this alert (RFC 8446 §6).
    Alert(u8),
    /// No version, cipher suite or protocol in common.
    Incompatible(Box<str>),
    /// The peer broke the rules of TLS.
    Protocol(Box<str>),
}

/// Which of the PEM inputs an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pem {
    /// The certificate to show, followed by its intermediates.
    Chain,
    /// The private key of that certificate.
    Key,
    /// The authorities that sign clients' certificates.
    ClientCa,
    /// Additional authorities that sign servers' certificates.
    Root,
}

impl TlsError {
    /// Whether the peer's certificate was not good enough. Connecting again does not help before
    /// somebody acts.
    pub fn is_untrusted(&self) -> bool {
        matches!(
            self,
            Self::UnknownIssuer
                | Self::Expired
                | Self::NotYetValid
                | Self::WrongName(_)
                | Self::BadCertificate(_)
                | Self::NoCertificate
        )
    }

    /// An error about the own certificate and key.
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls keeps adding errors")]
    pub(super) fn from_pair(error: &Error) -> Self {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Self::KeyMismatch,
            Error::InvalidCertificate(_) => Self::Unusable(Pem::Chain),
            // rustls tells a key it cannot read by text only.
            _ => Self::Unusable(Pem::Key),
        }
    }

    pub(super) fn from_config(error: &(impl fmt::Display + ?Sized)) -> Self {
        Self::Config(text(error))
    }

    /// An error of the peer; `greeted` once its hello was understood.
    #[expect(clippy::wildcard_enum_match_arm, reason = "rustls keeps adding errors")]
    pub(super) fn from_peer(error: &Error, greeted: bool) -> Self {
        match error {
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) if !greeted => Self::PlainText,
            Error::InvalidCertificate(error) => match error {
                // The latter is what an authority made anew under its old name looks like.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownIssuer
                }
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::Expired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::NotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::WrongName(text(error)),
                _ => Self::BadCertificate(text(error)),
            },
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) => Self::Alert((*alert).into()),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => {
                Self::Incompatible(text(error))
            }
            _ => Self::Protocol(text(error)),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(pem @ Pem::Key) => write!(
                f,
                "no private key found in the {pem}, expected PEM with a section `PRIVATE KEY`, \
                 `EC PRIVATE KEY` or `RSA PRIVATE KEY`"
            ),
            Self::Missing(pem @ (Pem::Chain | Pem::ClientCa | Pem::Root)) => {
                write!(
                    f,
                    "no certificate found in the {pem}, expected PEM with a section `CERTIFICATE`"
                )
            }
            Self::Malformed(pem) => write!(
                f,
                "the {pem} is not well-formed PEM: a section has no end or is not base64"
            ),
            Self::Unusable(Pem::Key) => {
                f.write_str("the private key is not an RSA, ECDSA or Ed25519 key we can use")
            }
            Self::Unusable(pem @ (Pem::Chain | Pem::ClientCa | Pem::Root)) => {
                write!(f, "the {pem} holds something that is no X.509 certificate")
            }
            Self::EncryptedKey => {
                f.write_str("the private key is encrypted, decrypt it first (openssl pkey)")
            }
            Self::KeyMismatch => {
                f.write_str("the private key does not match the first certificate of the chain")
            }
            Self::NoRoots => f.write_str("no root certificate to trust was given"),
            Self::InvalidHost(host) => {
                write!(f, "{host:?} is neither a DNS name nor an IP address")
            }
            Self::ForeignConfig => {
                f.write_str("a ready-made rustls configuration cannot be changed here")
            }
            Self::Config(why) => write!(f, "unusable TLS configuration: {why}"),
            Self::PlainText => {
                f.write_str("the peer does not speak TLS on this port: it sent plain text")
            }
            // Behind these stand the names that Node has for them: what people
            // search for, and what MB's documents tell of.
            Self::UnknownIssuer => f.write_str(
                "the peer's certificate is signed by nobody we trust \
                 (UNABLE_TO_VERIFY_LEAF_SIGNATURE)",
            ),
            Self::Expired => f.write_str(
                "the peer's certificate has expired, or our clock is ahead (CERT_HAS_EXPIRED)",
            ),
            Self::NotYetValid => f.write_str(
                "the peer's certificate is not valid yet, or our clock is behind \
                 (CERT_NOT_YET_VALID)",
            ),
            Self::WrongName(why) => write!(f, "{why} (ERR_TLS_CERT_ALTNAME_INVALID)"),
            Self::BadCertificate(why) => write!(f, "bad certificate of the peer: {why}"),
            Self::NoCertificate => {
                f.write_str("the peer showed no certificate, and one is required")
            }
            Self::Alert(code) => match told(*code) {
                Some(what) => write!(f, "the peer {what}"),
                None => write!(
                    f,
                    "the peer aborted with TLS alert {code} ({:?})",
                    AlertDescription::from(*code)
                ),
            },
            Self::Incompatible(why) => write!(f, "nothing in common with the peer: {why}"),
            Self::Protocol(why) => write!(f, "the peer broke the TLS protocol: {why}"),
        }
    }
}

impl core::error::Error for TlsError {}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "certificate chain",
            Self::Key => "private key",
            Self::ClientCa => "client CA",
            Self::Root => "root CA",
        })
    }
}

/// What an alert of the peer means to the one who set this end up; the others name a bug, not a
/// setting.
#[expect(clippy::wildcard_enum_match_arm, reason = "only some call for words")]
fn told(alert: u8) -> Option<&'static str> {
    use AlertDescription as A;
    Some(match A::from(alert) {
        A::CloseNotify => "closed the connection during the handshake",
        A::HandshakeFailure => "accepts none of our offers, or requires a client certificate",
        A::BadCertificate => "rejects our certificate",
        A::UnsupportedCertificate => "cannot use our certificate",
        A::CertificateRevoked => "says our certificate was revoked",
        A::CertificateExpired => "says our certificate has expired, or its clock is ahead",
        A::CertificateUnknown => "does not accept our certificate",
        A::UnknownCA => "does not trust the issuer of our certificate",
        A::DecryptError => "cannot verify a signature of ours or of our issuer",
        A::AccessDenied => "denies us access",
        A::ProtocolVersion => "does not speak our TLS versions",
        A::UnrecognisedName => "serves no host of that name",
        A::CertificateRequired => "requires a client certificate",
        A::NoApplicationProtocol => "does not speak http/1.1",
        _ => return None,
    })
}

/// The words of rustls, cut to a sane length: some of them quote the peer's certificate.
fn text(error: &(impl fmt::Display + ?Sized)) -> Box<str> {
    const LONGEST: usize = 300;
    let text = error.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => [&text[..cut], "..."].concat().into(),
        None => text.into(),
    }
}
