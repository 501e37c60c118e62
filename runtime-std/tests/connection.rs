//! One connection over real sockets, both roles.
#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use smartsocket_std::http::{Response, UpgradeRequest};
use smartsocket_std::{
    Accept, Cause, CloseCode, Closed, Config, Deadline, Error, Event, Fault, HalfDuplex, Message,
    Negotiated, Refused, Role, Stream, Transport, WebSocket,
};

const SECOND: Duration = Duration::from_secs(1);

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// A client and a server over two transports.
fn open<T: Transport + Send + Sync + 'static>(
    (client, server): (T, T),
    client_config: Config,
    server_config: Config,
) -> (WebSocket<T>, WebSocket<T>) {
    let server = thread::spawn(|| WebSocket::accept(server, server_config).unwrap());
    let request = UpgradeRequest::new("ws://localhost/").unwrap();
    let client = WebSocket::handshake(client, request, client_config).unwrap();
    (client, server.join().unwrap())
}

fn tcp(client: Config, server: Config) -> (WebSocket, WebSocket) {
    let (a, b) = tcp_pair();
    open((Stream::from(a), Stream::from(b)), client, server)
}

fn spawn_echo<T: Transport + Send + Sync + 'static>(
    mut ws: WebSocket<T>,
) -> thread::JoinHandle<Closed> {
    thread::spawn(move || {
        while let Some(Ok(message)) = ws.recv() {
            if ws.send(message).is_err() {
                break;
            }
        }
        ws.closed().unwrap().clone()
    })
}

fn echoes_and_closes<T: Transport + Send + Sync + 'static>(pair: (T, T)) {
    let (mut client, server) = open(pair, Config::default(), Config::default());
    let server = spawn_echo(server);
    for message in [Message::text("hello"), Message::binary(vec![7; 100_000])] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.recv().unwrap().unwrap(), message);
    }
    let closed = client.close(CloseCode::from(4000), "enough").unwrap();
    assert_eq!(closed.code, CloseCode::from(4000));
    assert!(matches!(closed.cause, Cause::Local));
    assert!(client.recv().is_none());
    assert!(!client.is_open());
    let seen = server.join().unwrap();
    assert!(matches!(seen.cause, Cause::Peer));
    assert_eq!(&*seen.reason, "enough");
}

#[test]
fn messages_come_back_over_every_kind_of_socket() {
    let (a, b) = tcp_pair();
    echoes_and_closes((Stream::from(a), Stream::from(b)));
    let (a, b) = UnixStream::pair().unwrap();
    echoes_and_closes((Stream::from(a), Stream::from(b)));
    echoes_and_closes(tcp_pair());
    echoes_and_closes(UnixStream::pair().unwrap());
}

#[test]
fn a_plain_read_and_write_stream_works_with_its_own_time_limits() {
    let (a, b) = UnixStream::pair().unwrap();
    for stream in [&a, &b] {
        let limit = Some(Duration::from_millis(20));
        stream.set_read_timeout(limit).unwrap();
    }
    echoes_and_closes((HalfDuplex::new(a), HalfDuplex::new(b)));
}

#[test]
fn a_message_of_16_mib_comes_back() {
    let config = || Config {
        max_message: 16 << 20,
        ..Config::default()
    };
    let (mut client, server) = tcp(config(), config());
    let server = spawn_echo(server);
    let data: Vec<u8> = (0..16_u32 << 20).map(|n| ((n * 31) >> 3) as u8).collect();
    client.send(data.clone()).unwrap();
    assert!(client.recv().unwrap().unwrap().as_bytes() == data);
    client.close(CloseCode::NORMAL, "").unwrap();
    server.join().unwrap();
}

#[test]
fn ten_thousand_messages_sent_ahead_come_back_in_order() {
    let (client, server) = tcp(Config::default(), Config::default());
    let server = spawn_echo(server);
    let (sender, mut receiver) = client.split();
    let sending = thread::spawn(move || {
        for n in 0..10_000 {
            sender.send(n.to_string()).unwrap();
        }
        sender
    });
    for n in 0..10_000 {
        let message = receiver.recv().unwrap().unwrap();
        assert_eq!(message.as_text(), Some(&*n.to_string()));
    }
    let sender = sending.join().unwrap();
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(receiver.next().is_none());
    server.join().unwrap();
}

#[test]
fn several_threads_send_on_one_connection_without_mixing() {
    let (client, server) = tcp(Config::default(), Config::default());
    let receiving = thread::spawn(move || {
        let mut next = [0_usize; 4];
        for message in server {
            let data = message.unwrap().into_bytes();
            let (thread, number) = (data[0], data.len());
            assert!(data.iter().all(|byte| *byte == thread));
            assert_eq!(number, next[thread as usize] % 3_000 + 1);
            next[thread as usize] += 1;
        }
        next
    });
    let (sender, mut receiver) = client.split();
    thread::scope(|scope| {
        for n in 0..4_u8 {
            let sender = sender.clone();
            scope.spawn(move || {
                for number in 0..5_000 {
                    sender.send(vec![n; number % 3_000 + 1]).unwrap();
                }
            });
        }
        scope.spawn(|| assert!(receiver.recv().is_none()));
        // The halves are used up to the end by the threads above.
        while sender.stats().sent_messages < 20_000 {
            thread::sleep(Duration::from_millis(5));
        }
        sender.close(CloseCode::NORMAL, "").unwrap();
    });
    assert_eq!(receiving.join().unwrap(), [5_000; 4]);
}

#[test]
fn pings_are_answered_while_only_one_half_works() {
    let (client, mut server) = tcp(
        Config::default(),
        Config {
            ping_interval: Some(Duration::from_millis(50)),
            pong_timeout: 5 * SECOND,
            ..Config::default()
        },
    );
    let (sender, mut receiver) = client.split();
    let receiving = thread::spawn(move || receiver.recv().is_none());
    let until = Instant::now() + 10 * SECOND;
    while server.stats().round_trip.is_none() && Instant::now() < until {
        sender.send("busy").unwrap();
        assert!(server.recv().unwrap().is_ok());
        // Long enough for the server to find the peer silent.
        assert!(matches!(
            server.recv_timeout(Duration::from_millis(120)),
            Some(Err(Error::TimedOut))
        ));
    }
    assert!(server.stats().round_trip.is_some());
    let server = spawn_echo(server);
    sender.close(CloseCode::NORMAL, "").unwrap();
    assert!(receiving.join().unwrap());
    server.join().unwrap();
}

#[test]
fn a_sender_closes_without_anybody_receiving() {
    let (client, server) = tcp(Config::default(), Config::default());
    let server = spawn_echo(server);
    let (sender, receiver) = client.split();
    drop(receiver);
    sender.send("hello").unwrap();
    assert!(sender.close(CloseCode::NORMAL, "").is_ok());
    assert_eq!(
        sender.send("late").unwrap_err().to_string(),
        "message of 4 bytes not sent: the connection is closing or closed"
    );
    server.join().unwrap();
}

#[test]
fn a_sleeping_receiver_does_not_stretch_the_time_to_close() {
    let config = Config {
        close_timeout: Duration::from_millis(100),
        ..Config::default()
    };
    let (client, server) = tcp(config, Config::default());
    let (sender, mut receiver) = client.split();
    let receiving = thread::spawn(move || {
        let error = receiver.recv().unwrap().unwrap_err();
        assert!(receiver.recv().is_none());
        error
    });
    thread::sleep(Duration::from_millis(50));
    // The server does not answer: nobody receives there.
    let error = sender.close(CloseCode::NORMAL, "").unwrap_err();
    for error in [error, receiving.join().unwrap()] {
        assert!(matches!(
            error.closed().unwrap().cause,
            Cause::Timeout(Deadline::Close)
        ));
    }
    drop(server);
}

#[test]
fn recv_timeout_gives_up_and_loses_nothing() {
    let (mut client, mut server) = tcp(Config::default(), Config::default());
    for timeout in [0, 5, 50] {
        let timeout = Duration::from_millis(timeout);
        let asked = Instant::now();
        let timed_out = client.recv_timeout(timeout).unwrap().unwrap_err();
        assert!(matches!(timed_out, Error::TimedOut));
        assert!(asked.elapsed() >= timeout);
    }
    server.send("one").unwrap();
    server.send("two").unwrap();
    assert_eq!(
        client.recv_timeout(10 * SECOND).unwrap().unwrap(),
        Message::text("one")
    );
    assert_eq!(client.recv().unwrap().unwrap(), Message::text("two"));
}

#[test]
fn a_peer_that_falls_silent_is_noticed() {
    let config = Config {
        ping_interval: Some(Duration::from_millis(50)),
        pong_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let (mut client, server) = tcp(config, Config::default());
    let error = client.recv().unwrap().unwrap_err();
    assert!(matches!(
        error.closed().unwrap().cause,
        Cause::Timeout(Deadline::Pong)
    ));
    assert_eq!(error.to_string(), "the peer does not answer pings");
    assert!(client.recv().is_none());
    drop(server);
}

#[test]
fn a_peer_that_never_reads_stalls_the_sender_only_so_long() {
    let config = || Config {
        write_timeout: Some(Duration::from_millis(200)),
        ..Config::default()
    };
    let (mut client, server) = tcp(config(), Config::default());
    let refused = loop {
        if let Err(error) = client.send(vec![1; 1 << 20]) {
            break error;
        }
    };
    let Error::Send(refused) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refused.refused, Refused::Closed);
    assert_eq!(refused.message.len(), 1 << 20);
    let error = client.recv().unwrap().unwrap_err();
    assert!(matches!(
        error.closed().unwrap().cause,
        Cause::Timeout(Deadline::Write)
    ));
    drop(server);

    // The same with a receiver asleep in another thread.
    let (client, server) = tcp(config(), Config::default());
    let (sender, mut receiver) = client.split();
    let receiving = thread::spawn(move || receiver.recv().unwrap().unwrap_err());
    while sender.send(vec![1; 1 << 20]).is_ok() {}
    let error = receiving.join().unwrap();
    assert!(matches!(
        error.closed().unwrap().cause,
        Cause::Timeout(Deadline::Write)
    ));
    drop(server);
}

#[test]
fn an_end_without_a_close_frame_is_an_error_once() {
    let (mut client, server) = tcp(Config::default(), Config::default());
    server.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    assert!(client.recv().unwrap().is_err());
    assert!(client.recv().is_none());
    assert!(client.closed().is_some());
}

#[test]
fn dropping_an_open_connection_says_so() {
    let (client, mut server) = tcp(Config::default(), Config::default());
    drop(client);
    assert!(server.recv().is_none());
    assert_eq!(server.closed().unwrap().code, CloseCode::NORMAL);
}

#[test]
fn what_the_peer_said_before_it_hung_up_explains_a_failed_write() {
    let (mut client, mut server) = tcp(Config::default(), Config::default());
    server.send("last words").unwrap();
    // The client's bytes meet a closed socket and are answered by a reset.
    drop(server);
    let until = Instant::now() + 10 * SECOND;
    while client.send("anybody there?").is_ok() && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!client.is_open());
    assert_eq!(client.recv().unwrap().unwrap(), Message::text("last words"));
    assert!(client.recv().is_none());
}

#[test]
fn parts_are_received_as_they_come_and_sent_as_they_are_made() {
    let (mut client, mut server) = tcp(
        Config::default(),
        Config {
            streaming: true,
            ..Config::default()
        },
    );
    client.send_part("one, ", false).unwrap();
    let part = server.recv_part().unwrap().unwrap();
    assert_eq!((part.data.as_text(), part.last), (Some("one, "), false));
    client.send_part("two", true).unwrap();
    let mut text = String::new();
    loop {
        let part = server.recv_part().unwrap().unwrap();
        text += part.data.as_text().unwrap();
        if part.last {
            break;
        }
    }
    assert_eq!(text, "two");
}

#[test]
fn pings_and_pongs_are_told_to_who_asks() {
    let config = || Config {
        control_events: true,
        ..Config::default()
    };
    let (mut client, mut server) = tcp(config(), config());
    assert_eq!(client.ping(vec![0; 126]), Err(Refused::TooLong));
    client.ping("there?").unwrap();
    let serving = thread::spawn(move || {
        let event = server.recv_event().unwrap().unwrap();
        assert!(matches!(event, Event::Ping(data) if data == "there?"));
        // What is not asked for is passed over.
        assert_eq!(server.recv().unwrap().unwrap(), Message::text("yes"));
    });
    let event = client.recv_event().unwrap().unwrap();
    assert!(matches!(event, Event::Pong(data) if data == "there?"));
    client.ping("again").unwrap();
    client.send("yes").unwrap();
    serving.join().unwrap();
}

#[test]
fn the_application_decides_and_both_ends_learn_what_was_agreed() {
    let (a, b) = tcp_pair();
    let config = Config {
        decide: true,
        ..Config::default()
    };
    let server = thread::spawn(move || {
        WebSocket::accept_with(Stream::from(b), config, |ticket| {
            assert_eq!(ticket.request().path(), "/room");
            ticket.accept(Accept {
                subprotocol: Some("chat".into()),
                ..Accept::default()
            })
        })
    });
    let request = UpgradeRequest::new("ws://localhost/room").unwrap();
    let request = request.subprotocol("chat").unwrap();
    let client = WebSocket::handshake(Stream::from(a), request, Config::default()).unwrap();
    let server = server.join().unwrap().unwrap();
    assert_eq!(client.agreed(), server.agreed());
    assert_eq!(
        client.agreed().unwrap().subprotocol.as_deref(),
        Some("chat")
    );
    assert_eq!(client.response().unwrap().status(), 101);
    assert_eq!(server.request().unwrap().path(), "/room");
    assert!(client.get_ref().peer_addr().is_some());
}

#[test]
fn a_refusal_is_an_error_at_both_ends() {
    let (a, b) = tcp_pair();
    let config = Config {
        decide: true,
        ..Config::default()
    };
    let server = thread::spawn(move || {
        WebSocket::accept_with(Stream::from(b), config, |ticket| {
            ticket.respond(Response::text(403, "not you"))
        })
    });
    let request = UpgradeRequest::new("ws://localhost/").unwrap();
    let error = WebSocket::handshake(Stream::from(a), request, Config::default()).unwrap_err();
    let Cause::Refused(response) = &error.closed().unwrap().cause else {
        panic!("{error}")
    };
    assert_eq!(response.status(), 403);
    assert_eq!(&response.content()[..], b"not you");
    let error = server.join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "answered with HTTP status 403");
}

#[test]
fn a_stream_upgraded_elsewhere_goes_on_with_its_leftover() {
    let (a, b) = tcp_pair();
    let upgraded = |stream, role, leftover: &[u8]| {
        WebSocket::upgraded(
            Stream::from(stream),
            role,
            Negotiated::default(),
            leftover,
            Config::default(),
        )
    };
    let mut client = upgraded(a, Role::Client, b"\x81\x05early");
    let mut server = upgraded(b, Role::Server, b"");
    assert_eq!(client.recv().unwrap().unwrap(), Message::text("early"));
    client.send("hello").unwrap();
    assert_eq!(server.recv().unwrap().unwrap(), Message::text("hello"));
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let error = smartsocket_std::Connect::new(&url)
        .unwrap()
        .timeout(Duration::from_millis(100))
        .open()
        .unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Connect {
                fault: Fault::TimedOut,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn nobody_listening_is_told_with_the_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = WebSocket::connect(&format!("ws://localhost:{}", address.port())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot connect to localhost:{}: connection refused (ECONNREFUSED)",
            address.port()
        )
    );
}
