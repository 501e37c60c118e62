//! Mode fanout.

use std::collections::VecDeque;
use std::error::Error;
use std::thread;
use std::time::Duration;

use rustix::event::epoll::EventFlags;

use crate::Args;
use crate::connection::{Connection, Epoll, Events};
use crate::measure::{Clock, Report, Window, histogram};
use crate::message::Load;
use crate::parser::Expect;

/// How long messages may take to come to everybody.
const PATIENCE: Duration = Duration::from_secs(30);

/// A message that not every subscriber has.
struct Flight {
    sent: u64,
    missing: usize,
}

pub(crate) fn run(args: &Args) -> Result<Report, Box<dyn Error>> {
    let load = Load::new(args)?;
    let expect = Expect::new(args, &load);
    let epoll = Epoll::new()?;
    let (sub_path, pub_path) = args.language.sides();
    let join = args.language.has_events();
    let mut subscribers = Connection::open_all(args, sub_path, join, &epoll)?;
    let mut publisher = Connection::open(args, pub_path, false)?;
    // A server may register a subscriber after it has answered the handshake.
    thread::sleep(Duration::from_millis(200));
    let publisher_token = subscribers.len() as u64;
    epoll.add(&publisher.stream, publisher_token)?;

    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 256 * 1024];
    let mut latency = histogram()?;
    let mut flights: VecDeque<Flight> = VecDeque::with_capacity(args.pipeline);
    // The number of the first message in flight.
    let mut first = 0;
    let (mut published, mut delivered, mut before) = (0_u64, 0_u64, 0_u64);

    let clock = Clock::new();
    let mut now = clock.now();
    let warm = now + args.warmup.as_nanos() as u64;
    let mut end = u64::MAX;
    let mut window = None;
    let mut over = false;
    let mut report = Report::new(args);
    // When it is over, what is in flight still has to arrive.
    while !over || !flights.is_empty() {
        while !over && flights.len() < args.pipeline {
            publisher.owe(&load, 1);
            flights.push_back(Flight {
                sent: clock.now(),
                missing: subscribers.len(),
            });
            published += 1;
        }
        publisher
            .flush(&load, &epoll, publisher_token)
            .map_err(|error| format!("publisher: {error}"))?;
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
                let expected = subscriber.parser.number;
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
        if end == u64::MAX && now >= warm {
            latency.reset();
            (published, delivered, before) = (0, 0, delivered);
            window = Some(Window::begin(args)?);
            now = clock.now();
            end = now + args.duration.as_nanos() as u64;
        }
        // At least as long as one message takes.
        if now >= end
            && delivered >= subscribers.len() as u64
            && let Some(window) = window.take()
        {
            over = true;
            window.end(args, delivered, &mut report)?;
            report.number("published", published as f64);
            report.latency(&latency);
        }
        if now > end.saturating_add(PATIENCE.as_nanos() as u64) {
            let missing: usize = flights.iter().map(|flight| flight.missing).sum();
            return Err(format!("{missing} messages did not arrive").into());
        }
    }
    report.number("messages_in_all", (before + delivered) as f64);
    Ok(report)
}
