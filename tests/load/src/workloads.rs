//! What the servers are asked to do.

/// One load.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) size: usize,
    pub(crate) connections: usize,
    pub(crate) pipeline: usize,
}

/// Which servers a load is for, and what is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages.
    Echo,
    /// Messages, over ever more connections: for ours, on one core and on two.
    Scale,
    /// Compressed messages.
    Deflate,
    /// Connections, one after the other.
    Storm,
    /// Memory: nothing but the upgrade, or one message on each connection.
    Idle,
    Touched,
}

impl Kind {
    /// Whether the server's memory is what is measured: then it must be new.
    pub(crate) const fn fresh(self) -> bool {
        matches!(self, Self::Idle | Self::Touched)
    }
}

impl Workload {
    pub(crate) fn all() -> Vec<Self> {
        let new = |name: String, kind, size, connections, pipeline| Self {
            name,
            kind,
            size,
            connections,
            pipeline,
        };
        let mut all = Vec::new();
        for (size, connections, pipeline) in [
            (20, 1, 1),
            (20, 32, 1),
            (20, 500, 1),
            (20, 32, 16),
            (512, 32, 1),
            (16 << 10, 1, 1),
            (16 << 10, 32, 1),
            (1 << 20, 1, 1),
            (1 << 20, 32, 1),
        ] {
            let length = match size {
                0x10_0000.. => format!("{}M", size >> 20),
                0x400.. => format!("{}K", size >> 10),
                _ => size.to_string(),
            };
            let depth = match pipeline {
                1 => String::new(),
                depth => format!("p{depth}"),
            };
            let name = format!("{length}/{connections}{depth}");
            all.push(new(name, Kind::Echo, size, connections, pipeline));
        }
        for connections in [1, 10, 100, 1_000, 10_000] {
            let name = format!("scale-{connections}");
            all.push(new(name, Kind::Scale, 20, connections, 1));
        }
        for (name, size) in [("deflate-200", 200), ("deflate-4K", 4 << 10)] {
            all.push(new(name.into(), Kind::Deflate, size, 32, 1));
        }
        all.push(new("storm".into(), Kind::Storm, 20, 1, 1));
        for (name, kind, size) in [
            ("idle", Kind::Idle, 20),
            ("idle-20", Kind::Touched, 20),
            ("idle-16K", Kind::Touched, 16 << 10),
        ] {
            all.push(new(name.into(), kind, size, 10_000, 1));
        }
        all
    }

    /// Its connections, without messages.
    pub(crate) fn opening(&self) -> Self {
        Self {
            kind: Kind::Idle,
            ..self.clone()
        }
    }

    /// What it is, in words.
    pub(crate) fn describe(&self) -> String {
        let Self {
            size,
            connections,
            pipeline,
            ..
        } = self;
        let s = if *connections == 1 { "" } else { "s" };
        match self.kind {
            Kind::Echo | Kind::Scale => {
                format!("echo of {size} B, {connections} connection{s}, {pipeline} in flight each")
            }
            Kind::Deflate => {
                format!("echo of {size} B of JSON, compressed, {connections} connection{s}")
            }
            Kind::Storm => "connect, upgrade, echo of 20 B, close, one after the other".into(),
            Kind::Idle => format!("{connections} connections, upgraded only"),
            Kind::Touched => format!("{connections} connections after one echo of {size} B each"),
        }
    }

    /// How the load generator is asked for it.
    pub(crate) fn options(&self) -> Vec<String> {
        let mode = match self.kind {
            Kind::Echo | Kind::Scale | Kind::Deflate => "echo",
            Kind::Storm => "storm",
            Kind::Idle | Kind::Touched => "idle",
        };
        let mut options: Vec<String> = [
            "--mode",
            mode,
            "--size",
            &self.size.to_string(),
            "--connections",
            &self.connections.to_string(),
            "--pipeline",
            &self.pipeline.to_string(),
        ]
        .map(str::to_owned)
        .into();
        match self.kind {
            Kind::Touched => options.push("--touch".into()),
            Kind::Deflate => options.extend(["--payload".into(), "json".into()]),
            Kind::Echo | Kind::Scale | Kind::Storm | Kind::Idle => {}
        }
        options
    }
}
