//! What is told of the cases.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::case::{Outcome, Verdict};
use super::memory::mib;
use crate::explain::Failure;
use crate::output::printable;
use crate::report::{round, write};

/// Growth that is not worth a word, in bytes.
const NOISE: u64 = 1 << 20;
/// Column of what was seen.
const NAMES: usize = 46;

/// A case that was tried.
pub(crate) struct Tried {
    pub(crate) name: String,
    pub(crate) source: &'static str,
    pub(crate) expected: String,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// By how much the server grew meanwhile, in bytes, if that is known.
    pub(crate) grown: Option<u64>,
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) notes: usize,
    pub(crate) skipped: usize,
}

#[derive(Serialize)]
struct Line<'a> {
    case: &'a str,
    verdict: &'static str,
    source: &'static str,
    expected: &'a str,
    seen: &'a str,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    grown_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Summary<'a> {
    url: &'a str,
    #[serde(flatten)]
    counts: Counts,
    seconds: f64,
}

impl Tried {
    pub(crate) fn tell(&self, json: bool) -> Result<(), Failure> {
        write(&if json { self.json() } else { self.text() })
    }

    fn json(&self) -> String {
        line(&Line {
            case: &self.name,
            verdict: self.outcome.verdict.name(),
            source: self.source,
            expected: &self.expected,
            seen: &self.outcome.seen,
            seconds: round(self.took.as_secs_f64()),
            grown_bytes: self.grown,
        })
    }

    fn text(&self) -> String {
        let Outcome { verdict, seen } = &self.outcome;
        let (name, seen) = (&self.name, printable(seen));
        let mut text = format!("{:<7} {name:<NAMES$} {seen}", verdict.name());
        if let Some(grown) = self.grown.filter(|grown| *grown > NOISE) {
            let _ = write!(text, "; grew by {}", mib(grown));
        }
        if matches!(verdict, Verdict::Fail | Verdict::Note) {
            let _ = write!(
                text,
                "\n        expected: {} ({})",
                self.expected, self.source
            );
        }
        text + "\n"
    }
}

impl Counts {
    pub(crate) fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Pass => &mut self.passed,
            Verdict::Fail => &mut self.failed,
            Verdict::Note => &mut self.notes,
            Verdict::Skipped => &mut self.skipped,
        } += 1;
    }

    pub(crate) fn tell(self, url: &str, took: Duration, json: bool) -> Result<(), Failure> {
        let Self {
            passed,
            failed,
            notes,
            skipped,
        } = self;
        write(&if json {
            line(&Summary {
                url,
                counts: self,
                seconds: round(took.as_secs_f64()),
            })
        } else {
            format!("torture: {passed} passed, {failed} failed, {notes} notes, {skipped} skipped\n")
        })
    }
}

fn line(value: &impl Serialize) -> String {
    let json = serde_json::to_string(value).expect("numbers and strings are JSON");
    json + "\n"
}
