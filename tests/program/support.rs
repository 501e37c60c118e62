//! Running the program, with a bound on every wait.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// The longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The program with these arguments and none of the tester's environment.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smartsocket"));
    for name in std::env::vars().map(|(name, _)| name) {
        let ours = ["PORT", "DEBUG", "ENCRYPTION_KEY"].contains(&&*name);
        let proxy = name.to_ascii_lowercase().ends_with("_proxy");
        if ours || proxy || name.starts_with("SMARTSOCKET_") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

/// A running program; killed when dropped.
pub(crate) struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

/// What came on a stream so far.
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    lines: Receiver<String>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Program {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(&mut command(args))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take(),
            stdout: Stream::new(child.stdout.take().unwrap()),
            stderr: Stream::new(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn write(&mut self, data: &[u8]) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(data).unwrap();
        stdin.flush().unwrap();
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.stdout.next().unwrap()
    }

    /// The first line of stderr from here on that contains the text.
    pub(crate) fn note(&self, text: &str) -> String {
        loop {
            match self.stderr.next() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("no {text:?} on stderr but {:?}", self.stderr.all()),
            }
        }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends stdin and waits for the program.
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        self.wait()
    }

    /// Waits for the program, whose stdin stays open.
    pub(crate) fn wait(self) -> Ended {
        self.wait_for(PATIENCE)
    }

    /// Waits this long at most for a program that takes its time.
    pub(crate) fn wait_for(mut self, patience: Duration) -> Ended {
        let late = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < late,
                "still running; stdout {:?} stderr {:?}",
                String::from_utf8_lossy(&self.stdout.all()),
                String::from_utf8_lossy(&self.stderr.all())
            );
            thread::sleep(Duration::from_millis(5));
        };
        self.stdout.drain();
        self.stderr.drain();
        Ended {
            code: status.code(),
            stdout: self.stdout.all(),
            stderr: String::from_utf8(self.stderr.all()).unwrap(),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stream {
    fn new(stream: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let (sender, lines) = channel();
        let copy = Arc::clone(&text);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                copy.lock().unwrap().extend_from_slice(&line);
                let _ = sender.send(String::from_utf8_lossy(&line).trim_end().into());
                line.clear();
            }
        });
        Self { text, lines }
    }

    /// The next line, `None` at the end.
    fn next(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no line in time after {:?}", self.all())
            }
        }
    }

    fn drain(&self) {
        while self.next().is_some() {}
    }

    fn all(&self) -> Vec<u8> {
        self.text.lock().unwrap().clone()
    }
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// One JSON object a line.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Runs the program to its end with this stdin.
pub(crate) fn run(args: &[&str], stdin: impl AsRef<[u8]>) -> Ended {
    let mut program = Program::start(args);
    // A program that fails early does not read it.
    let _ = program.stdin.as_mut().unwrap().write_all(stdin.as_ref());
    program.end()
}

/// A server and where it listens.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) ready: String,
    /// Host and port.
    pub(crate) place: String,
}

impl Server {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(command(&["serve", "--port", "0"]).args(args))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        let program = Program::spawn(command);
        let ready = program.note("listening on");
        let (_, place) = ready.split_once("://").unwrap();
        Self {
            place: place.into(),
            ready,
            program,
        }
    }

    /// Of the path, with the scheme the server told.
    pub(crate) fn url(&self, path: &str) -> String {
        let scheme = self.ready.rsplit(' ').next().unwrap();
        format!("{}{path}", scheme.trim_end())
    }

    /// Sends a request as it is, and reads the answer to its end.
    pub(crate) fn http(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            head: head.into(),
            body: body.into(),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Answer {
        self.http(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.place
        ))
    }
}

/// An HTTP response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head[9..12].parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// A directory of this test's own; removed when dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().into()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority that signs certificates for 127.0.0.1.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key.
    pub(crate) fn issue(&self, host: &str) -> (String, String) {
        let params = CertificateParams::new(vec![host.to_string()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
