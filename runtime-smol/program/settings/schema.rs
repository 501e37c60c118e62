//! `smartsocket schema`: what a configuration file may say, for editors.

use serde_json::{Value, json};

use crate::explain::Failure;
use crate::output::print;

use super::Settings;
use super::table::{ROWS, Row};

const NOTES: &str = "\
Examples:
  smartsocket schema >smartsocket.schema.json

The first line of a configuration file tells editors (Taplo, Even Better TOML):
  #:schema ./smartsocket.schema.json";

/// Options of the schema.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub(crate) struct Schema {}

impl Schema {
    /// Writes it to stdout.
    pub(crate) fn run(self) -> Result<u8, Failure> {
        print(&format!("{:#}\n", schema()))?;
        Ok(0)
    }
}

/// The schema of the configuration file.
fn schema() -> Value {
    let mut root = table();
    root["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    root["title"] = json!("Configuration of smartsocket serve");
    for row in ROWS {
        let (place, name) = row.place();
        let mut inner = &mut root;
        for part in place.split('.').filter(|part| !part.is_empty()) {
            let properties = &mut inner["properties"];
            if properties.get(part).is_none() {
                properties[part] = table();
            }
            inner = &mut properties[part];
        }
        inner["properties"][name] = option(row);
    }
    root
}

fn table() -> Value {
    json!({ "type": "object", "properties": {}, "additionalProperties": false })
}

fn option(row: &Row) -> Value {
    let mut option = row.kind.schema();
    option["description"] = match row.unset {
        "" => json!(format!("{}.", row.help)),
        unset => json!(format!("{}. Default: {unset}.", row.help)),
    };
    if let Some(value) = row.get(&Settings::default()) {
        option["default"] = row.kind.shown(&value);
    }
    option
}
