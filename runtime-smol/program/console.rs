//! The console: the page on `/`, its files, and what it is told of this server.

use std::collections::BTreeMap;

use serde::Serialize;
use smartsocket_smol::http::{Request, Response};
use smartsocket_smol::{CloseCode, ErrorCode};

use crate::application::{DEV_TOKEN, NAMESPACES};
use crate::script::{self, File, JAVASCRIPT};
use crate::settings::Settings;

const PAGE: &str = include_str!("../../core/web/console.html");
/// Where in the page stands what it is told.
const FACTS: &str = "{\"routes\":[]}";
/// Nothing comes from elsewhere, no text becomes markup. It may connect anywhere,
/// which is its purpose.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal),*) => {
        [$((concat!("/console/", $name), include_str!(concat!("../../core/web/console/", $name)))),*]
    };
}
const FILES: [(&str, &str); 12] = files![
    "console.css",
    "app.js",
    "charts.js",
    "composer.js",
    "dialects/ignis.js",
    "dialects/link.js",
    "dialects/mb.js",
    "dialects/raw.js",
    "dialects/rnode.js",
    "dialects/smartsocket.js",
    "log.js",
    "words.js"
];

/// The page, as this server shows it.
pub(crate) fn page(settings: &Settings, dev_token: bool) -> String {
    let facts = serde_json::to_string(&Facts::of(settings, dev_token));
    // No text ends the element it stands in.
    let facts = facts
        .expect("strings and numbers are JSON")
        .replace('<', "\\u003c");
    PAGE.replacen(FACTS, &facts, 1)
}

/// The page with its headers.
pub(crate) fn answer(page: &str) -> (Response, [(&'static str, &'static str); 3]) {
    let headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Security-Policy", POLICY),
        ("Referrer-Policy", "no-referrer"),
    ];
    (Response::new(200).body(page.to_owned()), headers)
}

/// Whether a path is of a file of the page.
pub(crate) fn has(path: &str) -> bool {
    FILES.iter().any(|(name, _)| *name == path)
}

/// The file that a request to read names.
pub(crate) fn file(request: &Request) -> Option<File> {
    let (path, text) = FILES.iter().find(|(path, _)| *path == request.path())?;
    let kind = if path.ends_with(".css") {
        "text/css; charset=utf-8"
    } else {
        JAVASCRIPT
    };
    Some(script::kept(request, (*text).to_owned(), kind))
}

/// What the page is told: nothing that who connects would not find out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Facts<'a> {
    version: &'static str,
    routes: Vec<RouteFacts<'a>>,
    /// SmartSocket's routes take nobody without the key.
    encrypted: bool,
    /// They take those who have none, but exchange one; and Ignis's takes only such.
    exchange: bool,
    ignis_exchange: bool,
    /// They take nobody without an API key.
    api_key: bool,
    /// What authenticates on Ignis's route, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    dev_token: Option<&'static str>,
    /// Whether there are rooms and figures to be asked for, by HTTP; and whether
    /// that takes a token.
    api: bool,
    api_token: bool,
    /// Message, cause and cure of each code.
    errors: BTreeMap<&'static str, [&'static str; 3]>,
    /// Meaning and cure of each code.
    closes: BTreeMap<u16, [&'static str; 2]>,
}

#[derive(Serialize)]
struct RouteFacts<'a> {
    path: &'a str,
    dialect: &'static str,
}

impl<'a> Facts<'a> {
    fn of(settings: &'a Settings, dev_token: bool) -> Self {
        let echo = ("/echo", "raw");
        let mut routes = vec![echo];
        let everything = settings.shards == 1;
        if everything {
            let [ignis, rnode, mb] = settings.paths();
            routes = NAMESPACES.map(|path| (path, "smartsocket")).to_vec();
            routes.extend([(ignis, "ignis"), (rnode, "rnode"), (mb, "mb"), echo]);
            routes.extend([("/pub", "raw"), ("/sub", "raw")]);
        }
        let told = |(path, dialect)| RouteFacts { path, dialect };
        let errors = ErrorCode::ALL.iter().map(|code| {
            let words = [code.message(), code.cause(), code.solution()];
            (code.as_str(), words)
        });
        let closes = (1_000..=1_015).map(|number| {
            let code = CloseCode::from(number);
            (number, [code.meaning(), code.cure().unwrap_or_default()])
        });
        let [exchange, ignis_exchange] = settings.exchanges();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            routes: routes.into_iter().map(told).collect(),
            encrypted: settings.keys().is_some(),
            exchange,
            ignis_exchange,
            api_key: settings.asks_for_api_key(),
            dev_token: (dev_token && everything).then_some(DEV_TOKEN),
            api: everything && settings.has_api(),
            api_token: settings.asks_for_api_token(),
            errors: errors.collect(),
            closes: closes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_page_is_told_cannot_end_its_element() {
        let mut settings = Settings::default();
        settings.rnode.path = "/</script><b>".into();
        let page = page(&settings, true);
        assert!(page.contains("/\\u003c/script>\\u003cb>"));
        assert_eq!(
            page.matches("</script>").count(),
            PAGE.matches("</script>").count()
        );
        assert!(page.contains("\"devToken\":\"dev\""));
    }

    #[test]
    fn the_page_names_files_that_are_there_only() {
        let names = PAGE.split('"').filter(|text| text.starts_with("console/"));
        let names: Vec<_> = names.map(|name| format!("/{name}")).collect();
        assert!(!names.is_empty());
        for name in names {
            assert!(has(&name), "{name}");
        }
    }
}
