//! Text in any cuts and close payloads, against `core::str::from_utf8`.

use smartsocket_core::CloseCode;
use smartsocket_core::internals::{Utf8, decode_close, encode_close};

use crate::input::{Input, pieces};

/// `n, n sizes of pieces, the bytes`.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let sizes = input.counted(15);
    for sizes in [sizes, &[], &[1]] {
        check(input.0, sizes);
    }
    check_close(&input.0[..input.0.len().min(125)]);
}

fn check(data: &[u8], sizes: &[u8]) {
    let (valid, wrong_at) = match core::str::from_utf8(data) {
        Ok(text) => (text.len(), None),
        Err(error) => {
            let valid = error.valid_up_to();
            // The first byte with which no text can go on.
            let wrong = (valid..data.len()).find(|&at| {
                core::str::from_utf8(&data[..=at]).is_err_and(|error| error.error_len().is_some())
            });
            assert_eq!(wrong.is_some(), error.error_len().is_some());
            (valid, wrong)
        }
    };
    let (mut utf8, mut text, mut end) = (Utf8::default(), String::new(), 0);
    for piece in pieces(data, sizes) {
        end += piece.len();
        let before = text.len();
        let result = utf8.push(piece, &mut text);
        let pushed = &text.as_bytes()[before..];
        assert!(data[before..valid].starts_with(pushed), "other text");
        if wrong_at.is_some_and(|at| at < end) {
            assert!(result.is_err(), "wrong at {wrong_at:?}, seen to {end}");
            return;
        }
        assert!(result.is_ok(), "nothing is wrong up to {end}");
        let open = end.min(data.len()) - text.len();
        assert!(open <= 3, "{open} bytes are kept back");
    }
    assert!(text.as_bytes() == &data[..valid], "other text");
    assert_eq!(utf8.finish().is_ok(), valid == data.len());
}

fn check_close(payload: &[u8]) {
    let model = match payload {
        [] => Some((CloseCode::NO_STATUS, "")),
        [_] => None,
        [high, low, reason @ ..] => {
            let code = u16::from(*high) * 256 + u16::from(*low);
            // RFC 6455 §7.4 and the IANA registry.
            let may = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            let reason = core::str::from_utf8(reason).ok().filter(|_| may);
            reason.map(|reason| (code.into(), reason))
        }
    };
    let decoded = decode_close(payload).ok();
    assert_eq!(decoded, model);
    if let Some((code, reason)) = decoded {
        assert_eq!(encode_close(code, reason), payload, "the same again");
    }
}
