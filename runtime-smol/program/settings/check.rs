//! `smartsocket check`: what a configuration comes to.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::explain::Failure;
use crate::output::{note, print};
use crate::serve::Pair;

use super::flags::Flags;
use super::layers::{Loaded, Origin};
use super::table::{NAMES, ROWS, Row};
use super::value::Value;

const NOTES: &str = "\
What is shown is a configuration file itself, with where each value comes from.

Examples:
  smartsocket check smartsocket.toml
  smartsocket check smartsocket.toml --preset low-latency

Exit codes:
  0 it can be served, 1 it cannot, and every reason is on stderr";

/// Options of the check.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Check {
    /// The configuration file (TOML)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

impl Check {
    /// Shows what would be in force, or all that is wrong.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let loaded = Loaded::load(Some(&self.file), self.flags)?;
        if let Some(pair) = Pair::of(&loaded.settings) {
            pair.load()?;
        }
        for line in &loaded.notes {
            note(line);
        }
        print(&loaded.shown())?;
        Ok(0)
    }
}

impl Loaded {
    /// All of it, as a configuration file that says where values come from.
    fn shown(&self) -> String {
        let mut out = String::new();
        let mut open = "";
        for (number, row) in ROWS.iter().enumerate() {
            let (table, name) = row.place();
            if table != open {
                let _ = writeln!(out, "\n[{table}]");
                open = table;
            }
            let from = match self.origins[number] {
                Origin::Default => "default".into(),
                Origin::Preset => format!(
                    "preset {}",
                    self.settings.preset.as_deref().unwrap_or_default()
                ),
                Origin::Line(line) => format!("line {line}"),
                Origin::Environment => NAMES[number].variable.clone(),
                Origin::Flag => format!("--{}", NAMES[number].flag),
            };
            let line = match row.get(&self.settings) {
                Some(value) => shown(row, name, &value),
                None => format!("# {name}: {}", row.unset),
            };
            let _ = writeln!(out, "{line:50} # {from}");
        }
        out
    }
}

/// A line of TOML; of a secret, only that there is one.
fn shown(row: &Row, name: &str, value: &Value) -> String {
    let json = row.kind.shown(value);
    if row.kind.is_secret() {
        return format!("# {name} = {json}");
    }
    let Value::Rates(rates) = value else {
        return format!("{name} = {json}");
    };
    // JSON has colons where TOML has equals signs.
    let rates = rates.iter().map(|(event, rate)| {
        format!(
            " {} = {{ window = {}, maxRequests = {} }}",
            serde_json::json!(event),
            rate.window,
            rate.max_requests
        )
    });
    let rates = rates.collect::<Vec<_>>().join(",");
    format!("{name} = {{{rates} }}")
}
