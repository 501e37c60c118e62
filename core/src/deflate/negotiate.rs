//! Offer, answer and check of `Sec-WebSocket-Extensions: permessage-deflate` (RFC 7692 §5.1, §7.1).
//!
//! Header syntax is parsed elsewhere; here a parameter is a name and perhaps a value, unquoted.
use alloc::format;
use alloc::string::String;
use core::fmt;

use super::{Deflate, WINDOW_BITS};

/// The parameters of one `permessage-deflate` element.
pub(crate) type Params<'a> = &'a [(String, Option<String>)];

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The largest window, and the one meant where none is named.
const MAX_BITS: u8 = 15;

/// What both ends have agreed on. Its `Display` is the value of the response header.
///
/// Whoever fills it in by hand, because another HTTP server did the handshake, must not promise a
/// window outside [`WINDOW_BITS`] for the side that compresses here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The server compresses every message on its own.
    pub server_no_context_takeover: bool,
    /// The client compresses every message on its own.
    pub client_no_context_takeover: bool,
    /// The largest window of the server's compressor, as a power of two: 8 to 15.
    pub server_max_window_bits: u8,
    /// The largest window of the client's compressor, as a power of two: 8 to 15.
    pub client_max_window_bits: u8,
}

impl Default for Parameters {
    /// What an answer without any parameter means.
    fn default() -> Self {
        Self {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            server_max_window_bits: MAX_BITS,
            client_max_window_bits: MAX_BITS,
        }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)?;
        if self.server_no_context_takeover {
            write!(f, "; {SERVER_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.client_no_context_takeover {
            write!(f, "; {CLIENT_NO_CONTEXT_TAKEOVER}")?;
        }
        if self.server_max_window_bits < MAX_BITS {
            write!(
                f,
                "; {SERVER_MAX_WINDOW_BITS}={}",
                self.server_max_window_bits
            )?;
        }
        if self.client_max_window_bits < MAX_BITS {
            write!(
                f,
                "; {CLIENT_MAX_WINDOW_BITS}={}",
                self.client_max_window_bits
            )?;
        }
        Ok(())
    }
}

impl Deflate {
    /// A server's answer to a client's offers: the first it can keep. `None` declines them all.
    pub(crate) fn accept<'a>(
        &self,
        offers: impl IntoIterator<Item = Params<'a>>,
    ) -> Option<Parameters> {
        offers.into_iter().find_map(|offer| self.accept_one(offer))
    }

    /// A client's offers, as the header value.
    pub(crate) fn offer(&self) -> String {
        let mut wish = String::from(NAME);
        for (asked, name) in [
            (self.server_no_context_takeover, SERVER_NO_CONTEXT_TAKEOVER),
            (self.client_no_context_takeover, CLIENT_NO_CONTEXT_TAKEOVER),
        ] {
            if asked {
                wish = wish + "; " + name;
            }
        }
        // Offering it is a promise to obey the server's choice (§7.1.2.2).
        if *WINDOW_BITS.start() < MAX_BITS {
            wish = wish + "; " + CLIENT_MAX_WINDOW_BITS;
            let bits = self.client_bits();
            if bits < MAX_BITS {
                wish += &format!("={bits}");
            }
        }
        match self.server_max_window_bits.clamp(9, MAX_BITS) {
            MAX_BITS => wish,
            // A server that cannot shrink its window must decline the first (§7.1.2.1).
            bits => format!("{wish}; {SERVER_MAX_WINDOW_BITS}={bits}, {wish}"),
        }
    }

    /// A client's check of the server's answer to [`Self::offer`]. `None`: no compression. An error
    /// must fail the connection (§7.1).
    pub(crate) fn agree(
        &self,
        response: &[Params<'_>],
    ) -> Result<Option<Parameters>, &'static str> {
        let answer = match response {
            [] => return Ok(None),
            [one] => Said::parse(one)?,
            _ => return Err("permessage-deflate accepted twice"),
        };
        if self.server_no_context_takeover && !answer.server_no_context_takeover {
            return Err("server_no_context_takeover was asked for and is missing");
        }
        let client_max_window_bits = match answer.client_max_window_bits {
            None => self.client_bits(),
            Some(_) if *WINDOW_BITS.start() == MAX_BITS => {
                return Err("client_max_window_bits was not offered");
            }
            Some(None) => return Err("client_max_window_bits has no value"),
            Some(Some(bits)) if bits < *WINDOW_BITS.start() => {
                return Err("client_max_window_bits is smaller than the client can do");
            }
            Some(Some(bits)) => bits.min(self.client_bits()),
        };
        Ok(Some(Parameters {
            server_no_context_takeover: answer.server_no_context_takeover,
            client_no_context_takeover: self.client_no_context_takeover
                || answer.client_no_context_takeover,
            // Any size will do: the last offer left it open, and inflating copes with all of them.
            server_max_window_bits: answer.server_max_window_bits.unwrap_or(MAX_BITS),
            client_max_window_bits,
        }))
    }

    fn accept_one(&self, offer: Params<'_>) -> Option<Parameters> {
        let offer = Said::parse(offer).ok()?;
        let ours = self
            .server_max_window_bits
            .clamp(*WINDOW_BITS.start(), MAX_BITS);
        let server_max_window_bits = offer.server_max_window_bits.unwrap_or(MAX_BITS).min(ours);
        if !WINDOW_BITS.contains(&server_max_window_bits) {
            return None;
        }
        Some(Parameters {
            server_no_context_takeover: self.server_no_context_takeover
                || offer.server_no_context_takeover,
            // As an offer it is the client's word, repeated or not (§7.1.1.2).
            client_no_context_takeover: self.client_no_context_takeover
                || offer.client_no_context_takeover,
            server_max_window_bits,
            // Only a client that mentions it can be told (§7.1.2.2).
            client_max_window_bits: match offer.client_max_window_bits {
                None => MAX_BITS,
                Some(hint) => hint
                    .unwrap_or(MAX_BITS)
                    .min(self.client_max_window_bits.clamp(9, MAX_BITS)),
            },
        })
    }

    /// The window a client compresses with if the server leaves it the choice.
    fn client_bits(&self) -> u8 {
        self.client_max_window_bits
            .clamp(*WINDOW_BITS.start(), MAX_BITS)
    }
}

/// One element as it was written.
#[derive(Default)]
struct Said {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Offers may name it without a value.
    client_max_window_bits: Option<Option<u8>>,
}

impl Said {
    /// Refuses what §7.1 tells either side to refuse: unknown, repeated, and ill-valued parameters.
    fn parse(params: Params<'_>) -> Result<Self, &'static str> {
        let mut said = Self::default();
        for (name, value) in params {
            let repeated = match (name.as_str(), value.as_deref()) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) => {
                    core::mem::replace(&mut said.server_no_context_takeover, true)
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) => {
                    core::mem::replace(&mut said.client_no_context_takeover, true)
                }
                (SERVER_NO_CONTEXT_TAKEOVER | CLIENT_NO_CONTEXT_TAKEOVER, Some(_)) => {
                    return Err("a context takeover parameter has a value");
                }
                (SERVER_MAX_WINDOW_BITS, Some(value)) => said
                    .server_max_window_bits
                    .replace(window_bits(value)?)
                    .is_some(),
                (SERVER_MAX_WINDOW_BITS, None) => {
                    return Err("server_max_window_bits has no value");
                }
                (CLIENT_MAX_WINDOW_BITS, value) => {
                    let bits = value.map(window_bits).transpose()?;
                    said.client_max_window_bits.replace(bits).is_some()
                }
                _ => return Err("unknown permessage-deflate parameter"),
            };
            if repeated {
                return Err("repeated permessage-deflate parameter");
            }
        }
        Ok(said)
    }
}

/// 8 to 15, in decimal, without leading zeros (§7.1.2).
fn window_bits(value: &str) -> Result<u8, &'static str> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Ok(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Ok(10 + digit - b'0'),
        _ => Err("window bits are not a number from 8 to 15"),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    /// Whether the compiled backend has the choice.
    const CHOICE: bool = *WINDOW_BITS.start() < MAX_BITS;

    type Owned = Vec<(String, Option<String>)>;

    /// Header value to elements, for the simple syntax used here.
    fn elements(header: &str) -> Vec<Owned> {
        header
            .split(", ")
            .filter(|element| !element.is_empty())
            .map(element)
            .collect()
    }

    fn element(text: &str) -> Owned {
        let mut parts = text.split("; ");
        assert_eq!(parts.next(), Some(NAME));
        parts
            .map(|part| match part.split_once('=') {
                Some((name, value)) => (name.into(), Some(value.into())),
                None => (part.into(), None),
            })
            .collect()
    }

    fn accept(options: &Deflate, header: &str) -> Option<String> {
        let offers = elements(header);
        options
            .accept(offers.iter().map(Vec::as_slice))
            .map(|agreed| agreed.to_string())
    }

    fn agree(options: &Deflate, header: &str) -> Result<Option<Parameters>, &'static str> {
        let answers = elements(header);
        options.agree(&answers.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// Nothing asked for.
    fn open() -> Deflate {
        Deflate {
            server_no_context_takeover: false,
            client_no_context_takeover: false,
            ..Deflate::default()
        }
    }

    /// Every string of up to three characters that could be taken for a number.
    fn values() -> Vec<String> {
        let signs = [
            "", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "+", "-", " ", "x", "٣",
        ];
        let mut values = Vec::new();
        for a in signs {
            for b in signs {
                for c in signs {
                    values.push([a, b, c].concat());
                }
            }
        }
        values
    }

    #[test]
    fn a_server_accepts_what_browsers_offer() {
        let chrome = "permessage-deflate; client_max_window_bits";
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(accept(&Deflate::default(), chrome).as_deref(), Some(both));
        assert_eq!(accept(&Deflate::default(), NAME).as_deref(), Some(both));
        assert_eq!(accept(&open(), chrome).as_deref(), Some(NAME));
        assert_eq!(accept(&open(), both).as_deref(), Some(both));
        assert_eq!(accept(&open(), ""), None);
    }

    #[test]
    fn a_server_declines_malformed_offers_and_takes_the_next() {
        for bad in [
            "permessage-deflate; unknown",
            "permessage-deflate; unknown=1",
            "permessage-deflate; SERVER_NO_CONTEXT_TAKEOVER",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover=",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=8",
        ] {
            assert_eq!(accept(&open(), bad), None, "{bad}");
            let header = [bad, "permessage-deflate; client_no_context_takeover", NAME].join(", ");
            let second = "permessage-deflate; client_no_context_takeover";
            assert_eq!(accept(&open(), &header).as_deref(), Some(second), "{bad}");
        }
    }

    #[test]
    fn window_bits_are_8_to_15_and_nothing_else() {
        for value in values() {
            let bits = (8..=15).find(|bits: &u8| bits.to_string() == value);
            assert_eq!(window_bits(&value).ok(), bits, "{value:?}");

            let offer = format!("permessage-deflate; server_max_window_bits={value}");
            let answer = match bits.filter(|bits| WINDOW_BITS.contains(bits)) {
                Some(15) => Some(NAME.into()),
                Some(_) => Some(offer.clone()),
                None => None,
            };
            assert_eq!(accept(&open(), &offer), answer, "{value:?}");
            let agreed =
                agree(&open(), &offer).map(|agreed| agreed.unwrap().server_max_window_bits);
            assert_eq!(agreed.ok(), bits, "{value:?}");

            let offer = format!("permessage-deflate; client_max_window_bits={value}");
            let answer = match bits {
                Some(15) => Some(NAME.into()),
                Some(_) => Some(offer.clone()),
                None => None,
            };
            assert_eq!(accept(&open(), &offer), answer, "{value:?}");
            let agreed =
                agree(&open(), &offer).map(|agreed| agreed.unwrap().client_max_window_bits);
            let bits = bits.filter(|bits| CHOICE && WINDOW_BITS.contains(bits));
            assert_eq!(agreed.ok(), bits, "{value:?}");
        }
    }

    #[test]
    fn a_server_tells_its_own_limits() {
        let options = Deflate {
            server_max_window_bits: 11,
            client_max_window_bits: 10,
            ..open()
        };
        let server = if CHOICE {
            "; server_max_window_bits=11"
        } else {
            ""
        };
        for (offer, client) in [
            ("", ""),
            ("; client_max_window_bits", "; client_max_window_bits=10"),
            ("; client_max_window_bits=9", "; client_max_window_bits=9"),
            ("; client_max_window_bits=15", "; client_max_window_bits=10"),
            ("; server_max_window_bits=15", ""),
        ] {
            let answer = format!("{NAME}{server}{client}");
            assert_eq!(
                accept(&options, &format!("{NAME}{offer}")),
                Some(answer),
                "{offer}"
            );
        }
    }

    #[test]
    fn a_client_offers_what_it_can_keep() {
        let choice = if CHOICE {
            "; client_max_window_bits"
        } else {
            ""
        };
        let both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        assert_eq!(Deflate::default().offer(), format!("{both}{choice}"));
        assert_eq!(open().offer(), format!("{NAME}{choice}"));

        let options = Deflate {
            server_max_window_bits: 12,
            client_max_window_bits: 10,
            ..open()
        };
        let plain = if CHOICE {
            format!("{NAME}{choice}=10")
        } else {
            NAME.into()
        };
        assert_eq!(
            options.offer(),
            format!("{plain}; server_max_window_bits=12, {plain}")
        );
    }

    #[test]
    fn a_client_takes_the_servers_answer() {
        assert_eq!(agree(&open(), ""), Ok(None));
        assert_eq!(agree(&open(), NAME), Ok(Some(Parameters::default())));
        let all = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                   server_max_window_bits=8";
        assert_eq!(
            agree(&open(), all).map(|agreed| agreed.unwrap().to_string()),
            Ok(all.into())
        );
        // It keeps its own promise even if the server does not repeat it.
        let options = Deflate {
            client_no_context_takeover: true,
            client_max_window_bits: 9,
            ..open()
        };
        let agreed = agree(&options, NAME).unwrap().unwrap();
        assert!(agreed.client_no_context_takeover);
        assert_eq!(agreed.client_max_window_bits, *WINDOW_BITS.start());
    }

    #[test]
    fn a_client_fails_the_connection_over_a_wrong_answer() {
        for bad in [
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; unknown",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=8",
        ] {
            assert!(agree(&open(), bad).is_err(), "{bad}");
        }
        assert!(
            agree(&Deflate::default(), NAME).is_err(),
            "it asked the server to forget"
        );
    }

    #[test]
    fn our_client_and_our_server_always_agree() {
        for n in 0..16_u8 {
            for server_bits in 0..=16 {
                for client_bits in 0..=16 {
                    let client = Deflate {
                        server_no_context_takeover: n & 1 != 0,
                        client_no_context_takeover: n & 2 != 0,
                        server_max_window_bits: server_bits,
                        client_max_window_bits: client_bits,
                        ..Deflate::default()
                    };
                    let server = Deflate {
                        server_no_context_takeover: n & 4 != 0,
                        client_no_context_takeover: n & 8 != 0,
                        ..client.clone()
                    };
                    let offers = elements(&client.offer());
                    let accepted = server.accept(offers.iter().map(Vec::as_slice)).unwrap();
                    let agreed = agree(&client, &accepted.to_string()).unwrap().unwrap();
                    assert_eq!(
                        agreed.server_max_window_bits,
                        accepted.server_max_window_bits
                    );
                    assert!(agreed.client_max_window_bits <= accepted.client_max_window_bits);
                    assert!(WINDOW_BITS.contains(&accepted.server_max_window_bits));
                    assert!(WINDOW_BITS.contains(&agreed.client_max_window_bits));
                    assert_eq!(
                        (
                            agreed.server_no_context_takeover,
                            agreed.client_no_context_takeover
                        ),
                        (
                            accepted.server_no_context_takeover,
                            accepted.client_no_context_takeover
                        ),
                    );
                }
            }
        }
    }
}
