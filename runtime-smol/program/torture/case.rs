//! What a case is, and how it ends.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::BoxedLocal;

/// How much a server may grow while a case runs, in bytes.
const ROOM: u64 = 64 << 20;

/// The server under test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What the `Host` header says.
    pub(crate) host: String,
    pub(crate) path: String,
    /// The longest wait for anything.
    pub(crate) patience: Duration,
    /// Whether it takes permessage-deflate.
    pub(crate) deflate: bool,
    /// Its process, where that is known.
    pub(crate) pid: Option<u32>,
}

/// What a case says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Could not be tried.
    Skipped,
    /// As expected.
    Pass,
    /// Not as expected, but nothing forbids it.
    Note,
    /// A MUST of an RFC is broken, or the server starves, bloats or dies.
    Fail,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Pass => "pass",
            Self::Note => "note",
            Self::Fail => "FAIL",
        }
    }
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// In plain words.
    pub(crate) seen: String,
}

impl Outcome {
    pub(crate) fn new(verdict: Verdict, seen: impl Into<String>) -> Self {
        let seen = seen.into();
        Self { verdict, seen }
    }

    pub(crate) fn pass(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Pass, seen)
    }

    pub(crate) fn note(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Note, seen)
    }

    pub(crate) fn fail(seen: impl Into<String>) -> Self {
        Self::new(Verdict::Fail, seen)
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, why)
    }

    /// Adds what else was seen, at least as bad as this.
    pub(crate) fn and(mut self, verdict: Verdict, seen: &str) -> Self {
        self.verdict = self.verdict.max(verdict);
        self.seen = format!("{}; {seen}", self.seen);
        self
    }
}

/// An outcome, or the one that kept a case from getting to its point.
pub(crate) type Attempt = Result<Outcome, Outcome>;

type Act = Box<dyn FnOnce(Rc<Server>) -> BoxedLocal<Attempt>>;

/// One thing to try.
pub(crate) struct Case {
    /// Stable, as `theme/what-is-odd`.
    pub(crate) name: String,
    /// The rule, or the bug of the past, that it comes from.
    pub(crate) source: &'static str,
    pub(crate) expected: String,
    /// Cases that mostly wait run at the same time as their neighbours.
    pub(crate) waits: bool,
    pub(crate) needs_deflate: bool,
    /// How much the server may grow meanwhile, in bytes.
    pub(crate) room: u64,
    act: Act,
}

impl Case {
    pub(crate) fn new<F>(
        name: impl Into<String>,
        source: &'static str,
        expected: impl Into<String>,
        act: impl FnOnce(Rc<Server>) -> F + 'static,
    ) -> Self
    where
        F: Future<Output = Attempt> + 'static,
    {
        Self {
            name: name.into(),
            source,
            expected: expected.into(),
            waits: false,
            needs_deflate: false,
            room: ROOM,
            act: Box::new(|server| Box::pin(act(server))),
        }
    }

    pub(crate) fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    pub(crate) fn with_deflate(mut self) -> Self {
        self.needs_deflate = true;
        self
    }

    pub(crate) fn room(mut self, bytes: u64) -> Self {
        self.room = bytes;
        self
    }

    pub(crate) async fn run(self, server: Rc<Server>) -> Outcome {
        (self.act)(server).await.unwrap_or_else(|early| early)
    }
}
