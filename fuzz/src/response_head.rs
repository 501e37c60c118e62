//! Response heads in any cuts, and the client's half of the handshake.

use smartsocket_core::http::{HeadError, HeadLimits, Response};
use smartsocket_core::internals::{HeadReader, check_response};

use crate::driver::upgrade_request;
use crate::input::{Input, pieces};
use crate::request_head::{head_limits, is_strict};

/// The key of RFC 6455 §1.3, and the answer it must have.
const KEY: &[u8; 24] = b"dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// `limits, n, n sizes of pieces, the head and what follows it`.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let limits = head_limits(input.byte());
    let sizes = input.counted(15);
    let whole = read(limits, input.0, &[]);
    for sizes in [sizes, &[1]] {
        let cut = read(limits, input.0, sizes);
        assert_eq!(shown(&cut), shown(&whole), "cut by {sizes:?}");
    }
    let Ok(Some((response, used))) = whole else {
        let taken = !must_be_taken(input.0, limits);
        return assert!(taken, "refused: {:?}", shown(&whole));
    };
    let head = &input.0[..used];
    assert!(is_strict(head), "taken: {}", head.escape_ascii());
    assert!(used <= limits.head_bytes && response.headers().len() <= limits.headers);
    assert!((100..1_000).contains(&response.status()));
    let status = response.status().to_string();
    assert_eq!(&head[9..12], status.as_bytes());
    assert!(head.starts_with(b"HTTP/1.1") || response.status() >= 200);

    let Ok(subprotocol) = check_response(&response, KEY, &upgrade_request()) else {
        return;
    };
    let headers = response.headers();
    assert_eq!(response.status(), 101);
    assert!(headers.get_all("sec-websocket-accept").eq([ACCEPT]));
    assert!(!headers.contains("transfer-encoding"));
    let chosen = headers.get("sec-websocket-protocol");
    assert_eq!(chosen, subprotocol.as_deref());
    assert!(matches!(chosen, None | Some("chat" | "superchat")));
    for (name, token) in [("upgrade", "websocket"), ("connection", "upgrade")] {
        let mut tokens = headers
            .get_all(name)
            .flat_map(|value| value.split(|byte| *byte == b','));
        assert!(tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes())));
    }
}

/// A plain HTTP/1.1 response in a strict head must be taken.
fn must_be_taken(data: &[u8], limits: HeadLimits) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(used)) = response.parse(data) else {
        return false;
    };
    used <= limits.head_bytes
        && response.headers.len() <= limits.headers
        && data.starts_with(b"HTTP/1.1 ")
        && response.code.is_some_and(|code| code >= 100)
        && is_strict(&data[..used])
}

type Outcome = Result<Option<(Response, usize)>, HeadError>;

fn read(limits: HeadLimits, data: &[u8], sizes: &[u8]) -> Outcome {
    let mut reader = HeadReader::response(limits);
    let mut before = 0;
    for piece in pieces(data, sizes) {
        if let Some(used) = reader.read(piece)? {
            return Ok(Some((reader.into_response()?, before + used)));
        }
        before += piece.len();
    }
    Ok(None)
}

type Shown<'a> = (u16, Vec<(&'a str, &'a [u8])>, usize);

fn shown(outcome: &Outcome) -> Result<Option<Shown<'_>>, &HeadError> {
    outcome.as_ref().map(|found| {
        let (response, used) = found.as_ref()?;
        Some((
            response.status(),
            response.headers().iter().collect(),
            *used,
        ))
    })
}
