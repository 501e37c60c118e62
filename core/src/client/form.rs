//! The connection form of Protocol OS (PO-83): what a client can be told, as
//! data, as a JSON schema, and what is wrong with what was filled in.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde_json::{Map, Value, json};

use crate::http::Url;
use crate::json::Json;

use super::config::{Auth, ClientConfig, DEFAULT_TEMPLATE, Secret};
use super::providers::Provider;

/// One field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub id: &'static str,
    /// What can be filled in.
    pub kind: Kind,
    /// What is in force where nothing is, as JSON.
    pub default: Option<&'static str>,
    /// Whether it must be filled in.
    pub required: bool,
    /// What it is for.
    pub about: &'static str,
}

/// What can be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ws://` or `wss://`.
    Url,
    /// One of these.
    Select(&'static [&'static str]),
    /// A text that is not to be shown.
    Secret,
    /// A text.
    Text,
    /// A whole number of at least so much.
    Number(u64),
    /// Yes or no.
    Boolean,
}

/// Something wrong with a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field; empty where the whole is wrong.
    pub field: String,
    /// What is wrong, and what would be right.
    pub words: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.words)
        } else {
            write!(f, "{}: {}", self.field, self.words)
        }
    }
}

impl core::error::Error for Problem {}

const METHODS: &[&str] = &[
    "query-param",
    "first-message",
    "subprotocol",
    "header",
    "none",
];
const FORMATS: &[&str] = &["json", "text", "binary"];
const PROVIDERS: &[&str] = &[
    "custom",
    "socketio",
    "pusher",
    "ably",
    "phoenix",
    "actioncable",
    "signalr",
    "graphql-ws",
    "subscriptions-transport-ws",
    "aws-apigw",
    "binance",
    "echo",
];

/// The form, field by field, in the order of the seed.
pub const FIELDS: [Field; 15] = [
    field(
        "provider",
        Kind::Select(PROVIDERS),
        Some("\"custom\""),
        "whose protocol is spoken",
    ),
    Field {
        required: true,
        ..field("url", Kind::Url, None, "the WebSocket's address")
    },
    Field {
        required: true,
        ..field(
            "authMethod",
            Kind::Select(METHODS),
            None,
            "how to say who we are",
        )
    },
    Field {
        required: true,
        ..field(
            "messageFormat",
            Kind::Select(FORMATS),
            None,
            "what messages are",
        )
    },
    field("authToken", Kind::Secret, None, "what to say it with"),
    field(
        "tokenParamName",
        Kind::Text,
        Some("\"token\""),
        "the parameter of the URL",
    ),
    field(
        "tokenHeaderName",
        Kind::Text,
        Some("\"Authorization\""),
        "the header, with \"Bearer \" before the token where it is Authorization",
    ),
    field(
        "authMessageType",
        Kind::Text,
        Some("\"authenticate\""),
        "what {{type}} in the template stands for",
    ),
    field(
        "authMessageTemplate",
        Kind::Text,
        None,
        "the first message; {{token}} stands for the token",
    ),
    field(
        "subprotocols",
        Kind::Text,
        None,
        "offered in this order, with commas between",
    ),
    field(
        "pingInterval",
        Kind::Number(0),
        Some("30000"),
        "milliseconds between pings of the protocol's own; 0 sends none",
    ),
    field(
        "pongTimeout",
        Kind::Number(1),
        Some("5000"),
        "milliseconds to wait for an answer",
    ),
    field(
        "autoReconnect",
        Kind::Boolean,
        Some("true"),
        "come back when the connection is lost",
    ),
    field(
        "maxReconnectAttempts",
        Kind::Number(0),
        Some("10"),
        "attempts in a row; 0 is no limit",
    ),
    field(
        "reconnectDelay",
        Kind::Number(1),
        Some("1000"),
        "milliseconds to the first attempt; each further wait is twice as long, up to 30000",
    ),
];

const fn field(
    id: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    about: &'static str,
) -> Field {
    Field {
        id,
        kind,
        default,
        required: false,
        about,
    }
}

impl Provider {
    /// The provider of this name, as the form writes it.
    pub fn by_name(name: &str) -> Option<Self> {
        let at = PROVIDERS.iter().position(|known| *known == name)?;
        Self::PRESETS.get(at).cloned()
    }

    /// Its name in the form; `smartsocket`, which is not in it, has one too.
    pub fn name(&self) -> &'static str {
        let same = |other: &Self| core::mem::discriminant(other) == core::mem::discriminant(self);
        let at = Self::PRESETS.iter().position(same);
        at.and_then(|at| PROVIDERS.get(at).copied())
            .unwrap_or("smartsocket")
    }
}

/// The form as a JSON schema (draft 2020-12).
pub fn schema() -> Json {
    let mut properties = Map::new();
    for field in &FIELDS {
        let mut of = match field.kind {
            Kind::Url => json!({"type": "string", "format": "uri", "pattern": "^wss?://"}),
            Kind::Select(options) => json!({"enum": options}),
            Kind::Secret => json!({"type": "string", "writeOnly": true}),
            Kind::Text => json!({"type": "string"}),
            Kind::Number(least) => json!({"type": "integer", "minimum": least}),
            Kind::Boolean => json!({"type": "boolean"}),
        };
        of["description"] = field.about.into();
        if let Some(default) = field
            .default
            .and_then(|text| serde_json::from_str(text).ok())
        {
            of["default"] = default;
        }
        properties.insert(field.id.to_owned(), of);
    }
    let required: Vec<_> = FIELDS.iter().filter(|field| field.required).collect();
    let required: Vec<_> = required.into_iter().map(|field| field.id).collect();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "WebSocket connection",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    Json::from_value(&schema).unwrap_or(Json::EMPTY)
}

/// Makes options of a form that is filled in.
///
/// # Errors
///
/// All that is wrong with it, in the order of the fields. No secret is in it.
pub fn read(form: &Json) -> Result<(Provider, ClientConfig), Vec<Problem>> {
    let mut problems = Vec::new();
    let mut wrong = |field: &str, words: String| {
        problems.push(Problem {
            field: field.to_owned(),
            words,
        });
    };
    let Ok(Value::Object(form)) = serde_json::from_str::<Value>(form.as_str()) else {
        wrong("", "the form is no JSON object".to_owned());
        return Err(problems);
    };
    for field in &FIELDS {
        let value = form.get(field.id).filter(|value| !value.is_null());
        match value {
            None if field.required => wrong(field.id, format!("is missing: {}", field.about)),
            None => {}
            Some(value) => {
                if let Some(words) = misfit(field.kind, value) {
                    wrong(field.id, words);
                }
            }
        }
    }
    for name in form.keys() {
        if !FIELDS.iter().any(|field| field.id == name) {
            wrong(name, nearest(name));
        }
    }
    let text = |id: &str| {
        form.get(id)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let number = |id: &str| form.get(id).and_then(Value::as_u64);
    let method = text("authMethod").unwrap_or("none");
    let token = text("authToken");
    if method != "none" && token.is_none() && METHODS.contains(&method) {
        wrong(
            "authToken",
            format!("is missing: the method {method} needs it"),
        );
    }
    if method == "none" && token.is_some() {
        wrong("authToken", "is not used by the method none".to_owned());
    }
    if let Some(template) = text("authMessageTemplate")
        && !template.contains("{{token}}")
    {
        wrong(
            "authMessageTemplate",
            "has no {{token}}, so the token would not be sent".to_owned(),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let provider = text("provider")
        .and_then(Provider::by_name)
        .unwrap_or_default();
    // A message that is no JSON has no type: it goes and comes as it is.
    let plain = matches!(text("messageFormat"), Some("text" | "binary"));
    let provider = if plain && matches!(provider, Provider::Custom) {
        Provider::Echo
    } else {
        provider
    };
    let mut config = provider.config(text("url").unwrap_or_default());
    config.token = token.map(Secret::from);
    config.auth = match method {
        "query-param" => Auth::Query {
            name: text("tokenParamName").unwrap_or("token").to_owned(),
        },
        "first-message" => Auth::FirstMessage {
            kind: text("authMessageType").unwrap_or("authenticate").to_owned(),
            template: text("authMessageTemplate")
                .unwrap_or(DEFAULT_TEMPLATE)
                .to_owned(),
        },
        "subprotocol" => Auth::Subprotocol,
        "header" => {
            let name = text("tokenHeaderName").unwrap_or("Authorization");
            let bearer = name.eq_ignore_ascii_case("authorization");
            Auth::Header {
                name: name.to_owned(),
                prefix: if bearer {
                    "Bearer ".to_owned()
                } else {
                    String::new()
                },
            }
        }
        _ => Auth::None,
    };
    let subprotocols = text("subprotocols")
        .unwrap_or_default()
        .split(',')
        .map(str::trim);
    let subprotocols = subprotocols.filter(|name| !name.is_empty());
    config.subprotocols = subprotocols.map(str::to_owned).collect();
    let ms = |id| number(id).map(Duration::from_millis);
    match (number("pingInterval"), &mut config.ping) {
        (Some(0), ping) => *ping = None,
        (_, Some(ping)) => {
            ping.interval = ms("pingInterval").unwrap_or(ping.interval);
            ping.timeout = ms("pongTimeout").unwrap_or(ping.timeout);
        }
        (_, None) => {}
    }
    if form.get("autoReconnect").and_then(Value::as_bool) == Some(false) {
        config.reconnect = None;
    } else if let Some(backoff) = &mut config.reconnect {
        backoff.initial = ms("reconnectDelay").unwrap_or(backoff.initial);
        if let Some(attempts) = number("maxReconnectAttempts") {
            backoff.max_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
        }
    }
    // Protocol OS pings by messages; those of WebSocket would be one too many.
    if config.ping.is_some() && matches!(provider, Provider::Custom) {
        Arc::make_mut(&mut config.websocket).ping_interval = None;
    }
    Ok((provider, config))
}

/// Why a value does not fit.
fn misfit(kind: Kind, value: &Value) -> Option<String> {
    let wants = |what: &str| Some(format!("is to be {what}"));
    match (kind, value) {
        (Kind::Url, Value::String(url)) => {
            let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
            if !["ws", "wss"]
                .iter()
                .any(|ws| scheme.eq_ignore_ascii_case(ws))
            {
                return wants("a URL that begins with ws:// or wss://");
            }
            // What is wrong, without the URL, which may have a token in it.
            Url::parse(url).err().map(|error| error.to_string())
        }
        (Kind::Select(options), Value::String(text)) => (!options.contains(&text.as_str()))
            .then(|| format!("is to be one of {}", options.join(", "))),
        (Kind::Number(least), Value::Number(number)) => match number.as_u64() {
            Some(number) if number >= least => None,
            _ => wants(&format!("a whole number of at least {least}")),
        },
        (Kind::Secret | Kind::Text, Value::String(_)) | (Kind::Boolean, Value::Bool(_)) => None,
        (Kind::Url | Kind::Secret | Kind::Text, _) => wants("a text"),
        (Kind::Select(options), _) => wants(&format!("one of {}", options.join(", "))),
        (Kind::Number(least), _) => wants(&format!("a whole number of at least {least}")),
        (Kind::Boolean, _) => wants("true or false"),
    }
}

/// What a name that is none of the form's was probably meant to be.
fn nearest(name: &str) -> String {
    let flat = |text: &str| -> String {
        let letters = text.chars().filter(char::is_ascii_alphanumeric);
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    let asked = flat(name);
    let close = FIELDS
        .iter()
        .map(|field| (distance(&asked, &flat(field.id)), field.id));
    match close.min() {
        Some((distance, id)) if distance <= 2 => format!("is no field: is {id} meant?"),
        _ => "is no field of the form".to_owned(),
    }
}

/// How many letters are to be added, left out or changed to make one of the
/// other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Backoff, Ping};

    fn form(text: &str) -> Result<(Provider, ClientConfig), Vec<String>> {
        let read = read(&Json::parse(text.to_owned()).unwrap());
        read.map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    /// PO-01 to PO-13: the seed's defaults.
    #[test]
    fn a_form_with_what_is_required_has_the_defaults_of_the_seed() {
        let text =
            r#"{"url":"wss://api.example.com/ws","authMethod":"none","messageFormat":"json"}"#;
        let (provider, config) = form(text).unwrap();
        assert!(matches!(provider, Provider::Custom));
        assert_eq!(config.auth, Auth::None);
        assert_eq!(config.ping, Some(Ping::default()));
        assert_eq!(config.reconnect, Some(Backoff::default()));
    }

    /// PO-64, PO-28 to PO-31.
    #[test]
    fn a_form_says_how_to_authenticate() {
        let (_, config) = form(
            r#"{"url":"wss://api.example.com/graphql","authMethod":"first-message",
               "messageFormat":"json","authToken":"T","subprotocols":"graphql-transport-ws, ,b",
               "authMessageTemplate":"{\"type\": \"connection_init\", \"payload\": {\"authorization\": \"Bearer {{token}}\"}}",
               "pingInterval":0,"autoReconnect":false,"provider":"graphql-ws"}"#,
        )
        .unwrap();
        assert!(matches!(config.auth, Auth::FirstMessage { .. }));
        assert_eq!(config.subprotocols, ["graphql-transport-ws", "b"]);
        assert_eq!((config.ping, config.reconnect), (None, None));
        let (_, config) = form(
            r#"{"url":"ws://h/","authMethod":"header","messageFormat":"json","authToken":"T",
               "maxReconnectAttempts":0,"reconnectDelay":250}"#,
        )
        .unwrap();
        assert_eq!(config.auth, Auth::bearer());
        let backoff = config.reconnect.unwrap();
        assert_eq!(
            (backoff.max_attempts, backoff.initial.as_millis()),
            (0, 250)
        );
    }

    #[test]
    fn everything_wrong_is_said_at_once_and_no_secret_with_it() {
        let problems = form(
            r#"{"url":"https://user:canary@h/?token=canary","authMethod":"cookie","pingIntervall":1,
               "pongTimeout":0,"autoReconnect":"yes","nonsense":1,"authToken":"canary",
               "authMessageTemplate":"hello"}"#,
        )
        .unwrap_err();
        let expected = [
            "url: ",
            "authMethod: is to be one of query-param, first-message, subprotocol, header, none",
            "messageFormat: is missing",
            "pongTimeout: is to be a whole number of at least 1",
            "autoReconnect: is to be true or false",
            "nonsense: is no field of the form",
            "pingIntervall: is no field: is pingInterval meant?",
            "authMessageTemplate: has no {{token}}",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
            assert!(!problem.contains("canary"), "{problem}");
        }
        for text in ["[]", "1", "\"x\""] {
            assert_eq!(form(text).unwrap_err(), ["the form is no JSON object"]);
        }
        let needs = r#"{"url":"ws://h/","authMethod":"query-param","messageFormat":"json"}"#;
        assert_eq!(
            form(needs).unwrap_err(),
            ["authToken: is missing: the method query-param needs it"]
        );
    }

    #[test]
    fn each_provider_has_a_name() {
        assert_eq!(PROVIDERS.len(), Provider::PRESETS.len());
        for (name, provider) in PROVIDERS.iter().zip(Provider::PRESETS) {
            assert_eq!(provider.name(), *name);
            assert_eq!(Provider::by_name(name).map(|it| it.name()), Some(*name));
        }
        let own = Provider::SmartSocket(alloc::boxed::Box::default());
        assert_eq!(own.name(), "smartsocket");
        assert!(Provider::by_name("nobody").is_none());
    }

    #[test]
    fn the_schema_has_all_fields() {
        let schema: Value = serde_json::from_str(schema().as_str()).unwrap();
        for field in &FIELDS {
            let of = &schema["properties"][field.id];
            assert!(of["description"].is_string(), "{}", field.id);
            let default = field
                .default
                .map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(of.get("default").cloned(), default);
        }
        let required = json!(["url", "authMethod", "messageFormat"]);
        assert_eq!(schema["required"], required);
    }
}
