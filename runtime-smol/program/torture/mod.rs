//! `smartsocket torture`: what a hostile peer does to a server.
//!
//! Every case is a few raw bytes over TCP, and a judgement of what comes back.
//! `peer` is a connection, `reply` reads what a server says, `judge` knows what
//! the RFCs ask for; the other files are the cases by theme. Nothing here uses
//! the machine that the rest of the program is built on.

mod case;
mod closing;
mod deflate;
mod floods;
mod frame;
mod frames;
mod heads;
mod http;
mod judge;
mod memory;
mod peer;
mod reply;
mod report;
mod request;
mod slow;
mod storms;
mod texts;

use std::cell::RefCell;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::{FutureExt as _, StreamExt as _};
use smartsocket_smol::block_on;
use smartsocket_smol::http::Url;

use self::case::{Case, Outcome, Server, Verdict};
use self::memory::mib;
use self::peer::{Peer, good_client, time};
use self::report::{Counts, Tried};
use self::request::Request;
use crate::explain::{Failure, Place as _};
use crate::output::note;
use crate::values::positive_seconds;

const NOTES: &str = "\
This is an attack: it floods the server, fills its queues and breaks its
protocol. It works on servers of this machine only, unless you say that a
distant one is yours.

The URL must be of a server that sends every message back. Verdicts:
  pass      as expected
  FAIL      a MUST of an RFC is broken, or the server starves, bloats or dies
  note      not as expected, and allowed: a SHOULD, a MAY, a matter of policy
  skipped   could not be tried, such as compression that is not spoken
After every case a well-behaved client has to get its echo. Memory counts as
grown during a case; what an earlier one left behind hides it, so try a case
alone, on a fresh server, with --only.

Examples:
  smartsocket torture 127.0.0.1:3000/echo
  smartsocket torture 127.0.0.1:3000/echo --server-pid 4711      memory too
  smartsocket torture 127.0.0.1:9001 --only frames/ --only utf8/
  smartsocket torture --list";

/// A good client that waited this long is worth a word.
const LONG: Duration = Duration::from_secs(1);

/// Options of the torture.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Torture {
    /// ws://HOST:PORT/PATH of an echo server; without a scheme, ws:// is meant
    #[arg(value_name = "URL", required_unless_present = "list")]
    url: Option<String>,
    /// Only cases whose names begin so; can be repeated
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Show the cases, and attack nobody
    #[arg(long)]
    list: bool,
    /// The server's process on this machine: judge its memory and descriptors too
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// How long an answer, or the end of a silent connection, may take
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = positive_seconds)]
    patience: Duration,
    /// Attack a server on another machine. Only ever do so to your own
    #[arg(long)]
    i_own_this_server: bool,
    /// Write one JSON object for every case, and one for the sum
    #[arg(long)]
    json: bool,
}

impl Torture {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let cases = self.cases()?;
        let Some(url) = self.url.as_ref().filter(|_| !self.list) else {
            return list(&cases);
        };
        let url = if url.contains("://") {
            Url::parse(url)
        } else {
            Url::parse(&format!("ws://{url}"))
        };
        let url = url.map_err(|error| Failure::usage(format!("bad URL: {error}")))?;
        let executor = Rc::new(LocalExecutor::new());
        let spawner = Rc::clone(&executor);
        block_on(executor.run(executor.spawn(async move {
            let mut signals = Signals::new([Signal::Int, Signal::Term])
                .map_err(|error| Failure::new(format!("cannot listen to signals: {error}")))?;
            let interrupted = async {
                signals.next().await;
                Ok(130)
            };
            self.attack(&url, cases, &spawner).or(interrupted).await
        })))
    }

    /// The cases that are wanted.
    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let mut cases = all();
        if !self.only.is_empty() {
            let wanted = |name: &str| self.only.iter().any(|prefix| name.starts_with(prefix));
            cases.retain(|case| wanted(&case.name));
        }
        if cases.is_empty() {
            return Err(Failure::usage(
                "no case has a name that begins with what --only says: --list shows them",
            ));
        }
        Ok(cases)
    }

    /// Where to attack, if that is allowed.
    fn address(&self, url: &Url) -> Result<SocketAddr, Failure> {
        if url.secure() {
            return Err(Failure::usage(
                "torture speaks plain ws:// only: give it the server without its TLS",
            ));
        }
        let addresses: Vec<_> = (url.host(), url.port())
            .to_socket_addrs()
            .map_err(|error| Failure::new(format!("the host {}: {error}", url.host())))?
            .collect();
        let near = addresses.iter().all(|address| address.ip().is_loopback());
        if !near && !self.i_own_this_server {
            return Err(Failure::usage(format!(
                "{} is not this machine: torture is an attack, and one on a server of somebody \
                 else may be a crime; if it is yours, add --i-own-this-server",
                url.host()
            )));
        }
        addresses
            .first()
            .copied()
            .ok_or_else(|| Failure::new(format!("the host {} has no address", url.host())))
    }

    async fn attack(
        self,
        url: &Url,
        cases: Vec<Case>,
        executor: &LocalExecutor<'static>,
    ) -> Result<u8, Failure> {
        if let Some(pid) = self.server_pid
            && memory::resident(pid).is_none()
        {
            return Err(Failure::new(format!(
                "--server-pid {pid}: there is no such process, or no /proc to look at it"
            )));
        }
        let mut server = Server {
            address: self.address(url)?,
            host: url.authority(),
            path: url.path_and_query().into(),
            patience: self.patience,
            deflate: false,
            pid: self.server_pid,
        };
        introduce(&server, &url.authority_with_port()).await?;
        server.deflate = deflate::takes(&server).await;
        let server = Rc::new(server);
        good_client(&server).await.map_err(|why| {
            Failure::new(format!(
                "{url} does not send messages back as an echo server does: {why}"
            ))
        })?;

        let start = Instant::now();
        let run = Run {
            server,
            json: self.json,
            counts: RefCell::default(),
            gone: RefCell::default(),
        };
        let (waiting, alone): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.waits);
        for case in alone {
            run.alone(case).await?;
        }
        run.together(waiting, executor).await?;
        let counts = run.counts.take();
        counts.tell(&url.to_string(), start.elapsed(), self.json)?;
        Ok(u8::from(counts.failed > 0))
    }
}

/// Every case, in the order in which they are tried.
fn all() -> Vec<Case> {
    let mut cases = heads::cases();
    cases.extend(http::cases());
    cases.extend(frames::cases());
    cases.extend(texts::cases());
    cases.extend(closing::cases());
    cases.extend(deflate::cases());
    cases.extend(floods::cases());
    cases.extend(storms::cases());
    cases.extend(slow::cases());
    cases
}

fn list(cases: &[Case]) -> Result<u8, Failure> {
    let mut text = String::new();
    for case in cases {
        text += &format!(
            "{}\n        {} ({})\n",
            case.name, case.expected, case.source
        );
    }
    crate::report::write(&text)?;
    Ok(0)
}

/// Finds out that there is a WebSocket server.
async fn introduce(server: &Server, place: &str) -> Result<(), Failure> {
    let (_, answer) = Peer::ask(server, Request::good(server))
        .await
        .map_err(|outcome| {
            Failure::new(format!("nothing to torture at {place}: {}", outcome.seen))
        })?;
    if answer.is_upgraded() {
        return Ok(());
    }
    Err(match answer.response() {
        Some(response) if response.status != 101 => Failure {
            text: format!(
                "the server refused with HTTP status {}: check the path of the URL",
                response.status
            ),
            code: 3,
        },
        _ => Failure::new(format!(
            "{place} is no WebSocket server: {}",
            answer.words()
        )),
    })
}

/// A torture under way.
struct Run {
    server: Rc<Server>,
    json: bool,
    counts: RefCell<Counts>,
    /// Why there is no point in going on.
    gone: RefCell<Option<String>>,
}

impl Run {
    /// Tries a case, while nothing else happens.
    async fn alone(&self, case: Case) -> Result<(), Failure> {
        let (tried, case) = self.begin(case);
        let Some(case) = case else {
            return self.end(tried);
        };
        let room = case.room;
        let start = Instant::now();
        let (outcome, grown) =
            memory::watch(self.server.pid, case.run(Rc::clone(&self.server))).await;
        let took = start.elapsed();
        let mut outcome = self.still_serves(outcome).await;
        if grown.is_some_and(|grown| grown > room) {
            let room = format!("more than the {} it may", mib(room));
            outcome = outcome.and(Verdict::Fail, &room);
        }
        self.end(Tried {
            outcome,
            took,
            grown,
            ..tried
        })
    }

    /// Tries cases that mostly wait, at the same time. A good client must not
    /// notice.
    async fn together(
        &self,
        cases: Vec<Case>,
        executor: &LocalExecutor<'static>,
    ) -> Result<(), Failure> {
        let mut tasks = Vec::new();
        for case in cases {
            let (tried, case) = self.begin(case);
            let task = case.map(|case| {
                let server = Rc::clone(&self.server);
                executor.spawn(async move {
                    let start = Instant::now();
                    (case.run(server).await, start.elapsed())
                })
            });
            tasks.push((tried, task));
        }
        if !tasks.is_empty() {
            Timer::after(LONG).await;
        }
        let meanwhile = if self.is_gone() {
            None
        } else {
            good_client(&self.server).await.err()
        };
        for (mut tried, task) in tasks {
            if let Some(task) = task {
                (tried.outcome, tried.took) = task.await;
                if let Some(why) = &meanwhile {
                    let why = format!("a good client meanwhile: {why}");
                    tried.outcome = tried.outcome.and(Verdict::Fail, &why);
                }
                tried.outcome = self.still_serves(tried.outcome).await;
            }
            self.end(tried)?;
        }
        Ok(())
    }

    /// What can be said of a case before it is tried, and the case if it can be.
    fn begin(&self, case: Case) -> (Tried, Option<Case>) {
        let why = match &*self.gone.borrow() {
            Some(gone) => Some(gone.clone()),
            None if case.needs_deflate && !self.server.deflate => {
                Some("the server does not take permessage-deflate".into())
            }
            None => None,
        };
        let tried = Tried {
            name: case.name.clone(),
            source: case.source,
            expected: case.expected.clone(),
            outcome: Outcome::skipped(why.clone().unwrap_or_default()),
            took: Duration::ZERO,
            grown: None,
        };
        (tried, why.is_none().then_some(case))
    }

    fn is_gone(&self) -> bool {
        self.gone.borrow().is_some()
    }

    fn end(&self, tried: Tried) -> Result<(), Failure> {
        self.counts.borrow_mut().add(tried.outcome.verdict);
        tried.tell(self.json)
    }

    /// Lets a good client try; what it does not get is the case's fault.
    async fn still_serves(&self, outcome: Outcome) -> Outcome {
        if self.is_gone() {
            return outcome;
        }
        let why = match good_client(&self.server).await {
            Ok(waited) if waited < LONG => return outcome,
            Ok(waited) => {
                let waited = format!("then a good client waited {}", time(waited));
                return outcome.and(Verdict::Pass, &waited);
            }
            Err(why) => why,
        };
        if good_client(&self.server).await.is_err() {
            note("the server does not serve any more: the rest is skipped");
            *self.gone.borrow_mut() = Some("the server does not serve any more".into());
        }
        outcome.and(Verdict::Fail, &format!("then a good client: {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cases_have_names_of_their_own() {
        let cases = all();
        let names: BTreeSet<_> = cases.iter().map(|case| &*case.name).collect();
        assert_eq!(names.len(), cases.len());
        for case in &cases {
            let (theme, rest) = case.name.split_once('/').expect("a theme");
            assert!(!theme.is_empty() && !rest.is_empty(), "{}", case.name);
            assert!(!case.source.is_empty() && !case.expected.is_empty());
        }
    }
}
