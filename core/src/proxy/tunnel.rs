//! The way through a proxy, whatever it speaks.

use alloc::vec::Vec;

use crate::http::{HeadLimits, Url};

use super::http::Connect;
use super::socks::Socks;
use super::{Kind, Proxy, TunnelError};

/// A conversation with a proxy that ends with a stream to the server.
#[derive(Debug)]
pub(crate) enum Tunnel {
    Http(Connect),
    Socks(Socks),
}

impl Tunnel {
    /// The conversation, and what opens it.
    pub(crate) fn new(proxy: &Proxy, url: &Url, limits: HeadLimits) -> (Self, Vec<u8>) {
        let (host, port) = (url.host(), url.port());
        match proxy.kind {
            Kind::Http => {
                let (connect, first) = Connect::new(proxy.credentials.as_ref(), host, port, limits);
                (Self::Http(connect), first)
            }
            Kind::Socks5 => {
                let (socks, first) = Socks::new(proxy.credentials.as_ref(), host, port);
                (Self::Socks(socks), first)
            }
        }
    }

    /// Takes the proxy's next bytes; what to answer goes to `out`. `Some(n)`
    /// says that the way is free, and `data[n..]` comes from the server.
    pub(crate) fn read(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, TunnelError> {
        match self {
            Self::Http(connect) => connect.read(data),
            Self::Socks(socks) => socks.read(data, out),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What came of a conversation: what we said, and what came from the server.
    #[derive(Debug, PartialEq)]
    pub(in super::super) struct Outcome {
        pub(in super::super) said: Vec<u8>,
        pub(in super::super) result: Result<Vec<u8>, TunnelError>,
    }

    /// Gives each answer in one piece, and again byte by byte.
    pub(in super::super) fn talk(proxy: &str, url: &str, answers: &[&[u8]]) -> Outcome {
        let outcome = play(proxy, url, answers.iter().copied());
        let all = answers.concat();
        assert_eq!(outcome, play(proxy, url, all.chunks(1)));
        outcome
    }

    fn play<'a>(proxy: &str, url: &str, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let (proxy, url) = (Proxy::parse(proxy).unwrap(), Url::parse(url).unwrap());
        let (mut tunnel, mut said) = Tunnel::new(&proxy, &url, HeadLimits::default());
        let mut result = Ok(Vec::new());
        let mut free = false;
        for piece in pieces {
            let used = match result {
                Err(_) => break,
                Ok(_) if free => Ok(Some(0)),
                Ok(_) => tunnel.read(piece, &mut said),
            };
            match (used, &mut result) {
                (Ok(Some(used)), Ok(rest)) => {
                    free = true;
                    rest.extend_from_slice(&piece[used..]);
                }
                (Ok(_), _) => {}
                (Err(error), _) => result = Err(error),
            }
        }
        Outcome { said, result }
    }

    fn answer() -> impl Strategy<Value = Vec<u8>> {
        let parts = prop_oneof![
            Just(b"HTTP/1.1 ".to_vec()),
            Just(b"200 OK\r\n\r\n".to_vec()),
            Just(b"407 x\r\nProxy-Authenticate: Basic\r\n\r\n".to_vec()),
            Just(b"100 \r\n\r\n".to_vec()),
            Just([5, 0].to_vec()),
            Just([5, 2].to_vec()),
            Just([1, 0].to_vec()),
            Just([5, 0, 0, 1, 1, 2, 3, 4, 0, 80].to_vec()),
            Just([5, 0, 0, 3, 2, b'a', b'b', 0, 80].to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ];
        proptest::collection::vec(parts, 0..6).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn whatever_a_proxy_says_the_cuts_make_no_difference(
            answer in answer(),
            socks: bool,
            known: bool,
            size in 1_usize..20,
        ) {
            let proxy = match (socks, known) {
                (false, false) => "http://p",
                (false, true) => "http://u:p@p",
                (true, false) => "socks5://p",
                (true, true) => "socks5://u:p@p",
            };
            let whole = talk(proxy, "wss://h", &[&answer]);
            prop_assert_eq!(whole, play(proxy, "wss://h", answer.chunks(size)));
        }
    }
}
