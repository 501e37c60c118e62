//! The payload of a close frame (RFC 6455 §5.5.1).

use crate::code::CloseCode;

use super::header::MAX_CONTROL;

/// The longest reason: a control payload less the two bytes of the code.
pub(crate) const MAX_REASON: usize = MAX_CONTROL - 2;

/// A close payload that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseError {
    /// One byte cannot hold a code.
    Length,
    /// A code that must not be sent.
    Code(CloseCode),
    /// A reason that is not UTF-8.
    Reason,
}

/// Reads code and reason; no payload at all means [`CloseCode::NO_STATUS`].
pub(crate) fn decode(payload: &[u8]) -> Result<(CloseCode, &str), CloseError> {
    match payload {
        [] => Ok((CloseCode::NO_STATUS, "")),
        [_] => Err(CloseError::Length),
        [high, low, reason @ ..] => {
            let code = CloseCode::from(u16::from_be_bytes([*high, *low]));
            if !code.is_sendable() {
                return Err(CloseError::Code(code));
            }
            let reason = core::str::from_utf8(reason).map_err(|_| CloseError::Reason)?;
            Ok((code, reason))
        }
    }
}

/// Writes code and reason; a code that must not be sent gives an empty
/// payload, a reason too long is cut at a character.
pub(crate) fn encode(code: CloseCode, reason: &str) -> ([u8; MAX_CONTROL], usize) {
    let mut payload = [0; MAX_CONTROL];
    if !code.is_sendable() {
        return (payload, 0);
    }
    let mut end = reason.len().min(MAX_REASON);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason = &reason[..end];
    payload[..2].copy_from_slice(&u16::from(code).to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    (payload, 2 + reason.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn every_code_survives_or_is_refused() {
        for code in (0..=u16::MAX).map(CloseCode::from) {
            let (payload, len) = encode(code, "why");
            if code.is_sendable() {
                assert_eq!(decode(&payload[..len]), Ok((code, "why")));
            } else {
                assert_eq!(len, 0);
                let wire = u16::from(code).to_be_bytes();
                assert_eq!(decode(&wire), Err(CloseError::Code(code)));
            }
        }
    }

    #[test]
    fn no_payload_is_no_status_and_one_byte_is_an_error() {
        assert_eq!(decode(&[]), Ok((CloseCode::NO_STATUS, "")));
        assert_eq!(decode(&[3]), Err(CloseError::Length));
        assert_eq!(decode(b"\x03\xe8\xff"), Err(CloseError::Reason));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason: String = core::iter::repeat_n('ß', 100).collect();
        let (payload, len) = encode(CloseCode::NORMAL, &reason);
        let (_, cut) = decode(&payload[..len]).unwrap();
        assert_eq!(cut.len(), 122);
        assert!(reason.starts_with(cut));
    }
}
