//! SOCKS 5 (RFC 1928), with user and password (RFC 1929) or without.
//!
//! ```text
//! Method ──(password)──► Password ──(taken)──┐
//!    └──────(none)──────────────────────────►Reply ──(succeeded)──► the server's stream
//! ```

use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Credentials, TunnelError};

const VERSION: u8 = 5;
/// Of the conversation about user and password.
const SUBVERSION: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
/// Head, length of a name, name, port.
const LONGEST: usize = 4 + 1 + 255 + 2;

/// Where the conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    Method,
    Password,
    Reply,
}

/// Waits for the proxy's next answer.
pub(crate) struct Socks {
    awaits: Awaits,
    /// That of the answer which has come.
    held: Vec<u8>,
    /// Said when asked for.
    password: Option<zeroize::Zeroizing<Vec<u8>>>,
    request: Vec<u8>,
}

impl core::fmt::Debug for Socks {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Socks").field(&self.awaits).finish()
    }
}

impl Socks {
    pub(super) fn new(credentials: Option<&Credentials>, host: &str, port: u16) -> (Self, Vec<u8>) {
        let first = match credentials {
            None => [VERSION, 1, NO_AUTHENTICATION].to_vec(),
            Some(_) => [VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD].to_vec(),
        };
        let password = credentials.map(|Credentials { user, password }| {
            let mut said = Vec::with_capacity(3 + user.len() + password.len());
            said.push(SUBVERSION);
            put_counted(&mut said, user);
            put_counted(&mut said, password);
            said.into()
        });
        let socks = Self {
            awaits: Awaits::Method,
            held: Vec::new(),
            password,
            request: request(host, port),
        };
        (socks, first)
    }

    pub(super) fn read(
        &mut self,
        data: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, TunnelError> {
        // Answers are short: byte by byte is plain, and nothing of the
        // server's is ever held.
        for (at, &byte) in data.iter().enumerate() {
            self.held.push(byte);
            if self.step(out)? {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }

    /// Looks at what is held; whether the way is free.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, TunnelError> {
        match (self.awaits, &self.held[..]) {
            (Awaits::Method | Awaits::Reply, [version, ..]) if *version != VERSION => {
                return Err(TunnelError::NotSocks(*version));
            }
            (Awaits::Method, [_, method]) => match (*method, self.password.take()) {
                (NO_AUTHENTICATION, _) => self.ask(out),
                (USER_AND_PASSWORD, Some(password)) => {
                    out.extend_from_slice(&password);
                    self.held.clear();
                    self.awaits = Awaits::Password;
                }
                (NOTHING_ACCEPTABLE, None) => return Err(TunnelError::NoCredentials),
                (NOTHING_ACCEPTABLE, Some(_)) => {
                    let ways = "something else than a user and a password";
                    return Err(TunnelError::Unsupported(ways.into()));
                }
                _ => return Err(TunnelError::Malformed),
            },
            // Some say the version of the protocol here and not of this part.
            (Awaits::Password, [version, ..]) if !matches!(*version, SUBVERSION | VERSION) => {
                return Err(TunnelError::Malformed);
            }
            (Awaits::Password, [_, 0]) => self.ask(out),
            (Awaits::Password, [_, _]) => return Err(TunnelError::WrongCredentials),
            // Who refuses need not say more.
            (Awaits::Reply, [_, code]) if *code != 0 => return Err(TunnelError::Reply(*code)),
            (Awaits::Reply, [_, _, _, kind, rest @ ..]) => {
                let address = match (*kind, rest) {
                    (IPV4, _) => 4,
                    (IPV6, _) => 16,
                    (NAME, []) => return Ok(false),
                    (NAME, [length, ..]) => 1 + usize::from(*length),
                    _ => return Err(TunnelError::Malformed),
                };
                return Ok(rest.len() == address + 2);
            }
            (Awaits::Method | Awaits::Password | Awaits::Reply, _) => {}
        }
        Ok(false)
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
        self.held.clear();
        self.held.reserve_exact(LONGEST);
        self.awaits = Awaits::Reply;
    }
}

fn request(host: &str, port: u16) -> Vec<u8> {
    let mut out = [VERSION, CONNECT, 0].to_vec();
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            out.push(IPV4);
            out.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            out.push(IPV6);
            out.extend_from_slice(&address.octets());
        }
        Err(_) => {
            out.push(NAME);
            put_counted(&mut out, host);
        }
    }
    out.extend_from_slice(&port.to_be_bytes());
    out
}

/// At most 255 bytes: users and passwords are held to that, and hosts of URLs.
fn put_counted(out: &mut Vec<u8>, text: &str) {
    let text = &text.as_bytes()[..text.len().min(255)];
    out.push(text.len() as u8);
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::super::tunnel::tests::talk;
    use super::*;
    use alloc::string::ToString as _;
    use alloc::vec;

    const HELLO: &[u8] = &[5, 1, 0];
    const ASK: &[u8] = b"\x05\x01\x00\x03\x0cchat.example\x01\xbb";
    const DONE: &[u8] = &[5, 0, 0, 1, 10, 0, 0, 1, 4, 56];

    #[test]
    fn the_proxy_is_told_the_name_and_what_follows_its_reply_is_the_servers() {
        for reply in [
            DONE.to_vec(),
            [&[5, 0, 9, 4][..], &[7; 18]].concat(),
            [&[5, 0, 0, 3, 255][..], &[b'x'; 257]].concat(),
            vec![5, 0, 0, 3, 0, 0, 0],
        ] {
            let reply = [&reply[..], b"rest"].concat();
            let outcome = talk("socks5://p", "wss://chat.example/", &[&[5, 0], &reply]);
            assert_eq!(outcome.said, [HELLO, ASK].concat());
            assert_eq!(outcome.result, Ok(b"rest".to_vec()));
        }
    }

    #[test]
    fn addresses_go_as_such() {
        for (url, ask) in [
            ("ws://10.1.2.3:81", &[5, 1, 0, 1, 10, 1, 2, 3, 0, 81][..]),
            (
                "ws://[2001:db8::1]:82",
                &[
                    5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 82,
                ],
            ),
        ] {
            let outcome = talk("socks5://p", url, &[&[5, 0]]);
            assert_eq!(outcome.said, [HELLO, ask].concat());
        }
    }

    #[test]
    fn user_and_password_are_said_when_asked_for() {
        let said = [&[5, 2, 0, 2][..], b"\x01\x02us\x04p@ss", ASK].concat();
        for taken in [&[1, 0][..], &[5, 0]] {
            let answers: [&[u8]; 3] = [&[5, 2], taken, DONE];
            let outcome = talk("socks5://us:p%40ss@p", "wss://chat.example", &answers);
            assert_eq!(outcome.said, said);
            assert_eq!(outcome.result, Ok(Vec::new()));
        }
        // Not asked, not said.
        let outcome = talk("socks5://us:p@p", "wss://chat.example", &[&[5, 0], DONE]);
        assert_eq!(outcome.said, [&[5, 2, 0, 2][..], ASK].concat());
    }

    #[test]
    fn refusals_are_told_in_words() {
        let failed = |code| [5, code];
        for (proxy, answers, error) in [
            (
                "p",
                &[&[5, 0xff][..]][..],
                "the proxy asks for a user and a password",
            ),
            (
                "u:p@p",
                &[&[5, 0xff]],
                "the proxy asks for something else than a user and a password, \
                 which is not supported",
            ),
            (
                "u:p@p",
                &[&[5, 2], &[1, 1]],
                "the proxy does not take this user and password",
            ),
            ("p", &[&[5, 2]], "the proxy's answer is not one of SOCKS 5"),
            ("p", &[&[5, 9]], "the proxy's answer is not one of SOCKS 5"),
            (
                "u:p@p",
                &[&[5, 2], &[7]],
                "the proxy's answer is not one of SOCKS 5",
            ),
            (
                "p",
                &[&[4]],
                "the proxy does not speak SOCKS 5: first byte 0x04",
            ),
            (
                "p",
                &[b"HTTP/1.1"],
                "the proxy does not speak SOCKS 5, but perhaps HTTP",
            ),
            (
                "p",
                &[&[5, 0], &[5, 0, 0, 2]],
                "the proxy's answer is not one of SOCKS 5",
            ),
            (
                "p",
                &[&[5, 0], &failed(2)],
                "the proxy does not allow this connection",
            ),
            (
                "p",
                &[&[5, 0], &failed(5)],
                "the server refused the connection of the proxy",
            ),
            (
                "p",
                &[&[5, 0], &failed(200)],
                "the proxy refused with SOCKS code 200",
            ),
        ] {
            let outcome = talk(&alloc::format!("socks5://{proxy}"), "ws://h", answers);
            assert_eq!(outcome.result.unwrap_err().to_string(), error);
        }
    }
}
