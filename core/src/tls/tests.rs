//! The layer's promises, and what configurations accept and refuse.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use rustls::ProtocolVersion;
use rustls::version::{TLS12, TLS13};

use super::layer::Opened;
use super::testing::{End, HOST, Link, Pair, Pki, STEPS, carry, output};
use super::{ClientTls, Layer, Pem, ServerTls, TlsError};

#[test]
fn echoes_over_both_versions_in_any_cuts() {
    let pki = Pki::new();
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for cut in [1, 2, 7, 100, 4096, usize::MAX] {
            let mut link = Link::new(&pki.client_speaking(version, &[]), &pki.server(), cut);
            link.client.layer.seal(b"sealed before the handshake ");
            link.settle();
            assert!(!link.client.layer.is_handshaking() && !link.server.layer.is_handshaking());
            assert_eq!(link.client.layer.version(), Some(expected));
            link.client.layer.seal(b"and after it");
            link.settle();
            assert_eq!(
                link.server.plain, b"sealed before the handshake and after it",
                "cut {cut}"
            );
            let heard = link.server.plain.clone();
            link.server.layer.seal(&heard);
            link.settle();
            assert_eq!(link.client.plain, heard, "cut {cut}");
        }
    }
}

#[test]
fn a_mebibyte_passes_both_ways_at_once() {
    let pki = Pki::new();
    let (up, down) = (noise(1 << 20, 1), noise(1 << 20, 2));
    for version in [&TLS12, &TLS13] {
        let mut link = Link::new(&pki.client_speaking(version, &[]), &pki.server(), 1500);
        link.client.layer.seal(&up);
        link.server.layer.seal(&down);
        link.settle();
        assert!(link.server.plain == up && link.client.plain == down);
    }
}

#[test]
fn one_call_opens_about_one_record() {
    let pki = Pki::new();
    let mut link = pki.settled();
    link.client.layer.seal(&vec![7; 1 << 20]);
    let mut wire = Vec::new();
    link.client.layer.take_output(&mut wire);
    let (mut rest, mut plain, mut total) = (&wire[..], Vec::new(), 0);
    while !rest.is_empty() {
        plain.clear();
        let opened = link.server.layer.open(rest, &mut plain).unwrap();
        assert!(opened.consumed > 0 && plain.len() <= 18 * 1024);
        rest = &rest[opened.consumed..];
        total += plain.len();
    }
    assert_eq!(total, 1 << 20);
}

#[test]
fn a_client_refuses_a_certificate_it_cannot_trust() {
    let pki = Pki::new();
    let stranger = Pki::named("stranger");
    let namesake = Pki::new();
    let long_ago = pki.issue(&[HOST], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let far_ahead = pki.issue(&[HOST], |params| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1)
    });
    let elsewhere = pki.issue(&["example.com"], |_| ());

    let refusal = |pair: &Pair| {
        let mut link = Link::new(&pki.client(), &pair.server(), usize::MAX);
        link.client.layer.seal(b"a secret");
        link.settle();
        assert!(link.server.plain.is_empty());
        (link.client.error.unwrap(), link.server.error.unwrap())
    };
    let (client, server) = refusal(&stranger.issue(&[HOST], |_| ()));
    assert_eq!(
        (&client, &server),
        (&TlsError::UnknownIssuer, &TlsError::Alert(48))
    );
    assert_eq!(
        server.to_string(),
        "the peer does not trust the issuer of our certificate"
    );
    assert!(client.is_untrusted() && !server.is_untrusted());
    assert_eq!(
        refusal(&namesake.issue(&[HOST], |_| ())).0,
        TlsError::UnknownIssuer
    );
    assert_eq!(refusal(&long_ago), (TlsError::Expired, TlsError::Alert(45)));
    assert_eq!(refusal(&far_ahead).0, TlsError::NotYetValid);
    let (client, _) = refusal(&elsewhere);
    assert!(matches!(client, TlsError::WrongName(_)) && client.is_untrusted());
    let told = client.to_string();
    assert!(
        told.contains(r#""localhost""#) && told.contains("example.com"),
        "{told}"
    );
}

#[test]
fn the_host_may_be_an_address() {
    let pki = Pki::new();
    let server = pki.issue(&["127.0.0.1", "::1"], |_| ()).server();
    for (host, good) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("[::1]", true),
        ("127.0.0.2", false),
    ] {
        let mut link = Link::new(&pki.client(), &server, usize::MAX);
        link.client = End::new(Layer::client(&pki.client(), host).unwrap());
        link.settle();
        assert_eq!(link.client.error.is_none(), good, "{host}");
    }
    for host in ["", "a b", "[::1", "exa_mple..com", "fe80::1%eth0"] {
        let error = Layer::client(&pki.client(), host).unwrap_err();
        assert_eq!(error, TlsError::InvalidHost(host.into()));
    }
}

#[test]
fn clients_show_certificates_when_asked() {
    let pki = Pki::new();
    let identity = pki.issue(&["someone"], |_| ());
    let strange = Pki::named("stranger").issue(&["someone"], |_| ());
    let client = |pair: &Pair| {
        let builder = ClientTls::builder()
            .root_pem(pki.ca.pem().as_bytes())
            .unwrap();
        builder
            .client_certificate_pem(pair.chain(), pair.key())
            .unwrap()
            .build()
            .unwrap()
    };
    let meet = |client: &ClientTls, server: &ServerTls| {
        let mut link = Link::new(client, server, usize::MAX);
        link.settle();
        let shown = link.server.layer.peer_certificate().map(<[u8]>::to_vec);
        (link.client.error, link.server.error, shown)
    };
    let ca = pki.ca.pem();
    let strict = pki
        .server()
        .require_client_certificates(ca.as_bytes())
        .unwrap();
    let lenient = pki.server().with_client_ca(ca.as_bytes()).unwrap();

    for server in [&strict, &lenient] {
        let shown = Some(identity.der.clone());
        assert_eq!(meet(&client(&identity), server), (None, None, shown));
        let (told, error, _) = meet(&client(&strange), server);
        assert_eq!(
            (told, error),
            (Some(TlsError::Alert(48)), Some(TlsError::UnknownIssuer))
        );
    }
    assert_eq!(meet(&pki.client(), &lenient), (None, None, None));
    for client in [pki.client(), pki.client_speaking(&TLS12, &[])] {
        let (told, error, _) = meet(&client, &strict);
        assert_eq!(
            (&told, &error),
            (&Some(TlsError::Alert(116)), &Some(TlsError::NoCertificate))
        );
        assert_eq!(
            told.unwrap().to_string(),
            "the peer requires a client certificate"
        );
    }
    // A certificate nobody asks for is not shown.
    assert_eq!(meet(&client(&identity), &pki.server()), (None, None, None));
}

#[test]
fn reload_changes_new_handshakes_of_all_clones() {
    let pki = Pki::new();
    let (old, new) = (pki.issue(&[HOST], |_| ()), pki.issue(&[HOST], |_| ()));
    let client = pki.client();
    let server = old.server().require_tls13().unwrap();
    let listener = server.clone();
    // The client resumes its sessions wherever the server still knows them.
    let shown = || {
        let mut link = Link::new(&client, &listener, usize::MAX);
        link.settle();
        assert_eq!(link.client.error, None);
        link.client.layer.peer_certificate().unwrap().to_vec()
    };
    let mut early = Link::new(&client, &listener, usize::MAX);
    assert!(shown() == old.der && shown() == old.der);

    assert_eq!(
        server.reload(new.chain(), old.key()),
        Err(TlsError::KeyMismatch)
    );
    assert_eq!(
        server.reload(b"", new.key()),
        Err(TlsError::Missing(Pem::Chain))
    );
    assert!(shown() == old.der);

    server.reload(new.chain(), new.key()).unwrap();
    assert!(shown() == new.der && shown() == new.der);
    early.settle();
    assert_eq!(early.client.layer.peer_certificate(), Some(&old.der[..]));

    // What was configured before stays so.
    let mut link = Link::new(&pki.client_speaking(&TLS12, &[]), &listener, usize::MAX);
    link.settle();
    assert!(link.server.error.is_some());
}

#[test]
fn tls_1_2_can_be_refused() {
    let pki = Pki::new();
    let server = pki.server().require_tls13().unwrap();
    let mut link = Link::new(&pki.client_speaking(&TLS12, &[]), &server, usize::MAX);
    link.settle();
    assert!(matches!(link.server.error, Some(TlsError::Incompatible(_))));
    assert_eq!(link.client.error, Some(TlsError::Alert(70)));

    let client = pki.trusting().require_tls13().build().unwrap();
    let mut link = Link::new(&client, &pki.server(), usize::MAX);
    link.settle();
    assert_eq!(link.client.layer.version(), Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn http_1_1_is_agreed_on_when_the_client_names_protocols() {
    let pki = Pki::new();
    for (offers, error) in [
        (&[][..], None),
        (&["http/1.1"], None),
        (&["h2", "http/1.1"], None),
        (&["h2"], Some(TlsError::Alert(120))),
    ] {
        let mut link = Link::new(
            &pki.client_speaking(&TLS13, offers),
            &pki.server(),
            usize::MAX,
        );
        link.settle();
        assert_eq!(link.client.error, error, "{offers:?}");
    }
}

#[test]
fn accepting_any_certificate_must_be_asked_for() {
    assert_eq!(ClientTls::builder().build().unwrap_err(), TlsError::NoRoots);
    let junk = ClientTls::builder().roots([b"junk"]);
    assert_eq!(junk.build().unwrap_err(), TlsError::NoRoots);

    let client = ClientTls::builder().dangerous_accept_any().build().unwrap();
    let server = Pki::new().issue(&["example.com"], |_| ()).server();
    for server in [server.clone(), server.require_tls13().unwrap()] {
        let mut link = Link::new(&client, &server, usize::MAX);
        link.client.layer.seal(b"hello");
        link.settle();
        assert_eq!(link.server.plain, b"hello");
    }
}

#[test]
fn plain_text_is_recognised_at_its_first_byte() {
    let pki = Pki::new();
    let mut server = Layer::server(&pki.server()).unwrap();
    let mut client = Layer::client(&pki.client(), HOST).unwrap();
    client.take_output(&mut Vec::new());
    for (layer, text) in [(&mut server, "GET /"), (&mut client, "HTTP/1.1 400")] {
        assert_eq!(
            layer.open(&text.as_bytes()[..1], &mut Vec::new()),
            Err(TlsError::PlainText)
        );
        assert_eq!(
            layer.open(&text.as_bytes()[1..], &mut Vec::new()),
            Err(TlsError::PlainText)
        );
        layer.seal(b"dropped");
        assert_eq!(
            output(layer),
            [21, 3, 3, 0, 2, 2, 50],
            "a fatal decode_error"
        );
    }
}

#[test]
fn a_broken_record_ends_it_with_an_alert_and_keeps_what_came_before() {
    let pki = Pki::new();
    for version in [&TLS12, &TLS13] {
        let mut link = Link::new(
            &pki.client_speaking(version, &[]),
            &pki.server(),
            usize::MAX,
        );
        link.settle();
        link.client.layer.seal(b"good");
        let mut wire = output(&mut link.client.layer);
        link.client.layer.seal(b"bad");
        wire.extend(output(&mut link.client.layer));
        *wire.last_mut().unwrap() ^= 1;
        link.server.feed(&wire);
        assert_eq!(link.server.plain, b"good");
        let error = link.server.error.clone().unwrap();
        assert!(matches!(error, TlsError::Protocol(_)));
        assert_eq!(link.server.layer.open(b"more", &mut Vec::new()), Err(error));
        link.settle();
        assert_eq!(
            link.client.error,
            Some(TlsError::Alert(20)),
            "bad_record_mac"
        );
    }
}

#[test]
fn close_notify_passes_both_ways_after_all_that_was_sealed() {
    let pki = Pki::new();
    for version in [&TLS12, &TLS13] {
        for client_first in [true, false] {
            let mut link = Link::new(&pki.client_speaking(version, &[]), &pki.server(), 1);
            link.settle();
            let Link { client, server, .. } = &mut link;
            let (first, second) = if client_first {
                (client, server)
            } else {
                (server, client)
            };
            first.layer.seal(b"bye");
            first.layer.close();
            first.layer.close();
            first.layer.seal(b"too late");
            carry(first, second, 1);
            assert!(second.closed && second.plain == b"bye" && !second.layer.handle_eof());
            second.layer.seal(b"still allowed, not read any more");
            second.layer.close();
            assert!(carry(second, first, usize::MAX));
            assert!(first.closed && first.plain.is_empty() && !first.layer.handle_eof());
            assert!(first.error.is_none() && second.error.is_none());
        }
    }
}

#[test]
fn bytes_after_the_own_close_are_dropped_unread() {
    let mut link = Pki::new().settled();
    link.server.layer.close();
    // rustls would panic over these in a debug build.
    let opened = link.server.layer.open(&[0xff; 99], &mut Vec::new());
    assert_eq!(
        opened,
        Ok(Opened {
            consumed: 99,
            closed: true
        })
    );
}

#[test]
fn closing_during_the_handshake_sends_no_data_afterwards() {
    let pki = Pki::new();
    let mut link = Link::new(&pki.client(), &pki.server(), usize::MAX);
    link.client.layer.seal(b"never sent");
    link.client.layer.close();
    link.settle();
    assert!(link.server.plain.is_empty());
    assert_eq!(link.server.error, Some(TlsError::Alert(0)));
}

#[test]
fn an_end_without_close_notify_is_a_truncation() {
    let pki = Pki::new();
    assert!(Layer::server(&pki.server()).unwrap().handle_eof());
    let mut link = pki.settled();
    link.client.layer.seal(b"half of it");
    link.settle();
    assert!(link.server.layer.handle_eof());
}

#[test]
fn an_empty_input_changes_nothing() {
    let mut link = Pki::new().settled();
    let nothing = Ok(Opened {
        consumed: 0,
        closed: false,
    });
    assert_eq!(link.server.layer.open(&[], &mut Vec::new()), nothing);
    link.client.layer.seal(b"");
    assert!(!link.client.layer.wants_write());
    link.client.layer.seal(b"x");
    link.settle();
    assert_eq!(link.server.plain, b"x");
}

#[test]
fn bad_pem_is_named() {
    let pki = Pki::new();
    let (good, other) = (pki.issue(&[HOST], |_| ()), pki.issue(&[HOST], |_| ()));
    let cut = &good.chain[..good.chain.len() - 30];
    let unbase64 = good.key.replacen("MIG", "M!G", 1);
    let hollow = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let odd_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let locked = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old_locked = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n\
                      -----END RSA PRIVATE KEY-----";
    for (chain, key, error) in [
        ("", &good.key[..], TlsError::Missing(Pem::Chain)),
        ("\0\u{1}junk", &good.key, TlsError::Missing(Pem::Chain)),
        (&good.key, &good.chain, TlsError::Missing(Pem::Chain)),
        (&good.chain, "", TlsError::Missing(Pem::Key)),
        (&good.chain, &good.chain, TlsError::Missing(Pem::Key)),
        (cut, &good.key, TlsError::Malformed(Pem::Chain)),
        (&good.chain, &unbase64, TlsError::Malformed(Pem::Key)),
        (hollow, &good.key, TlsError::Unusable(Pem::Chain)),
        (&good.chain, odd_key, TlsError::Unusable(Pem::Key)),
        (&good.chain, &locked, TlsError::EncryptedKey),
        (&good.chain, old_locked, TlsError::EncryptedKey),
        (&good.chain, &other.key, TlsError::KeyMismatch),
    ] {
        let (chain, key) = (chain.as_bytes(), key.as_bytes());
        assert_eq!(ServerTls::from_pem(chain, key).unwrap_err(), error);
        let client = ClientTls::builder().client_certificate_pem(chain, key);
        assert_eq!(client.unwrap_err(), error);
        let told = error.to_string();
        assert!(told.contains("chain") || told.contains("key"), "{told}");
    }
    for (ca, error) in [
        ("", TlsError::Missing as fn(Pem) -> TlsError),
        (cut, TlsError::Malformed),
        (hollow, TlsError::Unusable),
    ] {
        let root = ClientTls::builder().root_pem(ca.as_bytes());
        assert_eq!(root.unwrap_err(), error(Pem::Root));
        let server = good.server().require_client_certificates(ca.as_bytes());
        assert_eq!(server.unwrap_err(), error(Pem::ClientCa));
    }
}

#[test]
fn a_foreign_configuration_is_used_as_it_is() {
    let pki = Pki::new();
    let ca = pki.ca.pem();
    let server = ServerTls::from_config(pki.server().config());
    let mut link = Link::new(&pki.client(), &server, usize::MAX);
    link.settle();
    assert!(link.client.error.is_none() && !link.client.layer.is_handshaking());

    let pair = pki.issue(&[HOST], |_| ());
    assert_eq!(
        server.reload(pair.chain(), pair.key()),
        Err(TlsError::ForeignConfig)
    );
    let refused = server.clone().require_tls13();
    assert_eq!(refused.unwrap_err(), TlsError::ForeignConfig);
    let refused = server.require_client_certificates(ca.as_bytes());
    assert_eq!(refused.unwrap_err(), TlsError::ForeignConfig);
}

#[test]
fn debug_output_tells_no_secrets() {
    let pki = Pki::new();
    let pair = pki.issue(&[HOST], |_| ());
    let builder = pki
        .trusting()
        .client_certificate_pem(pair.chain(), pair.key())
        .unwrap();
    assert_eq!(format!("{builder:?}"), "ClientTlsBuilder { .. }");
    assert_eq!(
        format!("{:?}", builder.build().unwrap()),
        "ClientTls { .. }"
    );
    assert_eq!(format!("{:?}", pair.server()), "ServerTls { .. }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_panic_or_loop(
        junk: Vec<u8>,
        at: prop::sample::Index,
        flip in 1u8..,
        cut in 1usize..300,
        old: bool,
    ) {
        let pki = Pki::new();
        let version = if old { &TLS12 } else { &TLS13 };
        let Link { client: mut from, server: mut to, .. } =
            Link::new(&pki.client_speaking(version, &[]), &pki.server(), cut);
        // One flipped byte anywhere in a conversation, then junk.
        let mut position = at.index(4000);
        for _ in 0..STEPS {
            from.layer.seal(b"ping");
            let mut wire = output(&mut from.layer);
            match wire.get_mut(position) {
                Some(byte) => {
                    *byte ^= flip;
                    position = usize::MAX;
                }
                None => position -= wire.len(),
            }
            wire.chunks(cut).for_each(|piece| to.feed(piece));
            core::mem::swap(&mut from, &mut to);
        }
        from.layer.close();
        for end in [&mut from, &mut to] {
            end.feed(&junk);
            end.layer.seal(&junk);
            output(&mut end.layer);
            prop_assert!(!end.layer.wants_write());
        }
    }
}

fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}
