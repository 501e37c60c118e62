//! A client that stays connected, in a loop of your own: no runtime, one thread,
//! blocking sockets.
//!
//! ```text
//! cargo run -p smartsocket-core --features std --example client -- ws://127.0.0.1:3000/echo
//! ```
//!
//! It says something every two seconds and shows what happens. Stop the server
//! and start it again: what was said meanwhile goes then.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smartsocket_core::client::{Client, Dial, LineId, Output, Priority, Provider};
use smartsocket_core::{Fault, Message, Seed, Tick};

/// How often something is said.
const PACE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let url = env::args()
        .nth(1)
        .ok_or("usage: client ws://HOST:PORT/PATH")?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| error.to_string())?;
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let provider = Provider::Echo;
    let config = provider.config(url);
    let client = Client::new(provider, config, Seed::new(seed), Tick::ZERO, unix_ms)?;
    Loop {
        client,
        lines: HashMap::new(),
        start: Instant::now(),
    }
    .run();
    Ok(())
}

struct Loop {
    client: Client,
    lines: HashMap<LineId, TcpStream>,
    start: Instant,
}

impl Loop {
    fn now(&self) -> Tick {
        Tick::ZERO + self.start.elapsed()
    }

    fn run(&mut self) {
        self.client.connect(self.now());
        let mut say = self.now();
        loop {
            let now = self.now();
            if say <= now {
                say = now + PACE;
                let message = Message::text(format!("{:?}", self.start.elapsed()));
                self.client.send(now, message, Priority::Normal);
            }
            self.client.handle_timeout(now);
            while let Some(output) = self.client.poll_output() {
                self.obey(output);
            }
            let due = self.client.next_timeout().map_or(say, |due| due.min(say));
            self.read(due.since(self.now()).max(Duration::from_millis(1)));
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Dial(place) => self.dial(&place),
            Output::Transmit(line) => self.write(line),
            Output::Shutdown(line) => {
                self.write(line);
                if let Some(stream) = self.lines.get(&line) {
                    let _ = stream.shutdown(Shutdown::Write);
                }
            }
            Output::Close(line) => _ = self.lines.remove(&line),
            Output::Event(event) => println!("{event}"),
            // One reads no faster than one is asked to here, and an echo wants
            // neither token nor proof.
            Output::PauseRead(_)
            | Output::ResumeRead(_)
            | Output::Token
            | Output::Authorize { .. } => {}
        }
    }

    /// The loop stands still meanwhile: one that has more to do dials beside it.
    fn dial(&mut self, place: &Dial) {
        let open = || {
            let mut addresses = (place.host.as_str(), place.port).to_socket_addrs()?;
            let address = addresses.next().ok_or(ErrorKind::NotFound)?;
            TcpStream::connect_timeout(&address, Duration::from_secs(5))
        };
        let now = self.now();
        match open() {
            Ok(stream) => {
                if self.client.handle_dialed(now, place.line) {
                    self.lines.insert(place.line, stream);
                }
            }
            Err(error) => {
                let fault = Fault::from(error);
                self.client.handle_dial_failed(now, place.line, fault);
            }
        }
    }

    fn write(&mut self, line: LineId) {
        let now = self.now();
        let Some(stream) = self.lines.get_mut(&line) else {
            return;
        };
        while let Some(bytes) = { self.client.unsent(line).next().cloned() } {
            match stream.write(&bytes) {
                Ok(n) => self.client.transmitted(now, line, n),
                Err(error) => return self.client.handle_fault(now, line, Fault::from(error)),
            }
        }
    }

    /// Reads what comes, for this long at most.
    fn read(&mut self, patience: Duration) {
        let Some((&line, stream)) = self.lines.iter_mut().next() else {
            return thread::sleep(patience);
        };
        let mut buffer = [0; 16 * 1024];
        let read = stream.set_read_timeout(Some(patience));
        let read = read.and_then(|()| stream.read(&mut buffer));
        let now = self.now();
        match read {
            Ok(0) => self.client.handle_eof(now, line),
            Ok(n) => self.client.handle_bytes(now, line, &mut buffer[..n]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => self.client.handle_fault(now, line, Fault::from(error)),
        }
    }
}
