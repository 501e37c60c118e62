//! Foreign servers as child processes: what they tell, a line each, and what
//! they are told.

use std::io::{BufRead as _, BufReader, Write as _};
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

/// A server in a process of its own, which dies with this.
pub(crate) struct Server {
    script: &'static str,
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
        Self::on(script, 0)
    }

    fn on(script: &'static str, port: u16) -> Self {
        let mut command = Command::new("node");
        command.arg(scripts().join(script));
        command.args(["serve", &port.to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js is installed");
        let (sender, told) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut server = Self {
            script,
            stdin: child.stdin.take().unwrap(),
            child,
            told,
            heard: Vec::new(),
            port,
        };
        server.port = server.hear("listening ").parse().unwrap();
        server
    }

    /// The provider's own client finds that this is a server of its kind.
    pub(crate) fn convinces_the_official_client(&mut self) {
        let status = Command::new("node")
            .arg(scripts().join(self.script))
            .args(["check", &self.port.to_string()])
            .status()
            .unwrap();
        assert!(status.success(), "{}: {status}", self.script);
        self.is_content();
    }

    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://127.0.0.1:{}{path}", self.port)
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
                    panic!("{}: no {start:?} among {:?}", self.script, self.heard)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("{} is gone after {:?}", self.script, self.heard)
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
        assert_eq!(wrong.next(), None, "{}: {:?}", self.script, self.heard);
    }

    /// Dies without a word, and leaves its port free.
    pub(crate) fn kill(mut self) -> Grave {
        self.is_content();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        Grave {
            script: self.script,
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
    script: &'static str,
    port: u16,
}

impl Grave {
    /// Another one in its place.
    pub(crate) fn revive(self) -> Server {
        Server::on(self.script, self.port)
    }
}
