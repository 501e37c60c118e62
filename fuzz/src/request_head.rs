//! Request heads in any cuts, and the server's half of the handshake.

use smartsocket_core::Config;
use smartsocket_core::deflate::Deflate;
use smartsocket_core::http::{HeadError, HeadLimits, Origins, Request};
use smartsocket_core::internals::HeadReader;
use smartsocket_core::websocket::negotiate;

use crate::input::{Input, bit, choice, pieces};

/// `limits, n, n sizes of pieces, the head and what follows it`.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let limits = head_limits(flags);
    let sizes = input.counted(15);
    let whole = read(limits, input.0, &[]);
    for sizes in [sizes, &[1]] {
        let cut = read(limits, input.0, sizes);
        assert_eq!(shown(&cut), shown(&whole), "cut by {sizes:?}");
    }
    let Ok(Some((request, used))) = whole else {
        let taken = !must_be_taken(input.0, limits);
        return assert!(taken, "refused: {:?}", shown(&whole));
    };
    let head = &input.0[..used];
    assert!(is_strict(head), "taken: {}", head.escape_ascii());
    assert!(used <= limits.head_bytes && request.target().len() <= limits.target);
    assert!(request.headers().len() <= limits.headers);
    check_split(head, &request);
    check_upgrade(&request, flags);
    let again = written(&request);
    let (again, n) = read(HeadLimits::default(), &again, &[])
        .ok()
        .flatten()
        .unwrap_or_else(|| panic!("{:?} is not read again", again.escape_ascii()));
    assert_eq!(fields(&again), fields(&request));
    assert!(n > 0);
}

pub(crate) fn head_limits(flags: u8) -> HeadLimits {
    HeadLimits {
        head_bytes: [8_192, 8_192, 300, 30][choice(flags, 0)],
        headers: [64, 64, 8, 1][choice(flags, 1)],
        target: [2_048, 2_048, 20, 1][choice(flags, 2)],
    }
}

type Outcome = Result<Option<(Request, usize)>, HeadError>;

fn read(limits: HeadLimits, data: &[u8], sizes: &[u8]) -> Outcome {
    let mut reader = HeadReader::request(limits);
    let mut before = 0;
    for piece in pieces(data, sizes) {
        if let Some(used) = reader.read(piece)? {
            return Ok(Some((reader.into_request()?, before + used)));
        }
        before += piece.len();
    }
    Ok(None)
}

type Fields<'a> = (&'a str, &'a str, Vec<(&'a str, &'a [u8])>);

fn fields(request: &Request) -> Fields<'_> {
    let headers = request.headers().iter().collect();
    (request.method(), request.target(), headers)
}

fn shown(outcome: &Outcome) -> Result<Option<(Fields<'_>, usize)>, &HeadError> {
    outcome.as_ref().map(|found| {
        let (request, used) = found.as_ref()?;
        Some((fields(request), *used))
    })
}

/// Whether a head can be read in one way only: every line ends in CRLF and is a
/// name, a colon and text; there is nothing else, and one end.
pub(crate) fn is_strict(head: &[u8]) -> bool {
    let Some(lines) = head.strip_suffix(b"\r\n\r\n") else {
        return false;
    };
    let mut lines = lines.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let rest: Vec<_> = lines.collect();
    let whole = |line: &[u8]| line.ends_with(b"\r");
    let ends = match rest.split_last() {
        Some((last, others)) => {
            whole(first) && others.iter().all(|line| whole(line)) && !whole(last)
        }
        None => !whole(first),
    };
    let text = |line: &[u8]| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        line.iter().all(text)
    };
    let named = |line: &&[u8]| {
        let colon = line.iter().position(|byte| *byte == b':');
        colon.is_some_and(|colon| colon > 0 && !line[..colon].iter().any(u8::is_ascii_whitespace))
    };
    ends && text(first) && rest.iter().all(|line| text(line) && named(line))
}

/// A plain HTTP/1.1 request in a strict head must be taken.
fn must_be_taken(data: &[u8], limits: HeadLimits) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(used)) = request.parse(data) else {
        return false;
    };
    let target = request.path.unwrap_or_default();
    let is_host = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("host");
    let mut hosts = request.headers.iter().filter(is_host);
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let host = hosts.next().map_or(&[][..], |field| field.value);
    used <= limits.head_bytes
        && request.headers.len() <= limits.headers
        && target.len() <= limits.target
        && data[0].is_ascii_graphic()
        && is_strict(&data[..used])
        && request.version == Some(1)
        && target.starts_with('/')
        && target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && hosts.next().is_none()
        && (1..=253).contains(&host.len())
        && host.iter().all(plain)
}

/// Split at the first colons and spaces, by hand.
fn check_split(head: &[u8], request: &Request) {
    let mut lines = head[..head.len() - 4].split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default().trim_ascii_end();
    let expected = [request.method(), request.target()].join(" ");
    assert!(first.starts_with(expected.as_bytes()), "another start");
    assert_eq!(first.len(), expected.len() + " HTTP/1.1".len());
    for (line, (name, value)) in lines.zip(request.headers().iter()) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        assert_eq!(parts.next(), Some(name.as_bytes()));
        let rest = parts.next().unwrap_or_default().strip_suffix(b"\r");
        let rest = rest.unwrap_or(&line[name.len() + 1..]);
        let blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
        let start = rest.iter().position(|byte| !blank(byte));
        let end = rest.iter().rposition(|byte| !blank(byte));
        let trimmed = start
            .zip(end)
            .map_or(&[][..], |(start, end)| &rest[start..=end]);
        assert_eq!(value, trimmed);
    }
    assert_eq!(
        request.headers().len() + 1,
        head[..head.len() - 2].split(|byte| *byte == b'\n').count() - 1
    );
}

fn check_upgrade(request: &Request, flags: u8) {
    let config = Config {
        deflate: bit(flags, 6).then(Deflate::default),
        origins: if bit(flags, 7) {
            Origins::Any
        } else {
            Origins::SameHost
        },
        subprotocols: vec!["superchat".into(), "chat".into()],
        ..Config::default()
    };
    let _ = (
        request.path(),
        request.query(),
        request.cookie("a"),
        request.origin(),
    );
    let count = |name| request.headers().get_all(name).count();
    match negotiate(request, &config, bit(flags, 6)) {
        Ok((headers, agreed)) => {
            assert_eq!(request.method(), "GET");
            assert!(request.is_upgrade());
            assert_eq!(request.header("sec-websocket-version"), Some("13"));
            for name in ["host", "sec-websocket-key", "sec-websocket-version"] {
                assert_eq!(count(name), 1, "{name}");
            }
            assert_eq!(count("transfer-encoding"), 0);
            assert_eq!(headers.get("sec-websocket-accept").map(str::len), Some(28));
            let offered = request.headers().get_all("sec-websocket-protocol");
            let offered: Vec<_> = offered
                .flat_map(|value| value.split(|byte| *byte == b','))
                .collect();
            if let Some(chosen) = &agreed.subprotocol {
                assert!(
                    offered
                        .iter()
                        .any(|name| name.trim_ascii() == chosen.as_bytes())
                );
                assert_eq!(headers.get("sec-websocket-protocol"), Some(&chosen[..]));
            }
            let deflate = agreed.deflate.map(|parameters| parameters.to_string());
            assert_eq!(headers.get("sec-websocket-extensions"), deflate.as_deref());
            assert!(deflate.is_none() || config.deflate.is_some());
        }
        Err(response) => assert!(matches!(response.status(), 400 | 403 | 405 | 426 | 505)),
    }
}

fn written(request: &Request) -> Vec<u8> {
    // The version is not told; HTTP/1.0 can do without a Host.
    let version = if request.host().is_some() {
        "1.1"
    } else {
        "1.0"
    };
    let mut out = format!(
        "{} {} HTTP/{version}\r\n",
        request.method(),
        request.target()
    )
    .into_bytes();
    for (name, value) in request.headers().iter() {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
