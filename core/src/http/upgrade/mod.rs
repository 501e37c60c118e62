//! The opening handshake of RFC 6455 §4, both roles; here is what they share.

mod client;
mod server;

use alloc::vec::Vec;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use super::headers::{FRAMING, is_any_of, is_field_value, write_field};

pub use client::{HandshakeError, UpgradeRequest};
pub(crate) use client::{check_response, encode_key};
pub(crate) use server::{
    Upgrade, choose_subprotocol, encode_switching_protocols, switching_protocols, upgrade,
};

/// The only version there is.
const VERSION: &[u8] = b"13";

/// RFC 6455 §4.2.2: the SHA-1 of the key and a constant, in base64.
fn accept(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    let mut out = [0; 28];
    STANDARD
        .encode_slice(digest, &mut out)
        .expect("20 bytes are 28 characters of base64");
    out
}

/// Headers that the handshake writes, in either role.
fn is_owned(name: &str) -> bool {
    let prefix = name.as_bytes().get(..14);
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"sec-websocket-"))
        || is_any_of(name, &["upgrade", "connection"])
        || is_any_of(name, &FRAMING)
}

fn write_extensions(out: &mut Vec<u8>, extensions: Option<&str>) {
    if let Some(value) = extensions.filter(|value| is_field_value(value.as_bytes())) {
        write_field(out, "Sec-WebSocket-Extensions", value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::Headers;
    use super::super::head::tests::{request as parse_request, response as parse_response};
    use super::*;

    #[test]
    fn the_sample_key_of_the_rfc_has_the_sample_answer() {
        assert_eq!(
            &encode_key(*b"the sample nonce"),
            b"dGhlIHNhbXBsZSBub25jZQ=="
        );
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn both_roles_agree() {
        let key = encode_key([7; 16]);
        let request = UpgradeRequest::new("wss://u:p@h:9/a?b").unwrap();
        let request = request
            .subprotocol("chat")
            .unwrap()
            .origin("https://h:9")
            .unwrap();
        let request = request
            .header("X-A", "b")
            .unwrap()
            .origin("https://i")
            .unwrap();
        let read = parse_request(&request.encode(&key, Some("x; y"))).unwrap();
        assert_eq!(read.target(), "/a?b");
        assert_eq!(read.host(), Some("h:9"));
        assert!(read.headers().get_all("origin").eq([b"https://i"]));
        assert_eq!(read.header("x-a"), Some("b"));
        assert_eq!(read.header("authorization"), Some("Basic dTpw"));
        let upgrade = upgrade(&read).unwrap();
        let mut extra = Headers::new();
        extra.push("Set-Cookie", "a=b").unwrap();
        extra.push("sec-websocket-accept", "forged").unwrap();
        extra.push("Content-Length", "5").unwrap();
        let out = encode_switching_protocols(&switching_protocols(
            &upgrade.accept,
            Some("chat"),
            Some("x; y"),
            &extra,
        ));
        let head = parse_response(&out).unwrap();
        assert_eq!(head.headers().len(), 6);
        let agreed = check_response(&head, &key, &request).unwrap();
        assert_eq!(agreed.subprotocol.as_deref(), Some("chat"));
        assert_eq!(agreed.extensions, upgrade.extensions);
    }
}
