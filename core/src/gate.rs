//! Who may come in: caps on connections, counted in one place.

use alloc::collections::BTreeMap;
use core::fmt;
use core::net::IpAddr;

/// Counts the connections of a server, in all and per address.
///
/// Loopback addresses count in all only: a proxy on the same machine brings
/// everybody from one of them.
#[derive(Debug)]
pub struct Gate {
    max: usize,
    max_per_address: usize,
    inside: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Why a connection may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// So many are inside.
    Full(usize),
    /// So many of this address are inside.
    Address(IpAddr, usize),
}

impl Gate {
    /// Lets in at most `max` connections at a time, of one address at most
    /// `max_per_address`.
    pub const fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            max,
            max_per_address,
            inside: 0,
            by_address: BTreeMap::new(),
        }
    }

    /// Counts a connection in; `None` is a peer without an address, as on a
    /// Unix socket. Who is let in must be counted out by [`leave`](Self::leave).
    ///
    /// # Errors
    ///
    /// Which cap is reached.
    pub fn enter(&mut self, address: Option<IpAddr>) -> Result<(), Crowded> {
        if self.inside >= self.max {
            return Err(Crowded::Full(self.inside));
        }
        if let Some(address) = counted(address) {
            let count = self.by_address.get(&address).copied().unwrap_or(0);
            if count >= self.max_per_address {
                return Err(Crowded::Address(address, count));
            }
            self.by_address.insert(address, count + 1);
        }
        self.inside += 1;
        Ok(())
    }

    /// Counts a connection out.
    pub fn leave(&mut self, address: Option<IpAddr>) {
        self.inside = self.inside.saturating_sub(1);
        if let Some(address) = counted(address)
            && let Some(count) = self.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// How many are inside.
    pub const fn inside(&self) -> usize {
        self.inside
    }
}

impl fmt::Display for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(count) => write!(f, "{count} connections are open"),
            Self::Address(address, count) => write!(f, "{address} has {count} connections open"),
        }
    }
}

impl core::error::Error for Crowded {}

/// The address that counts, an IPv4 one also where it comes as IPv6.
fn counted(address: Option<IpAddr>) -> Option<IpAddr> {
    address
        .map(|address| address.to_canonical())
        .filter(|address| !address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cap_holds_and_places_are_given_back() {
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let (a, b, home) = (
            address("192.0.2.1"),
            address("192.0.2.2"),
            address("127.0.0.1"),
        );
        let mut gate = Gate::new(5, 2);
        assert_eq!(gate.enter(a), Ok(()));
        assert_eq!(
            gate.enter(address("::ffff:192.0.2.1")),
            Ok(()),
            "the same address"
        );
        assert_eq!(gate.enter(a), Err(Crowded::Address(a.unwrap(), 2)));
        assert_eq!(gate.enter(b), Ok(()));
        assert_eq!((gate.enter(home), gate.enter(None)), (Ok(()), Ok(())));
        assert_eq!(gate.enter(home), Err(Crowded::Full(5)));
        gate.leave(a);
        assert_eq!((gate.enter(a), gate.inside()), (Ok(()), 5));
        for address in [a, a, b, home, None] {
            gate.leave(address);
        }
        assert_eq!((gate.inside(), gate.by_address.len()), (0, 0));
    }
}
