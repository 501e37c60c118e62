//! Every option, once. Flags and their help, names in files and in the
//! environment, `check` and `schema` come from these rows; defaults are those
//! of [`Settings`].

use std::sync::LazyLock;
use std::time::Duration;

use super::Settings;
use super::preset;
use super::value::{Kind, Rates, Secret, Unit, Value};

/// An option.
pub(crate) struct Row {
    /// As files have it, after the tables it is in.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// What it does, in one sentence without a full stop.
    pub(crate) help: &'static str,
    /// What it means that there is none.
    pub(crate) unset: &'static str,
    /// Where its value is.
    field: for<'a> fn(&'a mut Settings) -> Slot<'a>,
}

/// Where a value is.
enum Slot<'a> {
    Switch(&'a mut bool),
    /// `None` as long as nobody said.
    MaybeSwitch(&'a mut Option<bool>),
    Number(&'a mut u64),
    MaybeNumber(&'a mut Option<u64>),
    Time(&'a mut Duration),
    MaybeTime(&'a mut Option<Duration>),
    Text(&'a mut String),
    MaybeText(&'a mut Option<String>),
    MaybeSecret(&'a mut Option<Secret>),
    Texts(&'a mut Vec<String>),
    Secrets(&'a mut Vec<Secret>),
    Rates(&'a mut Rates),
}

impl Row {
    /// Puts a value in; it is of the row's kind.
    pub(crate) fn set(&self, settings: &mut Settings, value: Value) {
        match ((self.field)(settings), value) {
            (Slot::Switch(slot), Value::Switch(value)) => *slot = value,
            (Slot::MaybeSwitch(slot), Value::Switch(value)) => *slot = Some(value),
            (Slot::Number(slot), Value::Number(value)) => *slot = value,
            (Slot::MaybeNumber(slot), Value::Number(value)) => *slot = Some(value),
            (Slot::Time(slot), Value::Time(value)) => *slot = value,
            (Slot::MaybeTime(slot), Value::Time(value)) => *slot = Some(value),
            (Slot::Text(slot), Value::Text(value)) => *slot = value,
            (Slot::MaybeText(slot), Value::Text(value)) => *slot = Some(value),
            (Slot::MaybeSecret(slot), Value::Secret(value)) => *slot = Some(value),
            (Slot::Texts(slot), Value::Texts(value)) => *slot = value,
            (Slot::Secrets(slot), Value::Secrets(value)) => *slot = value,
            (Slot::Rates(slot), Value::Rates(value)) => *slot = value,
            (_, value) => unreachable!("{} takes no {value:?}", self.name),
        }
    }

    /// The value, if there is one.
    pub(crate) fn get(&self, settings: &Settings) -> Option<Value> {
        let mut settings = settings.clone();
        match (self.field)(&mut settings) {
            Slot::Switch(slot) => Some(Value::Switch(*slot)),
            Slot::MaybeSwitch(slot) => slot.map(Value::Switch),
            Slot::Number(slot) => Some(Value::Number(*slot)),
            Slot::MaybeNumber(slot) => slot.map(Value::Number),
            Slot::Time(slot) => Some(Value::Time(*slot)),
            Slot::MaybeTime(slot) => slot.map(Value::Time),
            Slot::Text(slot) => Some(Value::Text(slot.clone())),
            Slot::MaybeText(slot) => slot.clone().map(Value::Text),
            Slot::MaybeSecret(slot) => slot.clone().map(Value::Secret),
            Slot::Texts(slot) => Some(Value::Texts(slot.clone())),
            Slot::Secrets(slot) => Some(Value::Secrets(slot.clone())),
            Slot::Rates(slot) => Some(Value::Rates(slot.clone())),
        }
    }

    /// The table it is in, and its name there.
    pub(crate) fn place(&self) -> (&'static str, &'static str) {
        self.name.rsplit_once('.').unwrap_or(("", self.name))
    }
}

/// The row of this name.
pub(crate) fn find(name: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.name == name)
}

/// The tables of a file, in the order of the rows.
pub(crate) fn tables() -> Vec<&'static str> {
    let mut tables = Vec::new();
    for row in ROWS {
        let (mut table, _) = row.place();
        let mut found = Vec::new();
        while !table.is_empty() {
            found.push(table);
            table = table.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
        for table in found.into_iter().rev() {
            if !tables.contains(&table) {
                tables.push(table);
            }
        }
    }
    tables
}

/// The names of a row outside of files.
#[derive(Debug)]
pub(crate) struct Names {
    /// Without the dashes.
    pub(crate) flag: String,
    /// The environment variable.
    pub(crate) variable: String,
}

/// In the order of the rows.
pub(crate) static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = |row: &Row| {
        let flag = words(&row.name.replace(".serverOptions", "")).join("-");
        let variable = match row.name {
            // What platforms and the documents call them.
            "port" => "PORT".into(),
            "encryptionKey" => "ENCRYPTION_KEY".into(),
            "encryptionKeys" => "ENCRYPTION_KEYS".into(),
            _ => format!("SMARTSOCKET_{}", flag.replace('-', "_").to_uppercase()),
        };
        Names { flag, variable }
    };
    ROWS.iter().map(names).collect()
});

/// The words of `apiKey` or `mb.maxPayload`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '.' || c.is_ascii_uppercase() {
            words.push(String::new());
        }
        if c != '.'
            && let Some(word) = words.last_mut()
        {
            word.push(c.to_ascii_lowercase());
        }
    }
    words
}

const fn row(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    field: for<'a> fn(&'a mut Settings) -> Slot<'a>,
) -> Row {
    Row {
        name,
        kind,
        help,
        unset: "",
        field,
    }
}

/// A row that may have no value, and what that means.
const fn maybe(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    unset: &'static str,
    field: for<'a> fn(&'a mut Settings) -> Slot<'a>,
) -> Row {
    Row {
        unset,
        ..row(name, kind, help, field)
    }
}

const MILLISECONDS: Unit = Unit::Milliseconds;

/// The options, as `check` shows them; the rows of a table are together.
pub(crate) const ROWS: &[Row] = &[
    maybe(
        "preset",
        Kind::Choice(preset::NAMES),
        "Other defaults, for a purpose: low-latency, high-throughput or mobile",
        "none",
        |s| Slot::MaybeText(&mut s.preset),
    ),
    row(
        "host",
        Kind::Text,
        "Address to listen on; 0.0.0.0 or :: for all of this machine",
        |s| Slot::Text(&mut s.host),
    ),
    row(
        "port",
        Kind::Number(0, 65_535),
        "Port to listen on; 0 takes a free one",
        |s| Slot::Number(&mut s.port),
    ),
    row(
        "shards",
        Kind::Number(1, 1_024),
        "Threads that serve connections; with more than one, only /echo is served",
        |s| Slot::Number(&mut s.shards),
    ),
    maybe(
        "tlsCert",
        Kind::File,
        "File with the certificate chain (PEM) to speak TLS with",
        "no TLS",
        |s| Slot::MaybeText(&mut s.tls_cert),
    ),
    maybe(
        "tlsKey",
        Kind::File,
        "File with the private key (PEM) of tlsCert",
        "no TLS",
        |s| Slot::MaybeText(&mut s.tls_key),
    ),
    row(
        "maxMessage",
        Kind::Bytes,
        "Longest message taken; longer ones close the connection with 1009",
        |s| Slot::Number(&mut s.max_message),
    ),
    row(
        "maxConnections",
        Kind::Number(1, u32::MAX as u64),
        "Most connections at a time",
        |s| Slot::Number(&mut s.max_connections),
    ),
    row(
        "maxConnectionsPerAddress",
        Kind::Number(1, u32::MAX as u64),
        "Most connections of one address at a time, those of this machine apart",
        |s| Slot::Number(&mut s.max_connections_per_address),
    ),
    maybe(
        "connectionTimeout",
        Kind::Time(MILLISECONDS, 0),
        "Close SmartSocket connections without a message for this time; 0 never does",
        "never",
        |s| Slot::MaybeTime(&mut s.connection_timeout),
    ),
    row(
        "compressionThreshold",
        Kind::Number(0, u32::MAX as u64),
        "Compress messages of this many bytes and more",
        |s| Slot::Number(&mut s.compression_threshold),
    ),
    row(
        "compressionLevel",
        Kind::Number(1, 9),
        "How hard to compress: 1 is fast, 9 is small",
        |s| Slot::Number(&mut s.compression_level),
    ),
    row(
        "enableRateLimiting",
        Kind::Switch,
        "Limit how many messages a client may send",
        |s| Slot::Switch(&mut s.enable_rate_limiting),
    ),
    row(
        "rateLimitWindow",
        Kind::Time(MILLISECONDS, 1),
        "The time that rateLimitMaxRequests is for",
        |s| Slot::Time(&mut s.rate_limit_window),
    ),
    row(
        "rateLimitMaxRequests",
        Kind::Number(0, u32::MAX as u64),
        "Most messages of one client in any rateLimitWindow",
        |s| Slot::Number(&mut s.rate_limit_max_requests),
    ),
    row(
        "enableMessageCache",
        Kind::Switch,
        "Keep messages for users who are away",
        |s| Slot::Switch(&mut s.enable_message_cache),
    ),
    row(
        "enableConnectionPooling",
        Kind::Switch,
        "For old configurations: memory is always shared by all connections",
        |s| Slot::Switch(&mut s.enable_connection_pooling),
    ),
    maybe(
        "apiKey",
        Kind::Secret,
        "SmartSocket clients must know this key",
        "anybody may connect",
        |s| Slot::MaybeSecret(&mut s.api_key),
    ),
    row(
        "apiKeys",
        Kind::Secrets,
        "More keys, any of which will do",
        |s| Slot::Secrets(&mut s.api_keys),
    ),
    maybe(
        "enableEncryption",
        Kind::Switch,
        "Encrypt the messages of SmartSocket clients, beside TLS",
        "on if there is an encryptionKey",
        |s| Slot::MaybeSwitch(&mut s.enable_encryption),
    ),
    maybe(
        "encryptionKey",
        Kind::Secret,
        "The key of that: 32 bytes in base64 or hexadecimal, as `smartsocket keygen` makes them",
        "no encryption",
        |s| Slot::MaybeSecret(&mut s.encryption_key),
    ),
    row(
        "encryptionKeys",
        Kind::Secrets,
        "Older keys that clients may still have, up to 3",
        |s| Slot::Secrets(&mut s.encryption_keys),
    ),
    row(
        "encryptionAlgorithm",
        Kind::Choice(&["aes-256-cbc", "aes-256-gcm"]),
        "How to encrypt, if the client can do both",
        |s| Slot::Text(&mut s.encryption_algorithm),
    ),
    row(
        "encryptionExchange",
        Kind::Choice(&["optional", "required", "only"]),
        "Whether clients must exchange keys besides; only: instead of having an encryptionKey, \
         which keeps out who listens, not who changes what is sent",
        |s| Slot::Text(&mut s.encryption_exchange),
    ),
    row(
        "encryptionGroup",
        Kind::Switch,
        "Seal what goes to many once, with a key that all clients of a namespace have",
        |s| Slot::Switch(&mut s.encryption_group),
    ),
    row(
        "eventRateLimits",
        Kind::Rates,
        "Most messages of an event from one SmartSocket or Ignis client; \
         as a flag message=5/5000,delete=1/60000",
        |s| Slot::Rates(&mut s.event_rate_limits),
    ),
    row("ignis.path", Kind::Path, "Where Ignis is spoken", |s| {
        Slot::Text(&mut s.ignis.path)
    }),
    row(
        "ignis.authTimeout",
        Kind::Time(MILLISECONDS, 1),
        "Close with 4001 who has not authenticated in this time",
        |s| Slot::Time(&mut s.ignis.auth_timeout),
    ),
    row(
        "ignis.heartbeatInterval",
        Kind::Time(MILLISECONDS, 1),
        "How often to look for clients that are silent",
        |s| Slot::Time(&mut s.ignis.heartbeat_interval),
    ),
    row(
        "ignis.heartbeatTimeout",
        Kind::Time(MILLISECONDS, 1),
        "Close with 4002 who sent no message for this time",
        |s| Slot::Time(&mut s.ignis.heartbeat_timeout),
    ),
    row(
        "ignis.defaultRooms",
        Kind::Texts,
        "Rooms every client is in from the start",
        |s| Slot::Texts(&mut s.ignis.default_rooms),
    ),
    row(
        "ignis.requireEncryption",
        Kind::Switch,
        "Exchange keys with every client, and encrypt what is sent to it; close with 4004 who has none",
        |s| Slot::Switch(&mut s.ignis.require_encryption),
    ),
    row(
        "ignis.serverOptions.perMessageDeflate",
        Kind::Switch,
        "Compress messages where the client can",
        |s| Slot::Switch(&mut s.ignis.per_message_deflate),
    ),
    maybe(
        "ignis.serverOptions.maxPayloadLength",
        Kind::Bytes,
        "Longest message taken",
        "131072, or maxMessage if that is less",
        |s| Slot::MaybeNumber(&mut s.ignis.max_payload_length),
    ),
    maybe(
        "ignis.serverOptions.idleTimeout",
        Kind::Time(Unit::Seconds, 0),
        "Drop who sends nothing for this many seconds, not even pongs; 0 never does",
        "35 seconds",
        |s| Slot::MaybeTime(&mut s.ignis.idle_timeout),
    ),
    row(
        "ignis.serverOptions.backpressureLimit",
        Kind::Bytes,
        "Most bytes that wait for a client that reads slowly",
        |s| Slot::Number(&mut s.ignis.backpressure_limit),
    ),
    row(
        "ignis.serverOptions.closeOnBackpressureLimit",
        Kind::Switch,
        "Close with 1013 beyond that limit, instead of dropping what is new",
        |s| Slot::Switch(&mut s.ignis.close_on_backpressure_limit),
    ),
    row(
        "ignis.serverOptions.sendPings",
        Kind::Switch,
        "Ping who is silent",
        |s| Slot::Switch(&mut s.ignis.send_pings),
    ),
    row("mb.path", Kind::Path, "Where MB is spoken", |s| {
        Slot::Text(&mut s.mb.path)
    }),
    maybe(
        "mb.maxPayload",
        Kind::Bytes,
        "Longest message taken",
        "maxMessage",
        |s| Slot::MaybeNumber(&mut s.mb.max_payload),
    ),
    row(
        "mb.perMessageDeflate",
        Kind::Switch,
        "Compress messages where the client can",
        |s| Slot::Switch(&mut s.mb.per_message_deflate),
    ),
    row(
        "mb.backlog",
        Kind::Number(1, 65_535),
        "Connections the system completes before they are accepted, on any path",
        |s| Slot::Number(&mut s.mb.backlog),
    ),
    row("rnode.path", Kind::Path, "Where RNode is spoken", |s| {
        Slot::Text(&mut s.rnode.path)
    }),
    row(
        "api.enable",
        Kind::Switch,
        "Answer HTTP requests about rooms, clients and figures",
        |s| Slot::Switch(&mut s.api.enable),
    ),
    maybe(
        "api.token",
        Kind::Secret,
        "Who says it in Authorization: Bearer may do all of that from anywhere",
        "only from this machine",
        |s| Slot::MaybeSecret(&mut s.api.token),
    ),
    row(
        "api.cors",
        Kind::Texts,
        "Pages of these origins may do so from a browser; \"*\" is any",
        |s| Slot::Texts(&mut s.api.cors),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_keeps_values_of_its_kind() {
        for row in ROWS {
            let text = match row.kind {
                Kind::Switch => "true",
                Kind::Number(..) | Kind::Bytes | Kind::Time(..) => "7",
                Kind::Path => "/x",
                Kind::Choice(words) => words[0],
                Kind::Rates => "x=1/2",
                Kind::Text | Kind::File | Kind::Secret | Kind::Texts | Kind::Secrets => "x",
            };
            let value = row.kind.parse(text).unwrap();
            let mut settings = Settings::default();
            row.set(&mut settings, value.clone());
            assert_eq!(row.get(&settings), Some(value), "{}", row.name);
            let has_default = row.get(&Settings::default()).is_some();
            assert_eq!(has_default, row.unset.is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn names_are_told_apart_and_look_alike_everywhere() {
        let mut flags: Vec<_> = NAMES.iter().map(|names| &names.flag).collect();
        flags.sort();
        flags.dedup();
        assert_eq!(flags.len(), ROWS.len());
        let of = |name| &NAMES[find(name).unwrap()];
        for (name, flag, variable) in [
            ("port", "port", "PORT"),
            ("host", "host", "SMARTSOCKET_HOST"),
            ("maxMessage", "max-message", "SMARTSOCKET_MAX_MESSAGE"),
            ("encryptionKey", "encryption-key", "ENCRYPTION_KEY"),
            (
                "mb.maxPayload",
                "mb-max-payload",
                "SMARTSOCKET_MB_MAX_PAYLOAD",
            ),
            (
                "ignis.serverOptions.idleTimeout",
                "ignis-idle-timeout",
                "SMARTSOCKET_IGNIS_IDLE_TIMEOUT",
            ),
        ] {
            let names = of(name);
            assert_eq!((&*names.flag, &*names.variable), (flag, variable));
        }
    }

    #[test]
    fn the_rows_of_a_table_are_together() {
        let mut places: Vec<_> = ROWS.iter().map(|row| row.place().0).collect();
        places.dedup();
        let tables = tables();
        assert_eq!(
            places,
            ["", "ignis", "ignis.serverOptions", "mb", "rnode", "api"]
        );
        assert_eq!(tables, places[1..]);
    }
}
