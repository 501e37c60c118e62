//! The servers, and how each is built and started.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::children::Children;
use crate::workloads::{Kind, Workload};
use crate::{Args, cache, root};

/// The name of the ceiling.
pub(crate) const CEILING: &str = "rawecho";

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// The package whose version names what is measured.
    pub(crate) of: Option<&'static str>,
    /// What follows the program; `{port}` is replaced.
    options: Vec<String>,
    speaks: Speaks,
    /// The cores it may use.
    cores: &'static str,
    /// Filled in once it is built.
    pub(crate) program: PathBuf,
}

/// Where a server's program comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// An example of this project.
    Example {
        package: &'static str,
        example: &'static str,
        features: &'static str,
    },
    /// A program of this workspace.
    Binary {
        package: &'static str,
        name: &'static str,
    },
    /// There already.
    Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    /// No WebSocket at all.
    Raw,
    Plain,
    Deflate,
    /// Takes part in the scaling loads only.
    Scaling,
}

/// The core of the servers, and the other one.
const SERVER_CORE: &str = "0";
const BOTH_CORES: &str = "0,1";
pub(crate) const LOAD_CORE: &str = "1";

impl Server {
    /// Every server there is, in the order of the tables.
    pub(crate) fn all(args: &Args) -> Result<Vec<Self>, Box<dyn Error>> {
        let new = |name: &str, source, of, options: &[&str], speaks| Self {
            name: name.into(),
            source,
            of,
            options: options.iter().map(|option| (*option).into()).collect(),
            speaks,
            cores: SERVER_CORE,
            program: PathBuf::new(),
        };
        let raw = Source::Binary {
            package: "loadgen",
            name: CEILING,
        };
        let mut all = vec![new(CEILING, raw, None, &["{port}"], Speaks::Raw)];

        let example = |package, example, features| Source::Example {
            package,
            example,
            features,
        };
        let address = "127.0.0.1:{port}";
        let deflate = "--deflate";
        let epoll = example("smartsocket-core", "epoll_echo", "std");
        let smol = example("smartsocket-smol", "echo", "");
        let smol_zlib = example("smartsocket-smol", "echo", "zlib-rs");
        let threads = example("smartsocket-std", "echo", "");
        let threads_zlib = example("smartsocket-std", "echo", "zlib-rs");
        all.extend([
            new("epoll", epoll, None, &[address], Speaks::Plain),
            new("smol", smol.clone(), None, &[address], Speaks::Plain),
            new("std", threads, None, &[address], Speaks::Plain),
            new(
                "smol-deflate",
                smol_zlib,
                None,
                &[address, deflate],
                Speaks::Deflate,
            ),
            new(
                "smol-deflate-miniz",
                smol.clone(),
                None,
                &[address, deflate],
                Speaks::Deflate,
            ),
            new(
                "std-deflate",
                threads_zlib,
                None,
                &[address, deflate],
                Speaks::Deflate,
            ),
        ]);
        all.push(Self {
            cores: BOTH_CORES,
            ..new(
                "smol-2",
                smol,
                None,
                &[address, "--shards", "2"],
                Speaks::Scaling,
            )
        });

        let peer = |name, library, option: &str, speaks| {
            let package = match library {
                "soketto" => "peer-soketto",
                _ => "peers",
            };
            let source = Source::Binary {
                package,
                name: library,
            };
            let options = ["{port}", option];
            let options = &options[..if option.is_empty() { 1 } else { 2 }];
            new(name, source, Some(library), options, speaks)
        };
        let batch = "--batch";
        all.extend([
            peer("tokio-tungstenite", "tokio-tungstenite", "", Speaks::Plain),
            peer(
                "tokio-tungstenite-tuned",
                "tokio-tungstenite",
                batch,
                Speaks::Plain,
            ),
            peer("tungstenite-threads", "tungstenite", "", Speaks::Plain),
            peer("fastwebsockets", "fastwebsockets", "", Speaks::Plain),
            peer("tokio-websockets", "tokio-websockets", "", Speaks::Plain),
            peer(
                "tokio-websockets-batch",
                "tokio-websockets",
                batch,
                Speaks::Plain,
            ),
            peer("yawc", "yawc", "", Speaks::Plain),
            peer("yawc-batch", "yawc", batch, Speaks::Plain),
            peer("yawc-deflate", "yawc", deflate, Speaks::Deflate),
            peer("sockudo-ws", "sockudo-ws", "", Speaks::Plain),
            peer("sockudo-ws-batch", "sockudo-ws", batch, Speaks::Plain),
            peer("sockudo-ws-deflate", "sockudo-ws", deflate, Speaks::Deflate),
            peer("soketto-smol", "soketto", "", Speaks::Plain),
            peer("soketto-smol-deflate", "soketto", deflate, Speaks::Deflate),
        ]);
        if root().join("tests/interop/node_modules/ws").exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_ws.mjs");
            let node = |name, options: &[&str], speaks| Self {
                program: "node".into(),
                ..new(name, Source::Given, None, options, speaks)
            };
            all.extend([
                node("node-ws", &[script, "{port}"], Speaks::Plain),
                node(
                    "node-ws-deflate",
                    &[script, "{port}", deflate],
                    Speaks::Deflate,
                ),
            ]);
        } else {
            eprintln!("without node-ws, which tests/setup installs");
        }

        for (peers, speaks) in [
            (&args.peer, Speaks::Plain),
            (&args.deflate_peer, Speaks::Deflate),
        ] {
            for peer in peers {
                let mut words = shlex::split(&peer.command)
                    .ok_or_else(|| format!("cannot read the command {:?}", peer.command))?
                    .into_iter();
                let program = words.next().ok_or("an empty command")?;
                all.push(Self {
                    program: program.into(),
                    options: words.collect(),
                    ..new(&peer.name, Source::Given, None, &[], speaks)
                });
            }
        }
        let mut names: Vec<_> = all.iter().map(|server| &server.name).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("two servers are named {}", twice[0]).into());
        }
        Ok(all)
    }

    /// Whether it is one of this project.
    pub(crate) const fn ours(&self) -> bool {
        matches!(self.source, Source::Example { .. })
    }

    /// Whether `workload` is for it. Of the scaling loads, peers have those
    /// that are asked for by name.
    pub(crate) fn takes(&self, workload: &Workload, named: bool) -> bool {
        match self.speaks {
            Speaks::Raw => true,
            Speaks::Scaling => workload.kind == Kind::Scale,
            Speaks::Deflate => workload.kind == Kind::Deflate,
            Speaks::Plain => match workload.kind {
                Kind::Deflate => false,
                Kind::Scale => named || self.ours(),
                Kind::Echo | Kind::Storm | Kind::Idle | Kind::Touched => true,
            },
        }
    }

    pub(crate) fn raw(&self) -> bool {
        self.speaks == Speaks::Raw
    }

    pub(crate) fn deflates(&self) -> bool {
        self.speaks == Speaks::Deflate
    }

    /// In words, for the list.
    pub(crate) const fn describe(&self) -> &'static str {
        match self.speaks {
            Speaks::Raw => "the ceiling",
            Speaks::Plain => "",
            Speaks::Deflate => "deflate",
            Speaks::Scaling => "scale, on both cores",
        }
    }

    /// Starts it and waits until it listens.
    pub(crate) fn start(&self, children: &Children) -> Result<Running, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let logs = cache().join("logs");
        std::fs::create_dir_all(&logs)?;
        let log = std::fs::File::create(logs.join(format!("{}.log", self.name)))?;
        let mut command = pinned(self.cores, &self.program);
        command
            .args(
                self.options
                    .iter()
                    .map(|option| option.replace("{port}", &port.to_string())),
            )
            .current_dir(root())
            .stdout(log.try_clone()?)
            .stderr(log);
        let id = children.start(&mut command)?;
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if !children.alive(id) || begin.elapsed() > Duration::from_secs(20) {
                children.kill(id);
                return Err(format!("{} does not listen; see its log", self.name).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Running { id, port })
    }
}

/// A server that was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) id: u32,
    pub(crate) port: u16,
}

/// A command on these cores, which dies with this process.
pub(crate) fn pinned(cores: &str, program: &std::path::Path) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", cores, "setpriv", "--pdeathsig", "KILL"])
        .arg(program);
    command
}
