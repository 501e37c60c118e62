//! The conversations in `tests/interop/transcripts`, with a server that runs.

use std::collections::BTreeMap;
use std::path::Path;

use async_io::Timer;
use futures_lite::FutureExt as _;
use smartsocket_smol::{
    CloseCode, Config, Connect, Error, Event, Message, Stream, WebSocket, block_on,
};

use crate::support::{Answer, PATIENCE, Server};

#[test]
fn smartsocket_clients_of_generation_a_are_answered() {
    play("smartsocket-a.txt");
}

#[test]
fn smartsocket_clients_of_generation_b_are_answered() {
    play("smartsocket-b.txt");
}

#[test]
fn rnode_clients_are_answered() {
    play("rnode.txt");
}

#[test]
fn mb_services_are_answered() {
    play("mb.txt");
}

#[test]
fn ignis_clients_are_answered() {
    play("ignis.txt");
}

#[test]
fn requests_about_rooms_are_answered() {
    play("http.txt");
}

/// A mark and the form of what it stands for: `h` is a hexadecimal digit in
/// lower case, `d` a digit; `d` alone any number of them.
const MARKS: [(&str, &str); 6] = [
    ("id", "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh"),
    ("time", "dddd-dd-ddTdd:dd:dd.dddZ"),
    ("ms", "ddddddddddddd"),
    ("room", "room_hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"),
    ("client", "client_hhhhhhhh"),
    ("n", "d"),
];

fn play(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/transcripts");
    let script = std::fs::read_to_string(path.join(file)).unwrap();
    let server = Server::start(&[]);
    let mut player = Player {
        server: &server,
        clients: BTreeMap::new(),
        answer: None,
        names: BTreeMap::new(),
    };
    for (n, line) in script.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(why) = player.step(line) {
            panic!("{file}:{}: {line}\n{why}", n + 1);
        }
    }
    player.end();
}

struct Player<'a> {
    server: &'a Server,
    clients: BTreeMap<String, WebSocket<Stream>>,
    /// To the last plain request.
    answer: Option<Answer>,
    /// What the named marks stand for.
    names: BTreeMap<String, String>,
}

/// What the server did next.
#[derive(Debug)]
enum Heard {
    Message(String),
    Pong,
    Closed(String),
}

impl Player<'_> {
    fn step(&mut self, line: &str) -> Result<(), String> {
        let (verb, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = text.replace('⏎', "\n");
        if verb.parse::<u16>().is_ok() {
            let answer = self.answer.take().ok_or("no request")?;
            same(verb, &answer.status().to_string())?;
            return self.compare(&text, &answer.body);
        }
        let verb = verb.trim_end_matches(|c: char| c.is_ascii_digit());
        let who = line[verb.len()..].split(' ').next().unwrap_or_default();
        match verb {
            "open" => {
                let client = self.connect(&text).map_err(|error| error.to_string())?;
                self.clients.insert(who.into(), client);
            }
            "refused" => {
                let (status, path) = text.split_once(' ').unwrap();
                match self.connect(path) {
                    Ok(_) => return Err("it is open".into()),
                    Err(error) => assert!(
                        error.to_string().contains(&format!("status {status}")),
                        "{error}"
                    ),
                }
            }
            "C" => {
                let text = self.fill(&text);
                let client = self.client(who);
                block_on(async {
                    client.send(text).await.unwrap();
                    client.flush().await;
                });
            }
            "S" => match self.hear(who) {
                Heard::Message(got) => self.compare(&text, &got)?,
                other @ (Heard::Pong | Heard::Closed(_)) => return Err(format!("{other:?}")),
            },
            "quiet" => self.quiet(who)?,
            "close" => self.close(who, &text)?,
            "closed" => {
                let heard = self.hear(who);
                self.clients.remove(who);
                match heard {
                    Heard::Closed(got) => same(&text, &got)?,
                    other @ (Heard::Message(_) | Heard::Pong) => {
                        return Err(format!("{other:?}"));
                    }
                }
            }
            "GET" | "POST" => {
                let (path, body) = text.split_once(' ').unwrap_or((&text, ""));
                let (path, body) = (self.fill(path), self.fill(body));
                self.answer = Some(self.server.http(&format!(
                    "{verb} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
                    self.server.place,
                    body.len()
                )));
            }
            _ => return Err("no such step".into()),
        }
        Ok(())
    }

    fn end(&mut self) {
        let clients: Vec<_> = self.clients.keys().cloned().collect();
        for who in clients {
            let ended = self.quiet(&who).and_then(|()| self.close(&who, "1000"));
            assert_eq!(ended, Ok(()), "client {who} at the end");
        }
    }

    fn connect(&self, path: &str) -> Result<WebSocket<Stream>, Error> {
        let config = Config {
            control_events: true,
            ..Config::default()
        };
        let connect = Connect::new(&self.server.url(path))?.config(config);
        block_on(connect.open())
    }

    fn client(&mut self, who: &str) -> &mut WebSocket<Stream> {
        self.clients.get_mut(who).unwrap()
    }

    fn hear(&mut self, who: &str) -> Heard {
        let client = self.client(who);
        let late = async {
            Timer::after(PATIENCE).await;
            panic!("the server says nothing to client {who}");
        };
        block_on(
            async {
                loop {
                    match client.recv_event().await {
                        Some(Ok(Event::Message(Message::Text(text)))) => {
                            return Heard::Message(text.as_str().into());
                        }
                        Some(Ok(Event::Pong(_))) => return Heard::Pong,
                        // The transport's.
                        Some(Ok(Event::Ping(_))) => {}
                        Some(Ok(other)) => panic!("{other:?}"),
                        Some(Err(_)) | None => break,
                    }
                }
                let closed = client.closed().unwrap();
                Heard::Closed(closing(u16::from(closed.code), &closed.reason))
            }
            .or(late),
        )
    }

    /// A ping is answered after all that came before it.
    fn quiet(&mut self, who: &str) -> Result<(), String> {
        block_on(self.client(who).ping("quiet?")).map_err(|error| error.to_string())?;
        match self.hear(who) {
            Heard::Pong => Ok(()),
            other @ (Heard::Message(_) | Heard::Closed(_)) => Err(format!("{other:?}")),
        }
    }

    fn close(&mut self, who: &str, text: &str) -> Result<(), String> {
        let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
        let code: u16 = code.parse().unwrap();
        let mut client = self.clients.remove(who).unwrap();
        let closed = block_on(client.close(CloseCode::from(code), reason)).unwrap();
        same(&code.to_string(), &u16::from(closed.code).to_string())
    }

    /// Puts in the place of marks what they stand for.
    fn fill(&mut self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, mark, after)) = next_mark(rest) {
            filled.push_str(before);
            let fresh = format!("00000000-0000-4000-8000-{:012x}", self.names.len());
            filled.push_str(self.names.entry(mark.into()).or_insert(fresh));
            rest = after;
        }
        filled + rest
    }

    /// Compares byte for byte, but where there are marks.
    fn compare(&mut self, expected: &str, got: &str) -> Result<(), String> {
        let failed = || Err(format!("the server said: {got}"));
        let (mut expected, mut rest) = (expected, got);
        while let Some((before, mark, after)) = next_mark(expected) {
            let Some(from) = rest.strip_prefix(before) else {
                return failed();
            };
            let (kind, name) = mark.split_once(':').unwrap_or((mark, ""));
            let (_, form) = MARKS.iter().find(|(known, _)| *known == kind).unwrap();
            let Some(len) = fits(form, from) else {
                return failed();
            };
            let (value, from) = from.split_at(len);
            if !name.is_empty() && self.names.entry(mark.into()).or_insert(value.into()) != value {
                return failed();
            }
            (expected, rest) = (after, from);
        }
        if expected == rest { Ok(()) } else { failed() }
    }
}

/// What is before a mark, the mark, and what is behind.
fn next_mark(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find('<')?;
    let end = start + text[start..].find('>')?;
    Some((&text[..start], &text[start + 1..end], &text[end + 1..]))
}

/// How much of a text is of a form.
fn fits(form: &str, text: &str) -> Option<usize> {
    if form == "d" {
        return text.find(|c: char| !c.is_ascii_digit()).filter(|&n| n > 0);
    }
    let is_like = |form: u8, byte: u8| match form {
        b'h' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        b'd' => byte.is_ascii_digit(),
        _ => byte == form,
    };
    let start = text.get(..form.len())?;
    let mut pairs = form.bytes().zip(start.bytes());
    pairs
        .all(|(form, byte)| is_like(form, byte))
        .then_some(form.len())
}

fn closing(code: u16, reason: &str) -> String {
    format!("{code} {reason}").trim_end().into()
}

fn same(expected: &str, got: &str) -> Result<(), String> {
    if expected == got {
        Ok(())
    } else {
        Err(format!("but it is {got}"))
    }
}
