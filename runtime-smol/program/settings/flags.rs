//! Options as flags and as environment variables, made from the table.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use super::Settings;
use super::layers::{Origin, Said};
use super::table::{NAMES, ROWS};
use super::value::{Kind, Unit, Value};

/// Variables that are read, but are no options.
const OTHERS: [&str; 2] = ["SMARTSOCKET_CONFIG", "SMARTSOCKET_LOG"];

/// What flags and the environment say.
#[derive(Clone, Debug)]
pub(crate) struct Flags(Vec<Said>);

impl Flags {
    pub(crate) fn said(self) -> Vec<Said> {
        self.0
    }

    /// What may have been meant by variables that nobody reads. No errors:
    /// platforms have variables of their own.
    pub(crate) fn doubts() -> Vec<String> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter_map(|name| doubt(&name)).collect()
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        command.args((0..ROWS.len()).map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let said = ROWS.iter().enumerate().filter_map(|(number, row)| {
            // Clap knows no defaults, so there is no other source.
            let origin = if matches.value_source(row.name)? == ValueSource::CommandLine {
                Origin::Flag
            } else {
                Origin::Environment
            };
            let value = matches.get_one::<Value>(row.name)?.clone();
            Some(Said {
                row: number,
                value,
                origin,
            })
        });
        Ok(Self(said.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn doubt(name: &str) -> Option<String> {
    const PREFIX: &str = "SMARTSOCKET_";
    let variables = || NAMES.iter().map(|names| &*names.variable).chain(OTHERS);
    let plain = name.strip_prefix(PREFIX)?;
    if variables().any(|other| other == name) {
        return None;
    }
    let like = |other: &str| {
        let other = other.strip_prefix(PREFIX).unwrap_or(other);
        strsim::normalized_damerau_levenshtein(plain, other)
    };
    let best = variables().max_by(|one, other| like(one).total_cmp(&like(other)))?;
    (like(best) >= 0.8)
        .then(|| format!("note: the variable {name} is not read; did you mean {best}?"))
}

fn arg(number: usize) -> Arg {
    let (row, names) = (&ROWS[number], &NAMES[number]);
    let kind = row.kind;
    let (table, _) = row.place();
    let mut arg = Arg::new(row.name)
        .long(&*names.flag)
        .env(&*names.variable)
        // Of no use to who asks for help, and perhaps secret.
        .hide_env_values(true)
        .value_name(placeholder(kind))
        .value_parser(move |text: &str| kind.parse(text))
        .help(help(number))
        // `-h` is for what everybody needs.
        .hide_short_help(!table.is_empty())
        .help_heading(match table {
            "" => None,
            "ignis" | "ignis.serverOptions" => Some("Ignis"),
            "mb" => Some("MB Server Node"),
            "rnode" => Some("RNode"),
            _ => Some("HTTP API"),
        });
    if row.name == "port" {
        arg = arg.short('p');
    }
    if kind == Kind::Switch {
        // Alone it turns on.
        arg = arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true");
    }
    arg
}

/// The help of a flag: what it does, and the default.
fn help(number: usize) -> String {
    let row = &ROWS[number];
    let default = match row.get(&Settings::default()) {
        None => row.unset.into(),
        Some(Value::Text(text)) => text,
        Some(Value::Texts(texts)) => texts.join(","),
        // There are none.
        Some(Value::Secrets(_) | Value::Rates(_)) => String::new(),
        Some(value) => row.kind.shown(&value).to_string(),
    };
    if default.is_empty() {
        row.help.into()
    } else {
        format!("{} [default: {default}]", row.help)
    }
}

const fn placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::Switch => "true|false",
        Kind::Number(..) => "N",
        Kind::Bytes => "BYTES",
        Kind::Time(Unit::Milliseconds, _) => "MS",
        Kind::Time(Unit::Seconds, _) => "SECONDS",
        Kind::Text => "TEXT",
        Kind::File => "FILE",
        Kind::Path => "PATH",
        Kind::Choice(_) => "NAME",
        Kind::Secret => "SECRET",
        Kind::Texts => "A,B",
        Kind::Secrets => "SECRETS",
        Kind::Rates => "EVENT=MAX/MS",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_nearly_right_are_told() {
        for (name, meant) in [
            ("SMARTSOCKET_PORT", Some("PORT")),
            (
                "SMARTSOCKET_MAXCONNECTIONS",
                Some("SMARTSOCKET_MAX_CONNECTIONS"),
            ),
            ("SMARTSOCKET_APIKEY", Some("SMARTSOCKET_API_KEY")),
            ("SMARTSOCKET_API_KEY", None),
            ("SMARTSOCKET_LOG", None),
            ("SMARTSOCKET_SERVICE_HOST", None),
            ("PROT", None),
        ] {
            let doubt = doubt(name);
            assert_eq!(doubt.is_some(), meant.is_some(), "{name}: {doubt:?}");
            if let (Some(doubt), Some(meant)) = (doubt, meant) {
                assert!(doubt.ends_with(&format!("mean {meant}?")), "{doubt}");
            }
        }
    }
}
