//! Servers of other protocols than SmartSocket, as far as a script goes.

use smartsocket_core::http::Response;
use smartsocket_core::websocket::{self, Accept};
use smartsocket_core::{Message, Tick};

use super::Kind;
use super::host::{Act, End, Host};

impl Host {
    pub fn script_output(&mut self, now: Tick, id: u64, output: websocket::Output) {
        let end = End::Script(id);
        match output {
            websocket::Output::Transmit => self.acts.push(Act::Wants(end)),
            websocket::Output::PauseRead => self.acts.push(Act::Pause(end, true)),
            websocket::Output::ResumeRead => self.acts.push(Act::Pause(end, false)),
            websocket::Output::Shutdown => self.acts.push(Act::Shutdown(end)),
            websocket::Output::Close => {
                self.sockets.remove(&id);
                self.acts.push(Act::Dropped(end));
            }
            websocket::Output::Event(websocket::Event::Request(ticket)) => {
                self.request(now, id, ticket);
            }
            websocket::Output::Event(websocket::Event::Message(message)) => {
                let Message::Text(text) = message else {
                    panic!("clients say text")
                };
                self.script(now, id, &text);
            }
            websocket::Output::Event(
                websocket::Event::Open(_)
                | websocket::Event::Closed(_)
                | websocket::Event::Drained
                | websocket::Event::Part(_)
                | websocket::Event::Ping(_)
                | websocket::Event::Pong(_),
            ) => {}
        }
    }

    pub fn request(&mut self, now: Tick, id: u64, ticket: websocket::Ticket) {
        let end = End::Script(id);
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        let query = ticket.request().query().unwrap_or_default();
        let token = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("token=T"));
        let token = token.map(|token| token.parse::<u64>().expect("a token has a number"));
        let mut refused = None;
        if token.is_some_and(|token| token < self.floor) {
            refused = Some((401, None));
        } else if self.chance.percent(self.mood.refuses) {
            refused = Some(*self.chance.of(&[
                (401, None),
                (403, None),
                (429, None),
                (429, Some(3)),
                (500, None),
                (503, None),
                (503, Some(10)),
                (503, Some(40)),
                (503, Some(40)),
            ]));
        }
        let decision = match refused {
            None => ticket.accept(Accept::default()),
            Some((status, later)) => {
                let mut response = Response::new(status);
                if let Some(seconds) = later {
                    let seconds: u64 = seconds;
                    let named = response.header("Retry-After", &seconds.to_string());
                    response = named.expect("a header");
                }
                ticket.respond(response)
            }
        };
        socket.ws.decide(now, decision);
        if refused.is_some() {
            return;
        }
        self.acts.push(Act::Accepted(end));
        if socket.kind == Kind::Pusher {
            let text = "{\"event\":\"pusher:connection_established\",\"data\":\
                        \"{\\\"socket_id\\\":\\\"1.1\\\",\\\"activity_timeout\\\":120}\"}";
            let _ = socket.ws.send(now, Message::text(text));
        }
    }

    pub fn script(&mut self, now: Tick, id: u64, text: &str) {
        let end = End::Script(id);
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        if let Some(number) = super::number(text) {
            self.acts.push(Act::Saw(end, number));
        }
        let mut answer = None;
        match socket.kind {
            Kind::Echo => {
                if self.chance.percent(self.mood.answers) {
                    answer = Some(text.to_owned());
                }
            }
            Kind::Custom => {
                let said: serde_json::Value = serde_json::from_str(text).expect("JSON");
                let (kind, asks) = (said["type"].as_str(), said["id"].as_str());
                answer = match (kind, asks, super::number(text)) {
                    (Some("ping"), Some(id), _) => Some(format!(
                        "{{\"type\":\"pong\",\"id\":\"{id}\",\"timestamp\":{}}}",
                        said["timestamp"]
                    )),
                    (_, Some(id), Some(number)) if self.chance.percent(self.mood.answers) => {
                        let error = self.chance.percent(10);
                        let kind = if error { "error" } else { "answer" };
                        Some(format!(
                            "{{\"type\":\"{kind}\",\"id\":\"{id}\",\"payload\":{{\"r\":{number},\"message\":\"no\"}}}}"
                        ))
                    }
                    _ => None,
                };
            }
            Kind::Pusher => {
                let said: serde_json::Value = serde_json::from_str(text).expect("JSON");
                let channel = said["data"]["channel"].as_str().map(str::to_owned);
                answer = match (said["event"].as_str(), channel) {
                    (Some("pusher:subscribe"), Some(channel)) => {
                        let given = format!(
                            "{{\"event\":\"pusher_internal:subscription_succeeded\",\"channel\":\"{channel}\",\"data\":\"{{}}\"}}"
                        );
                        let new = socket.channels.insert(channel);
                        assert!(new, "{text} once more on one connection");
                        Some(given)
                    }
                    (Some("pusher:unsubscribe"), Some(channel)) => {
                        assert!(socket.channels.remove(&channel), "{text} of nothing");
                        None
                    }
                    (Some("pusher:ping"), _) => {
                        Some("{\"event\":\"pusher:pong\",\"data\":\"{}\"}".into())
                    }
                    _ => None,
                };
            }
            Kind::Open | Kind::Keyed | Kind::Sealed => panic!("no script"),
        }
        if let Some(answer) = answer {
            if self.chance.percent(self.mood.prompt) {
                let _ = socket.ws.send(now, Message::text(answer));
            } else {
                self.owed.push((id, answer));
            }
        }
    }
}
