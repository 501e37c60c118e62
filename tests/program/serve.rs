//! `smartsocket serve`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::support::{Answer, PATIENCE, Program, Server, Signal, command, run};

#[test]
fn one_line_tells_where_it_listens() {
    let server = Server::start(&[]);
    assert!(
        server.ready.starts_with("listening on ws://127.0.0.1:"),
        "{}",
        server.ready
    );
    assert!(!server.place.ends_with(":0"));
    server.program.signal(Signal::TERM);
    let ended = server.program.wait();
    assert_eq!((ended.code, ended.text()), (Some(0), ""));
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("note: the token \"dev\" authenticates"),
        "{lines:?}"
    );
}

#[test]
fn the_environment_gives_defaults_and_flags_win() {
    let mut with_port = command(&["serve"]);
    let server = Server::spawn(with_port.env("PORT", "0").env("SMARTSOCKET_HOST", "::1"));
    assert!(
        server.ready.starts_with("listening on ws://[::1]:"),
        "{}",
        server.ready
    );
    let mut with_both = command(&["serve", "--port", "0", "--host", "127.0.0.1"]);
    let server = Server::spawn(with_both.env("PORT", "1").env("SMARTSOCKET_HOST", "::1"));
    assert!(
        server.ready.starts_with("listening on ws://127.0.0.1:"),
        "{}",
        server.ready
    );
}

#[test]
fn it_warns_where_others_can_listen_in() {
    let server = Server::start(&["--host", "0.0.0.0"]);
    server.program.signal(Signal::TERM);
    let ended = server.program.wait();
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].starts_with("warning: ") && lines[0].contains("--tls-cert"),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("listening on ws://0.0.0.0:"),
        "{lines:?}"
    );
}

#[test]
fn health_counts_connections() {
    let server = Server::start(&["--shards", "2"]);
    let health = |server: &Server| -> serde_json::Value {
        let answer = server.request("GET", "/healthz");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        serde_json::from_str(&answer.body).unwrap()
    };
    let at_rest = health(&server);
    assert_eq!(at_rest["status"], "ok");
    assert_eq!(at_rest["connections"], 0);
    assert!(at_rest["uptime"].is_u64());
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Program::start(&["connect", &server.url("/echo")]);
            client.write(b"hi\n");
            assert_eq!(client.line(), "hi");
            client
        })
        .collect();
    assert_eq!(health(&server)["connections"], 3);
    for client in clients {
        assert_eq!(client.end().code, Some(0));
    }
    assert_eq!(health(&server)["connections"], 0);
}

#[test]
fn the_page_is_guarded() {
    let server = Server::start(&[]);
    let page = server.request("GET", "/");
    assert_eq!(page.status(), 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self' ws: wss:",
        "img-src data:",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(
            policy.split("; ").any(|part| part == rule),
            "{rule} in {policy}"
        );
    }
    assert!(page.body.starts_with("<!doctype html>"));
    assert_eq!(
        page.header("content-length"),
        Some(&*page.body.len().to_string())
    );
    assert_eq!(server.request("GET", "/?x=1").body, page.body);

    let head = server.request("HEAD", "/");
    assert_eq!((head.status(), &*head.body), (200, ""));
    assert_eq!(head.header("content-length"), page.header("content-length"));
}

/// What the page is told of its server.
fn facts(server: &Server) -> serde_json::Value {
    let page = server.request("GET", "/").body;
    let (_, rest) = page
        .split_once("<script type=\"application/json\" id=\"facts\">")
        .unwrap();
    let (facts, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(facts).unwrap()
}

#[test]
fn the_page_knows_its_server() {
    let plain = facts(&Server::start(&["--ignis-path", "/i", "--api-token", "t"]));
    let paths: Vec<_> = plain["routes"].as_array().unwrap().iter().collect();
    let route = |path, dialect| serde_json::json!({ "path": path, "dialect": dialect });
    for known in [
        route("/", "smartsocket"),
        route("/i", "ignis"),
        route("/echo", "raw"),
    ] {
        assert!(paths.contains(&&known), "{known}");
    }
    assert_eq!(
        (&plain["api"], &plain["apiToken"]),
        (&true.into(), &true.into())
    );
    assert_eq!(
        (&plain["encrypted"], &plain["apiKey"]),
        (&false.into(), &false.into())
    );
    assert_eq!(plain["devToken"], "dev");
    assert_eq!(plain["errors"]["ERR_ACK_001"][0], "Acknowledgment timeout");
    assert_eq!(plain["closes"]["1009"][0], "message too big");
    let several = facts(&Server::start(&["--shards", "2"]));
    assert_eq!(
        several["routes"],
        serde_json::json!([route("/echo", "raw")])
    );
    assert_eq!(several["api"], false);
}

#[test]
fn the_files_of_the_page_are_for_the_page() {
    for shards in ["1", "2"] {
        let server = Server::start(&["--shards", shards]);
        for (path, kind) in [
            ("/console/app.js", "text/javascript; charset=utf-8"),
            ("/console/dialects/mb.js", "text/javascript; charset=utf-8"),
            ("/console/console.css", "text/css; charset=utf-8"),
        ] {
            let file = server.request("GET", path);
            assert_eq!(
                (file.status(), file.header("content-type")),
                (200, Some(kind))
            );
            assert_eq!(file.header("access-control-allow-origin"), None);
            assert_eq!(file.header("cache-control"), Some("no-cache"));
        }
        let asked = |method: &str, codings: &str| {
            server.http(&format!(
                "{method} /console/app.js HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: {codings}\r\n\r\n",
                server.place
            ))
        };
        let plain = asked("GET", "gzip, deflate;q=0, br");
        assert_eq!(plain.header("content-encoding"), None);
        assert_eq!(plain.header("vary"), Some("Accept-Encoding"));
        assert!(plain.body.starts_with("// The console"));
        let packed = asked("HEAD", "gzip, deflate, br");
        assert_eq!(packed.header("content-encoding"), Some("deflate"));
        assert_ne!(packed.header("etag"), plain.header("etag"));
        let length = |answer: &Answer| answer.header("content-length").unwrap().parse::<usize>();
        assert!(length(&packed).unwrap() * 2 < length(&plain).unwrap());
        assert_eq!(server.request("GET", "/console/").status(), 404);
        assert_eq!(
            server.request("GET", "/console/../console.html").status(),
            404
        );
    }
}

#[test]
fn the_browser_client_can_be_loaded_from_elsewhere_and_kept() {
    for shards in ["1", "2"] {
        let server = Server::start(&["--shards", shards]);
        let mut tags = Vec::new();
        for (path, kind, part) in [
            (
                "/smartsocket.js",
                "text/javascript; charset=utf-8",
                "\nexport { SmartSocketClient, ",
            ),
            (
                "/smartsocket.d.ts",
                "application/typescript; charset=utf-8",
                "\nexport default SmartSocketClient;",
            ),
            (
                "/client.js",
                "text/javascript; charset=utf-8",
                "globalThis.SmartSocket = ",
            ),
        ] {
            let file = server.request("GET", path);
            assert_eq!(file.status(), 200);
            assert!(file.body.contains(part), "{path}");
            for (name, value) in [
                ("content-type", kind),
                ("cache-control", "no-cache"),
                ("access-control-allow-origin", "*"),
                ("cross-origin-resource-policy", "cross-origin"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(file.header(name), Some(value), "{path} {name}");
            }
            assert_eq!(server.request("GET", &format!("{path}?v=1")).status(), 200);
            let tag = file.header("etag").unwrap().to_owned();
            let again = |tag: &str| {
                server.http(&format!(
                    "GET {path} HTTP/1.1\r\nHost: {}\r\nIf-None-Match: {tag}\r\n\r\n",
                    server.place
                ))
            };
            for known in [&*tag, "*", &format!("\"0\", W/{tag}")] {
                let kept = again(known);
                assert_eq!((kept.status(), &*kept.body), (304, ""), "{known}");
                assert_eq!(kept.header("etag"), Some(&*tag));
            }
            assert_eq!(again("\"0\"").body, file.body);
            let head = server.request("HEAD", path);
            assert_eq!((head.status(), &*head.body), (200, ""));
            assert_eq!(head.header("etag"), Some(&*tag));
            assert!(matches!(server.request("DELETE", path).status(), 405 | 411));
            assert!(!tags.contains(&tag));
            tags.push(tag);
        }
    }
}

#[test]
fn what_is_not_there_is_told_in_json() {
    let server = Server::start(&[]);
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("POST", "/nope", 411),
        ("GET", "/echo/", 404),
        ("GET", "//", 404),
        ("PUT", "/", 411),
        ("DELETE", "/healthz", 405),
        ("DELETE", "/echo", 405),
        ("GET", "/echo", 426),
    ] {
        let answer = server.request(method, path);
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(body["error"].is_string());
        assert_eq!(answer.header("allow").is_some(), status == 405);
        assert_eq!(
            answer.header("upgrade"),
            (status == 426).then_some("websocket")
        );
    }
}

#[test]
fn a_page_of_another_host_cannot_connect() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let ended = run(
        &["connect", &url, "--origin", "http://evil.example"],
        "hi\n",
    );
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("HTTP status 403"), "{}", ended.stderr);
    let own = format!("http://{}", server.place);
    assert_eq!(
        run(&["connect", &url, "--origin", &own], "hi\n").text(),
        "hi\n"
    );
}

#[test]
fn a_port_in_use_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run(&["serve", "--port", &port], "");
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!(
            "error: port {port} on 127.0.0.1 is in use: stop the other program or choose one with --port\n"
        )
    );
}

#[test]
fn a_host_that_cannot_be_had_is_explained() {
    for (host, why) in [
        (
            "192.0.2.1",
            "192.0.2.1 is no address of this machine: choose one with --host",
        ),
        (
            "no such host",
            "--host no such host: not an address, nor the name of one",
        ),
    ] {
        let ended = run(&["serve", "--port", "0", "--host", host], "");
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn a_signal_closes_connections_with_1001() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&["--shards", "2"]);
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let mut client = Program::start(&["connect", &server.url("/echo"), "--json"]);
                client.write(b"hi\n");
                assert!(client.line().contains("\"open\""));
                assert!(client.line().contains("\"hi\""));
                client
            })
            .collect();
        server.program.signal(signal);
        for client in clients {
            let close: serde_json::Value = serde_json::from_str(&client.line()).unwrap();
            assert_eq!(close["type"], "close");
            assert_eq!(close["code"], 1001);
            assert_eq!(close["meaning"], "going away");
            assert_eq!(close["clean"], true);
            assert_eq!(client.wait().code, Some(0));
        }
        assert_eq!(server.program.wait().code, Some(0));
    }
}

#[test]
fn a_second_signal_does_not_wait_for_clients() {
    let server = Server::start(&[]);
    let mut silent = TcpStream::connect(&server.place).unwrap();
    let upgrade = format!(
        "GET /echo HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.place
    );
    silent.write_all(upgrade.as_bytes()).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    let mut read_until = |end: &[u8]| {
        while !answer.ends_with(end) {
            let mut byte = [0];
            silent.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
    };
    read_until(b"\r\n\r\n");
    server.program.signal(Signal::TERM);
    read_until(b"server is stopping");
    server.program.signal(Signal::INT);
    assert_eq!(server.program.wait().code, Some(130));
}

#[test]
fn messages_above_the_limit_close_with_1009() {
    let server = Server::start(&["--max-message", "1k"]);
    let url = server.url("/echo");
    let fits = "x".repeat(1_024);
    assert_eq!(run(&["connect", &url], &fits).text().trim_end(), fits);
    let ended = run(&["connect", &url], fits + "x");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("1009 message too big"),
        "{}",
        ended.stderr
    );
}

#[test]
fn log_lines_are_chosen_by_level_and_by_name() {
    let shown = |debug: &str, args: &[&str]| {
        let mut command = command(&["serve", "--port", "0"]);
        let server = Server::spawn(command.args(args).env("DEBUG", debug));
        run(&["connect", &server.url("/echo")], "hi\n");
        server.request("GET", "/nope");
        server.program.signal(Signal::TERM);
        let stderr = server.program.wait().stderr;
        let (server, http) = ("a connection opened", "GET /nope answered with 404");
        let shown = |name: &str, text: &str| {
            // By level with the name, by name in the form of SmartSocket.
            let long = format!("DEBUG smartsocket:{name} {text}");
            let short = format!("[smartsocket] [debug] {text}\n");
            stderr.contains(&if debug.is_empty() { long } else { short })
        };
        (shown("server", server), shown("http", http))
    };
    assert_eq!(shown("", &[]), (false, false));
    assert_eq!(shown("", &["--log", "debug"]), (true, true));
    assert_eq!(shown("smartsocket:*", &[]), (true, true));
    assert_eq!(shown("smartsocket:http", &[]), (false, true));
    assert_eq!(shown("smartsocket:*,-smartsocket:http", &[]), (true, false));
}

#[test]
fn debug_tells_what_is_emitted_and_who_comes_and_goes() {
    let emitted = |args: &[&str], debug: &str| {
        let mut command = command(&["serve", "--port", "0"]);
        let server = Server::spawn(command.args(args).env("DEBUG", debug));
        let event = "{\"event\":\"message\",\"data\":{\"text\":\"Hello\"}}\n";
        let long = event.replace("Hello", &"ä".repeat(200));
        run(
            &["connect", &server.url("/chat")],
            event.to_string() + &long,
        );
        server.program.signal(Signal::TERM);
        server.program.wait().stderr
    };
    let stderr = emitted(&[], "smartsocket:*");
    for line in [
        "[smartsocket] [debug] Emitting event: message {\"text\":\"Hello\"}\n",
        "äää... (411 bytes)\n",
        "[smartsocket] [debug] a connection opened: ",
        "[smartsocket] [debug] a connection ended: ",
    ] {
        assert!(stderr.contains(line), "{line} in {stderr}");
    }
    // What is in the messages is shown only to who asks for everything.
    let stderr = emitted(&["--log", "debug"], "");
    assert!(stderr.contains("Emitting event: message\n"), "{stderr}");
    assert!(!stderr.contains("Hello"), "{stderr}");
}
