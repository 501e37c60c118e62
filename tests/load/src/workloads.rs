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
    /// Deliveries of messages as they are, and of events to a room.
    Publish,
    Say,
    /// Events that are acknowledged, and that come back.
    Ack,
    Events,
    /// Joins and leaves.
    Rooms,
    /// Events, most of which a handler or nobody hears.
    Heard,
    Unheard,
    /// Memory of connections in a room.
    Joined,
}

impl Kind {
    /// Whether the server's memory is what is measured: then it must be new.
    pub(crate) const fn fresh(self) -> bool {
        matches!(self, Self::Idle | Self::Touched | Self::Joined)
    }
}

impl Workload {
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
            Kind::Publish => {
                format!("{size} B to {connections} subscribers, {pipeline} messages in flight")
            }
            Kind::Say => format!(
                "event with {size} B to {connections} in a room, {pipeline} events in flight"
            ),
            Kind::Ack => format!(
                "event with {size} B, acknowledged with it, {connections} connection{s}, {pipeline} in flight each"
            ),
            Kind::Events => format!(
                "event with {size} B, which comes back, {connections} connection{s}, {pipeline} in flight each"
            ),
            Kind::Rooms => format!(
                "join a room, leave it, {connections} connection{s}, {pipeline} in flight each"
            ),
            Kind::Heard => format!(
                "16 events with {size} B, of which 15 have a handler that does nothing, {connections} connection{s}"
            ),
            Kind::Unheard => format!(
                "16 events with {size} B, of which 15 have no handler, {connections} connection{s}"
            ),
            Kind::Joined => format!("{connections} connections in one room"),
        }
    }

    /// How the load generator is asked for it.
    pub(crate) fn options(&self) -> Vec<String> {
        let mode = match self.kind {
            Kind::Echo | Kind::Scale | Kind::Deflate => "echo",
            Kind::Storm => "storm",
            Kind::Idle | Kind::Touched | Kind::Joined => "idle",
            Kind::Publish | Kind::Say => "fanout",
            Kind::Ack => "ack",
            Kind::Events => "events",
            Kind::Rooms => "rooms",
            Kind::Heard => "heard",
            Kind::Unheard => "unheard",
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
            Kind::Joined => options.push("--join".into()),
            Kind::Deflate => options.extend(["--payload".into(), "json".into()]),
            Kind::Echo
            | Kind::Scale
            | Kind::Storm
            | Kind::Idle
            | Kind::Publish
            | Kind::Say
            | Kind::Ack
            | Kind::Events
            | Kind::Rooms
            | Kind::Heard
            | Kind::Unheard => {}
        }
        options
    }
}
