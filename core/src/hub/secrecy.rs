//! Encrypted sessions: how one begins, what it opens, and how it ends.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use crate::code::CloseCode;
use crate::crypt::ignis::{Cipher, KeyPair};
use crate::crypt::{self, ClientHello, Group, KeyRing, Opened, Session};
use crate::dialect::{Dialect, Failure, PeerBinary};
use crate::entropy::Seed;
use crate::json::Json;
use crate::message::{Message, Utf8Bytes};
use crate::stats::DropCause;
use crate::time::Tick;
use crate::websocket::Shared;

use super::config::{Auth, Encryption, codes};
use super::conn::{Conn, State};
use super::ids::ConnId;
use super::output::Identity;
use super::{Hub, WIRE};

/// How the messages of a connection are encrypted.
#[derive(Debug)]
pub(super) enum Secret {
    /// A session of SmartSocket.
    Session {
        session: Session,
        /// The number of the group it was invited to.
        group: Option<u32>,
    },
    /// Ignis's own scheme: what we say is sealed.
    Exchanged {
        public_key: String,
        salt: String,
        cipher: Cipher,
    },
}

impl Secret {
    /// The message that takes the place of one; `None` when it cannot be
    /// sealed, and nothing goes unsealed.
    pub(super) fn seal(&mut self, now: Tick, message: &Message) -> Option<Message> {
        match (self, message) {
            (Self::Session { session, .. }, _) => {
                session.seal(now, message).ok().map(Message::Binary)
            }
            (Self::Exchanged { cipher, .. }, Message::Text(text)) => {
                cipher.wrap("", text).ok()?.map(Message::text)
            }
            (Self::Exchanged { .. }, Message::Binary(_)) => None,
        }
    }

    pub(super) fn is_agreeing(&self) -> bool {
        match self {
            Self::Session { session, .. } => session.awaits_peer(),
            Self::Exchanged { .. } => false,
        }
    }
}

/// How long a group goes on that a client has left.
const LEFT: Duration = Duration::from_secs(3_600);

/// The clients of a route that share a key for what goes to many.
#[derive(Debug)]
pub(super) struct Circle {
    group: Group,
    /// Which it is: there is a new one now and then.
    number: u32,
    since: Tick,
    /// Somebody who has its key is gone.
    pub(super) left: bool,
}

impl Circle {
    fn new(shared: &mut Shared, now: Tick) -> Self {
        Self {
            group: Group::new(&Seed::new(shared.entropy.bytes()), now),
            number: 0,
            since: now,
            left: false,
        }
    }

    fn renew(&mut self, shared: &mut Shared, now: Tick) {
        let number = self.number.wrapping_add(1);
        *self = Self {
            number,
            ..Self::new(shared, now)
        };
    }

    pub(super) fn seal(&mut self, now: Tick, message: &Message) -> Option<Bytes> {
        self.group.seal(now, message).ok()
    }
}

/// Whether what is for many may come to a connection as it is sealed for all.
/// Who has not been invited is, and takes part from the next message on that is
/// not `made` yet: a group shows nothing of what came before.
pub(super) fn may_share(
    conn: &mut Conn,
    shared: &mut Shared,
    now: Tick,
    group: &mut Option<Circle>,
    encryption: Option<&Encryption>,
    made: bool,
) -> bool {
    let Some(Secret::Session {
        session,
        group: member,
    }) = conn.secret.as_deref_mut()
    else {
        return false;
    };
    if !encryption.is_some_and(|it| it.group) || !session.is_ready() {
        return false;
    }
    let group = group.get_or_insert_with(|| Circle::new(shared, now));
    if group.left && !made && now.since(group.since) >= LEFT {
        group.renew(shared, now);
    }
    if *member == Some(group.number) {
        return true;
    }
    // What waits was sealed for the group before, which ends with an invitation.
    if conn.outbox.is_some() {
        return false;
    }
    let Ok(invitation) = session.invite(now, &group.group) else {
        return false;
    };
    let invitation = Message::Binary(invitation);
    if conn.endpoint.send(shared, now, invitation, true).is_err() {
        return false;
    }
    *member = Some(group.number);
    !made
}

impl Hub {
    /// Replaces the keys of a namespace, without a pause: new sessions take
    /// the new ones. Connections whose key is not among them are closed with
    /// 1012 and may come back; so keep the old key in the ring for as long as
    /// clients need to get the new one.
    ///
    /// Without effect where nothing is encrypted.
    pub fn set_keys(&mut self, now: Tick, namespace: &str, keys: &KeyRing) {
        self.tick(now);
        let mut found = false;
        for state in &mut self.routes {
            if state.route.namespace == namespace
                && let Some(encryption) = &mut state.route.encryption
                && let Some(old) = &mut encryption.keys
            {
                *old = keys.clone();
                found = true;
            }
        }
        if !found {
            return;
        }
        for (state, group) in self.routes.iter().zip(&mut self.groups) {
            // Who has an old key may have the group's as well.
            if state.route.namespace == namespace
                && let Some(group) = group
            {
                group.renew(&mut self.shared, self.clock);
            }
        }
        let routes = &self.routes;
        let retired = |conn: &Conn| {
            let route = &routes[usize::from(conn.route?)].route;
            let Secret::Session { session, .. } = conn.secret.as_deref()? else {
                return None;
            };
            let key = session.key_id()?;
            Some(route.namespace == namespace && keys.find(key).is_none())
        };
        let retired: Vec<ConnId> = self
            .conns
            .ids()
            .filter(|&id| self.conns.get(id).and_then(retired) == Some(true))
            .collect();
        for id in retired {
            self.shut(id, CloseCode::RESTART, "key retired");
        }
    }

    /// A client said hello: agrees with it on keys. Our answer is the last that
    /// anybody can read.
    pub(super) fn agree(
        &mut self,
        id: ConnId,
        namespace: Option<&Utf8Bytes>,
        binary: PeerBinary,
        hello: &ClientHello,
    ) {
        let now = self.clock;
        if let Some(name) = namespace
            && !self.relocate(id, name, true)
        {
            return self.fail(id, Failure::UnknownNamespace);
        }
        // What waits would be sealed behind an answer that cannot be.
        self.feed(id, usize::MAX);
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        let route = &self.routes[usize::from(route)].route;
        let clear = conn.secret.is_none() && conn.endpoint.buffered() < WIRE;
        let agreed = route
            .encryption
            .as_ref()
            .filter(|_| clear)
            .and_then(|encryption| {
                let seed = Seed::new(self.shared.entropy.bytes());
                let (keys, policy) = (&encryption.keys, &encryption.policy);
                crypt::accept(now, keys.as_ref(), policy, &route.namespace, hello, &seed).ok()
            });
        let Some((answer, session, first)) = agreed else {
            return self.rejected(id, Failure::AuthenticationFailed);
        };
        conn.binary = binary;
        self.greet(id, Some(&answer));
        if let Some((shared, conn)) = self.enter(id) {
            let first = Message::Binary(first);
            // If it is over, its end is about to be told.
            let _ = conn.endpoint.send(shared, now, first, true);
            conn.secret = Some(Box::new(Secret::Session {
                session,
                group: None,
            }));
            self.touch(id);
        }
    }

    /// Ignis's key exchange, if there is to be one, with a client that is
    /// authenticated but for that.
    pub(super) fn exchange(&mut self, id: ConnId, data: &Json, identity: Identity) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Theirs {
            public_key: Option<String>,
        }

        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let route = conn
            .route
            .map(|route| &self.routes[usize::from(route)].route);
        let encryption = route
            .filter(|route| matches!(route.dialect, Dialect::Ignis))
            .and_then(|route| route.encryption.as_ref());
        if let Some(encryption) = encryption {
            let theirs = data.to::<Theirs>().ok().and_then(|data| data.public_key);
            let seed = Seed::new(self.shared.entropy.bytes());
            let exchanged = theirs.as_ref().map(|theirs| {
                let ours = KeyPair::new(&seed);
                let public_key = ours.public_key();
                let (salt, cipher) = ours.accept(theirs).ok()?;
                Some(Secret::Exchanged {
                    public_key,
                    salt,
                    cipher,
                })
            });
            match exchanged {
                Some(Some(exchanged)) => conn.secret = Some(Box::new(exchanged)),
                None if !encryption.required => {}
                Some(None) | None => {
                    let why = "Encryption handshake failed";
                    self.fail(id, Failure::Refused(Utf8Bytes::from_static(why)));
                    return self.shut(id, codes::encryption_failed(), "Encryption required");
                }
            }
        }
        self.authenticated(id, identity);
    }

    /// What a message is once it is opened; nothing, if it was for the session
    /// or is none.
    pub(super) fn open(&mut self, id: ConnId, message: Message) -> Option<Message> {
        let conn = self.conns.get_mut(id)?;
        let Some(session) = conn.session() else {
            return Some(message);
        };
        let ready = session.is_ready();
        let opened = match message {
            Message::Binary(record) => session.open(record).ok(),
            Message::Text(_) => None,
        };
        match opened {
            Some(Opened::Message(message)) => return Some(message),
            Some(Opened::Ready) => {
                self.feed(id, WIRE);
                self.secured(id);
            }
            Some(Opened::Bye | Opened::Invited) => {}
            None => {
                self.counters.dropped(DropCause::Undecryptable, 1);
                if ready {
                    let why = "ERR_MSG_003: Decryption failed";
                    self.shut(id, CloseCode::POLICY, why);
                } else {
                    self.shut(id, codes::auth_failed(), "Authentication failed");
                }
            }
        }
        None
    }

    /// A client has shown that it has the key.
    fn secured(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let Some(route) = conn.route else {
            return;
        };
        let proven = conn.flags.known || self.routes[usize::from(route)].route.auth == Auth::None;
        if conn.state == State::Unauthorized && proven {
            let identity = Identity {
                user: conn.user.take(),
                metadata: conn.profile.metadata.take(),
            };
            self.authenticated(id, identity);
        }
    }
}
