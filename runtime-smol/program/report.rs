//! The result of a load.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::explain::Failure;

/// What was measured.
pub(crate) struct Report<'a> {
    pub(crate) url: String,
    pub(crate) connections: u32,
    pub(crate) size: usize,
    pub(crate) pipeline: u32,
    pub(crate) elapsed: Duration,
    pub(crate) messages: u64,
    /// In nanoseconds.
    pub(crate) latency: &'a Histogram<u64>,
    /// How often, by cause.
    pub(crate) errors: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Json<'a> {
    url: &'a str,
    connections: u32,
    size: usize,
    pipeline: u32,
    seconds: f64,
    messages: u64,
    messages_per_second: f64,
    megabytes_per_second: f64,
    latency_ms: Option<Latency>,
    errors: u64,
    errors_by_cause: &'a BTreeMap<String, u64>,
}

/// In milliseconds.
#[derive(Serialize)]
struct Latency {
    min: f64,
    mean: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p999: f64,
    max: f64,
}

impl Report<'_> {
    /// One JSON object on stdout.
    pub(crate) fn json(&self) -> Result<(), Failure> {
        let json = serde_json::to_string(&Json {
            url: &self.url,
            connections: self.connections,
            size: self.size,
            pipeline: self.pipeline,
            seconds: round(self.elapsed.as_secs_f64()),
            messages: self.messages,
            messages_per_second: round(self.rate()),
            megabytes_per_second: round(self.megabytes()),
            latency_ms: self.latencies(),
            errors: self.errors.values().sum(),
            errors_by_cause: self.errors,
        });
        write(&(json.expect("numbers and strings are JSON") + "\n"))
    }

    /// A few lines on stdout.
    pub(crate) fn text(&self) -> Result<(), Failure> {
        let mut out = format!(
            "{}: {} connections, {} bytes, pipeline {}\n\
             messages   {} in {:.1} s\n\
             rate       {:.0} messages/s, {:.2} MB/s each way\n",
            self.url,
            self.connections,
            self.size,
            self.pipeline,
            self.messages,
            self.elapsed.as_secs_f64(),
            self.rate(),
            self.megabytes(),
        );
        if let Some(latency) = self.latencies() {
            out += &format!(
                "latency ms min {:.3}  p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3}\n",
                latency.min, latency.p50, latency.p90, latency.p99, latency.p999, latency.max
            );
        }
        out += &format!("errors     {}\n", self.errors.values().sum::<u64>());
        for (cause, count) in self.errors {
            out += &format!("  {count} x {cause}\n");
        }
        write(&out)
    }

    fn rate(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Payload a second in one direction, of a million bytes each.
    fn megabytes(&self) -> f64 {
        self.rate() * self.size as f64 / 1e6
    }

    fn latencies(&self) -> Option<Latency> {
        let ms = |nanoseconds: u64| round(nanoseconds as f64 / 1e6);
        let at = |quantile| ms(self.latency.value_at_quantile(quantile));
        (!self.latency.is_empty()).then(|| Latency {
            min: ms(self.latency.min()),
            mean: round(self.latency.mean() / 1e6),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: ms(self.latency.max()),
        })
    }
}

/// To three digits: more are noise.
pub(crate) fn round(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

/// Writes to stdout.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has had enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}
