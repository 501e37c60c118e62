//! Mode fanout.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{ErrorKind, Write as _};
use std::thread;
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use crate::Args;
use crate::connection::{Connection, Epoll, Events};
use crate::measure::{Clock, Report, Window, histogram};
use crate::message::{Message, push_frame};
use crate::parser::{Expect, SEQUENCE, hex};

/// A message that not every subscriber has.
struct Flight {
    sent: u64,
    missing: usize,
}

pub(crate) fn run(args: &Args) -> Result<Report, Box<dyn Error>> {
    if args.size < SEQUENCE {
        return Err(format!("fanout needs messages of {SEQUENCE} bytes or more").into());
    }
    let message = Message::new(args)?;
    let expect = Expect {
        payload: &message.payload,
        opcode: args.opcode.bits(),
        verify: args.verify,
        deflate: false,
    };
    let epoll = Epoll::new()?;
    let mut subscribers = Connection::open_all(args, &args.sub_path, Some(0), &epoll)?;
    let mut publisher = Connection::open(args, &args.pub_path, None)?;
    // A server may register a subscriber after it has answered the handshake.
    thread::sleep(Duration::from_millis(200));
    let publisher_token = subscribers.len() as u64;
    epoll.add(&publisher.stream, publisher_token)?;

    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut latency = histogram()?;
    let mut flights: VecDeque<Flight> = VecDeque::with_capacity(args.pipeline);
    // The numbers of the first in flight and of the next to be published.
    let (mut first, mut next) = (0_u64, 0_u64);
    let mut payload = message.payload.clone();
    let (mut out, mut written, mut want_out) = (Vec::new(), 0, false);
    let (mut published, mut delivered) = (0_u64, 0_u64);

    let clock = Clock::new();
    let mut now = clock.now();
    let warm = now + args.warmup.as_nanos() as u64;
    let mut end = u64::MAX;
    let mut window = None;
    while now < end {
        while flights.len() < args.pipeline {
            payload[..SEQUENCE].copy_from_slice(&hex(next));
            push_frame(&mut out, args.opcode.bits(), false, &payload);
            flights.push_back(Flight {
                sent: clock.now(),
                missing: subscribers.len(),
            });
            next += 1;
            published += 1;
        }
        while written < out.len() {
            match publisher.stream.write(&out[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("publisher: {error}").into()),
            }
        }
        if written == out.len() {
            out.clear();
            written = 0;
        }
        if want_out == out.is_empty() {
            want_out = !want_out;
            epoll.modify(&publisher.stream, publisher_token, want_out)?;
        }
        epoll.wait(&mut events)?;
        for event in &events {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == publisher_token {
                // What the publisher is told is of no interest.
                if flags != EventFlags::OUT {
                    publisher
                        .read(&mut buffer)
                        .map_err(|error| format!("publisher: {error}"))?;
                }
                continue;
            }
            let subscriber = &mut subscribers[token as usize];
            let mut turn = || -> Result<(), String> {
                let Some(n) = subscriber.read(&mut buffer)? else {
                    return Ok(());
                };
                let expected = subscriber.parser.sequence.unwrap_or_default();
                let fresh = subscriber.parser.feed(&buffer[..n], &expect)?;
                let now = clock.now();
                for number in (expected..).take(fresh) {
                    let flight = flights.get_mut((number - first) as usize);
                    let flight = flight.ok_or("a message too many")?;
                    let _ = latency.record(now - flight.sent);
                    flight.missing -= 1;
                    delivered += 1;
                }
                Ok(())
            };
            turn().map_err(|error| format!("subscriber {token}: {error}"))?;
        }
        while flights.front().is_some_and(|flight| flight.missing == 0) {
            flights.pop_front();
            first += 1;
        }
        now = clock.now();
        if window.is_none() && now >= warm {
            latency.reset();
            (published, delivered) = (0, 0);
            window = Some(Window::begin(args)?);
            now = clock.now();
            end = now + args.duration.as_nanos() as u64;
        }
    }

    let mut report = Report::new(args);
    if let Some(window) = window {
        window.end(args, delivered, &mut report)?;
    }
    report.number("published", published as f64);
    report.latency(&latency);
    Ok(report)
}
