//! TLS on both sides: certificates, how they are replaced, what is said about bad ones.

use crate::support::{Authority, Directory, Program, Server, Signal, run};

#[test]
fn a_private_authority_is_trusted_when_named() {
    let directory = Directory::new("private");
    let authority = Authority::new();
    let ca = directory.file("ca.pem", &authority.pem());
    let (cert, key) = authority.issue("127.0.0.1");
    let server = Server::start(&[
        "--tls-cert",
        &directory.file("cert.pem", &cert),
        "--tls-key",
        &directory.file("key.pem", &key),
    ]);
    let url = server.url("/echo");
    assert!(url.starts_with("wss://127.0.0.1:"), "{url}");

    let ended = run(&["connect", &url, "--ca", &ca], "hi\n");
    assert_eq!(
        (ended.code, ended.text()),
        (Some(0), "hi\n"),
        "{}",
        ended.stderr
    );
    let provider = ["connect", "--provider", "echo", &url, "--ca", &ca];
    let ended = run(&provider, "hi\n");
    assert_eq!((ended.code, ended.text()), (Some(0), "hi\n"));
    let ended = run(&["connect", &url, "--insecure"], "hi\n");
    assert_eq!((ended.code, ended.text()), (Some(0), "hi\n"));
    assert!(
        ended.stderr.starts_with("warning: --insecure"),
        "{}",
        ended.stderr
    );

    let other = directory.file("other.pem", &Authority::new().pem());
    for args in [
        &["connect", &url, "--ca", &other][..],
        &["bench", &url, "--ca", &other],
        // It does not get better by trying again.
        &["connect", "--provider", "echo", &url, "--ca", &other],
    ] {
        let ended = run(args, "hi\n");
        assert_eq!(ended.code, Some(1));
        let error = ended.stderr.lines().last().unwrap();
        assert_eq!(
            error,
            format!(
                "error: the certificate of {} is signed by nobody we trust: give its authority with --ca FILE",
                server.place
            )
        );
    }
    // Plain text where TLS is spoken.
    let ended = run(&["connect", &url.replace("wss://", "ws://")], "hi\n");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("use wss:// instead of ws://"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_certificate_for_another_host_is_explained() {
    let directory = Directory::new("host");
    let authority = Authority::new();
    let (cert, key) = authority.issue("example.com");
    let server = Server::start(&[
        "--tls-cert",
        &directory.file("cert.pem", &cert),
        "--tls-key",
        &directory.file("key.pem", &key),
    ]);
    let ca = directory.file("ca.pem", &authority.pem());
    let ended = run(&["connect", &server.url("/echo"), "--ca", &ca], "");
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("is for another host"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("example.com"), "{}", ended.stderr);
}

#[test]
fn tls_to_a_plain_port_is_explained() {
    let server = Server::start(&[]);
    let ended = run(
        &[
            "connect",
            &format!("wss://{}/echo", server.place),
            "--insecure",
        ],
        "",
    );
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .stderr
            .contains("does not speak TLS: use ws:// instead of wss://"),
        "{}",
        ended.stderr
    );
}

#[test]
fn bad_files_are_named_with_what_is_wrong() {
    let directory = Directory::new("files");
    let authority = Authority::new();
    let (cert, key) = authority.issue("127.0.0.1");
    let (_, other) = authority.issue("127.0.0.1");
    let cert = directory.file("cert.pem", &cert);
    let key = directory.file("key.pem", &key);
    let other = directory.file("other.pem", &other);
    let garbage = directory.file("garbage.pem", "canary\n");
    let none = directory.path("none.pem");
    let ended = |cert: &str, key: &str| {
        let ended = run(
            &["serve", "--port", "0", "--tls-cert", cert, "--tls-key", key],
            "",
        );
        assert_eq!(ended.code, Some(1));
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(!ended.stderr.contains("canary"), "{}", ended.stderr);
        ended.stderr
    };
    for (cert, key, named, why) in [
        (&none, &key, "--tls-cert", "there is no such file"),
        (&cert, &none, "--tls-key", "there is no such file"),
        (&garbage, &key, "--tls-cert", "no certificate found"),
        (&cert, &garbage, "--tls-key", "no private key found"),
        (&cert, &other, "--tls-key", "does not match"),
        (&key, &cert, "--tls-cert", "no certificate found"),
    ] {
        let stderr = ended(cert, key);
        assert!(stderr.contains(named) && stderr.contains(why), "{stderr}");
    }
    // The client's side.
    for (args, why) in [
        (&["--ca", &none][..], "there is no such file"),
        (&["--ca", &garbage], "no certificate found"),
        (
            &["--cert", &cert, "--key", &other, "--insecure"],
            "does not match",
        ),
    ] {
        let ended = run(&[&["connect", "wss://127.0.0.1:1"], args].concat(), "");
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
    }
}

#[test]
fn sighup_reads_the_certificate_again_and_keeps_the_old_if_it_is_bad() {
    let directory = Directory::new("reload");
    let (old, new) = (Authority::new(), Authority::new());
    let old_ca = directory.file("old-ca.pem", &old.pem());
    let new_ca = directory.file("new-ca.pem", &new.pem());
    let (old_cert, old_key) = old.issue("127.0.0.1");
    let (new_cert, new_key) = new.issue("127.0.0.1");
    let cert = directory.file("cert.pem", &old_cert);
    let key = directory.file("key.pem", &old_key);
    let server = Server::start(&["--tls-cert", &cert, "--tls-key", &key, "--log", "info"]);
    let url = server.url("/echo");
    let trusts = |ca: &str| run(&["connect", &url, "--ca", ca], "hi\n").code == Some(0);
    assert_eq!((trusts(&old_ca), trusts(&new_ca)), (true, false));

    let mut lasting = Program::start(&["connect", &url, "--ca", &old_ca]);
    lasting.write(b"one\n");
    assert_eq!(lasting.line(), "one");

    // Half of the new pair: it does not fit.
    directory.file("cert.pem", &new_cert);
    server.program.signal(Signal::HUP);
    let line = server
        .program
        .note("the old certificate and key stay in use");
    assert!(line.contains("does not match"), "{line}");
    assert_eq!((trusts(&old_ca), trusts(&new_ca)), (true, false));

    directory.file("key.pem", &new_key);
    server.program.signal(Signal::HUP);
    server.program.note("certificate and key read again");
    assert_eq!((trusts(&old_ca), trusts(&new_ca)), (false, true));

    lasting.write(b"two\n");
    assert_eq!(lasting.line(), "two");
    assert_eq!(lasting.end().code, Some(0));
}
