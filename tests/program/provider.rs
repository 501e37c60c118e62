//! `smartsocket connect --provider`, and `smartsocket providers`.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use serde_json::{Value, json};
use smartsocket_smol::client::pusher_proof;
use smartsocket_smol::{CloseCode, Message, Stopper, WebSocket, block_on};

use crate::support::{Directory, Ended, PATIENCE, Program, Server, Signal, command, run};

const CANARY: &str = "canary/5f2b\"x";

/// A server that plays a part, connection by connection.
struct Scripted {
    place: String,
    stopper: Stopper,
}

impl Scripted {
    fn start(part: impl AsyncFn(WebSocket) + Clone + Send + 'static) -> Self {
        let server = smartsocket_smol::Server::bind("127.0.0.1:0").unwrap();
        let place = server.local_addr().unwrap().to_string();
        let stopper = server.stopper();
        thread::spawn(move || block_on(server.run(part)));
        Self { place, stopper }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stopper.stop();
    }
}

async fn text(socket: &mut WebSocket) -> String {
    match socket.recv().await {
        Some(Ok(Message::Text(text))) => text.as_str().into(),
        other => panic!("no text but {other:?}"),
    }
}

/// A server of Socket.IO that lets in who has a token.
async fn socket_io(mut socket: WebSocket) {
    let open = r#"0{"sid":"e","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    socket.send(open).await.unwrap();
    let connect = text(&mut socket).await;
    if !connect.contains("right") {
        let refusal = format!(r#"44{{"message":"no: {}"}}"#, CANARY.replace('"', "\\\""));
        socket.send(refusal).await.unwrap();
        while let Some(Ok(_)) = socket.recv().await {}
        return;
    }
    socket.send(r#"40{"sid":"s"}"#).await.unwrap();
    while let Some(Ok(Message::Text(said))) = socket.recv().await {
        let said = said.as_str();
        let answers = match said {
            _ if said.starts_with("40/room,") => vec![r#"40/room,{"sid":"r"}"#.to_owned()],
            _ if said.starts_with("40/") => {
                let name = &said[2..said.find(',').unwrap()];
                vec![format!(r#"44{name},{{"message":"Invalid namespace"}}"#)]
            }
            // It asks itself, and says what it heard.
            _ if said.starts_with("42/room,[\"ask\"") => vec![r#"42/room,7["asked",1]"#.to_owned()],
            _ if said.starts_with("43/room,") => {
                vec![format!(r#"42/room,["heard",{}]"#, json!(said))]
            }
            // What was asked with a number is answered with it.
            _ if said.starts_with("42/room,") && said.as_bytes()[8].is_ascii_digit() => {
                let digits = said[8..].find('[').unwrap();
                vec![format!("43/room,{}[{{\"got\":1}}]", &said[8..8 + digits])]
            }
            _ => vec![],
        };
        for answer in answers {
            socket.send(answer).await.unwrap();
        }
    }
}

fn kinds(ended: &Ended) -> Vec<String> {
    let kinds = ended.json();
    let kind = |event: &Value| match event["type"].as_str().unwrap() {
        "state" => event["state"].as_str().unwrap().to_owned(),
        kind => kind.to_owned(),
    };
    kinds.iter().map(kind).collect()
}

#[test]
fn smartsocket_asks_tells_and_hears() {
    let server = Server::start(&[]);
    let url = server.url("/");
    let client = ["connect", "--provider", "smartsocket", &url];
    let asked = run(
        &[&client[..], &["--event", "echo", "--request"]].concat(),
        "{\"n\":1}\n{\"n\": [2]}\n",
    );
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    let lines: Vec<_> = asked.text().lines().collect();
    assert!(lines[0].starts_with("{\"n\":1}  (") && lines[0].ends_with(" ms)"));
    assert!(lines[1].starts_with("{\"n\": [2]}  ("), "{lines:?}");
    let states = "* connecting\n* connected\n* authenticating\n* authenticated\n* disconnected\n";
    assert_eq!(asked.stderr, states);

    let told = run(&[&client[..], &["--namespace", "chat"]].concat(), "hello\n");
    assert_eq!((told.code, told.text()), (Some(0), "message \"hello\"\n"));
}

#[test]
fn encrypted_sessions_need_the_key() {
    let directory = Directory::new("provider-key");
    let (right, wrong) = (run(&["keygen"], ""), run(&["keygen"], ""));
    let mut serve = command(&["serve", "--port", "0"]);
    let server = Server::spawn(serve.env("ENCRYPTION_KEY", right.text().trim()));
    let url = server.url("/");
    let ask = |key: &Ended| {
        let key = directory.file("key", key.text());
        let who = [
            "connect",
            "--provider",
            "smartsocket",
            &url,
            "--key-file",
            &key,
        ];
        run(
            &[&who[..], &["--event", "echo", "--request"]].concat(),
            "{\"n\":1}\n",
        )
    };
    let asked = ask(&right);
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    assert!(asked.text().starts_with("{\"n\":1}  ("), "{}", asked.text());
    let refused = ask(&wrong);
    assert_eq!(refused.code, Some(1));
    let error = refused.stderr.lines().last().unwrap();
    assert!(
        error.starts_with("error: ERR_CONN_004: Authentication failed ("),
        "{error}"
    );
    for ended in [&asked, &refused] {
        assert!(!ended.stderr.contains(&right.text()[..12]));
    }

    // Without a key, by an exchange alone.
    let server = Server::start(&["--encryption-exchange", "only"]);
    let who = ["connect", "--provider", "smartsocket", &server.url("/")];
    let ask = ["--event", "echo", "--request"];
    let sealed = run(&[&who[..], &ask, &["--exchange"]].concat(), "1\n");
    assert!(sealed.text().starts_with("1  ("), "{}", sealed.stderr);
    let open = run(&[&who[..], &ask].concat(), "1\n");
    assert_eq!((open.code, open.text()), (Some(1), ""), "{}", open.stderr);
}

#[test]
fn other_dialects_of_our_server_are_spoken() {
    let server = Server::start(&[]);
    let mut ignis = command(&["connect", "--provider", "custom", &server.url("/ws")]);
    ignis.args(["--auth", "first-message", "--auth-template"]);
    ignis.arg(r#"{"event":"authenticate","data":{"token":"{{token}}"}}"#);
    let mut ignis = Program::spawn(ignis.env("SMARTSOCKET_TOKEN", "dev"));
    assert!(
        ignis
            .line()
            .starts_with("connected {\"event\":\"connected\"")
    );
    ignis.write(b"{\"event\":\"echo\",\"data\":[1]}\n");
    assert_eq!(ignis.line(), r#"echo {"event":"echo","data":[1]}"#);
    assert_eq!(ignis.end().code, Some(0));

    let rnode = ["connect", "--provider", "custom", &server.url("/rnode")];
    let rnode = run(&rnode, "{\"type\":\"ping\"}\n");
    assert!(rnode.text().starts_with("welcome {"), "{}", rnode.text());
    assert_eq!(rnode.code, Some(0));

    let mb = ["connect", "--provider", "echo", &server.url("/mb")];
    let mb = run(&mb, "garbage\n");
    let lines: Vec<_> = mb.text().lines().collect();
    // What has several lines is one.
    assert_eq!(lines[0], "publish:system.initialize:1.0.0\\n{}");
    assert!(lines[1].contains("MALFORMED_MESSAGE"), "{lines:?}");
}

#[test]
fn a_long_input_is_sent_to_its_end() {
    let server = Server::start(&[]);
    let input: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    let url = server.url("/echo");
    let ended = run(&["connect", "--provider", "echo", &url, "--stats"], &input);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.text() == input);
    let stats = ended.stderr.lines().last().unwrap();
    let counted = "sent 50000 (488890 bytes), received 50000 (488890 bytes), waiting 0, dropped 0";
    assert!(stats.contains(counted), "{stats}");
    assert!(stats.starts_with("* connected for "), "{stats}");
}

#[test]
fn json_tells_everything_in_order() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let args = ["connect", "--provider", "echo", &url, "--json", "--stats"];
    let ended = run(&args, "hi\n");
    let expected = [
        "connecting",
        "connected",
        "authenticated",
        "message",
        "disconnected",
        "stats",
    ];
    assert_eq!(kinds(&ended), expected);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let events = ended.json();
    assert_eq!(events[3]["kind"], "text");
    assert_eq!(events[3]["data"], "hi");
    assert_eq!(events[5]["messages_sent"], 1);
    assert_eq!(events[5]["bytes_received"], 2);
    for event in &events {
        assert!(event["time"].as_str().unwrap().ends_with('Z'), "{event}");
    }
}

#[test]
fn a_server_that_dies_and_returns_is_found_again() {
    let server = Server::start(&[]);
    let (place, url) = (server.place.clone(), server.url("/"));
    let args = [
        "connect",
        "--provider",
        "smartsocket",
        &url,
        "--event",
        "message",
    ];
    let mut client = Program::start(&[&args[..], &["--reconnect-delay", "0.05"]].concat());
    client.write(b"1\n");
    assert_eq!(client.line(), "message 1");
    server.program.signal(Signal::KILL);
    let lost = client.note("* lost: ");
    assert!(lost.contains("ended the connection"), "{lost}");
    client.note("* reconnecting");
    client.note(" to come back in 0.");
    // Said while nobody is there.
    client.write(b"2\n");
    client.note("nothing listens");
    let (_, port) = place.rsplit_once(':').unwrap();
    let mut serve = command(&["serve", "--port", port]);
    let _again = Server::spawn(&mut serve);
    client.note("* authenticated");
    assert_eq!(client.line(), "message 2");
    client.write(b"3\n");
    assert_eq!(client.line(), "message 3");
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn who_does_not_want_to_wait_gives_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    let args = ["connect", "--provider", "echo", &place];
    let nothing = format!("nothing listens at {place} (connection refused)");

    let ended = run(&[&args[..], &["--no-reconnect"]].concat(), "");
    assert_eq!((ended.code, ended.text()), (Some(1), ""));
    let told = format!("* connecting\n* error\nerror: {nothing}\n");
    assert_eq!(ended.stderr, told);

    let few = ["--max-attempts", "2", "--reconnect-delay", "0.01", "--json"];
    let ended = run(&[&args[..], &few].concat(), "");
    let events = ended.json();
    let attempts: Vec<_> = events.iter().map(|event| &event["attempt"]).collect();
    assert!(attempts.contains(&&json!(2)) && !attempts.contains(&&json!(3)));
    let last = events.last().unwrap();
    let gave_up = format!("gave up after 2 attempts to come back: {nothing}");
    assert_eq!(
        (&last["type"], &last["message"]),
        (&json!("error"), &json!(gave_up))
    );
    assert_eq!(ended.code, Some(1));

    // Who has nothing to say, and no patience, learns it too.
    let once = [
        "--max-attempts",
        "1",
        "--reconnect-delay",
        "0.5",
        "--linger",
        "0",
    ];
    let ended = run(&[&args[..], &once].concat(), "");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("gave up after 1 attempt"),
        "{}",
        ended.stderr
    );
}

#[test]
fn the_end_that_a_server_wants_is_one_and_tells_what_to_do() {
    for (code, expected, text) in [
        (1000, 0, "* ended: closed by the peer: 1000 normal (bye)"),
        (1008, 1, "give other credentials with --token-file"),
    ] {
        let server = Scripted::start(async move |mut socket| {
            let _ = socket.recv().await;
            socket.close(CloseCode::from(code), "bye").await;
        });
        let args = [
            "connect",
            "--provider",
            "echo",
            &server.place,
            "--keep-open",
        ];
        let ended = run(&args, "hi\n");
        assert_eq!(ended.code, Some(expected), "{}", ended.stderr);
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    }
}

#[test]
fn socket_io_has_namespaces_answers_and_refusals() {
    let server = Scripted::start(socket_io);
    let directory = Directory::new("socketio");
    let token = directory.file("token", "right\n");
    let args = ["connect", "--provider", "socketio", &server.place];
    let who = ["--token-file", &token, "--subscribe", "/room"];
    let client = [&args[..], &who].concat();

    // What the server asks is answered.
    let mut asked =
        Program::start(&[&client[..], &["--event", "ask", "--ack", "{\"ok\":true}"]].concat());
    asked.note("* subscribed to /room");
    asked.write(b"1\n");
    assert_eq!(asked.line(), "/room: asked 1");
    assert_eq!(asked.line(), r#"/room: heard "43/room,7[{\"ok\":true}]""#);
    assert_eq!(asked.end().code, Some(0));

    // What we ask too; one is enough.
    let one = run(
        &[&client[..], &["--event", "x", "--request", "-1"]].concat(),
        "1\n2\n",
    );
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert!(one.text().starts_with("{\"got\":1}  ("), "{}", one.text());
    assert_eq!(one.text().lines().count(), 1);

    // No such namespace.
    let none = Program::start(&[&client[..], &["--namespace", "/none"]].concat());
    none.note("* no subscription to /none: Invalid namespace");
    assert_eq!(none.end().code, Some(0));

    // Without a token, and nobody sees what the server has to say about it.
    let mut wrong = command(&args);
    let wrong = Program::spawn(wrong.env("SMARTSOCKET_TOKEN", CANARY)).wait();
    assert_eq!(wrong.code, Some(1));
    let error = wrong.stderr.lines().last().unwrap();
    assert!(
        error.starts_with("error: no: ***: give other credentials with --token-file FILE"),
        "{error}"
    );
}

fn read_head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

#[test]
fn pusher_proves_that_channels_are_ours() {
    let server = Scripted::start(async |mut socket| {
        let hello = json!({ "socket_id": "1.2", "activity_timeout": 120 }).to_string();
        let hello = json!({ "event": "pusher:connection_established", "data": hello });
        socket.send(hello.to_string()).await.unwrap();
        while let Some(Ok(Message::Text(said))) = socket.recv().await {
            let said: Value = serde_json::from_str(&said).unwrap();
            if said["event"] == "pusher:subscribe" {
                let channel = said["data"]["channel"].as_str().unwrap();
                let member = said["data"]["channel_data"].as_str();
                let proof = pusher_proof("key", "the-secret", "1.2", channel, member);
                let proof: Value = serde_json::from_str(proof.as_str()).unwrap();
                assert_eq!(proof["auth"], said["data"]["auth"]);
                let event = "pusher_internal:subscription_succeeded";
                let answer = json!({ "event": event, "channel": channel, "data": "{}" });
                socket.send(answer.to_string()).await.unwrap();
            } else {
                let heard = json!({ "event": "heard", "channel": said["channel"], "data": said });
                socket.send(heard.to_string()).await.unwrap();
            }
        }
    });
    let url = format!("ws://{}/app/key?x=1", server.place);
    let mut client = command(&["connect", "--provider", "pusher", &url]);
    client.args(["--subscribe", "private-a", "--subscribe", "presence-b"]);
    client.args(["--member", r#"{"user_id":"7"}"#]);
    let mut client = Program::spawn(client.env("SMARTSOCKET_TOKEN", "the-secret"));
    client.note("* subscribed to presence-b");
    client.write(b"[1]\n");
    let heard = client.line();
    let said = r#"private-a: heard {"channel":"private-a","data":[1],"event":"client-message"}"#;
    assert_eq!(heard, said);
    assert_eq!(client.end().code, Some(0));
}

#[test]
fn a_refused_token_is_tried_once_and_another_one_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let directory = Directory::new("refused");
    let token = directory.file("token", "first-token");
    let path = directory.path("token");
    let (sender, heads) = mpsc::channel();
    let served = thread::spawn(move || {
        for n in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(read_head(&mut stream)).unwrap();
            if n == 0 {
                // Somebody writes another one meanwhile.
                std::fs::write(&path, "other-token").unwrap();
            }
            let refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(refusal).unwrap();
        }
    });
    let args = [
        "connect",
        "--provider",
        "echo",
        &place,
        "--token-file",
        &token,
    ];
    let ended = run(
        &[&args[..], &["--reconnect-delay", "0.01"]].concat(),
        "hi\n",
    );
    served.join().unwrap();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let advice = "it wants credentials, give them with --token-file";
    assert!(ended.stderr.contains(advice), "{}", ended.stderr);
    for token in ["first-token", "other-token"] {
        let head = heads.recv().unwrap();
        assert!(head.contains(&format!("Authorization: Bearer {token}")));
        assert!(!ended.stderr.contains(token), "{}", ended.stderr);
    }
}

#[test]
fn a_token_never_shows_wherever_it_goes() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let encoded = "canary%2F5f2b";
    let template = "{{token}}";
    for how in [
        &["--auth", "query", "--auth-name", "key"][..],
        &["--auth", "header"],
        &["--auth", "header", "--auth-name", "X-Api-Key"],
        // These the echo repeats.
        &["--auth", "first-message"],
        &["--auth", "first-message", "--auth-template", template],
    ] {
        for more in [&["-vv"][..], &["--json", "-vv", "--stats"]] {
            let mut client = command(&["connect", "--provider", "echo", &url]);
            client.args(how).args(more).env("SMARTSOCKET_TOKEN", CANARY);
            client.env("DEBUG", "*").env("RUST_LOG", "trace");
            let mut client = Program::spawn(&mut client);
            client.write(b"hi\n");
            let ended = client.end();
            assert_eq!(ended.code, Some(0), "{how:?} {}", ended.stderr);
            assert!(ended.text().contains("hi"));
            for shown in [&*ended.stderr, ended.text()] {
                assert!(!shown.contains("5f2b"), "{how:?} {shown}");
                assert!(!shown.contains(encoded), "{how:?} {shown}");
            }
        }
    }
}

#[test]
fn a_form_is_taken_or_explained() {
    let server = Server::start(&[]);
    let directory = Directory::new("form");
    let form = |form: &Value| directory.file("form.json", &form.to_string());
    let url = server.url("/echo");
    let good = form(&json!({
        "provider": "echo", "url": url, "authMethod": "none", "messageFormat": "text",
    }));
    let ended = run(&["connect", "--form", &good], "hi\n");
    assert_eq!((ended.code, ended.text()), (Some(0), "hi\n"));
    let ended = run(&["connect", "--form", &good, "--check"], "hi\n");
    let well = format!("the form is well: echo at {url}\n");
    assert_eq!((ended.code, ended.text()), (Some(0), &*well));

    // The token may come from elsewhere.
    let apart = form(&json!({
        "url": url, "authMethod": "first-message", "messageFormat": "json",
    }));
    let mut client = command(&["connect", "--form", &apart]);
    let client = Program::spawn(client.env("SMARTSOCKET_TOKEN", "right-token"));
    assert_eq!(
        client.line(),
        r#"authenticate {"type":"authenticate","token":"***"}"#
    );
    assert_eq!(client.end().code, Some(0));

    let wrong = form(&json!({
        "provider": "echo2", "url": "http://h/?token=canary", "authMethod": "none",
        "messageFormat": "text", "pingIntervall": "canary",
    }));
    for check in [&[][..], &["--check"]] {
        let ended = run(&[&["connect", "--form", &wrong], check].concat(), "");
        assert_eq!(ended.code, Some(2));
        let lines: Vec<_> = ended.stderr.lines().map(str::trim).collect();
        assert!(
            lines[1].starts_with("provider: is to be one of custom, "),
            "{lines:?}"
        );
        assert!(lines[2].starts_with("url: is to be a URL that begins with ws://"));
        assert_eq!(
            lines[3],
            "pingIntervall: is no field: is pingInterval meant?"
        );
        assert!(!ended.stderr.contains("canary"));
    }
    let broken = directory.file("form.json", "{\"authToken\": canary");
    let ended = run(&["connect", "--form", &broken, "--check"], "");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("line 1, column 15 is no JSON"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("canary"));
}

#[test]
fn ctrl_c_leaves_and_a_signal_tells_figures() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let mut client = Program::start(&["connect", "--provider", "echo", &url]);
    client.write(b"hi\n");
    assert_eq!(client.line(), "hi");
    client.signal(Signal::USR1);
    let figures = client.note("sent 1 (2 bytes), received 1 (2 bytes)");
    assert!(figures.contains("connected for"), "{figures}");
    client.signal(Signal::INT);
    let ended = client.wait();
    assert_eq!(ended.code, Some(130));
    assert!(
        ended.stderr.ends_with("* disconnected\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let server = Server::start(&[]);
    let directory = Directory::new("provider-leaves");
    let input = directory.file("input", &"line\n".repeat(50_000));
    let script = format!(
        "'{}' connect --provider echo {} <'{input}' 2>/dev/null | head -n 1",
        env!("CARGO_BIN_EXE_smartsocket"),
        server.url("/echo")
    );
    let script = format!("{script}; echo $?");
    let ended = Program::spawn(std::process::Command::new("bash").args(["-c", &script])).end();
    assert_eq!(ended.text(), "line\n0\n");
}

#[test]
fn what_cannot_be_is_wrong_usage() {
    let directory = Directory::new("provider-usage");
    let key = directory.file("key", "short");
    for (args, expected) in [
        (&["--provider", "socket.io", "h"][..], "socketio"),
        (&["h", "--subscribe", "x"], "--provider"),
        (&["h", "--token", "canary"], "--provider"),
        (&["--provider", "echo"], "<URL>"),
        (&["--provider", "echo", "h", "--binary"], "--binary"),
        (
            &["--provider", "echo", "h", "--auth", "query"],
            "SMARTSOCKET_TOKEN",
        ),
        (
            &[
                "--provider",
                "echo",
                "h",
                "--token",
                "canary",
                "--auth",
                "first-message",
                "--auth-template",
                "canary",
            ],
            "has no {{token}}",
        ),
        (
            &["--provider", "echo", "h", "--namespace", "x"],
            "echo has no namespaces",
        ),
        (
            &["--provider", "echo", "h", "--key-file", &key],
            "--provider smartsocket",
        ),
        (
            &["--provider", "smartsocket", "h", "--key-file", &key],
            "`smartsocket keygen`",
        ),
        (
            &["--provider", "echo", "h", "--request"],
            "echo has no requests",
        ),
        (&["--provider", "custom", "h", "--request"], "needs --event"),
        (
            &["--provider", "custom", "h", "--channel", "x"],
            "needs --event",
        ),
        (&["--provider", "echo", "h", "--ack", "{"], "expected JSON"),
        (
            &["--provider", "echo", "h", "--member", "{}"],
            "--provider pusher",
        ),
        (
            &["--provider", "echo", "ftp://canary/"],
            "does not start with ws://",
        ),
        (
            &["--provider", "echo", "h", "-H", "A: canary\r\nB: c"],
            "bad option",
        ),
        (&["--check", "h"], "--form"),
    ] {
        let ended = run(&[&["connect"], args].concat(), "");
        assert_eq!(ended.code, Some(2), "{args:?} {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{args:?} {}", ended.stderr);
        assert!(
            !ended.stderr.contains("canary"),
            "{args:?} {}",
            ended.stderr
        );
    }
}

#[test]
fn what_a_provider_does_not_send_is_told() {
    let server = Scripted::start(async |mut socket| while socket.recv().await.is_some() {});
    let url = format!("ws://{}/", server.place);
    let pusher = ["--provider", "pusher", "--subscribe", "public"];
    for (who, advice) in [
        (&["--provider", "phoenix"][..], "phoenix sends to channels"),
        (&pusher, "client-... to channels private-..."),
        (
            &["--provider", "socketio", "--channel", "x"],
            "begin with '/'",
        ),
    ] {
        let ended = run(
            &[&["connect", &url, "--no-reconnect", "--timeout", "1"], who].concat(),
            "hi\n",
        );
        assert!(ended.stderr.contains(advice), "{}", ended.stderr);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    }
}

#[test]
fn providers_are_listed() {
    let all = run(&["providers", "--json"], "");
    let all: Value = serde_json::from_str(all.text()).unwrap();
    let names = all.as_array().unwrap().iter();
    let names: BTreeSet<_> = names.map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 13);
    let list = run(&["providers"], "");
    let schema = run(&["providers", "--schema"], "");
    let schema: Value = serde_json::from_str(schema.text()).unwrap();
    for name in names {
        assert!(
            list.text()
                .lines()
                .any(|line| line.starts_with(&format!("{name} ")))
        );
        let one = run(&["providers", name], "");
        assert_eq!(one.code, Some(0));
        let example = format!("smartsocket connect --provider {name} ");
        assert!(one.text().contains(&example), "{}", one.text());
        for field in schema["properties"].as_object().unwrap().keys() {
            assert!(one.text().contains(&format!("  {field} ")), "{field}");
        }
    }
    assert_eq!(run(&["providers", "nobody"], "").code, Some(2));
}
