//! `smartsocket bench`.

use std::net::TcpListener;

use crate::support::{Program, Server, Signal, run};

const SHORT: [&str; 4] = ["--duration", "0.3", "--warmup", "0.1"];

#[test]
fn a_short_run_counts_messages_and_no_errors() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    for options in [
        &[][..],
        &["--connections", "3", "--pipeline", "8", "--size", "0"],
        &["--text", "--size", "2k", "--deflate"],
        &["--size", "300k", "--pipeline", "10"],
    ] {
        let ended = run(
            &[&["bench", &url, "--json"], &SHORT[..], options].concat(),
            "",
        );
        assert_eq!(ended.code, Some(0), "{options:?} {}", ended.stderr);
        assert_eq!(ended.stderr, "");
        let [report] = &ended.json()[..] else {
            panic!("not one object: {}", ended.text());
        };
        assert!(report["messages"].as_u64().unwrap() > 0, "{report}");
        assert_eq!(report["errors"], 0, "{report}");
        let latency = |name: &str| report["latency_ms"][name].as_f64().unwrap();
        assert!(latency("min") > 0.0, "{report}");
        for pair in ["min", "p50", "p90", "p99", "p99.9", "max"].windows(2) {
            assert!(latency(pair[0]) <= latency(pair[1]), "{report}");
        }
        assert!(report["messages_per_second"].as_f64().unwrap() > 0.0);
    }
}

#[test]
fn the_report_for_humans_has_the_same_figures() {
    let server = Server::start(&[]);
    let ended = run(&[&["bench", &server.url("/echo")], &SHORT[..]].concat(), "");
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    for word in [
        "messages/s",
        "MB/s",
        "min",
        "p50",
        "p99.9",
        "max",
        "errors     0",
    ] {
        assert!(ended.text().contains(word), "{}", ended.text());
    }
}

#[test]
fn a_dead_server_and_a_wrong_path_are_explained() {
    let place = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let ended = run(&["bench", &place.to_string()], "");
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        format!("error: nothing listens at {place} (connection refused)\n")
    );
    let server = Server::start(&[]);
    let ended = run(&["bench", &server.url("/nope")], "");
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.contains("HTTP status 404"), "{}", ended.stderr);
}

#[test]
fn errors_are_counted_by_cause() {
    let server = Server::start(&["--max-message", "100"]);
    let url = server.url("/echo");
    let ended = run(&["bench", &url, "--json", "--size", "101", "-d", "0.2"], "");
    assert_eq!(ended.code, Some(1));
    let report = &ended.json()[0];
    assert_eq!(report["errors"], 10);
    let (cause, count) = report["errors_by_cause"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert!(cause.contains("1009 message too big"), "{cause}");
    assert_eq!(count, 10);
}

#[test]
fn a_server_that_stops_is_an_error_and_ctrl_c_is_not() {
    let server = Server::start(&[]);
    let url = server.url("/echo");
    let bench = Program::start(&["bench", &url, "--warmup", "0", "-d", "60", "--json"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    bench.signal(Signal::INT);
    let ended = bench.wait();
    assert_eq!(ended.code, Some(130));
    let report = &ended.json()[0];
    assert!(report["messages"].as_u64().unwrap() > 0);
    assert!(report["seconds"].as_f64().unwrap() < 30.0);
    assert_eq!(report["errors"], 0, "{report}");

    let bench = Program::start(&["bench", &url, "--warmup", "0", "-d", "1", "--json"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    server.program.signal(Signal::TERM);
    let ended = bench.wait();
    assert_eq!(ended.code, Some(1));
    assert!(ended.json()[0]["errors"].as_u64().unwrap() > 0);
}
