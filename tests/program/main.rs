//! The program as its users meet it: started, talked to, stopped.
#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

mod bench;
mod config;
mod connect;
mod provider;
mod proxy;
mod secrecy;
mod serve;
mod support;
mod tls;
mod torture;
mod transcripts;

use support::run;

#[test]
fn it_tells_its_version() {
    let ended = run(&["--version"], "");
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.text(),
        concat!("smartsocket ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn help_has_examples() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["schema", "--help"],
        &["connect", "--help"],
        &["providers", "--help"],
        &["bench", "--help"],
        &["torture", "--help"],
    ] {
        let ended = run(args, "");
        assert_eq!(ended.code, Some(0));
        assert!(
            ended.text().contains("Examples:\n  smartsocket "),
            "{args:?}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2_and_advice() {
    for (args, advice) in [
        (&["serv"][..], "'serve'"),
        (&["serve", "--prot", "1"], "'--port'"),
        (&["serve", "--port", "70000"], "70000"),
        (&["serve", "--port", "x"], "0..=65535"),
        (&["serve", "--shards", "0"], "1..=1024"),
        (&["serve", "--max-message", "lots"], "64k"),
        (&["serve", "--tls-cert", "x"], "--tls-key"),
        (&["--log", "loud", "serve"], "expected off, error, warn"),
        (&["connect"], "<URL>"),
        (&["connect", "h", "--timeout", "-1"], "--timeout"),
        (&["connect", "h", "--timeout", "soon"], "number of seconds"),
        (&["bench", "h", "--connections", "0"], "--connections"),
        (&[], "Usage: smartsocket"),
    ] {
        let ended = run(args, "");
        assert_eq!(ended.code, Some(2), "{args:?}");
        assert!(ended.stderr.contains(advice), "{args:?}: {}", ended.stderr);
    }
}
