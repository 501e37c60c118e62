//! The client for browsers, as files to load.

use std::hash::{DefaultHasher, Hasher as _};

use miniz_oxide::deflate::compress_to_vec_zlib;
use smartsocket_smol::http::{Request, Response};

const MODULE: &str = include_str!("../../core/web/smartsocket.js");
const TYPES: &str = include_str!("../../core/web/smartsocket.d.ts");

/// How hard the files are compressed.
const LEVEL: u8 = 6;

pub(crate) const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The paths of the files.
pub(crate) const PATHS: [&str; 3] = ["/smartsocket.js", "/smartsocket.d.ts", "/client.js"];

/// A response, and its headers.
pub(crate) type File = (Response, Vec<(&'static str, String)>);

/// The file that a request to read names.
pub(crate) fn file(request: &Request) -> Option<File> {
    let (text, kind) = match request.path() {
        "/smartsocket.js" => (MODULE.to_owned(), JAVASCRIPT),
        "/smartsocket.d.ts" => (TYPES.to_owned(), "application/typescript; charset=utf-8"),
        "/client.js" => (classic(), JAVASCRIPT),
        _ => return None,
    };
    let (response, mut headers) = kept(request, text, kind);
    headers.extend([
        // Pages of elsewhere may load it; whether they may connect is another matter.
        ("Access-Control-Allow-Origin", "*".into()),
        ("Cross-Origin-Resource-Policy", "cross-origin".into()),
    ]);
    Some((response, headers))
}

/// A text that whoever asks may keep, but asks about each time: it goes with the
/// server's version. Compressed, if who asks takes that; not at all, if it has it.
pub(crate) fn kept(request: &Request, text: String, kind: &str) -> File {
    let packed = takes_zlib(request);
    let content = if packed {
        compress_to_vec_zlib(text.as_bytes(), LEVEL)
    } else {
        text.into_bytes()
    };
    let mut hash = DefaultHasher::new();
    hash.write(&content);
    let tag = format!("\"{:016x}\"", hash.finish());
    let known = request.header("if-none-match").is_some_and(|tags| {
        tags.split(',')
            .map(|known| known.trim().trim_start_matches("W/"))
            .any(|known| known == tag || known == "*")
    });
    let response = if known {
        Response::new(304)
    } else {
        Response::new(200).body(content)
    };
    let mut headers = vec![
        ("Content-Type", kind.into()),
        ("Cache-Control", "no-cache".into()),
        ("ETag", tag),
        ("Vary", "Accept-Encoding".into()),
    ];
    if packed {
        headers.push(("Content-Encoding", "deflate".into()));
    }
    (response, headers)
}

/// Whether the request names what HTTP calls "deflate" (RFC 9110 §8.4.1.2), and
/// says nothing against it.
fn takes_zlib(request: &Request) -> bool {
    let codings = request.header("accept-encoding").unwrap_or_default();
    codings.split(',').any(|coding| coding.trim() == "deflate")
}

/// The module as a script that makes `window.SmartSocket`.
fn classic() -> String {
    let (body, _) = MODULE
        .rsplit_once("\nexport ")
        .expect("the module ends with its exports");
    format!(
        "'use strict';\n(() => {{\n{body}\n\
         globalThis.SmartSocket = globalThis.SmartSocketClient = SmartSocketClient;\n}})();\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_exports_once_at_its_end() {
        let exports: Vec<_> = MODULE
            .lines()
            .filter(|line| line.starts_with("export ") || line.starts_with("import "))
            .collect();
        assert_eq!(exports.len(), 1);
        assert_eq!(MODULE.lines().last(), exports.first().copied());
        assert!(exports[0].starts_with("export { SmartSocketClient, "));
        assert!(!classic().contains("\nexport "));
    }
}
