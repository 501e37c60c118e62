//! Inputs to start from: valid conversations, the examples of the RFCs, and
//! known attacks on other libraries.

mod providers;

use smartsocket_core::internals::FrameHeader;
use smartsocket_core::websocket::Role;
use smartsocket_core::{Config, Message};

use crate::driver::{Driver, Start};

/// Every seed: the name of its target, and the input.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut seeds = Vec::new();
    frame_headers(&mut seeds);
    texts(&mut seeds);
    heads(&mut seeds);
    lines(&mut seeds);
    routes(&mut seeds);
    calls(&mut seeds);
    payloads(&mut seeds);
    dialects(&mut seeds);
    providers::add(&mut seeds);
    encrypted(&mut seeds);
    proxies(&mut seeds);
    for (name, role) in [("server", Role::Server), ("client", Role::Client)] {
        connections(&mut seeds, name, role);
    }
    seeds
}

fn proxies(seeds: &mut Seeds) {
    let mut add = |options: u8, rest: &[u8]| {
        seeds.push(("proxy", [&[options][..], rest].concat()));
    };
    for answer in [
        "200 OK\r\n\r\nrest",
        "100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nA: b\r\n\r\n",
        "403 No\r\n\r\n",
        "407 x\r\nProxy-Authenticate: Basic realm=\"a, b\"\r\n\r\n",
        "407 x\r\nProxy-Authenticate: NTLM\r\nProxy-Authenticate: Digest a=b, c=d\r\n\r\n",
        "502 \u{e9}\r\nContent-Length: 2\r\n\r\nno",
    ] {
        for options in [0, 1, 5] {
            let rest = format!("\x02\x03\x09HTTP/1.1 {answer}");
            add(options, rest.as_bytes());
        }
    }
    for answer in [
        &[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 0, 80, b'x'][..],
        &[5, 0, 5, 0, 0, 3, 1, b'h', 0, 80],
        &[5, 0, 5, 4, 0, 1],
        &[
            5, 2, 1, 0, 5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80,
        ],
        &[5, 2, 1, 1],
        &[5, 0xff],
        b"HTTP/1.1 400 \r\n\r\n",
    ] {
        for options in [2, 3, 7, 11] {
            add(options, &[&[1, 2], answer].concat());
        }
    }
    for lines in [
        "http://us:hunter2@proxy:3128\n.example.com,10.0.0.0/8 [::1]:8\nwss://a.example.com",
        "proxy\n2001:db8::/32 *.b a:1\nws://[2001:db8::1]:80",
        "socks5h://u%40:p%2F@[::1]\n1.2.3.4:80\nws://1.2.3.4",
        "https://us:hunter2@proxy\n\nws://h",
    ] {
        add(0x80, lines.as_bytes());
    }
}

type Seeds = Vec<(&'static str, Vec<u8>)>;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n";

const EXTENSIONS: [&str; 15] = [
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10",
    "permessage-deflate; client_max_window_bits; server_max_window_bits=10, \
     permessage-deflate; client_max_window_bits",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; server_max_window_bits=\"12\"; client_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=7",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits=08",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; constructor=1",
    "x-webkit-deflate-frame, permessage-deflate",
    "foo, bar; baz=2, foo; a=\"b\\\"c\"",
    "a;;;\"\\\\\\\\",
    ",, a ,,b, ",
];

/// A frame with the mask zero, if any, so that its payload is easily changed.
fn frame(to: Role, first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let header = FrameHeader {
        fin: true,
        rsv1: false,
        opcode: BINARY,
        mask: (to == Role::Server).then_some([0; 4]),
        length: payload.len() as u64,
    };
    let mut out = header.encode().expect("a known opcode");
    out[0] = first;
    out.extend_from_slice(payload);
    out
}

fn whole(to: Role, opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(to, 0x80 | opcode, payload)
}

/// Raw DEFLATE without its end (RFC 7692 §7.2.1), from stored and packed blocks.
fn deflated(data: &[u8]) -> Vec<u8> {
    let mut out = miniz_oxide::deflate::compress_to_vec(data, 6);
    // A final block is followed by an empty one (RFC 7692 §7.2.3.4).
    out.push(0);
    out
}

/// What peers send in one message or a few frames.
fn streams(to: Role) -> Vec<Vec<u8>> {
    let mut key = whole(to, TEXT, "Hello");
    if to == Role::Server {
        // The example of RFC 6455 §5.7.
        key = vec![
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
    }
    let masked = if to == Role::Server { 0x80 } else { 0 };
    let length = |form: u8, length: u64| {
        let mut out = vec![0x82, masked | form];
        match form {
            126 => out.extend((length as u16).to_be_bytes()),
            _ => out.extend(length.to_be_bytes()),
        }
        out.extend(&[0; 4][..if to == Role::Server { 4 } else { 0 }]);
        out.extend(b"0123456789");
        out
    };
    let other = match to {
        Role::Server => Role::Client,
        Role::Client => Role::Server,
    };
    vec![
        key,
        whole(to, TEXT, "smörgås €😀"),
        whole(to, TEXT, ""),
        whole(to, BINARY, [0; 200]),
        whole(to, BINARY, [7; 70]),
        [
            frame(to, TEXT, "Hel"),
            whole(to, PING, "Hello"),
            frame(to, CONTINUATION, [b'l', 0xe2, 0x82]),
            whole(to, CONTINUATION, [0xac, b'!']),
        ]
        .concat(),
        [frame(to, BINARY, ""), whole(to, CONTINUATION, "")].concat(),
        [
            whole(to, PING, "1"),
            whole(to, PING, "2"),
            whole(to, PONG, "3"),
        ]
        .concat(),
        whole(to, PING, [b'p'; 125]),
        [whole(to, TEXT, "bye"), whole(to, CLOSE, b"\x03\xe8done")].concat(),
        [whole(to, CLOSE, ""), whole(to, TEXT, "after")].concat(),
        [frame(to, TEXT, "open"), whole(to, CLOSE, b"\x0f\xa1")].concat(),
        whole(to, CLOSE, b"\x03\xf6\x00"),
        whole(to, CLOSE, b"\x03\xed"),
        whole(to, CLOSE, b"\x03"),
        whole(to, CLOSE, b"\x03\xe8\xff"),
        // What nobody may send.
        whole(other, TEXT, "other mask"),
        frame(to, 0xc1, "rsv"),
        whole(to, 3, ""),
        whole(to, 11, ""),
        frame(to, PING, "in parts"),
        whole(to, PING, [b'p'; 126]),
        whole(to, CONTINUATION, "of nothing"),
        [frame(to, TEXT, "a"), whole(to, TEXT, "b")].concat(),
        whole(to, TEXT, b"\xed\xa0\x80"),
        whole(to, TEXT, b"\xc0\xaf"),
        whole(to, TEXT, b"cut \xf0\x9f\x98"),
        length(126, 10),
        length(127, 10),
        length(127, 1 << 20),
        length(127, (1 << 63) - 1),
        length(127, 1 << 63),
        length(127, u64::MAX),
        [
            frame(to, BINARY, ""),
            frame(to, CONTINUATION, "").repeat(40),
            frame(to, CONTINUATION, "x").repeat(40),
        ]
        .concat(),
        // Too long for the small limits, each part short enough.
        [
            frame(to, TEXT, "Hello"),
            frame(to, CONTINUATION, ", "),
            whole(to, CONTINUATION, "world"),
        ]
        .concat(),
        [
            frame(to, BINARY, [1; 150]),
            whole(to, CONTINUATION, [2; 150]),
        ]
        .concat(),
        whole(to, PING, "flood").repeat(60),
        whole(to, TEXT, "").repeat(60),
    ]
}

/// Compressed messages, for connections that agreed on it.
fn compressed(to: Role) -> Vec<Vec<u8>> {
    // RFC 7692 §7.2.3.1 to §7.2.3.5.
    let hello: [&[u8]; 5] = [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00],
        &[0xf2, 0x00, 0x11, 0x00, 0x00],
        &[
            0x00, 0x05, 0x00, 0xfa, 0xff, b'H', b'e', b'l', b'l', b'o', 0x00,
        ],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[
            0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
        ],
    ];
    let mut all: Vec<_> = hello.iter().map(|data| frame(to, 0xc1, data)).collect();
    let bomb = deflated(&[0; 60_000]);
    let text = deflated(&b"the quick brown fox jumps over the lazy dog ".repeat(20));
    all.extend([
        [frame(to, 0xc1, hello[0]), frame(to, 0xc1, hello[1])].concat(),
        [
            frame(to, 0x41, &hello[0][..3]),
            whole(to, CONTINUATION, &hello[0][3..]),
        ]
        .concat(),
        frame(to, 0xc2, &bomb),
        [
            frame(to, 0x41, &text[..20]),
            whole(to, PING, "?"),
            whole(to, CONTINUATION, &text[20..]),
        ]
        .concat(),
        frame(to, 0xc2, &text[..text.len() / 2]),
        frame(to, 0xc1, deflated(b"\xff\xfe")),
        frame(to, 0xc1, ""),
        frame(to, 0xc1, [0]),
        [frame(to, 0x41, ""), frame(to, 0xc0, hello[0])].concat(),
        frame(to, 0xc9, "compressed ping"),
    ]);
    all
}

fn connections(seeds: &mut Seeds, target: &'static str, role: Role) {
    const UPGRADED: u8 = 1;
    const DEFLATE: u8 = 2;
    const DECIDE: u8 = 16;
    let mut put = |flags: u8, limits: u8, times: u8, script: &[u8], stream: &[u8]| {
        let mut input = vec![flags, limits, times, script.len() as u8];
        input.extend(script);
        input.extend(stream);
        seeds.push((target, input));
    };
    let (plain, packed) = (streams(role), compressed(role));
    for stream in &plain {
        put(UPGRADED, 0, 0, &[], stream);
    }
    for stream in &packed {
        put(UPGRADED | DEFLATE, 0, 0, &[0x32], stream);
    }
    // Streaming, echo, takeover, small limits, a blocked socket.
    let all = [plain[..12].concat(), plain[26].clone()].concat();
    for (flags, limits) in [
        (4, 0),
        (8, 0),
        (64, 0),
        (64, 0xff),
        (0x84 | 64, 0x55),
        (0, 3),
        (0, 0xaa),
    ] {
        put(UPGRADED | flags, limits, 0, &[0x30, 0x71, 0x52], &all);
        put(
            UPGRADED | DEFLATE | 32 | flags,
            limits,
            0,
            &[0x91],
            &packed[..9].concat(),
        );
    }
    let extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n";
    let mut heads = Vec::new();
    match role {
        Role::Server => {
            for more in [
                "",
                extension,
                "Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://server.example.com\r\n",
                "Origin: https://evil.example\r\n",
                "Content-Length: 5\r\n",
                "Sec-WebSocket-Version: 8\r\n",
            ] {
                heads.push(format!("{REQUEST}{more}\r\n"));
            }
            heads.push("GET / HTTP/1.1\r\nHost: a\r\n\r\n".into());
            heads.push("HEAD /metrics HTTP/1.0\r\n\r\n".into());
            heads.push("GET / HTTP/1.1\nHost: a\n\n".into());
            for fields in [
                "Content-Length: 5\r\n",
                "Expect: 100-continue\r\nContent-Length: 300\r\n",
                "Content-Length: 301\r\n",
                "Transfer-Encoding: chunked\r\n",
            ] {
                heads.push(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            }
            heads.push("\x16\x03\x01\x02\x00\x01\x00\x01".into());
        }
        Role::Client => {
            let accept = accept();
            for more in [
                "",
                extension,
                "Sec-WebSocket-Protocol: chat\r\n",
                "Content-Length: 5\r\n",
            ] {
                heads.push(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
                ));
            }
            heads.push(format!("HTTP/1.1 100 Continue\r\n\r\n{}", heads[0]));
            heads.push("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone".into());
            heads.push("HTTP/1.1 302 Found\r\nLocation: ws://evil.example/\r\n\r\nbody".into());
            heads.push("HTTP/1.0 101 Switching\r\n\r\n".into());
        }
    }
    for head in &heads {
        for (flags, stream) in [(0, &plain[5]), (DEFLATE, &packed[0]), (DECIDE, &plain[9])] {
            put(flags, 0, 0, &[], &[head.as_bytes(), stream].concat());
            put(flags, 0, 0, &[0x0e], &[head.as_bytes(), stream].concat());
            put(
                flags,
                3,
                0,
                &[0xd0, 0x0c, 0xe0],
                &[head.as_bytes(), stream].concat(),
            );
        }
    }
    // Scripts: time, sends, parts, closes, blocked writes, lent buffers.
    for script in [
        &[0xa7, 0x88, 0x3e, 0x97, 0x57][..],
        &[0x0d, 0x88, 0xe8, 0xf8, 0x8d, 0x9d, 0xfd, 0x77],
        &[0x09, 0x19, 0x29, 0x5a, 0x39, 0x0e, 0x0b, 0x0e, 0x57],
        &[0x0d, 0x60, 0xf8, 0xf8, 0xd8, 0x87, 0x4d, 0x0e, 0x0f],
        &[0x8e, 0xce, 0x1f, 0x57],
        &[0x6f, 0x3f, 0x2f, 0x0f, 0xe7],
        &[0xb7, 0x30, 0xb7, 0xb7],
    ] {
        for flags in [UPGRADED, UPGRADED | DEFLATE | 32, UPGRADED | 8 | 64] {
            put(flags, 0, 0, script, &plain[5]);
            put(flags, 0xe4, 0x1b, script, &plain[0]);
        }
    }
    let mut long = vec![0x82, 127, 0, 0, 0, 0, 0, 2, 0, 0];
    if role == Role::Server {
        long[1] |= 0x80;
        long.extend([0; 4]);
    }
    for (limits, stream) in [1, 2, 3, 4, 8, 12].iter().zip(plain[33..].iter().cycle()) {
        put(UPGRADED, *limits, 0, &[], stream);
        put(UPGRADED | 4, 3, 0, &[0x20, 0x40, 0xe0, 0x40], stream);
    }
    // Floods: what came last, forty times.
    for (script, flood) in [
        (&[0xb1, 0xb5][..], whole(role, PING, [b'p'; 125])),
        (&[0x94, 0x85, 0x85], whole(role, TEXT, "0123456789")),
        (
            &[0x0d, 0xb1, 0xb5, 0x8d, 0x0e, 0x4d],
            whole(role, PING, [b'p'; 125]),
        ),
        (&[0x81, 0x85], frame(role, CONTINUATION, "")),
    ] {
        let begin = frame(role, BINARY, "");
        put(UPGRADED, 0, 0, script, &flood);
        put(UPGRADED | 64, 0, 0, script, &[begin, flood].concat());
    }
    // 128 KiB in two reads, the second into a lent buffer.
    put(UPGRADED, 0, 0, &[0x70, 0x60, 0x65, 0x5f, 0x65, 0x0e], &long);
    put(UPGRADED | 4, 0, 0, &[0x70, 0x60, 0x65, 0x65], &long);
}

/// The one right answer to the request of every client here.
fn accept() -> String {
    let mut request = Driver::new(&Start {
        role: Role::Client,
        upgraded: None,
        config: Config::default().into(),
        echo: false,
    })
    .sent;
    let mut server = Driver::new(&Start {
        role: Role::Server,
        upgraded: None,
        config: Config::default().into(),
        echo: false,
    });
    server.ws.handle_bytes(server.now, &mut request);
    server.drain();
    let answer = String::from_utf8(server.sent).expect("a head is text");
    let accept = answer.split("Sec-WebSocket-Accept: ").nth(1);
    let accept = accept.and_then(|rest| rest.split("\r\n").next());
    accept.expect("the server accepts").to_owned()
}

fn frame_headers(seeds: &mut Seeds) {
    for role in [Role::Server, Role::Client] {
        for stream in streams(role) {
            let flags = u8::from(role == Role::Client);
            seeds.push(("differential", [&[flags][..], &stream].concat()));
            seeds.push(("differential", [&[flags | 2][..], &stream].concat()));
            seeds.push(("frame_header", stream));
        }
    }
}

fn texts(seeds: &mut Seeds) {
    let text = "smörgås €😀 κόσμε".as_bytes();
    seeds.push(("text", [&[3, 1, 2, 5][..], text].concat()));
    // Of Markus Kuhn's test file: the borders, and what is malformed.
    for text in [
        &b"\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80"[..],
        b"\x7f\xdf\xbf\xef\xbf\xbf\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbd",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xfe\xff",
        b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf",
        b"\xed\xa0\x80\xed\xbf\xbf",
        b"a long text of one kind, then \xe2\x82\xac and \xe2(\xa1 at the end",
        b"\x03\xe8bye",
        b"\x0f\xa0",
        b"\x03\xed",
        b"\x03",
    ] {
        seeds.push(("text", [&[2, 1, 3][..], text].concat()));
    }
}

fn heads(seeds: &mut Seeds) {
    let mut requests = vec![
        format!("{REQUEST}\r\n"),
        format!("{REQUEST}Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://a\r\n\r\n"),
        format!("{REQUEST}Content-Length: 0\r\nCookie: a=b; c=d\r\n\r\n"),
        format!("{REQUEST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{REQUEST}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
        REQUEST.replace("13", "8") + "\r\n",
        REQUEST.replace(
            "Upgrade: websocket",
            "Upgrade: h2c, WebSocket/13, websocket",
        ) + "\r\n",
        REQUEST.replace("Connection: Upgrade", "Connection: keep-alive, upgrade") + "\r\n",
        REQUEST.replace("/chat", "http://server.example.com/chat?a=b") + "\r\n",
        REQUEST.replace("server.example.com", "[::1]:3000") + "\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: a\n\n".into(),
        "GET / HTTP/2.0\r\n\r\n".into(),
        "OPTIONS * HTTP/1.0\r\nX: \t y \t\r\n\r\ntail".into(),
    ];
    for extension in EXTENSIONS {
        requests.push(format!(
            "{REQUEST}Sec-WebSocket-Extensions: {extension}\r\n\r\n"
        ));
    }
    requests.push(format!("{REQUEST}{}\r\n", "X: y\r\n".repeat(60)));
    for request in requests {
        seeds.push((
            "request_head",
            [&[0, 2, 9, 60][..], request.as_bytes()].concat(),
        ));
    }
    let accept = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for response in [
        format!("{accept}\r\n\x01\x02Hi"),
        format!("{accept}Sec-WebSocket-Protocol: chat\r\n\r\n"),
        format!("{accept}Sec-WebSocket-Protocol: other\r\n\r\n"),
        format!("{accept}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
        format!("{accept}Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        format!("{accept}Content-Length: 3\r\n\r\n"),
        "HTTP/1.1 200\r\n\r\n".into(),
        "HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\nnone".into(),
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n\r\n".into(),
        "HTTP/1.1 999 \r\n\r\n".into(),
    ] {
        seeds.push((
            "response_head",
            [&[0, 2, 9, 60][..], response.as_bytes()].concat(),
        ));
    }
}

fn lines(seeds: &mut Seeds) {
    for extension in EXTENSIONS {
        for flags in [0, 0xff, 0x1c] {
            seeds.push((
                "extension_header",
                [&[flags, flags][..], extension.as_bytes()].concat(),
            ));
        }
    }
    for text in [
        "ws://server.example.com/chat\nhttp://server.example.com\nserver.example.com",
        "wss://user:pa%3ass@example.com:8443/a?b=c\nhttps://example.com:8443\nexample.com:8443",
        "ws://[2001:db8::1]:3000/x\nhttp://[2001:db8:0::1]:3000\n[2001:db8::1]:3000",
        "HTTP://LOCALHOST:80\nhttp://localhost\nLocalHost:80",
        "https://h?a=b/c\nnull\nh",
        "ws://good.com@evil.com/\nhttps://good.com.evil.com\ngood.com",
        "ws://a/#b\nhttp://a/\na",
        "ws://%zz@h\nfile://\nh",
    ] {
        for flags in 0..2 {
            seeds.push(("url", [&[flags][..], text.as_bytes()].concat()));
        }
    }
}

fn routes(seeds: &mut Seeds) {
    const PATTERNS: &str = "/\n/chat\n/rooms/{id}\n/rooms/{id}/log\n/rooms/new\n/files/*\n\
        /rooms/{id}/*\n/{a}/new\n/caf%C3%A9\n/*\n/a//b\n/x{y}\n/{a}/{a}\n/**\n/%ff\n";
    for path in [
        "/",
        "/chat/",
        "/rooms/new",
        "/rooms/a%2Fb%3f/log",
        "/rooms/7/x/y",
        "/files/../etc/passwd",
        "/files/%2e%2e/x",
        "/caf%c3%a9",
        "/x//y",
        "/rooms/%00",
        "/rooms/%c3%28",
    ] {
        seeds.push(("route", [PATTERNS, path].concat().into_bytes()));
    }
}

fn calls(seeds: &mut Seeds) {
    for (line, body) in [
        ("GET /websocket/rooms", ""),
        ("GET /websocket/rooms/room%201", ""),
        (
            "POST /websocket/rooms",
            r#"{"name":"general","description":"d","maxConnections":50}"#,
        ),
        ("POST /websocket/rooms", r#"{"name":"a","name":"b"}"#),
        ("POST /websocket/rooms/r/message", r#"{"message":"hi"}"#),
        ("POST /websocket/rooms/r/join", r#"{"connectionId":"c"}"#),
        ("POST /websocket/rooms/r/leave", r#"{"connectionId":7}"#),
        ("HEAD /websocket/clients/c", ""),
        ("GET /websocket/clients/c/rooms", ""),
        ("GET /metrics", ""),
        ("GET /metrics/prometheus", ""),
        ("GET /smartsocket/stats", ""),
        ("GET /smartsocket/poll", ""),
        ("GET /client.js", ""),
        ("OPTIONS /websocket/rooms", ""),
        ("DELETE /websocket/rooms", ""),
    ] {
        for (flags, fields) in [
            (0, ""),
            (0, "Origin: http://localhost\r\nAccept: text/plain\r\n"),
            (1, "Authorization: Bearer s3cret\r\n"),
            (0x21, "Authorization: Bearer s3cre\r\n"),
            (0x20, ""),
            (0x1c, "Origin: https://app.example.com\r\n"),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}");
            seeds.push(("api", [&[flags][..], request.as_bytes()].concat()));
        }
    }
}

fn payloads(seeds: &mut Seeds) {
    let text = Message::text("the quick brown fox jumps over the lazy dog ".repeat(30));
    let mut payloads: Vec<Vec<u8>> = compressed(Role::Client)
        .iter()
        .map(|frame| frame[2..].to_vec())
        .collect();
    payloads.push(deflated(&[b'0'; 30_000]));
    payloads.push(deflated(text.as_bytes()));
    payloads.push(deflated(&(0..=255).collect::<Vec<u8>>()));
    payloads.push([0x00, 0x00, 0x00, 0xff, 0xff].repeat(30));
    payloads.push(deflated(b"").repeat(30));
    for payload in &payloads {
        for limits in [0, 0x40, 0x55, 0x3f] {
            let len = (payload.len() as u16).to_be_bytes();
            let head = [&[limits, 2, 1, 7][..], &len].concat();
            seeds.push(("inflate", [&head[..], payload, payload].concat()));
        }
    }
}

/// Sequences of messages: those of the real clients, then odd ones.
fn dialects(seeds: &mut Seeds) {
    for messages in [
        &[
            r#"{"event":"heartbeat"}"#,
            r#"{"event":"authenticate","data":{"token":"ok"}}"#,
            r#"{"event":"join","data":{"rooms":["r1","deny","ws:x"]}}"#,
            r#"{"event":"foo","data":{"y":[1,2.50,null]},"id":"7"}"#,
            r#"{"event":"leave","data":{"rooms":["r1"]}}"#,
        ][..],
        &["notjson", r#"{"noevent":1}"#, r#"{"event":""}"#, "null"],
        &[r#" {"\u0065vent":"f\u00f6\n","data":"\ud83d\ude00"} "#],
        &[r#"{"event":"join","data":{"rooms":[1,"",null,"\ud800","\u0062","ws:"]}}"#],
        &[
            r#"{"event":"join","event":"x"}"#,
            r#"{"event":"join","data":{"rooms":["a"],"rooms":[]}}"#,
        ],
        &[
            r#"{"serverId":"s","type":"room","target":"r1","event":"t2","data":{"k":1}}"#,
            r#"{"serverId":"emitter","type":"room","target":"r1","event":"er","data":{"z":1},"exclude":["nobody"]}"#,
            r#"{"serverId":"s","type":"broadcast","event":"t3","data":null}"#,
            r#"{"serverId":"s","type":"client","target":"c","event":"t5"}"#,
        ],
    ] {
        seeds.push(("dialect_ignis", messages.join("\0").into()));
    }
    let zeros = "0,".repeat(2_000);
    let many = format!(r#"{{"event":"join","data":{{"rooms":[{zeros}"r"]}}}}"#);
    seeds.push(("dialect_ignis", many.into()));
    for messages in [
        &[
            r#"{"type":"pong","data":{"timestamp":"2026-11-21T00:10:09.893Z"}}"#,
            r#"{"type":"join_room","room_id":"room_1"}"#,
            r#"{"type":"message","data":"hi","timestamp":"T","room_id":"room_1"}"#,
            r#"{"type":"room_message","data":"hello","room_id":"room_1"}"#,
            r#"{"type":"direct_message","data":"dm","target_client_id":"other"}"#,
            r#"{"type":"leave_room","room_id":"room_1"}"#,
            r#"{"type":"ping"}"#,
        ][..],
        &[
            r#"{"type":"room_message","message":"m","data":{"message":"n"}}"#,
            r#"{"type":"room_message","data":{"\u006dessage":"\u00e9"}}"#,
            r#"{"type":"direct_message","data":{"message":"n"}}"#,
            r#"{"type":"join_room","room_id":7}"#,
            r#"{"type":"leave_room"}"#,
        ],
        &["hello", "[1]", r#"{"type":7,"data":null}"#, " { } "],
        &[r#"{"type":"ping","type":"pong"}"#, r#"{"type":"\ud800"}"#],
    ] {
        seeds.push(("dialect_rnode", messages.join("\0").into()));
    }
    header_line(seeds);
    smartsocket(seeds);
}

fn smartsocket(seeds: &mut Seeds) {
    // Options of all defaults: 1 MiB, 1,024 bytes, zlib, level 6.
    const DEFAULT: u8 = 6 << 5 | 2 << 2 | 3;
    const TEXT: u8 = 1;
    const BINARY: u8 = 0;
    let mut seed = |options: u8, messages: &[(u8, &[u8])]| {
        let mut input = vec![options];
        for (kind, message) in messages {
            input.push(*kind);
            input.extend((message.len() as u16).to_be_bytes());
            input.extend(*message);
        }
        seeds.push(("dialect_smartsocket", input));
    };
    let texts = |texts: &[&'static str]| -> Vec<(u8, &'static [u8])> {
        texts.iter().map(|text| (TEXT, text.as_bytes())).collect()
    };
    for messages in [
        &[
            r#"{"event":"connected"}"#,
            r#"{"event":"save-data","data":{"name":"J","_ackId":1}}"#,
            r#"{"event":"ping","data":{"timestamp":1700000000000}}"#,
            r#"{"event":"disconnect"}"#,
        ][..],
        &[
            r#"{"event":"x","data":{"a":1,"__ackId":"ack_1_1700000000000"}}"#,
            r#"{"event":"x","data":"hi","ackId":"7"}"#,
            r#"{"event":"__ack__","data":{"ackId":"ack_1","response":{"success":true}}}"#,
            r#"{"event":"__ack__","data":{"ackId":1}}"#,
            r#"{"event":"__ack__","data":{"ackId":"ack_1_1700000000000"}}"#,
            r#"{"event":"pong","data":{"timestamp":1700000000000}}"#,
        ],
        &[
            r#"{"event":"CONNECT","data":{"namespace":"/chat","apiKey":"k","version":"1","binary":"plain"}}"#,
            r#" { "data" : [ 1.0 , "\ud83d\ude00" ] , "\u0065vent" : "\u0061\n" } "#,
        ],
        &[
            "",
            "null",
            "[]",
            r#"{"event":""}"#,
            r#"{"event":"a","event":"b"}"#,
        ],
    ] {
        seed(DEFAULT, &texts(messages));
        seed(0, &texts(messages));
    }

    let json = br#"{"event":"a","data":{"x":1}}"#;
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(json, 6);
    let raw = miniz_oxide::deflate::compress_to_vec(json, 6);
    let plain = [&[1, 0, 0, 0, json.len() as u8], &json[..]].concat();
    let zlib_packet = [&[3], &zlib[..]].concat();
    let raw_packet = [&[3], &raw[..]].concat();
    seed(
        DEFAULT,
        &[
            (BINARY, json),
            (BINARY, &plain),
            (BINARY, &zlib_packet),
            (BINARY, &raw_packet),
            (BINARY, &zlib),
        ],
    );
    let chunk = |id: u32, total: u32, index: u32, data: &[u8]| {
        let mut packet = vec![2];
        for number in [id, total, index, data.len() as u32] {
            packet.extend(number.to_be_bytes());
        }
        packet.extend(data);
        packet
    };
    let compressed = 1 << 31;
    let packets: Vec<_> = [
        chunk(1, 3, 2, &json[20..]),
        chunk(1, 3, 0, &json[..10]),
        chunk(compressed | 2, 2, 0, &zlib[..10]),
        chunk(1, 3, 0, &json[..10]),
        chunk(1, 3, 1, &json[10..20]),
        chunk(compressed | 2, 2, 1, &zlib[10..]),
        chunk(3, 2, 1, &[b'x'; 60]),
        chunk(4, 2, 1, &[b'x'; 60]),
        chunk(4, 2, 0, &[b'x'; 10]),
    ]
    .into();
    let messages: Vec<(u8, &[u8])> = packets.iter().map(|packet| (BINARY, &packet[..])).collect();
    seed(DEFAULT, &messages);
    seed(DEFAULT & !3, &messages);
    let many: Vec<_> = (0..10).map(|id| chunk(id, 2, 0, b"{")).collect();
    let messages: Vec<(u8, &[u8])> = many.iter().map(|packet| (BINARY, &packet[..])).collect();
    seed(DEFAULT, &messages);
    let bomb = format!(r#"{{"event":"a","data":"{}"}}"#, "y".repeat(200_000));
    let bomb = miniz_oxide::deflate::compress_to_vec_zlib(bomb.as_bytes(), 9);
    seed(DEFAULT, &[(BINARY, &bomb)]);
}

fn header_line(seeds: &mut Seeds) {
    for messages in [
        &[
            "request:system.topic.subscribe:1.0.0:ID\n{\"action\":\"publish\",\"topic\":\"events.user\"}",
            "publish:events.user:1.0.0:ID\n{\"m\":1}",
            "publish:no.sub:1.0.0:ID\n{\"m\":1}",
            "garbage",
            "foo:bar:1.0.0\n{}",
            "request:system.heartbeat:1.0.0:ID\n{}",
            "request:system.nope:1.0.0:ID\n{}",
        ][..],
        &[
            "request:system.topic.subscribe:1.0.0\n{\"action\":\"request\",\"topic\":\"Svc.+\",\"priority\":1.5}",
            "request:svc.do:1.0.0:ID::1000\n{\"q\":1}",
            "request:svc.do:1.0:ID:ID:1\n",
            "response:svc.do:1.0.0:02000000-0000-4000-8000-000000000000\nerror:{\"code\":\"X\"}",
            "request:system.topic.list:1.0.0:ID\n{}",
            "",
            "",
            "",
        ],
        &[
            "request:system.service.register:1.0.0\n{\"name\":\"n\",\"description\":\"d\"}",
            "request:system.service.list:1.0.0\n{}",
            "request:system.service.subscriptions:1.0.0\n{\"serviceId\":\"ID\"}",
            "request:system.topic.unsubscribe:1.0.0\n{\"action\":\"publish\",\"topic\":\"a\"}",
            "request:system.log.subscribe:1.0.0\n{\"levels\":[\"info\"],\"regex\":\".*\"}",
            "request:system.log.unsubscribe:1.0.0\n{}",
            "request:system.metrics:1.0.0\n{\"showAll\":true}",
            "request:system.topic.subscriptions:1.0.0\n{\"action\":1,\"action\":2}",
        ],
        &[
            "publish:a:1.0.0\n{",
            "PUBLISH:A:1.0.0-rc.1:::\n[1, 2.50]",
            "publish:a.b.c.d.e.f:1.0.0\n",
        ],
    ] {
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let messages = messages.join("\0").replace("ID", id);
        seeds.push(("dialect_header_line", messages.into()));
    }
}

/// Scripts of records, hellos, and texts (see `crypt_open`).
fn encrypted(seeds: &mut Seeds) {
    let scripts: [&[u8]; 9] = [
        b"\x08\x05hello\x00\x03abc",
        b"\x18\x05hello\x08\x03own\x18\x03all",
        b"\x08\x01a\x02\x05hello\x80\x01\x08\x01b",
        b"\x02\x05hello\x80\x00\x08\x01b",
        b"\x12\x05hello\x20\xff",
        b"\x03\x20\xe1\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
        b"\x04\x05hello\x10\x00\x08\x01b",
        b"\x08\x01a\x08\x01b\x05\x00\x00\x08\x01c",
        b"\x08\x01a\x16\x01b\x18\x01c\x06\x01d\x08\x01e",
    ];
    for options in 0..4 {
        for script in scripts {
            seeds.push(("crypt_open", [&[options], script].concat()));
        }
    }
    let base64 = ["AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "CQAA"];
    let p256 =
        "BDAopaT5aH3Ad9I2jvGMG+7QiZuYeFJazZEGWUEqRE71cM9/W2K/dEuJCNKXTsfsUtty+YX0VVM41M5Yqoj3WS0=";
    let kid = smartsocket_core::crypt::Key::new([7; 32]).map(|key| key.id());
    let kid = kid.expect("not zero");
    let nonce = base64[0];
    for (options, public) in [(0x80, nonce), (0x81, nonce), (0x83, p256)] {
        let kid = match options & 1 {
            0 => String::new(),
            _ => format!(r#""kid":"{kid}","#),
        };
        let hello = format!(r#"{{"suites":[2,1],{kid}"nonce":"{nonce}","publicKey":"{public}"}}"#);
        let answer = format!(r#"{{"suite":1,{kid}"salt":"{nonce}","serverPublicKey":"{public}"}}"#);
        let input = [&[options], hello.as_bytes(), &[0], answer.as_bytes()].concat();
        seeds.push(("crypt_open", input));
    }
    let bare = format!(r#"{{"suites":[1],"kid":"{kid}","nonce":"{nonce}"}}"#);
    seeds.push(("crypt_open", [&[0x81], bare.as_bytes()].concat()));
    let hex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let sample = "k3mZ7x9pQ2vL8nR5tY1hJ4bF6wS0dA2eK9mX7cP3vN=";
    for key in [nonce, hex, sample, base64[1]] {
        let ct = "Y+x29guC94hRWOHnEb1uYU7TbvNl5yuO+E8ARHQL/TyFk7yT";
        let texts = [key, p256, nonce, "1zuv6RjceB4xdckm", ct].join("\0");
        seeds.push(("crypt_open", [&[0xc0], texts.as_bytes()].concat()));
    }
}
