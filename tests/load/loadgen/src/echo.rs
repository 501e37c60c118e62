//! Mode echo, and those that talk: a reply to every turn, then the next turn.

use std::error::Error;

use rustix::event::epoll::EventFlags;

use crate::connection::{Connection, Epoll, Events};
use crate::measure::{Clock, Report, Window, histogram};
use crate::message::{Load, Sends};
use crate::parser::Expect;
use crate::{Args, Proto};

pub(crate) fn run(args: &Args) -> Result<Report, Box<dyn Error>> {
    let load = Load::new(args)?;
    let expect = Expect::new(args, &load);
    let epoll = Epoll::new()?;
    let mut connections = Connection::open_all(args, args.path(), false, &epoll)?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut latency = histogram()?;
    let clock = Clock::new();

    let mut now = clock.now();
    for (i, connection) in connections.iter_mut().enumerate() {
        connection.owe(&load, args.pipeline);
        connection
            .sent_at
            .extend(std::iter::repeat_n(now, args.pipeline));
        connection
            .flush(&load, &epoll, i as u64)
            .map_err(|error| format!("connection {i}: {error}"))?;
    }

    let warm = now + args.warmup.as_nanos() as u64;
    let mut end = u64::MAX;
    let mut window = None;
    let (mut messages, mut total) = (0, 0);
    let per_reply = load.messages as u64;
    while now < end {
        epoll.wait(&mut events)?;
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            let connection = &mut connections[token as usize];
            let mut turn = || -> Result<usize, String> {
                let mut fresh = 0;
                if flags != EventFlags::OUT
                    && let Some(n) = connection.read(&mut buffer)?
                {
                    fresh = match (args.proto, &load.sends) {
                        (Proto::Ws, _) | (_, Sends::Script(_)) => {
                            connection.parser.feed(&buffer[..n], &expect)?
                        }
                        (Proto::Raw, Sends::Same(message)) => {
                            connection.raw += n;
                            let whole = connection.raw / message.unit;
                            connection.raw %= message.unit;
                            whole
                        }
                    };
                }
                if fresh > 0 {
                    let now = clock.now();
                    for _ in 0..fresh {
                        let sent = connection.sent_at.pop_front();
                        let _ = latency.record(now - sent.ok_or("more echoes than messages")?);
                        connection.sent_at.push_back(now);
                    }
                    connection.owe(&load, fresh);
                }
                if fresh > 0 || flags.contains(EventFlags::OUT) {
                    connection.flush(&load, &epoll, token)?;
                }
                Ok(fresh)
            };
            messages +=
                turn().map_err(|error| format!("connection {token}: {error}"))? as u64 * per_reply;
        }
        now = clock.now();
        if window.is_none() && now >= warm {
            latency.reset();
            total = messages;
            messages = 0;
            window = Some(Window::begin(args)?);
            now = clock.now();
            end = now + args.duration.as_nanos() as u64;
        }
    }

    if messages == 0 {
        return Err("no answer came while it was measured".into());
    }
    let mut report = Report::new(args);
    if let Some(window) = window {
        window.end(args, messages, &mut report)?;
    }
    report.number("messages_in_all", (total + messages) as f64);
    report.latency(&latency);
    Ok(report)
}
