//! Options of `serve`: by flags, the environment and a file; `check`, `schema`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Authority, Directory, Ended, Program, Server, command, run};

/// Runs `check` on a file with this content.
fn check(content: &str, args: &[&str]) -> Ended {
    let directory = Directory::new(&format!("check-{:?}", std::thread::current().id()));
    let file = directory.file("s.toml", content);
    let args = [&["check", &file], args].concat();
    let mut ended = run(&args, "");
    ended.stderr = ended.stderr.replace(&file, "FILE");
    ended
}

/// Name, value and origin of every option that `check` shows, in which
/// comments take the place of values that there are none of.
fn shown(ended: &Ended) -> BTreeMap<String, (String, String)> {
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut table = String::new();
    let mut shown = BTreeMap::new();
    for line in ended.text().lines() {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if !line.is_empty() {
            let (text, origin) = line.rsplit_once(" # ").unwrap();
            let text = text.trim_start_matches("# ").trim_end();
            let (name, value) = text
                .split_once(" = ")
                .or_else(|| text.split_once(": "))
                .unwrap();
            shown.insert(format!("{table}{name}"), (value.into(), origin.into()));
        }
    }
    shown
}

fn is(shown: &BTreeMap<String, (String, String)>, name: &str, value: &str, origin: &str) {
    let expected = (value.to_string(), origin.to_string());
    assert_eq!(shown.get(name), Some(&expected), "{name}");
}

#[test]
fn flags_go_before_the_environment_that_before_files_and_presets() {
    let directory = Directory::new("precedence");
    let file = directory.file(
        "s.toml",
        "preset = \"low-latency\"\ncompressionLevel = 2\nrateLimitMaxRequests = 7\nport = 4000\n",
    );
    let mut program = command(&["check", &file, "--rate-limit-max-requests", "9"]);
    program
        .env("PORT", "5000")
        .env("SMARTSOCKET_RATE_LIMIT_MAX_REQUESTS", "8");
    let shown = shown(&Program::spawn(&mut program).end());
    is(
        &shown,
        "rateLimitMaxRequests",
        "9",
        "--rate-limit-max-requests",
    );
    is(&shown, "port", "5000", "PORT");
    is(&shown, "compressionLevel", "2", "line 2");
    is(&shown, "connectionTimeout", "5000", "preset low-latency");
    is(&shown, "maxConnections", "10000", "default");
}

#[test]
fn presets_are_what_the_documents_say() {
    let low = shown(&check("", &["--preset", "low-latency"]));
    is(&low, "compressionLevel", "1", "preset low-latency");
    is(&low, "rateLimitMaxRequests", "10000", "preset low-latency");
    is(&low, "connectionTimeout", "5000", "preset low-latency");
    let high = shown(&check("preset = \"high-throughput\"", &[]));
    is(&high, "compressionLevel", "9", "preset high-throughput");
    is(&high, "maxConnections", "50000", "preset high-throughput");
    let mobile = check("", &["--preset=mobile"]);
    assert!(mobile.stderr.contains("for clients"), "{}", mobile.stderr);
    let changed = shown(&mobile);
    assert!(
        changed
            .values()
            .all(|(_, origin)| !origin.starts_with("preset"))
    );
}

#[test]
fn what_check_shows_is_a_file_that_says_the_same() {
    let content = "host = \"::1\"\nconnectionTimeout = \"90s\"\n\
        [eventRateLimits]\nmessage = { window = 5000, maxRequests = 5 }\n\
        \"a \\\" b\" = { window = 1, maxRequests = 0 }\n\
        [ignis]\ndefaultRooms = [\"x\", \"y\"]\nserverOptions.idleTimeout = 0\n\
        [mb]\nmaxPayload = \"64k\"\n";
    let first = check(content, &[]);
    let second = check(first.text(), &[]);
    let values = |ended| {
        let shown = shown(ended).into_iter();
        shown
            .map(|(name, (value, _))| (name, value))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second));
    let shown = shown(&first);
    is(&shown, "connectionTimeout", "90000", "line 2");
    is(&shown, "mb.maxPayload", "65536", "line 10");
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let wrong = "prot = 1\ncompressionLevel = 10\n\n[ignis]\nautTimeout = 5\n\n\
        [mb]\npath = \"/echo\"\n";
    let ended = check(wrong, &[]);
    assert_eq!((ended.code, ended.text()), (Some(1), ""));
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(
        lines,
        [
            "error: FILE:1: unknown option prot; did you mean port?",
            "error: FILE:2: compressionLevel: expected a number in 1..=9",
            "error: FILE:5: unknown option ignis.autTimeout; did you mean ignis.authTimeout?",
            "error: FILE:8: mb.path: /echo is the path of something else",
        ]
    );
    let directory = Directory::new("refused");
    let file = directory.file("s.toml", wrong);
    let refused = run(&["serve", "--port", "0", "--config", &file], "");
    assert_eq!(refused.code, Some(1));
    assert_eq!(refused.stderr.replace(&file, "FILE"), ended.stderr);
}

#[test]
fn files_that_are_none_are_told() {
    let ended = check("port = \n", &[]);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.starts_with("error: FILE:1: "),
        "{}",
        ended.stderr
    );
    let ended = run(&["check", "/no/such/file.toml"], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("there is no such file"),
        "{}",
        ended.stderr
    );
}

#[test]
fn certificates_that_cannot_be_used_are_told() {
    let directory = Directory::new("certificates");
    let authority = Authority::new();
    let (cert, key) = authority.issue("127.0.0.1");
    let (_, other) = authority.issue("127.0.0.1");
    let file = |name, content| directory.file(name, content);
    let cert = file("cert.pem", &cert);
    let with = |key: &str| {
        let content = format!("tlsCert = {cert:?}\ntlsKey = {key:?}\n");
        check(&content, &[])
    };
    assert_eq!(with(&file("key.pem", &key)).code, Some(0));
    for (key, why) in [
        (directory.path("none.pem"), "there is no such file"),
        (file("other.pem", &other), "cannot use --tls-cert"),
    ] {
        let ended = with(&key);
        assert_eq!((ended.code, ended.text()), (Some(1), ""));
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn flags_and_variables_are_wrong_usage() {
    for (variable, value, args, advice) in [
        ("PORT", "x", &[][..], "0..=65535"),
        (
            "SMARTSOCKET_TLS_KEY",
            "x",
            &[],
            "SMARTSOCKET_TLS_KEY: needs tlsCert",
        ),
        (
            "X",
            "",
            &["--compresion-level", "1"],
            "'--compression-level'",
        ),
        (
            "X",
            "",
            &["--ignis-idle-timeout", "1ms"],
            "at least 0 seconds",
        ),
        (
            "X",
            "",
            &["--preset", "fast"],
            "low-latency, high-throughput, mobile",
        ),
        ("X", "", &["--enable-rate-limiting=no"], "true or false"),
        ("X", "", &["--event-rate-limits", "x=5"], "maxRequests"),
        ("X", "", &["--mb-path", "mb"], "does not start with /"),
        ("X", "", &["--api-key", ""], "--api-key: expected a text"),
        (
            "X",
            "",
            &["--enable-encryption"],
            "--enable-encryption: needs an encryptionKey",
        ),
    ] {
        let mut program = command(&["serve"]);
        program.env(variable, value).args(args);
        let ended = Program::spawn(&mut program).end();
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(advice), "{args:?}: {}", ended.stderr);
    }
}

#[test]
fn nobody_who_asks_for_encryption_goes_without() {
    let mut program = command(&["serve", "--port", "0"]);
    program.env("ENCRYPTION_KEY", "hunter2");
    let ended = Program::spawn(&mut program).end();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.starts_with("error: ENCRYPTION_KEY: "),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hunter2"));
}

#[test]
fn secrets_are_not_shown() {
    let content = "apiKey = \"hunter2\"\napiKeys = [\"hunter2\"]\nencryptionKey = \"hunter2\"\n\
        enableEncryption = false\napi.token = \"hunter2\"\n";
    let ended = check(content, &[]);
    let all = shown(&ended);
    is(&all, "api.token", "\"***\"", "line 5");
    is(&all, "apiKeys", "[\"***\"]", "line 2");
    assert!(!ended.text().contains("hunter2"));
    for args in [&["serve", "--help"][..], &["serve", "--port", "x"]] {
        let mut program = command(args);
        program.env("SMARTSOCKET_API_KEY", "hunter2");
        let ended = Program::spawn(&mut program).end();
        assert!(!ended.text().contains("hunter2") && !ended.stderr.contains("hunter2"));
    }
}

#[test]
fn the_schema_has_what_check_shows_and_nothing_else() {
    let ended = run(&["schema"], "");
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let schema: Value = serde_json::from_str(ended.text()).unwrap();
    let mut names = Vec::new();
    let mut tables = vec![(String::new(), &schema)];
    while let Some((prefix, table)) = tables.pop() {
        assert_eq!(table["additionalProperties"], false, "{prefix}");
        for (name, option) in table["properties"].as_object().unwrap() {
            let name = format!("{prefix}{name}");
            if option["properties"].is_object() {
                tables.push((format!("{name}."), option));
            } else {
                assert!(option["description"].is_string(), "{name}");
                names.push(name);
            }
        }
    }
    names.sort();
    let shown = shown(&check("", &[]));
    assert_eq!(names, shown.keys().cloned().collect::<Vec<_>>());
    assert_eq!(schema["properties"]["port"]["default"], 3_000);
    assert_eq!(schema["properties"]["port"]["maximum"], 65_535);
}

/// A server with this file.
fn serve(directory: &Directory, content: &str) -> Server {
    let file = directory.file("s.toml", content);
    Server::start(&["--config", &file])
}

#[test]
fn routes_can_be_moved_and_bounded() {
    let directory = Directory::new("moved");
    let server = serve(
        &directory,
        "port = 1\nmaxMessage = \"1k\"\n[ignis]\npath = \"/ignis\"\n\
         [rnode]\npath = \"/nodes\"\n[api]\nenable = false\n",
    );
    for (path, status) in [
        ("/ws", 404),
        ("/ignis", 426),
        ("/rnode", 404),
        ("/nodes", 400),
        ("/websocket/rooms", 404),
    ] {
        assert_eq!(server.request("GET", path).status(), status, "{path}");
    }
    let ended = run(&["connect", &server.url("/echo")], "x".repeat(1_025));
    assert!(ended.stderr.contains("1009"), "{}", ended.stderr);
}

#[test]
fn keys_are_asked_for() {
    let directory = Directory::new("keys");
    let server = serve(&directory, "apiKey = \"one\"\napiKeys = [\"two\"]\n");
    let code = |key: &str| {
        run(
            &["connect", &server.url(&format!("/chat?apiKey={key}"))],
            "",
        )
        .code
    };
    assert_eq!(
        [code("one"), code("two"), code("three")],
        [Some(0), Some(0), Some(3)]
    );
}

#[test]
fn rates_are_limited_as_the_file_says() {
    let directory = Directory::new("rates");
    let server = serve(
        &directory,
        "rateLimitMaxRequests = 4\n[eventRateLimits.delete]\nwindow = 60000\nmaxRequests = 1\n",
    );
    let told = |event: &str, count: usize| {
        let line = format!("{{\"event\":\"{event}\"}}\n");
        let ended = run(&["connect", &server.url("/chat")], line.repeat(count));
        ended.text().matches("__rate-limited__").count()
    };
    assert_eq!([told("x", 4), told("x", 5)], [0, 1]);
    assert_eq!([told("delete", 1), told("delete", 2)], [0, 1]);
    let server = serve(
        &directory,
        "rateLimitMaxRequests = 1\nenableRateLimiting = false\n",
    );
    let lines = "{\"event\":\"x\"}\n".repeat(5);
    let ended = run(&["connect", &server.url("/chat")], lines);
    assert!(
        !ended.text().contains("__rate-limited__"),
        "{}",
        ended.text()
    );
}

#[test]
fn one_connection_too_many_is_refused() {
    let server = Server::start(&["--max-connections", "1"]);
    let mut first = Program::start(&["connect", &server.url("/echo")]);
    first.write(b"hi\n");
    assert_eq!(first.line(), "hi");
    let second = run(&["connect", &server.url("/echo")], "");
    assert_eq!(second.code, Some(3), "{}", second.stderr);
    assert!(second.stderr.contains("503"), "{}", second.stderr);
}

#[test]
fn more_connections_than_files_are_told() {
    let mut shell = std::process::Command::new("sh");
    shell
        .args([
            "-c",
            "ulimit -n 100 && exec \"$0\" serve --port 0 --preset high-throughput",
        ])
        .arg(env!("CARGO_BIN_EXE_smartsocket"));
    let program = Program::spawn(&mut shell);
    let warning = program.note("warning: ");
    assert!(
        warning.contains("may open 100 files, so 50000"),
        "{warning}"
    );
}

#[test]
fn who_says_nothing_is_dropped() {
    let server = Server::start(&["--connection-timeout", "200"]);
    let ended = run(&["connect", "--keep-open", "-v", &server.url("/chat")], "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("1000"), "{}", ended.stderr);
}
