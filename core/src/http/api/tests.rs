use super::*;
use crate::http::head::tests::request as parse_head;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

const HERE: Option<IpAddr> = Some(IpAddr::V4(core::net::Ipv4Addr::LOCALHOST));
const THERE: Option<IpAddr> = Some(IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1)));

fn request(line: &str, fields: &str, body: &str) -> Request {
    let head = format!("{line} HTTP/1.1\r\nHost: localhost:3000\r\n{fields}\r\n");
    parse_head(head.as_bytes())
        .unwrap()
        .with_body(String::from(body))
}

fn ask(line: &str, fields: &str, body: &str) -> Api {
    parse(
        &request(line, fields, body),
        &ApiConfig::default(),
        HERE,
        false,
    )
}

fn call(line: &str, body: &str) -> ApiCall {
    match ask(line, "", body) {
        Api::Call(call, _) => call,
        other @ (Api::NotOurs | Api::Refused(_)) => panic!("{line} {body}: {other:?}"),
    }
}

/// Status and error of a refusal.
fn refused(api: Api) -> (u16, String) {
    let Api::Refused(response) = api else {
        panic!("{api:?}");
    };
    let headers = response.headers();
    assert_eq!(headers.get("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(response.content()).unwrap();
    assert_eq!(body["success"], false);
    (response.status(), body["error"].as_str().unwrap().into())
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_default()
}

#[test]
fn every_route_is_understood() {
    let s = String::from;
    for (line, body, expected) in [
        (
            "GET /websocket/rooms",
            "",
            ApiCall::ListRooms { namespace: None },
        ),
        (
            "HEAD /websocket/rooms/?x=y",
            "",
            ApiCall::ListRooms { namespace: None },
        ),
        (
            "GET /websocket/rooms?namespace=%2Fchat",
            "",
            ApiCall::ListRooms {
                namespace: Some(s("/chat")),
            },
        ),
        (
            "GET /websocket/rooms/room%20%2F1",
            "",
            ApiCall::Room(s("room /1")),
        ),
        (
            "POST /websocket/rooms",
            r#"{"name":"general"}"#,
            ApiCall::CreateRoom {
                name: s("general"),
                description: None,
                max_connections: None,
            },
        ),
        (
            "POST /websocket/rooms",
            r#" { "x" : [1], "na\u006de":"\u00e9","description":"","maxConnections":50 } "#,
            ApiCall::CreateRoom {
                name: s("é"),
                description: Some(s("")),
                max_connections: Some(50),
            },
        ),
        (
            "POST /websocket/rooms",
            r#"{"name":"n","description":null,"maxConnections":null}"#,
            ApiCall::CreateRoom {
                name: s("n"),
                description: None,
                max_connections: None,
            },
        ),
        (
            "POST /websocket/rooms/r/message",
            r#"{"message":"hi"}"#,
            ApiCall::RoomMessage {
                room: s("r"),
                message: s("hi"),
            },
        ),
        (
            "POST /websocket/rooms/r/join",
            r#"{"connectionId":"c"}"#,
            ApiCall::JoinRoom {
                room: s("r"),
                connection: s("c"),
            },
        ),
        (
            "POST /websocket/rooms/r/leave",
            r#"{"connectionId":"c"}"#,
            ApiCall::LeaveRoom {
                room: s("r"),
                connection: s("c"),
            },
        ),
        ("GET /websocket/clients/c", "", ApiCall::Client(s("c"))),
        (
            "GET /websocket/clients/c/rooms",
            "",
            ApiCall::ClientRooms(s("c")),
        ),
        ("GET /metrics", "", ApiCall::Metrics { prometheus: false }),
        (
            "GET /metrics/prometheus",
            "",
            ApiCall::Metrics { prometheus: true },
        ),
        ("GET /smartsocket/poll", "", ApiCall::Poll),
        ("GET /smartsocket/poll/1", "", ApiCall::Poll),
        ("GET /smartsocket/stats", "", ApiCall::Stats),
        ("GET /client.js", "", ApiCall::ClientScript),
    ] {
        assert_eq!(call(line, body), expected, "{line} {body}");
    }
    for other in [
        "GET /",
        "OPTIONS *",
        "GET /websocket",
        "GET /websocket/clients",
        "GET /websocket/rooms/r/x",
        "GET /websocket/rooms/r/message/x",
        "GET /websocket//rooms",
        "GET /websocket/rooms/..",
        "GET /websocket/rooms/%ff",
        "GET /Metrics",
        "GET /client.jsx",
    ] {
        assert!(matches!(ask(other, "", ""), Api::NotOurs), "{other}");
    }
    let upgrade = ask("GET /metrics", "Upgrade: websocket\r\n", "");
    assert!(matches!(upgrade, Api::NotOurs));
}

#[test]
fn metrics_come_as_text_to_who_asks_for_it() {
    for (accept, expected) in [
        ("*/*", false),
        ("application/json, text/plain, */*", false),
        ("text/html,application/xhtml+xml,*/*;q=0.8", false),
        ("text/plain", true),
        ("Text/Plain;version=0.0.4;q=0.3 , */*;q=0.2", true),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            true,
        ),
        ("text/*", false),
        ("x-text/plain", false),
    ] {
        let Api::Call(ApiCall::Metrics { prometheus }, _) =
            ask("GET /metrics", &format!("Accept: {accept}\r\n"), "")
        else {
            panic!("{accept}");
        };
        assert_eq!(prometheus, expected, "{accept}");
    }
}

#[test]
fn what_is_missing_in_a_body_is_named() {
    let rooms = "POST /websocket/rooms";
    let message = "POST /websocket/rooms/r/message";
    let join = "POST /websocket/rooms/r/join";
    let leave = "POST /websocket/rooms/r/leave";
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    for (line, body, error) in [
        (rooms, "", "Room name is required"),
        (rooms, "{}", "Room name is required"),
        (rooms, r#"{"name":""}"#, "Room name is required"),
        (rooms, r#"{"name":" "}"#, "Room name is required"),
        (rooms, r#"{"name":null}"#, "Room name is required"),
        (rooms, r#"{"name":7}"#, "Room name is required"),
        (rooms, r#"{"Name":"n"}"#, "Room name is required"),
        (
            rooms,
            r#"{"name":"n","description":7}"#,
            "Description must be a string",
        ),
        (
            rooms,
            r#"{"name":"n","maxConnections":0}"#,
            "maxConnections must be a positive integer",
        ),
        (
            rooms,
            r#"{"name":"n","maxConnections":-1}"#,
            "maxConnections must be a positive integer",
        ),
        (
            rooms,
            r#"{"name":"n","maxConnections":1.5}"#,
            "maxConnections must be a positive integer",
        ),
        (
            rooms,
            r#"{"name":"n","maxConnections":"5"}"#,
            "maxConnections must be a positive integer",
        ),
        (
            rooms,
            r#"{"name":"n","maxConnections":1e99}"#,
            "maxConnections must be a positive integer",
        ),
        (rooms, r#"{"name":"a","name":"b"}"#, "Invalid JSON"),
        (rooms, r#"{"name":"a""#, "Invalid JSON"),
        (rooms, "name=a", "Invalid JSON"),
        (rooms, &deep, "Invalid JSON"),
        (rooms, r#"["general","",5]"#, "Body must be a JSON object"),
        (rooms, "null", "Body must be a JSON object"),
        (message, "", "Message is required"),
        (message, r#"{"message":""}"#, "Message is required"),
        (message, r#"{"message":{}}"#, "Message is required"),
        (join, "{}", "Connection ID is required"),
        (join, r#"{"connectionId":""}"#, "Connection ID is required"),
        (leave, "", "Connection ID is required"),
    ] {
        let told = refused(ask(line, "", body));
        assert_eq!(told, (400, error.into()), "{line} {body}");
    }
    let not_utf8 = request(rooms, "", "").with_body(vec![b'{', 0xff]);
    let told = refused(parse(&not_utf8, &ApiConfig::default(), HERE, false));
    assert_eq!(told, (400, "Body is not UTF-8".into()));
}

#[test]
fn a_method_that_a_path_does_not_have_is_refused_with_those_it_has() {
    for (line, allow) in [
        ("DELETE /websocket/rooms", "GET, HEAD, POST, OPTIONS"),
        ("POST /websocket/rooms/r", "GET, HEAD, OPTIONS"),
        ("GET /websocket/rooms/r/join", "POST, OPTIONS"),
        ("get /metrics", "GET, HEAD, OPTIONS"),
    ] {
        let Api::Refused(response) = ask(line, "", "") else {
            panic!("{line}");
        };
        assert_eq!(header(&response, "allow"), allow);
        assert_eq!(refused(Api::Refused(response)).0, 405);
    }
}

#[test]
fn a_body_beyond_the_limit_is_refused() {
    let body = format!("{{\"name\":\"{}\"}}", "x".repeat(64 << 10));
    let told = refused(ask("POST /websocket/rooms", "", &body));
    assert_eq!(told, (413, "Body too large".into()));
}

#[test]
fn without_a_token_only_this_machine_is_answered() {
    let status = |peer, host: &str, config: &ApiConfig, path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let request = parse_head(head.as_bytes()).unwrap();
        match parse(&request, config, peer, false) {
            Api::Call(..) => 200,
            refusal @ (Api::NotOurs | Api::Refused(_)) => refused(refusal).0,
        }
    };
    let config = &ApiConfig::default();
    let mapped: Option<IpAddr> = "::ffff:127.0.0.1".parse().ok();
    for host in [
        "localhost",
        "LocalHost:3000",
        "app.localhost",
        "127.0.0.1:3000",
        "127.9.9.9",
        "[::1]:3000",
    ] {
        for peer in [HERE, mapped, "::1".parse().ok(), None] {
            assert_eq!(
                status(peer, host, config, "/metrics"),
                200,
                "{host} {peer:?}"
            );
        }
        for peer in [THERE, "2001:db8::1".parse().ok()] {
            assert_eq!(
                status(peer, host, config, "/metrics"),
                403,
                "{host} {peer:?}"
            );
        }
    }
    // A page whose name was made to mean this machine, or a proxy on it.
    for host in [
        "evil.com",
        "evil.com:3000",
        "localhost.evil.com",
        "xlocalhost",
        "10.0.0.1",
    ] {
        assert_eq!(status(HERE, host, config, "/metrics"), 403, "{host}");
    }
    let open = &ApiConfig {
        loopback_only_without_token: false,
        ..ApiConfig::default()
    };
    assert_eq!(status(THERE, "example.com", open, "/metrics"), 200);
    for path in ["/smartsocket/poll", "/client.js"] {
        assert_eq!(status(THERE, "example.com", config, path), 200);
    }
    assert_eq!(
        status(THERE, "example.com", config, "/smartsocket/stats"),
        403
    );
}

#[test]
fn with_a_token_who_has_it_is_answered_wherever_from() {
    let config = |token: &str| ApiConfig {
        token: Some(token.into()),
        ..ApiConfig::default()
    };
    let status = |fields: &str, config: &ApiConfig| match parse(
        &request("GET /metrics", fields, ""),
        config,
        THERE,
        false,
    ) {
        Api::Call(..) => 200,
        Api::Refused(response) => {
            assert_eq!(header(&response, "www-authenticate"), "Bearer");
            refused(Api::Refused(response)).0
        }
        Api::NotOurs => 0,
    };
    for (fields, expected) in [
        ("Authorization: Bearer s3cret\r\n", 200),
        ("authorization: bearer s3cret\r\n", 200),
        ("", 401),
        ("Authorization: Bearer\r\n", 401),
        ("Authorization: s3cret\r\n", 401),
        ("Authorization: Basic s3cret\r\n", 401),
        ("Authorization: Bearer s3cre\r\n", 401),
        ("Authorization: Bearer s3crets\r\n", 401),
        ("Authorization: Bearer S3cret\r\n", 401),
        (
            "Authorization: Bearer s3cret\r\nAuthorization: Bearer s3cret\r\n",
            401,
        ),
    ] {
        assert_eq!(status(fields, &config("s3cret")), expected, "{fields}");
    }
    assert_eq!(status("Authorization: Bearer \r\n", &config("")), 401);
    let local = parse(
        &request("GET /metrics", "", ""),
        &config("s3cret"),
        HERE,
        false,
    );
    assert_eq!(refused(local).0, 401);
    assert!(!format!("{:?}", config("s3cret")).contains("s3cret"));
}

#[test]
fn only_pages_that_may_are_answered_and_may_read_it() {
    let list = ApiConfig {
        cors: Origins::List(vec!["https://app.example.com".into()]),
        ..ApiConfig::default()
    };
    let any = ApiConfig {
        cors: Origins::Any,
        ..ApiConfig::default()
    };
    let own = ApiConfig::default();
    for (config, origin, allowed) in [
        (&own, "http://localhost:3000", Some("http://localhost:3000")),
        (&own, "http://evil.com", None),
        (&own, "null", None),
        (
            &list,
            "https://app.example.com",
            Some("https://app.example.com"),
        ),
        (&list, "https://evil.example.com", None),
        (&any, "https://evil.com", Some("*")),
    ] {
        let fields = format!("Origin: {origin}\r\n");
        let body = r#"{"name":"n"}"#;
        let api = parse(
            &request("POST /websocket/rooms", &fields, body),
            config,
            HERE,
            false,
        );
        match (api, allowed) {
            (Api::Call(_, reply), Some(allowed)) => {
                let response = reply.success(true);
                assert_eq!(header(&response, "access-control-allow-origin"), allowed);
                let vary = if allowed == "*" { "" } else { "Origin" };
                assert_eq!(header(&response, "vary"), vary);
            }
            (refusal, None) => {
                let Api::Refused(response) = &refusal else {
                    panic!("{refusal:?}");
                };
                assert_eq!(header(response, "access-control-allow-origin"), "");
                assert_eq!(refused(refusal).0, 403);
            }
            (other, Some(_)) => panic!("{other:?}"),
        }
    }
    let Api::Call(_, reply) = ask("GET /metrics", "", "") else {
        panic!("no page asks");
    };
    assert_eq!(
        header(&reply.success(true), "access-control-allow-origin"),
        ""
    );
}

#[test]
fn browsers_may_ask_first() {
    let config = ApiConfig {
        token: Some("s3cret".into()),
        cors: Origins::List(vec!["https://a.example".into()]),
        ..ApiConfig::default()
    };
    let ask = |origin: &str| {
        let fields = format!("Origin: {origin}\r\nAccess-Control-Request-Method: POST\r\n");
        let request = request("OPTIONS /websocket/rooms", &fields, "");
        parse(&request, &config, THERE, false)
    };
    let Api::Refused(response) = ask("https://a.example") else {
        panic!("a preflight is no call");
    };
    assert_eq!(response.status(), 204);
    for (name, value) in [
        ("Allow", "GET, HEAD, POST, OPTIONS"),
        ("Access-Control-Allow-Origin", "https://a.example"),
        ("Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS"),
        (
            "Access-Control-Allow-Headers",
            "Authorization, Content-Type",
        ),
        ("Access-Control-Max-Age", "600"),
        ("Vary", "Origin"),
    ] {
        assert_eq!(header(&response, name), value);
    }
    assert_eq!(refused(ask("https://b.example")).0, 403);
}

proptest! {
    #[test]
    fn no_body_is_too_much(
        body in prop_oneof![
            "[{}\\[\\]\",:a-z0-9\\\\ ]{0,40}",
            "\\{\"(name|message|connectionId)\":(\"\\PC{0,8}\"|[0-9]{1,3}|null|\\{\\})\\}",
        ],
        path in "(/websocket/rooms|/websocket/rooms/[a-z%0-9]{0,4}/(join|message|leave))",
    ) {
        let line = format!("POST {path}");
        match ask(&line, "", &body) {
            Api::Call(ApiCall::RoomMessage { message: text, .. }, _)
            | Api::Call(ApiCall::CreateRoom { name: text, .. }, _)
            | Api::Call(ApiCall::JoinRoom { connection: text, .. }, _)
            | Api::Call(ApiCall::LeaveRoom { connection: text, .. }, _) => {
                prop_assert!(!text.trim().is_empty());
            }
            Api::Call(call, _) => prop_assert!(false, "{call:?}"),
            Api::Refused(response) => prop_assert_eq!(refused(Api::Refused(response)).0, 400),
            Api::NotOurs => {}
        }
    }
}
