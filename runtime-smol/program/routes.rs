//! What the server answers: which path is a WebSocket, and the pages beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;
use smartsocket_smol::http::{Request, Response};
use smartsocket_smol::{Accept, Decision, Ticket};

use crate::console;
use crate::script::{self, File};
use crate::settings::Settings;

/// The state of the server that its pages tell.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    started: Instant,
    /// What is on `/`.
    page: Arc<str>,
    /// Where WebSockets are.
    paths: Arc<[String]>,
    /// The one of them whose clients expect the words of RNode.
    rnode: Arc<str>,
    connections: Arc<AtomicUsize>,
}

/// An open connection; counted as long as it exists.
#[derive(Debug)]
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Status {
    pub(crate) fn new(settings: &Settings, dev_token: bool) -> Self {
        let fixed = ["/chat", "/echo", "/pub", "/sub"];
        let paths = settings.paths().into_iter().chain(fixed);
        Self {
            started: Instant::now(),
            page: console::page(settings, dev_token).into(),
            paths: paths.map(String::from).collect(),
            rnode: settings.rnode.path.as_str().into(),
            connections: Arc::default(),
        }
    }

    pub(crate) fn count(&self) -> Counted {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.connections))
    }

    /// Answers a request, of a server that only echoes.
    pub(crate) fn decide(&self, ticket: Ticket) -> Decision {
        if ticket.is_upgrade() && ticket.request().path() == "/echo" {
            return ticket.accept(Accept::default());
        }
        let connections = self.connections.load(Ordering::Relaxed);
        let response = self.answer(ticket.request(), connections);
        ticket.respond(response)
    }

    /// Answers a plain request.
    pub(crate) fn answer(&self, request: &Request, connections: usize) -> Response {
        let method = request.method();
        let reading = matches!(method, "GET" | "HEAD");
        let path = request.path();
        let response = match path {
            "/" if reading => self.page(),
            "/healthz" if reading => self.health(connections),
            _ if is_file(path) && reading => file(request),
            _ if matches!(path, "/" | "/healthz") || is_file(path) => not_allowed("GET, HEAD"),
            _ if path == &*self.rnode && method == "GET" => {
                error(400, "WebSocket upgrade required")
            }
            _ if self.paths.iter().any(|other| other == path) => match method {
                "GET" => upgrade_required(),
                _ => not_allowed("GET"),
            },
            _ => error(404, "nothing is here: try /, /echo or /healthz"),
        };
        log::debug!(
            target: "smartsocket:http",
            "{method} {} answered with {}",
            request.path(),
            response.status()
        );
        response
    }

    fn page(&self) -> Response {
        let (response, headers) = console::answer(&self.page);
        with(response, &headers)
    }

    fn health(&self, connections: usize) -> Response {
        #[derive(Serialize)]
        struct Health {
            status: &'static str,
            connections: usize,
            uptime: u64,
            version: &'static str,
        }
        json(
            200,
            &Health {
                status: "ok",
                connections,
                uptime: self.started.elapsed().as_secs(),
                version: env!("CARGO_PKG_VERSION"),
            },
        )
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a path is of a file: the page's, or the client's for browsers.
fn is_file(path: &str) -> bool {
    script::PATHS.contains(&path) || console::has(path)
}

fn file(request: &Request) -> Response {
    let (response, headers): File = script::file(request)
        .or_else(|| console::file(request))
        .expect("the path is of a file");
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    with(response, &headers)
}

fn upgrade_required() -> Response {
    with(
        error(426, "this is a WebSocket: connect to it with one"),
        &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")],
    )
}

fn not_allowed(allowed: &str) -> Response {
    with(
        error(405, "this path does not take the method"),
        &[("Allow", allowed)],
    )
}

fn error(status: u16, text: &str) -> Response {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    json(status, &Error { error: text })
}

fn json(status: u16, value: &impl Serialize) -> Response {
    let mut body = serde_json::to_string(value).expect("numbers and strings are JSON");
    body.push('\n');
    with(
        Response::new(status).body(body),
        &[("Content-Type", "application/json")],
    )
}

/// Adds headers, and those every answer has.
fn with(mut response: Response, headers: &[(&str, &str)]) -> Response {
    const ALWAYS: [(&str, &str); 2] = [
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ];
    let always = ALWAYS
        .iter()
        .filter(|(name, _)| !response.headers().contains(name))
        .collect::<Vec<_>>();
    for (name, value) in headers.iter().chain(always) {
        response = response
            .header(name, value)
            .expect("names and values are constants of this program");
    }
    response
}
