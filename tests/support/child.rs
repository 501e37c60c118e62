//! A server in a child process, which is the test's binary again and says on
//! request what it holds.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Tells this binary to be the child.
const SERVE: &str = "serve";
/// Far beyond the time anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Runs `serve` in the child, `test` in the parent for each runtime, or for
/// the one that the command line names.
pub(crate) fn main(serve: impl Fn(&str), test: impl Fn(&str) -> usize) {
    let args: Vec<_> = env::args().skip(1).collect();
    if let [serve_it, runtime] = &args[..]
        && serve_it == SERVE
    {
        return serve(runtime);
    }
    let mut runtimes = vec!["smol", "std"];
    if let Some(named) = runtimes
        .iter()
        .find(|name| args.iter().any(|arg| arg == *name))
    {
        runtimes = vec![*named];
    }
    let passed: usize = runtimes.iter().map(|runtime| test(runtime)).sum();
    println!("test result: ok. {passed} passed; 0 failed; 0 ignored");
}

/// A number of the environment.
pub(crate) fn number(name: &str, default: usize) -> usize {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A frame of a client, with a mask of zeros.
pub(crate) fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) bytes: usize,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
}

impl Level {
    /// Of this process.
    fn now() -> Self {
        // To look takes a descriptor, and there may be none left.
        let count = |directory| {
            loop {
                match fs::read_dir(directory) {
                    Ok(entries) => break entries.count(),
                    Err(_) => thread::sleep(Duration::from_millis(10)),
                }
            }
        };
        Self {
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            bytes: HEAP.current_usage(),
        }
    }
}

/// The child.
pub(crate) struct Served {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl Served {
    /// Starts it, after `limits` in the shell.
    pub(crate) fn start(runtime: &str, limits: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limits} exec \"$0\" \"$@\"")])
            .arg(env::current_exe().unwrap())
            .args([SERVE, runtime])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut served = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            port: 0,
        };
        served.port = served.line().parse().unwrap();
        served
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Another address every round, so that ports that rest after a
    /// connection are not missed.
    pub(crate) fn address(&self, round: usize) -> SocketAddr {
        let last = u8::try_from(1 + round % 250).unwrap();
        (Ipv4Addr::new(127, 0, 0, last), self.port).into()
    }

    fn ask(&mut self, what: &str) -> Vec<usize> {
        self.stdin.write_all(what.as_bytes()).unwrap();
        let line = self.line();
        let numbers = line.split(' ').map(|number| number.parse().unwrap());
        numbers.collect()
    }

    pub(crate) fn level(&mut self) -> Level {
        let numbers = self.ask("level\n");
        Level {
            bytes: numbers[0],
            descriptors: numbers[1],
            threads: numbers[2],
        }
    }

    /// The most bytes it has held since it was last asked.
    #[allow(dead_code, reason = "not every test asks")]
    pub(crate) fn peak(&mut self) -> usize {
        self.ask("peak\n")[0]
    }

    /// The level once it is as it should be and has not changed for a while.
    pub(crate) fn rests(&mut self, fits: impl Fn(Level) -> bool) -> Level {
        let (mut last, mut times) = (None, 0);
        self.wait(&mut |level| {
            times = if last == Some(level) { times + 1 } else { 0 };
            last = Some(level);
            fits(level) && times == 10
        })
    }

    /// The level once it is as it should be.
    pub(crate) fn wait(&mut self, done: &mut dyn FnMut(Level) -> bool) -> Level {
        let begin = Instant::now();
        loop {
            let level = self.level();
            if done(level) {
                return level;
            }
            assert!(begin.elapsed() < PATIENCE, "still {level:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: tells the port, and from then on what is asked for.
pub(crate) fn answer(address: SocketAddr) {
    println!("{}", address.port());
    thread::spawn(|| {
        for line in io::stdin().lock().lines() {
            match line.as_deref() {
                Ok("peak") => {
                    println!("{}", HEAP.peak_usage());
                    HEAP.reset_peak_usage();
                }
                Ok(_) => {
                    let level = Level::now();
                    println!("{} {} {}", level.bytes, level.descriptors, level.threads);
                }
                Err(_) => return,
            }
        }
    });
}
