//! Clients of the program that go through a proxy.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::support::{PATIENCE, Program, Server, command, run};

const PASSWORD: &str = "canary-5f2b";
/// `user:canary-5f2b`
const BASIC: &str = "dXNlcjpjYW5hcnktNWYyYg==";

/// A proxy for those who have the password; its place, and the requests.
fn proxy() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let (sender, heads) = channel();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let head = read_head(&mut client);
            let server = head.split(' ').nth(1).unwrap().to_owned();
            let allowed = head.contains(BASIC);
            if sender.send(head).is_err() {
                return;
            }
            if !allowed {
                let refusal = format!(
                    "HTTP/1.1 407 not {PASSWORD} {BASIC}\r\nProxy-Authenticate: Basic\r\n\r\n"
                );
                client.write_all(refusal.as_bytes()).unwrap();
                continue;
            }
            let server = TcpStream::connect(server).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(back.0, back.1));
            thread::spawn(move || pass(client, server));
        }
    });
    (place, heads)
}

fn read_head(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn each_client_goes_through_a_proxy() {
    let server = Server::start(&[]);
    let (place, heads) = proxy();
    let url = server.url("/echo");
    let way = format!("http://user:{PASSWORD}@{place}");
    for who in [&["connect"][..], &["connect", "--provider", "echo"]] {
        let ended = run(&[who, &[&url, "--proxy", &way]].concat(), "hi\n");
        assert_eq!(
            (ended.code, ended.text()),
            (Some(0), "hi\n"),
            "{}",
            ended.stderr
        );
        let head = heads.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", server.place)));
    }
    let load = ["--warmup", "0", "-d", "0.1", "-c", "1"];
    let ended = run(&[&["bench", &url, "--proxy", &way][..], &load].concat(), "");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(heads.recv_timeout(PATIENCE).is_ok());
}

#[test]
fn a_proxy_that_does_not_want_us_is_explained_and_no_password_with_it() {
    let (place, _heads) = proxy();
    let wrong = format!("http://wrong:{PASSWORD}@{place}");
    let bare = format!("http://{place}");
    for who in [&["connect"][..], &["connect", "--provider", "echo"]] {
        for (way, expected) in [
            (
                &wrong,
                "error: the proxy does not take this user and password: give them with --proxy",
            ),
            (
                &bare,
                "error: the proxy asks for a user and a password: give them with --proxy",
            ),
        ] {
            let ended = run(&[who, &["example.com", "--proxy", way, "-vv"]].concat(), "");
            assert_eq!(ended.code, Some(1));
            assert!(ended.stderr.contains(expected), "{}", ended.stderr);
            assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
        }
    }
}

#[test]
fn the_environment_names_proxies_unless_told_otherwise() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    drop(listener);
    let nothing = format!("error: nothing listens at the proxy http://{place}");
    for who in [
        &["connect"][..],
        &["connect", "--provider", "echo", "--no-reconnect"],
    ] {
        let through = |variable: &str, value: &str, more: &[&str]| {
            let mut client = command(&[who, &["ws://no-such-host.invalid/"], more].concat());
            Program::spawn(client.env(variable, value)).end()
        };
        let ended = through("all_proxy", &place, &[]);
        assert!(ended.stderr.contains(&nothing), "{}", ended.stderr);
        let ended = through("all_proxy", &place, &["--no-proxy"]);
        assert!(
            ended.stderr.contains("no-such-host.invalid has no address"),
            "{}",
            ended.stderr
        );
        let ended = through("http_proxy", "https://canary", &[]);
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("(in http_proxy)"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
    }
    let ended = run(&["connect", "h", "--proxy", "ftp://canary"], "");
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .stderr
            .contains("bad option: proxy: url does not start")
    );
    assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
}
