//! The program `smartsocket`: a WebSocket server, a client for the terminal,
//! a load tool and a hostile peer.
//!
//! This file reads the command line and hands over; each command has a file of
//! its own.
#![forbid(unsafe_code)]

mod application;
mod bench;
mod connect;
mod console;
mod explain;
mod keygen;
mod logging;
mod output;
mod payload;
mod process;
mod providers;
mod report;
mod routes;
mod script;
mod serve;
mod settings;
mod target;
mod torture;
mod transcript;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  smartsocket serve                                  a server on ws://127.0.0.1:3000, echo on /echo
  smartsocket check smartsocket.toml                 what a configuration comes to
  smartsocket keygen                                 a key for encrypted sessions
  smartsocket connect 127.0.0.1:3000/echo            talk to it, line by line
  echo hi | smartsocket connect ws://127.0.0.1:3000/echo
  smartsocket connect --provider socketio ws://127.0.0.1:3000 --subscribe /room
  smartsocket providers                              whose protocols it speaks
  smartsocket bench 127.0.0.1:3000/echo -c 50        how fast is it
  smartsocket torture 127.0.0.1:3000/echo            what it does when peers are hostile

Logging:
  --log LEVEL shows what this program did up to that level. The environment
  variable DEBUG shows everything of the parts it names, in the way of the npm
  package: DEBUG=smartsocket:* or DEBUG='*,-smartsocket:tls'. Such lines have
  the form [smartsocket] [level] text.

Exit codes:
  0 clean end, 1 failed, 2 wrong usage, 3 refused with an HTTP status, 130 on ctrl-c";

/// WebSocket server, client, load tool and hostile peer
#[derive(Debug, Parser)]
#[command(name = "smartsocket", version, after_help = EXAMPLES)]
struct Cli {
    /// Show log lines up to this level on stderr
    #[arg(
        long,
        global = true,
        display_order = 1_000,
        value_name = "LEVEL",
        env = "SMARTSOCKET_LOG",
        default_value = "warn",
        value_parser = logging::level
    )]
    log: log::LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a realtime server: SmartSocket, Ignis, RNode, MB and echo, with a console page
    Serve(serve::Serve),
    /// Tell what a configuration file comes to, or what is wrong with it
    Check(settings::Check),
    /// Write the JSON schema of configuration files
    Schema(settings::Schema),
    /// Make a key for encrypted sessions: 32 random bytes in base64
    Keygen(keygen::Keygen),
    /// Connect to a server: lines of stdin go out, messages come to stdout
    Connect(Box<connect::Connect>),
    /// List the providers whose protocols connect speaks, and how to use each
    Providers(providers::Providers),
    /// Measure how fast a server echoes
    Bench(bench::Bench),
    /// Attack an echo server of your own with broken and hostile traffic
    Torture(torture::Torture),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match &cli.command {
        Command::Connect(connect) if connect.verbose >= 2 => cli.log.max(log::LevelFilter::Debug),
        // It tells by itself what the log would warn of.
        Command::Connect(connect)
            if connect.stays_connected() && cli.log == log::LevelFilter::Warn =>
        {
            log::LevelFilter::Error
        }
        Command::Connect(_)
        | Command::Serve(_)
        | Command::Check(_)
        | Command::Schema(_)
        | Command::Keygen(_)
        | Command::Providers(_)
        | Command::Bench(_)
        | Command::Torture(_) => cli.log,
    };
    logging::start(level, std::env::var("DEBUG").ok().as_deref());
    process::raise_descriptor_limit();
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Schema(schema) => schema.run(),
        Command::Keygen(keygen) => keygen.run(),
        Command::Connect(connect) => connect.run(),
        Command::Providers(providers) => providers.run(),
        Command::Bench(bench) => bench.run(),
        Command::Torture(torture) => torture.run(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::note(&format!("error: {}", failure.text));
            ExitCode::from(failure.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn each_example_of_a_provider_is_understood() {
        for example in crate::providers::examples() {
            let mut quoted = false;
            let words = example.split(|c| {
                quoted ^= c == '\'';
                c == ' ' && !quoted
            });
            let words = words.map(|word| word.trim_matches('\''));
            let parsed = super::Cli::command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
}
