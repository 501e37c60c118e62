//! The small HTTP API: what a request may do.

use std::net::{IpAddr, Ipv4Addr};

use smartsocket_core::Json;
use smartsocket_core::http::{ApiConfig, HeadLimits, Origins};
use smartsocket_core::internals::{HeadReader, api};

use crate::input::{Input, bit};

const TOKEN: &str = "s3cret";

/// `configuration and peer, a head, a body`.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let config = ApiConfig {
        token: bit(flags, 0).then(|| TOKEN.to_owned()),
        loopback_only_without_token: !bit(flags, 1),
        cors: match (bit(flags, 2), bit(flags, 3)) {
            (false, _) => Origins::SameHost,
            (true, false) => Origins::Any,
            (true, true) => Origins::List(vec!["https://app.example.com".into()]),
        },
        max_body: if bit(flags, 4) { 20 } else { 64 << 10 },
    };
    let here = !bit(flags, 5);
    let peer = IpAddr::from(if here {
        Ipv4Addr::LOCALHOST
    } else {
        Ipv4Addr::new(192, 0, 2, 1)
    });
    let secure = bit(flags, 6);

    let mut reader = HeadReader::request(HeadLimits::default());
    let Ok(Some(used)) = reader.read(input.0) else {
        return;
    };
    let Ok(request) = reader.into_request() else {
        return;
    };
    let request = request.with_body(input.0[used..].to_vec());
    let ask = || api(&request, &config, Some(peer), secure);
    match (ask(), ask()) {
        (None, None) => {}
        (Some(Ok(call)), Some(Ok(again))) => {
            assert_eq!(call, again);
            let open = call == "Poll" || call == "ClientScript";
            if config.token.is_some() && !open {
                let shown = request.header("authorization").unwrap_or_default();
                assert!(shown.ends_with(TOKEN), "{call} without the token");
            }
            if config.token.is_none() && config.loopback_only_without_token && !open {
                assert!(here, "{call} from elsewhere");
            }
            assert!(
                config.cors.allows(&request, secure),
                "{call} by another page"
            );
            let name = call.split([' ', '(']).next().unwrap_or_default();
            let writes = ["CreateRoom", "RoomMessage", "JoinRoom", "LeaveRoom"].contains(&name);
            if writes {
                assert_eq!(request.method(), "POST");
                assert!(request.body().len() <= config.max_body);
            } else {
                assert!(["GET", "HEAD"].contains(&request.method()), "{call}");
            }
            assert!(!request.is_upgrade());
        }
        (Some(Err(response)), Some(Err(_))) => {
            let status = response.status();
            assert!([204, 400, 401, 403, 405, 413].contains(&status), "{status}");
            assert_eq!(
                status == 204,
                request.method() == "OPTIONS" && status != 403
            );
            assert_eq!(status == 204, response.content().is_empty());
            assert_eq!(
                response.headers().contains("allow"),
                [204, 405].contains(&status)
            );
            if status != 204 {
                let text = String::from_utf8(response.content().to_vec()).expect("text");
                let json = Json::parse(text).expect("a refusal is JSON");
                assert!(json.as_str().starts_with("{\"success\":false,\"error\":\""));
            }
            if response.headers().contains("access-control-allow-origin") {
                assert!(config.cors.allows(&request, secure), "told to another page");
            }
        }
        (one, other) => panic!("{one:?}, and then {other:?}"),
    }
}
