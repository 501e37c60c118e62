//! Values of options: what they may be, how they are read and shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::json;
use smartsocket_smol::http::Pattern;
use toml::de::DeValue;

use crate::values;

/// Milliseconds in a year: longer times are typing errors.
const LONGEST: u64 = 365 * 86_400_000;

/// What the values of an option may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Yes or no.
    Switch,
    /// A number in this range.
    Number(u64, u64),
    /// A number of bytes, at least 1.
    Bytes,
    /// A time of at least this many of its units.
    Time(Unit, u64),
    /// Any text.
    Text,
    /// The name of a file.
    File,
    /// A path that a URL may have.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A text that is never shown.
    Secret,
    /// Texts.
    Texts,
    /// Texts that are never shown.
    Secrets,
    /// A rate for each name.
    Rates,
}

/// The unit of a time that is given as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Milliseconds,
    Seconds,
}

impl Unit {
    const fn milliseconds(self) -> u64 {
        match self {
            Self::Milliseconds => 1,
            Self::Seconds => 1_000,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        }
    }
}

/// A text that neither logs nor errors repeat.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// So many in so long, in the words of the configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// In milliseconds.
    pub(crate) window: u64,
    pub(crate) max_requests: u32,
}

/// By the names of events.
pub(crate) type Rates = BTreeMap<String, Rate>;

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Switch(bool),
    Number(u64),
    Time(Duration),
    Text(String),
    Secret(Secret),
    Texts(Vec<String>),
    Secrets(Vec<Secret>),
    Rates(Rates),
}

impl Kind {
    /// Reads a value as flags and the environment have it.
    ///
    /// # Errors
    ///
    /// What was expected; never what was given, which may be a secret.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let parts = || {
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
        };
        Ok(match self {
            Self::Switch => match text {
                "true" => Value::Switch(true),
                "false" => Value::Switch(false),
                _ => return Err(self.expected()),
            },
            Self::Number(..) => return self.number(text.parse().map_err(|_| self.expected())?),
            Self::Bytes => {
                return self.number(values::size(text).map_err(|_| self.expected())? as u64);
            }
            Self::Time(..) => match text.parse() {
                Ok(number) => return self.number(number),
                Err(_) => {
                    let time = humantime::parse_duration(text).map_err(|_| self.expected())?;
                    return self.time(time);
                }
            },
            Self::Text | Self::File | Self::Path | Self::Choice(_) => {
                self.check_text(text)?;
                Value::Text(text.into())
            }
            Self::Secret => Value::Secret(Secret(text.into())),
            Self::Texts => Value::Texts(parts().map(String::from).collect()),
            Self::Secrets => Value::Secrets(parts().map(|part| Secret(part.into())).collect()),
            Self::Rates => {
                let rates = parts().map(|part| {
                    let (event, rate) = part.rsplit_once('=').ok_or_else(|| self.expected())?;
                    let (max, window) = rate.split_once('/').ok_or_else(|| self.expected())?;
                    let max = max.parse().map_err(|_| self.expected())?;
                    let window = window.parse().map_err(|_| self.expected())?;
                    Ok((
                        event.into(),
                        Rate::new(window, max).ok_or_else(|| self.expected())?,
                    ))
                });
                Value::Rates(rates.collect::<Result<_, String>>()?)
            }
        })
    }

    /// Reads a value of a configuration file; [`Kind::Rates`] are tables, which
    /// the file's reader walks by itself.
    ///
    /// # Errors
    ///
    /// What was expected.
    pub(crate) fn read(self, value: &DeValue<'_>) -> Result<Value, String> {
        let read = match (self, value) {
            (Self::Switch, DeValue::Boolean(yes)) => Some(Value::Switch(*yes)),
            (Self::Number(..) | Self::Bytes | Self::Time(..), DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix());
                return self.number(number.map_err(|_| self.expected())?);
            }
            // With a unit.
            (Self::Bytes | Self::Time(..), DeValue::String(text)) => return self.parse(text),
            (Self::Text | Self::File | Self::Path | Self::Choice(_), DeValue::String(text)) => {
                self.check_text(text)?;
                Some(Value::Text(text.to_string()))
            }
            (Self::Secret, DeValue::String(text)) => Some(Value::Secret(Secret(text.to_string()))),
            (Self::Texts, _) => texts(value).map(Value::Texts),
            (Self::Secrets, _) => {
                texts(value).map(|texts| Value::Secrets(texts.into_iter().map(Secret).collect()))
            }
            _ => None,
        };
        read.ok_or_else(|| format!("{}, not {}", self.expected(), described(value)))
    }

    /// What a value should have been.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Switch => "expected true or false".into(),
            Self::Number(least, u64::MAX) => format!("expected a number of at least {least}"),
            Self::Number(least, most) => format!("expected a number in {least}..={most}"),
            Self::Bytes => "expected a number of bytes such as 65536, \"64k\" or \"1M\"".into(),
            Self::Time(unit, least) => format!(
                "expected at least {least} {}, at most a year, as a number or with a unit as \"90s\"",
                unit.name()
            ),
            Self::Text => "expected a text".into(),
            Self::File => "expected the name of a file".into(),
            Self::Path => "expected a path such as \"/ws\"".into(),
            Self::Choice(words) => format!("expected one of {}", words.join(", ")),
            Self::Secret => "expected a text that is not empty".into(),
            Self::Texts | Self::Secrets => "expected a list of texts".into(),
            Self::Rates => "expected for each event its rate, \
                            such as { message = { window = 5000, maxRequests = 5 } }"
                .into(),
        }
    }

    fn number(self, number: u64) -> Result<Value, String> {
        if let Self::Time(unit, _) = self {
            let milliseconds = number.saturating_mul(unit.milliseconds());
            return self.time(Duration::from_millis(milliseconds));
        }
        let fits = if let Self::Number(least, most) = self {
            (least..=most).contains(&number)
        } else {
            number > 0 && usize::try_from(number).is_ok()
        };
        fits.then_some(Value::Number(number))
            .ok_or_else(|| self.expected())
    }

    fn time(self, time: Duration) -> Result<Value, String> {
        let Self::Time(unit, least) = self else {
            return Err(self.expected());
        };
        let least = Duration::from_millis(least * unit.milliseconds());
        let whole = time.subsec_nanos().is_multiple_of(1_000_000);
        let shown = time.as_millis().is_multiple_of(unit.milliseconds().into());
        if whole && shown && (least..=Duration::from_millis(LONGEST)).contains(&time) {
            Ok(Value::Time(time))
        } else {
            Err(self.expected())
        }
    }

    fn check_text(self, text: &str) -> Result<(), String> {
        if let Self::Choice(words) = self
            && !words.contains(&text)
        {
            return Err(self.expected());
        }
        if self == Self::Path
            && let Err(error) = Pattern::parse(text)
        {
            return Err(format!("{}: {error}", self.expected()));
        }
        if text.is_empty() {
            return Err("expected a text that is not empty".into());
        }
        if text.chars().any(char::is_control) {
            return Err("expected a text without control characters".into());
        }
        Ok(())
    }

    /// The value as files and schemas have it. A secret is hidden.
    pub(crate) fn shown(self, value: &Value) -> serde_json::Value {
        match value {
            Value::Switch(yes) => json!(yes),
            Value::Number(number) => json!(number),
            Value::Time(time) => {
                let in_seconds = matches!(self, Self::Time(Unit::Seconds, _));
                json!(time.as_millis() as u64 / if in_seconds { 1_000 } else { 1 })
            }
            Value::Text(text) => json!(text),
            Value::Secret(_) => json!("***"),
            Value::Texts(texts) => json!(texts),
            Value::Secrets(secrets) => json!(vec!["***"; secrets.len()]),
            Value::Rates(rates) => rates
                .iter()
                .map(|(event, rate)| (event.clone(), rate.shown()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }

    /// Whether values must not be shown.
    pub(crate) const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Secrets)
    }

    /// What files may have for it, as JSON schema.
    pub(crate) fn schema(self) -> serde_json::Value {
        match self {
            Self::Switch => json!({ "type": "boolean" }),
            Self::Number(least, u64::MAX) => json!({ "type": "integer", "minimum": least }),
            Self::Number(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::Bytes => json!({ "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": "^[0-9]+ *([kKmMgG]([iI]?[bB])?|[bB])?$" },
            ] }),
            Self::Time(unit, least) => json!({ "anyOf": [
                {
                    "type": "integer",
                    "minimum": least,
                    "maximum": LONGEST / unit.milliseconds(),
                },
                { "type": "string", "pattern": "^[0-9]" },
            ] }),
            Self::Text | Self::File | Self::Secret => json!({ "type": "string", "minLength": 1 }),
            Self::Path => json!({ "type": "string", "pattern": "^/" }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Texts | Self::Secrets => json!({ "anyOf": [
                { "type": "array", "items": { "type": "string" } },
                { "type": "string" },
            ] }),
            Self::Rates => json!({
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        "window": { "type": "integer", "minimum": 1, "maximum": LONGEST },
                        "maxRequests": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                    },
                    "required": ["window", "maxRequests"],
                    "additionalProperties": false,
                },
            }),
        }
    }
}

impl Rate {
    /// The longest window, in milliseconds.
    pub(crate) const LONGEST: u64 = LONGEST;

    /// `None` for a window of nothing, or of more than a year.
    pub(crate) const fn new(window: u64, max_requests: u32) -> Option<Self> {
        if window == 0 || window > LONGEST {
            return None;
        }
        Some(Self {
            window,
            max_requests,
        })
    }

    fn shown(self) -> serde_json::Value {
        json!({ "window": self.window, "maxRequests": self.max_requests })
    }
}

/// A list of texts, or one.
fn texts(value: &DeValue<'_>) -> Option<Vec<String>> {
    if let DeValue::String(one) = value {
        return Some(vec![one.to_string()]);
    }
    let items = value.as_array()?.iter();
    items
        .map(|item| item.get_ref().as_str().map(String::from))
        .collect()
}

/// What a value is, in words; never itself.
pub(crate) const fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
