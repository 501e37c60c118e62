//! What servers of providers say to clients.

use super::Seeds;

/// A session with each provider's server, with a request, an event or a
/// channel now and then.
pub(super) fn add(seeds: &mut Seeds) {
    let sessions: [(&'static str, &[&str]); 13] = [
        (
            "provider_custom",
            &[
                r#"{"type":"ping","id":"x","timestamp":5}"#,
                r#"{"type":"publish","channel":"c","payload":{"text":"hi"}}"#,
                r#"{"type":"error","id":"x","payload":{"message":"no"}}"#,
            ],
        ),
        (
            "provider_socket_io",
            &[
                r#"0{"sid":"S1","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#,
                r#"40{"sid":"abc","pid":"P1"}"#,
                r#"40/c,{"sid":"abc"}"#,
                "2",
                r#"42["e",1,"Q7xVFLm"]"#,
                r#"42/c,7["e",{"a":1}]"#,
                r#"437["ok"]"#,
                r#"452-["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]"#,
                "binary",
                "binary",
                r#"44/c,{"message":"no"}"#,
                "41",
            ],
        ),
        (
            "provider_pusher",
            &[
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":30}"}"#,
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#,
                r#"{"event":"pusher:subscription_error","channel":"private-c","data":{"error":"no"}}"#,
                r#"{"event":"e","channel":"c","data":"{\"a\":1}"}"#,
                r#"{"event":"pusher:ping","data":{}}"#,
                r#"{"event":"pusher:error","data":{"code":4301,"message":"m"}}"#,
            ],
        ),
        (
            "provider_ably",
            &[
                r#"{"action":4,"connectionId":"i","connectionDetails":{"connectionKey":"k","maxIdleInterval":15000}}"#,
                r#"{"action":11,"channel":"c","flags":0}"#,
                r#"{"action":1,"msgSerial":0,"count":1}"#,
                r#"{"action":15,"channel":"c","messages":[{"name":"e","data":"[1]","encoding":"json"}]}"#,
                r#"{"action":9,"channel":"c","error":{"code":40160,"statusCode":401,"message":"no"}}"#,
                r#"{"action":6}"#,
            ],
        ),
        (
            "provider_phoenix",
            &[
                r#"["1","1","/c","phx_reply",{"status":"ok","response":{}}]"#,
                r#"["2","2","c","phx_reply",{"status":"error","response":{"reason":"no"}}]"#,
                r#"[null,"r6","c","phx_reply",{"status":"ok","response":[]}]"#,
                r#"["1",null,"/c","e",{}]"#,
                r#"["1","1","/c","phx_error",{}]"#,
                "\u{2}\u{2}\u{1}/cexyz",
            ],
        ),
        (
            "provider_action_cable",
            &[
                r#"{"type":"welcome"}"#,
                r#"{"type":"ping","message":1}"#,
                r#"{"identifier":"{\"channel\":\"c\"}","type":"confirm_subscription"}"#,
                r#"{"identifier":"{\"channel\":\"c\"}","message":{"a":1}}"#,
                r#"{"type":"disconnect","reason":"server_restart","reconnect":true}"#,
            ],
        ),
        (
            "provider_signalr",
            &[
                "{}\u{1e}",
                "{\"type\":6}\u{1e}{\"type\":1,\"target\":\"c\",\"arg",
                "uments\":[1]}\u{1e}",
                "{\"type\":3,\"invocationId\":\"6\",\"result\":1}\u{1e}",
                "{\"type\":7,\"allowReconnect\":true}\u{1e}",
            ],
        ),
        (
            "provider_graphql_transport_ws",
            &[
                r#"{"type":"connection_ack"}"#,
                r#"{"id":"1","type":"next","payload":{"data":{"a":1}}}"#,
                r#"{"id":"1","type":"error","payload":[{"message":"no"}]}"#,
                r#"{"type":"ping"}"#,
                r#"{"id":"2","type":"complete"}"#,
            ],
        ),
        (
            "provider_graphql_ws",
            &[
                r#"{"type":"connection_ack"}"#,
                r#"{"type":"ka"}"#,
                r#"{"id":"1","type":"data","payload":{"data":{"a":1}}}"#,
                r#"{"type":"complete","id":"1","payload":null}"#,
                r#"{"type":"connection_error","payload":{"message":"no"}}"#,
            ],
        ),
        (
            "provider_aws_api_gateway",
            &[
                r#"{"message":"Internal server error","connectionId":"i","requestId":"r"}"#,
                r#"{"id":"6","a":1}"#,
            ],
        ),
        (
            "provider_binance",
            &[
                r#"{"result":null,"id":1}"#,
                r#"{"code":2,"msg":"no","id":1}"#,
                r#"{"stream":"c","data":{"e":"aggTrade"}}"#,
                r#"{"e":"serverShutdown"}"#,
            ],
        ),
        ("provider_echo", &["hello"]),
        (
            "provider_smartsocket",
            &[r#"{"type":"CONNECT_ACK","data":{}}"#],
        ),
    ];
    for (name, messages) in sessions {
        let mut input = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            let binary = u8::from(*message == "binary");
            let did = [0, 6, 10, 16, 32, 2][at % 6];
            input.push(binary | did);
            input.extend((message.len() as u16).to_le_bytes());
            input.extend(message.bytes());
        }
        seeds.push((name, input));
    }
}
