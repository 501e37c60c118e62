//! What concerns the whole process: signals and file descriptors. The server
//! runs in a child, which is this test binary again.

#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{UPGRADE, echo, masked, run, sleep_ms, unmasked};
use rustix::process::{Pid, Signal, kill_process};
use smartsocket_smol::{CloseCode, Message, Server, WebSocket, block_on};

const MARK: &str = "listening on ";

/// Tells this binary to be the child.
const SERVE: &str = "serve";

/// The harness is our own (`harness = false`), so that the child is a plain
/// program and no test is one only by name.
fn main() {
    if env::args().any(|arg| arg == SERVE) {
        return serve();
    }
    let tests: [(&str, fn()); 2] = [
        (
            "sigterm_and_sigint_stop_in_good_order",
            sigterm_and_sigint_stop_in_good_order,
        ),
        (
            "running_out_of_file_descriptors_is_survived",
            running_out_of_file_descriptors_is_survived,
        ),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    println!(
        "test result: ok. {} passed; 0 failed; 0 ignored",
        tests.len()
    );
}

/// What the child does.
fn serve() {
    let server = Server::bind("127.0.0.1:0").unwrap().stop_on_signals();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{MARK}{}", server.local_addr().unwrap()).unwrap();
    block_on(server.run(echo)).unwrap();
}

struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts the child, after `limits` in the shell.
    fn start(limits: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .arg(SERVE)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .find_map(|line| line.unwrap().strip_prefix(MARK).map(str::to_owned))
            .unwrap();
        // The rest is of no interest, but must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            address: address.parse().unwrap(),
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    async fn open(&self) -> Result<WebSocket, smartsocket_smol::Error> {
        WebSocket::connect(&format!("ws://{}", self.address)).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sigterm_and_sigint_stop_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut served = Served::start("");
        run(async {
            let mut ws = served.open().await.unwrap();
            ws.send("hi").await.unwrap();
            assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
            served.signal(signal);
            assert!(ws.recv().await.is_none());
            let closed = ws.closed().unwrap();
            assert_eq!(closed.code, CloseCode::GOING_AWAY);
            assert_eq!(closed.reason.as_str(), "server is stopping");
        });
        assert!(served.child.wait().unwrap().success());
    }
}

fn running_out_of_file_descriptors_is_survived() {
    let served = Served::start("ulimit -n 40;");
    let limit = Some(Duration::from_secs(5));
    let open = || {
        let mut socket = TcpStream::connect(served.address).unwrap();
        socket.set_read_timeout(limit).unwrap();
        socket.write_all(UPGRADE.as_bytes()).unwrap();
        socket
    };
    let mut all: Vec<_> = (0..60).map(|_| open()).collect();
    let status = |socket: &mut TcpStream| {
        let mut line = [0; 12];
        socket.read_exact(&mut line).unwrap();
        String::from_utf8(line.to_vec()).unwrap()
    };
    let answers: Vec<_> = all.iter_mut().map(status).collect();
    let (served_well, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|line| *line == "HTTP/1.1 101");
    assert!(served_well.len() > 10, "{answers:?}");
    assert!(refused.len() > 10, "{answers:?}");
    assert!(
        refused.iter().all(|line| *line == "HTTP/1.1 503"),
        "{answers:?}"
    );

    // Those inside are served on; then there is room again.
    let first = &mut all[0];
    let mut rest = vec![0; 4_096];
    let _ = first.read(&mut rest).unwrap();
    first.write_all(&masked(1, b"hi")).unwrap();
    first.read_exact(&mut rest[..4]).unwrap();
    assert_eq!(rest[..4], unmasked(1, b"hi"));
    drop(all);
    run(async {
        let mut ws = loop {
            match served.open().await {
                Ok(ws) => break ws,
                Err(_) => sleep_ms(50).await,
            }
        };
        ws.send("hi").await.unwrap();
        assert_eq!(ws.recv().await.unwrap().unwrap(), Message::text("hi"));
    });
}
