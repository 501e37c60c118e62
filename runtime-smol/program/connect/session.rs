//! A client that stays connected: what stdin says goes out, what comes is
//! shown, until one side has had enough.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::io::{self, IsTerminal as _};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_channel::{Receiver, Sender};
use async_io::Timer;
use async_signal::{Signal, Signals};
use futures_lite::future::poll_once;
use futures_lite::{FutureExt as _, StreamExt as _};
use smartsocket_smol::client::{
    AckTicket, Client, ClientConfig, ClientStats, ConfigError, Driver, Event, Priority, Provider,
    State, Subscription, Verdict, pusher_proof,
};
use smartsocket_smol::{Json, Message, block_on};

use crate::explain::{Failure, Place as _};
use crate::output::{note, print};
use crate::providers::{About, Line};
use crate::transcript::Transcript;

use super::Connect;
use super::input::{self, Input, signal};
use super::options::Plan;
use super::print::Print;
use super::token::TokenFile;

/// So many lines wait in the client; more wait in stdin.
const WAITING: usize = 256;
/// How often it is looked after whether there is room for more: while messages
/// flow, and while there is no connection.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(50);

/// What the listener of the client has for the session.
enum News {
    /// A message came, which asks for an answer or does not.
    Message(Option<AckTicket>),
    /// There will be no other attempt.
    Over,
    /// Whoever we are, the server does not want us.
    Unwanted,
    /// Nobody reads stdout any more.
    Unheard(io::Error),
}

/// Connects and stays so until one side has had enough.
pub(super) fn run(options: &Connect) -> Result<u8, Failure> {
    let secrets = options.target.secrets();
    let mut transcript = Transcript::new(options.format(), options.verbose, secrets);
    let planned = Plan::new(options).and_then(|plan| {
        plan.check_lines(options)?;
        Ok((options.target.way(plan.url.clone())?, plan))
    });
    let (way, plan) = planned.inspect_err(|failure| transcript.failed(failure))?;
    if options.options.check {
        let name = plan.about.name;
        print(&format!("the form is well: {name} at {}\n", plan.url))?;
        return Ok(0);
    }
    transcript.hide(&plan.secrets);
    let print = Shown(Arc::new(Mutex::new(Print::new(transcript, way))));
    let done = block_on(talk(options, plan, &print));
    done.inspect_err(|failure| print.lock().failed(failure))
}

async fn talk(options: &Connect, plan: Plan, print: &Shown) -> Result<u8, Failure> {
    let mut signals = input::signals([Signal::Int, Signal::Term, Signal::Usr1])?;
    let place = plan.url.authority_with_port();
    let (about, channel, channels) = (plan.about, plan.channel.clone(), plan.channels.clone());
    let (client, driver, token) = plan.client(options, print)?;
    let (news, heard) = async_channel::unbounded();
    print.listen(&client, news.clone());
    if io::stdin().is_terminal() && io::stderr().is_terminal() && !options.json {
        note(&format!("connecting to {place}; ctrl-d ends"));
    }
    let _subscriptions: Vec<Subscription> = channels
        .into_iter()
        .map(|channel| client.subscribe(channel))
        .collect();
    let session = Session {
        options,
        about,
        channel,
        client,
        print,
        token,
        stats: Cell::new(None),
        leaving: Cell::new(false),
        failure: RefCell::default(),
        heard: Cell::new(false),
        unanswered: Cell::new(0),
    };
    let ended = session
        .watch(heard)
        .or(session.send(input::read(false)))
        .or(session.obey(&mut signals))
        .or(drive(driver, print, news))
        .await;
    if options.options.stats {
        let stats = session.stats.take();
        let stats = stats.unwrap_or_else(|| session.client.stats());
        let _ = print.lock().stats(&stats);
    }
    let flushed = print.lock().flush();
    let unwritten = flushed.err().and_then(|error| unwritten(&error));
    let failure = session.failure.take().or(unwritten);
    let failure = failure.or(session.lacks());
    match (ended?, failure) {
        (0, Some(failure)) => Err(failure),
        (code, _) => Ok(code),
    }
}

impl Plan {
    /// Whether lines can be sent at all in the way that is asked for.
    fn check_lines(&self, options: &Connect) -> Result<(), Failure> {
        let (name, lines) = (self.about.name, self.about.line);
        let by_name = options.options.event.is_some() || matches!(lines, Line::Data(_));
        if options.options.channel.is_some() && !by_name {
            return Err(Failure::usage(format!(
                "--channel with {name} needs --event"
            )));
        }
        if !options.options.request {
            return Ok(());
        }
        if !self.about.requests {
            return Err(Failure::usage(format!(
                "{name} has no requests: leave out --request"
            )));
        }
        if options.options.event.is_none() && lines == Line::Message {
            return Err(Failure::usage(format!(
                "--request with {name} needs --event"
            )));
        }
        Ok(())
    }

    /// The client; and where its tokens come from, if that is a file.
    fn client(
        self,
        options: &Connect,
        print: &Shown,
    ) -> Result<(Client, Driver, Option<TokenFile>), Failure> {
        let url = self.config.url.clone();
        // What comes is heard as it comes, so nothing is kept for later.
        let provider = self.provider;
        let mut builder = Client::builder(provider.clone(), url).buffer(1);
        let path = options.options.token_file.as_ref();
        let file = path.filter(|_| self.config.token.is_some());
        let file = file.map(|path| TokenFile::new(path.clone(), print));
        if let Some(file) = file.clone() {
            builder = builder.token_hook(move || {
                let token = file.next();
                async move { token }
            });
        }
        if let (Provider::Pusher, Some(secret)) = (&provider, self.config.token.clone())
            && let Some(member) = options.options.member.clone()
        {
            // The last part of the path is the application's key.
            let path = self.url.path_and_query();
            let path = path.split('?').next().unwrap_or_default();
            let key = path.trim_end_matches('/').rsplit('/').next();
            let key = key.unwrap_or_default().to_owned();
            builder = builder.proof_hook(move |channel, socket| {
                let data = Some(member.as_str());
                let proof = pusher_proof(&key, secret.reveal(), socket, channel, data);
                ready(Some(proof))
            });
        }
        let mine = self.config;
        let built = builder.config(|config| {
            let refresh = config.refresh;
            *config = ClientConfig { refresh, ..mine };
        });
        let built = built.build();
        let built = built.map(|(client, driver)| (client, driver, file));
        built.map_err(|error| {
            if let ConfigError::Client(error) = error {
                let cure = "install ca-certificates, or give --ca FILE";
                return Failure::new(format!("{error}: {cure}"));
            }
            Failure::usage(format!("bad option: {error}"))
        })
    }
}

/// Does the client's work, and shows what came of it before it waits.
async fn drive(driver: Driver, print: &Shown, news: Sender<News>) -> Result<u8, Failure> {
    let mut driver = pin!(driver);
    poll_fn(|cx| {
        let done = driver.as_mut().poll(cx);
        if let Err(error) = print.lock().flush() {
            let _ = news.try_send(News::Unheard(error));
        }
        done
    })
    .await;
    pending().await
}

/// What is shown, by the session and by the client's listener.
#[derive(Clone)]
pub(super) struct Shown(Arc<Mutex<Print>>);

impl Shown {
    pub(super) fn lock(&self) -> MutexGuard<'_, Print> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what happens, and tells the session what concerns it.
    fn listen(&self, client: &Client, news: Sender<News>) {
        let shown = self.clone();
        client.on_event(move |event| {
            let written = shown.lock().event(event);
            let tell = match event {
                _ if written.is_err() => None,
                Event::Message(incoming) => Some(News::Message(incoming.ack.clone())),
                Event::State(State::Disconnected | State::Error) => Some(News::Over),
                Event::Ended(_, Verdict::Reauthenticate) => Some(News::Unwanted),
                Event::State(_)
                | Event::Reconnecting { .. }
                | Event::Subscribed(_)
                | Event::SubscriptionRefused(..)
                | Event::Answered(..)
                | Event::Ended(..)
                | Event::Unreadable(_)
                | Event::Dropped(..) => None,
            };
            // The session may be over; then it does not matter any more.
            if let Some(told) = written.err().map(News::Unheard).or(tell) {
                let _ = news.try_send(told);
            }
        });
    }
}

struct Session<'a> {
    options: &'a Connect,
    about: &'static About,
    channel: Option<String>,
    client: Client,
    print: &'a Shown,
    token: Option<TokenFile>,
    /// The figures when it was our own wish to end.
    stats: Cell<Option<ClientStats>>,
    leaving: Cell<bool>,
    failure: RefCell<Option<Failure>>,
    /// A message or an answer came.
    heard: Cell<bool>,
    /// Questions without an answer.
    unanswered: Cell<u32>,
}

impl Session<'_> {
    /// Waits for the end, and does what there is to do until then.
    async fn watch(&self, news: Receiver<News>) -> Result<u8, Failure> {
        while let Ok(news) = news.recv().await {
            match news {
                News::Message(ticket) => {
                    if let Some(ticket) = ticket {
                        let answer = self.options.options.ack.clone();
                        let _ = self.client.acknowledge(ticket, answer);
                    }
                    self.heard.set(true);
                    if self.options.one_message {
                        return self.leave().await;
                    }
                }
                News::Unheard(error) => {
                    *self.failure.borrow_mut() = unwritten(&error);
                    return self.leave().await;
                }
                News::Over if self.leaving.get() => {}
                // Without a file of tokens, the client gives up by itself.
                News::Unwanted if self.token.as_ref().is_none_or(TokenFile::has_another) => {}
                News::Unwanted | News::Over => {
                    let result = self.print.lock().result();
                    self.leave().await?;
                    return result;
                }
            }
        }
        pending().await
    }

    /// Obeys signals.
    async fn obey(&self, signals: &mut Signals) -> Result<u8, Failure> {
        let code = loop {
            match signals.next().await {
                Some(Ok(Signal::Usr1)) => {
                    let stats = self.client.stats();
                    let mut print = self.print.lock();
                    let _ = print.stats(&stats).and_then(|()| print.flush());
                }
                Some(Ok(Signal::Term)) => break 143,
                Some(_) => break 130,
                None => pending().await,
            }
        };
        // A second one does not wait for the peer.
        let left = async { self.leave().await.map(|_| code) };
        left.or(async { Ok(signal(signals).await) }).await
    }

    /// Disconnects.
    async fn leave(&self) -> Result<u8, Failure> {
        if !self.leaving.replace(true) {
            self.stats.set(Some(self.client.stats()));
        }
        self.client.disconnect().await;
        Ok(0)
    }

    /// Sends what stdin has, and leaves at its end.
    async fn send(&self, input: Receiver<Input>) -> Result<u8, Failure> {
        // What comes of it, the listener hears.
        let _ = poll_once(self.client.connect()).await;
        while let Ok(read) = input.recv().await {
            let said = match input::line(read) {
                Ok(line) => self.say(line).await,
                Err(failure) => Err(failure),
            };
            if let Err(failure) = said {
                *self.failure.borrow_mut() = Some(failure);
                break;
            }
            if self.options.one_message && self.heard.get() {
                return self.leave().await;
            }
            if self.options.one_message {
                return pending().await;
            }
        }
        self.room(1).await;
        let failed = self.failure.borrow().is_some();
        if !failed && (self.options.keep_open || self.options.one_message) {
            return pending().await;
        }
        if !failed {
            self.entered().await;
        }
        self.linger().await;
        self.leave().await
    }

    /// Sends a line, or asks with it.
    async fn say(&self, line: String) -> Result<(), Failure> {
        let options = &self.options.options;
        let json = |line: String| Json::parse(line.clone()).unwrap_or_else(|_| Json::string(&line));
        let (event, data) = match (options.event.as_deref(), self.about.line) {
            (Some(event), _) | (None, Line::Data(event)) => (event, Some(json(line))),
            (None, Line::Message) => {
                self.room(WAITING).await;
                self.client.send(Message::text(line));
                return Ok(());
            }
            (None, Line::Question) => {
                self.ask(&line, None).await;
                return Ok(());
            }
        };
        let channel = self.channel.as_deref();
        let asks = options.request || self.about.line == Line::Question;
        if let Some(refusal) = self.about.refusal(channel, event) {
            return Err(Failure::usage(refusal));
        }
        if asks {
            self.ask(event, data).await;
        } else {
            self.room(WAITING).await;
            // It is JSON, so it has a form of that.
            let _ = self.client.publish(channel, event, data, Priority::Normal);
        }
        Ok(())
    }

    /// Asks, and shows the answer.
    async fn ask(&self, event: &str, data: Option<Json>) {
        let begun = Instant::now();
        let channel = self.channel.as_deref();
        let answer = self.client.request(channel, event, data, None).await;
        match answer {
            Ok(_) => self.heard.set(true),
            Err(_) => self.unanswered.set(self.unanswered.get() + 1),
        }
        let mut print = self.print.lock();
        // What cannot be written is noticed by who writes what comes.
        let _ = print.answer(&answer, begun.elapsed());
    }

    /// Waits until fewer than so many messages wait.
    async fn room(&self, most: usize) {
        while self.client.stats().queued >= most {
            let flows = self.client.state() == State::Authenticated;
            Timer::after(if flows { SOON } else { LATER }).await;
        }
    }

    /// Waits until the client is in: also who has nothing to say wants to know
    /// whether that can be.
    async fn entered(&self) {
        while self.client.state() != State::Authenticated {
            Timer::after(LATER).await;
        }
    }

    /// Waits until no message has come for a while.
    async fn linger(&self) {
        let ended = Instant::now();
        loop {
            let heard = self.print.lock().heard;
            let since = heard.map_or(ended, |heard| heard.max(ended));
            let rest = self.options.linger.saturating_sub(since.elapsed());
            if rest.is_zero() {
                return;
            }
            Timer::after(rest).await;
        }
    }

    /// What should have come and did not.
    fn lacks(&self) -> Option<Failure> {
        match self.unanswered.get() {
            0 if self.options.one_message && !self.heard.get() => {
                Some(Failure::new("the connection ended before a message came"))
            }
            0 => None,
            1 => Some(Failure::new("a question has no answer")),
            many => Some(Failure::new(format!("{many} questions have no answer"))),
        }
    }
}

/// That the reader of stdout is gone, as `head` goes, is no failure.
fn unwritten(error: &io::Error) -> Option<Failure> {
    let is_failure = error.kind() != io::ErrorKind::BrokenPipe;
    is_failure.then(|| Failure::new(format!("cannot write to stdout: {error}")))
}
