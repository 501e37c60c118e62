//! The servers, and how each is built and started.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::children::Children;
use crate::workloads::{Kind, Workload};
use crate::{Peer, cache, root};

/// A server to measure.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) source: Source,
    /// The package whose version names what is measured.
    pub(crate) of: Option<&'static str>,
    /// What follows the program; `{port}` is replaced.
    pub(crate) options: Vec<String>,
    pub(crate) speaks: Speaks,
    /// How many it takes at a time.
    pub(crate) connections: usize,
    /// The cores it may use.
    pub(crate) cores: &'static str,
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
    /// The program of this project.
    Program,
    /// A script on Node.
    Node,
    /// There already.
    Given,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// No WebSocket at all.
    Raw,
    Plain,
    Deflate,
    /// Takes part in the scaling loads only.
    Scaling,
    /// What comes to /pub goes to all on /sub.
    Publishing,
    /// The same on Engine.IO.
    Engineio,
    /// SmartSocket's events, and /pub and /sub.
    Smartsocket,
    /// Socket.IO's events.
    Socketio,
}

/// The core of the servers, and the other one.
const SERVER_CORE: &str = "0";
pub(crate) const BOTH_CORES: &str = "0,1";
pub(crate) const LOAD_CORE: &str = "1";

impl Server {
    pub(crate) fn new(
        name: &str,
        source: Source,
        of: Option<&'static str>,
        options: &[&str],
        speaks: Speaks,
    ) -> Self {
        Self {
            name: name.into(),
            source,
            of,
            options: options.iter().map(|option| (*option).into()).collect(),
            speaks,
            connections: usize::MAX,
            cores: SERVER_CORE,
            program: PathBuf::new(),
        }
    }

    /// One that the command line names.
    pub(crate) fn given(peer: &Peer, speaks: Speaks) -> Result<Self, Box<dyn Error>> {
        let mut words = shlex::split(&peer.command)
            .ok_or_else(|| format!("cannot read the command {:?}", peer.command))?
            .into_iter();
        let program = words.next().ok_or("an empty command")?;
        Ok(Self {
            program: program.into(),
            options: words.collect(),
            ..Self::new(&peer.name, Source::Given, None, &[], speaks)
        })
    }

    /// Whether it is one of this project.
    pub(crate) const fn ours(&self) -> bool {
        matches!(self.source, Source::Example { .. })
    }

    /// Whether `workload` is for it. Of the scaling loads, peers have those
    /// that are asked for by name.
    pub(crate) fn takes(&self, workload: &Workload, named: bool) -> bool {
        if workload.connections >= self.connections {
            return false;
        }
        match self.speaks {
            Speaks::Publishing | Speaks::Engineio => workload.kind == Kind::Publish,
            Speaks::Smartsocket => true,
            Speaks::Socketio => workload.kind != Kind::Publish,
            Speaks::Raw => true,
            Speaks::Scaling => workload.kind == Kind::Scale,
            Speaks::Deflate => workload.kind == Kind::Deflate,
            Speaks::Plain => match workload.kind {
                Kind::Deflate => false,
                Kind::Scale => named || self.ours(),
                Kind::Echo | Kind::Storm | Kind::Idle | Kind::Touched => true,
                Kind::Publish
                | Kind::Say
                | Kind::Ack
                | Kind::Events
                | Kind::Rooms
                | Kind::Heard
                | Kind::Unheard
                | Kind::Joined => false,
            },
        }
    }

    /// What the load generator speaks with it.
    pub(crate) const fn language(&self, workload: &Workload) -> &'static str {
        match (self.speaks, workload.kind) {
            (Speaks::Engineio, _) => "engineio",
            (Speaks::Socketio, _) => "socketio",
            (Speaks::Smartsocket, Kind::Publish) => "raw",
            (Speaks::Smartsocket, _) => "smartsocket",
            (
                Speaks::Raw
                | Speaks::Plain
                | Speaks::Deflate
                | Speaks::Scaling
                | Speaks::Publishing,
                _,
            ) => "raw",
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
            Speaks::Publishing => "publish",
            Speaks::Engineio => "publish, by Engine.IO",
            Speaks::Smartsocket => "events as SmartSocket has them, and publish",
            Speaks::Socketio => "events as Socket.IO has them",
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

/// Whether there is Node, and what installs the peers on it.
pub(crate) fn node() -> bool {
    let works = |program: &str| {
        Command::new(program)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let there = works("node") && works("npm");
    if !there {
        eprintln!("without the peers on Node: node or npm is not there");
    }
    there
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
