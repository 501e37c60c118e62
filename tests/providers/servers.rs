//! Foreign servers as child processes: what they tell, a line each, and what
//! they are told.

use std::env;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Far beyond the time anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What servers want to be shown; not every byte of it can stand in a URL.
pub(crate) const TOKEN: &str = "T&k/1";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/providers")
}

/// What is run.
#[derive(Clone, Debug)]
enum What {
    Script(&'static str),
    /// The same behind TLS, with this chain and key in PEM.
    Secure(&'static str, String, String),
    /// `smartsocket serve`, with these options.
    Ours(Vec<String>),
}

impl What {
    fn spawn(&self, port: u16) -> Child {
        let port = port.to_string();
        let mut command = match self {
            Self::Script(name) => {
                let interpreter = match name.rsplit('.').next() {
                    Some("rb") => "ruby",
                    Some("sh") => "sh",
                    _ => "node",
                };
                let mut command = Command::new(interpreter);
                command.arg(scripts().join(name)).args(["serve", &port]);
                command
            }
            Self::Secure(name, chain, key) => {
                let mut command = Command::new("node");
                command.arg(scripts().join(name)).args(["serve", &port]);
                command.env("TLS_CHAIN", chain).env("TLS_KEY", key);
                command
            }
            Self::Ours(options) => {
                let bin = env::var_os("TEST_BIN").expect("run.sh sets TEST_BIN");
                let mut command = Command::new(Path::new(&bin).join("smartsocket"));
                command.args(["serve", "--port", &port]).args(options);
                command
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if matches!(self, Self::Ours(_)) {
            command.stderr(Stdio::piped());
        }
        command.spawn().expect("it is installed")
    }
}

/// A server in a process of its own, which dies with this.
pub(crate) struct Server {
    what: What,
    child: Child,
    stdin: ChildStdin,
    told: Receiver<String>,
    /// All that it told so far.
    heard: Vec<String>,
    pub(crate) port: u16,
}

impl Server {
    /// One of the scripts, on a free port.
    pub(crate) fn start(script: &'static str) -> Self {
        Self::on(What::Script(script), 0)
    }

    /// One of the scripts with TLS; chain and key are in PEM.
    pub(crate) fn secure(script: &'static str, (chain, key): (String, String)) -> Self {
        Self::on(What::Secure(script, chain, key), 0)
    }

    /// The project's own, on a free port.
    pub(crate) fn ours(options: &[&str]) -> Self {
        let options = options.iter().map(|&it| it.to_owned()).collect();
        Self::on(What::Ours(options), 0)
    }

    fn on(what: What, port: u16) -> Self {
        let mut child = what.spawn(port);
        let (sender, told) = mpsc::channel();
        let output: Box<dyn Read + Send> = match child.stderr.take() {
            Some(stderr) => Box::new(stderr),
            None => Box::new(child.stdout.take().unwrap()),
        };
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self {
            what,
            stdin: child.stdin.take().unwrap(),
            child,
            told,
            heard: Vec::new(),
            port,
        };
        let listening = server.hear("listening ");
        let port = listening.rsplit([' ', ':']).next();
        server.port = port.unwrap().parse().unwrap();
        server
    }

    /// The provider's own client finds that this is a server of its kind.
    pub(crate) fn convinces_the_official_client(&mut self) {
        let What::Script(script) = self.what else {
            panic!("there is none");
        };
        let status = Command::new("node")
            .arg(scripts().join(script))
            .args(["check", &self.port.to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "{script}: {status}");
        self.is_content();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://127.0.0.1:{}{path}", self.port)
    }

    /// Tells it something, a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// Waits until it tells something that begins so; the rest of that.
    pub(crate) fn hear(&mut self, start: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self
                .told
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.heard.push(line.clone());
                    if let Some(rest) = line.strip_prefix(start) {
                        return rest.to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{:?}: no {start:?} among {:?}", self.what, self.heard)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{:?} is gone after {:?}", self.what, self.heard)
                }
            }
        }
    }

    /// How often it told exactly this, up to now.
    pub(crate) fn count(&mut self, what: &str) -> usize {
        self.heard.extend(self.told.try_iter());
        self.heard.iter().filter(|line| *line == what).count()
    }

    /// No client did anything wrong.
    pub(crate) fn is_content(&mut self) {
        self.heard.extend(self.told.try_iter());
        let mut wrong = self.heard.iter().filter(|line| line.starts_with("wrong "));
        assert_eq!(wrong.next(), None, "{:?}: {:?}", self.what, self.heard);
    }

    /// Dies without a word, and leaves its port free.
    pub(crate) fn kill(mut self) -> Grave {
        self.is_content();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Grave {
            what: self.what.clone(),
            port: self.port,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !thread::panicking() {
            self.is_content();
        }
    }
}

/// Where a server was.
pub(crate) struct Grave {
    what: What,
    port: u16,
}

impl Grave {
    /// Another one in its place.
    pub(crate) fn revive(self) -> Server {
        Server::on(self.what, self.port)
    }
}
