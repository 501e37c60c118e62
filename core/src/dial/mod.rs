//! What an adapter needs to know to open a stream: the way to a server, and the
//! order of its addresses (RFC 8305, "happy eyeballs").

mod way;

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

pub use way::{System, Way};

/// How long one address may keep silent before the next is tried beside it;
/// one that fails makes way at once. Earlier attempts stay in the race. 250 ms,
/// as RFC 8305 §5 recommends.
pub const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Addresses in the order to try them: families in turn, that of the first one
/// first, so that a broken family costs one step (RFC 8305 §4).
pub fn in_turn(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.into_iter().peekable();
    let first_is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (a, b): (Vec<_>, Vec<_>) = addresses.partition(|address| address.is_ipv6() == first_is_v6);
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.into_iter(), b.into_iter());
    loop {
        let before = all.len();
        all.extend(a.next());
        all.extend(b.next());
        if all.len() == before {
            return all;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let mixed = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"].map(address);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(in_turn(mixed), expected);
        let other = ["1.1.1.1:1", "1.1.1.2:1", "[::1]:1"].map(address);
        let expected = ["1.1.1.1:1", "[::1]:1", "1.1.1.2:1"].map(address);
        assert_eq!(in_turn(other), expected);
        assert!(in_turn([]).is_empty());
    }
}
