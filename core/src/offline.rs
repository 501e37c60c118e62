//! Messages kept for known users who are away.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::AddAssign;
use core::time::Duration;

use crate::message::Utf8Bytes;
use crate::time::Tick;

/// Bounds of the messages kept for users who are away.
///
/// Where a bound is reached, the oldest goes first, and is counted by the
/// bound that it gave way to. A message counts its bytes and 128 more, for
/// its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineConfig {
    /// Messages kept for one user. Default 100.
    pub max_messages: usize,
    /// Bytes kept for one user. Default 256 KiB.
    pub max_user_bytes: usize,
    /// How long a message is kept. Default 5 min.
    pub max_age: Duration,
    /// Users known; one more makes the one seen least recently unknown.
    /// Default 10,000.
    pub max_users: usize,
    /// Bytes kept for all users. Default 16 MiB.
    pub max_bytes: usize,
}

impl Default for OfflineConfig {
    fn default() -> Self {
        Self {
            max_messages: 100,
            max_user_bytes: 256 << 10,
            max_age: Duration::from_secs(5 * 60),
            max_users: 10_000,
            max_bytes: 16 << 20,
        }
    }
}

/// What a message takes beside its bytes.
const PLACE: usize = 128;

/// The bound a message gave way to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// [`OfflineConfig::max_messages`].
    Messages,
    /// [`OfflineConfig::max_user_bytes`].
    Bytes,
    /// [`OfflineConfig::max_age`].
    Age,
    /// [`OfflineConfig::max_users`].
    Users,
    /// [`OfflineConfig::max_bytes`].
    Total,
}

/// How many messages were lost, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub(crate) struct Losses([usize; 5]);

/// The messages of users who are away.
///
/// Only users who were told of by [`know`](Self::know) are: whoever addresses
/// names nobody has fills no memory. Nothing walks all users, and nothing has
/// a timer of its own: what is too old goes whenever something else is done,
/// or by [`expire`](Self::expire) at [`next_expiry`](Self::next_expiry).
#[derive(Debug)]
pub(crate) struct OfflineCache<M> {
    config: OfflineConfig,
    users: BTreeMap<Utf8Bytes, User<M>>,
    /// The users, by when they were last seen.
    seen: BTreeMap<u64, Utf8Bytes>,
    /// The users of all messages, by the numbers of the messages: the oldest
    /// is also the first of its user.
    order: BTreeMap<u64, Utf8Bytes>,
    bytes: usize,
    /// Numbers what comes: users seen, and messages.
    next: u64,
}

#[derive(Debug)]
struct User<M> {
    seen: u64,
    messages: VecDeque<Kept<M>>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept<M> {
    number: u64,
    until: Tick,
    size: usize,
    message: M,
}

impl<M> OfflineCache<M> {
    pub(crate) const fn new(config: OfflineConfig) -> Self {
        Self {
            config,
            users: BTreeMap::new(),
            seen: BTreeMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            next: 0,
        }
    }

    /// Notes that a user exists, and is here now.
    pub(crate) fn know(&mut self, now: Tick, user: &Utf8Bytes) -> Losses {
        let mut losses = self.expire(now);
        let seen = self.number();
        match self.users.get_mut(user) {
            Some(known) => {
                self.seen.remove(&known.seen);
                known.seen = seen;
            }
            None => {
                let unknown = User {
                    seen,
                    messages: VecDeque::new(),
                    bytes: 0,
                };
                self.users.insert(user.clone(), unknown);
            }
        }
        self.seen.insert(seen, user.clone());
        while self.users.len() > self.config.max_users
            && let Some((_, oldest)) = self.seen.pop_first()
        {
            let messages = self.take_all(&oldest);
            losses.count(Loss::Users, messages.len());
            self.users.remove(&oldest);
        }
        losses
    }

    /// Keeps a message of so many bytes for a user who is away.
    ///
    /// A message that is longer than a bound by itself is lost to that bound,
    /// and no other with it.
    ///
    /// # Errors
    ///
    /// Hands the message back if the user is not known.
    pub(crate) fn push(
        &mut self,
        now: Tick,
        user: &Utf8Bytes,
        bytes: usize,
        message: M,
    ) -> Result<Losses, M> {
        if !self.knows(user) {
            return Err(message);
        }
        let mut losses = self.expire(now);
        let size = bytes.saturating_add(PLACE);
        let alone = [
            (self.config.max_messages == 0, Loss::Messages),
            (size > self.config.max_user_bytes, Loss::Bytes),
            (self.config.max_age.is_zero(), Loss::Age),
            (size > self.config.max_bytes, Loss::Total),
        ];
        if let Some((_, loss)) = alone.into_iter().find(|(beyond, _)| *beyond) {
            losses.count(loss, 1);
            return Ok(losses);
        }
        let number = self.number();
        if let Some(known) = self.users.get_mut(user) {
            known.messages.push_back(Kept {
                number,
                until: now + self.config.max_age,
                size,
                message,
            });
            known.bytes += size;
        }
        self.bytes += size;
        self.order.insert(number, user.clone());
        while let Some(loss) = self.beyond(user) {
            self.drop_first(user);
            losses.count(loss, 1);
        }
        while self.bytes > self.config.max_bytes
            && let Some((_, user)) = self.order.first_key_value()
        {
            let user = user.clone();
            self.drop_first(&user);
            losses.count(Loss::Total, 1);
        }
        Ok(losses)
    }

    /// The messages of a user who has come back, in order. The user stays
    /// known.
    pub(crate) fn take(&mut self, now: Tick, user: &Utf8Bytes) -> (Vec<M>, Losses) {
        let losses = self.expire(now);
        let messages = self.take_all(user);
        (
            messages.into_iter().map(|kept| kept.message).collect(),
            losses,
        )
    }

    /// Drops what is too old.
    pub(crate) fn expire(&mut self, now: Tick) -> Losses {
        let mut losses = Losses::default();
        while self.next_expiry().is_some_and(|due| due <= now)
            && let Some((_, user)) = self.order.first_key_value()
        {
            let user = user.clone();
            self.drop_first(&user);
            losses.count(Loss::Age, 1);
        }
        losses
    }

    /// When the oldest message is too old.
    pub(crate) fn next_expiry(&self) -> Option<Tick> {
        let (_, user) = self.order.first_key_value()?;
        Some(self.users.get(user)?.messages.front()?.until)
    }

    /// Whether messages for this user are kept.
    pub(crate) fn knows(&self, user: &Utf8Bytes) -> bool {
        self.users.contains_key(user)
    }

    /// How many users are known.
    pub(crate) fn users(&self) -> usize {
        self.users.len()
    }

    /// How many messages are kept.
    pub(crate) fn messages(&self) -> usize {
        self.order.len()
    }

    /// How much they count against [`OfflineConfig::max_bytes`].
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Which bound of its own a user is beyond.
    fn beyond(&self, user: &Utf8Bytes) -> Option<Loss> {
        let user = self.users.get(user)?;
        if user.messages.len() > self.config.max_messages {
            Some(Loss::Messages)
        } else if user.bytes > self.config.max_user_bytes {
            Some(Loss::Bytes)
        } else {
            None
        }
    }

    fn take_all(&mut self, user: &Utf8Bytes) -> VecDeque<Kept<M>> {
        let Some(known) = self.users.get_mut(user) else {
            return VecDeque::new();
        };
        let messages = core::mem::take(&mut known.messages);
        self.bytes -= core::mem::take(&mut known.bytes);
        for kept in &messages {
            self.order.remove(&kept.number);
        }
        messages
    }

    fn drop_first(&mut self, user: &Utf8Bytes) {
        if let Some(known) = self.users.get_mut(user)
            && let Some(kept) = known.messages.pop_front()
        {
            known.bytes -= kept.size;
            self.bytes -= kept.size;
            self.order.remove(&kept.number);
        }
    }
}

impl Losses {
    /// The causes there were, and how many messages each cost.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Loss, usize)> {
        use Loss::{Age, Bytes, Messages, Total, Users};
        let all = [Messages, Bytes, Age, Users, Total];
        all.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.0.iter().sum()
    }

    fn count(&mut self, loss: Loss, messages: usize) {
        self.0[loss as usize] += messages;
    }
}

impl AddAssign for Losses {
    fn add_assign(&mut self, more: Self) {
        for (loss, count) in more.iter() {
            self.count(loss, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn secs(n: u64) -> Tick {
        Tick::from_millis(n * 1_000)
    }

    fn user(name: &str) -> Utf8Bytes {
        Utf8Bytes::from(name)
    }

    #[test]
    fn a_user_who_comes_back_gets_what_came_meanwhile() {
        let mut cache = OfflineCache::new(OfflineConfig::default());
        let (ann, bob) = (&user("ann"), &user("bob"));
        assert_eq!(cache.push(secs(0), ann, 5, 1), Err(1), "nobody knows ann");
        assert_eq!(cache.know(secs(1), ann).total(), 0);
        assert_eq!(cache.know(secs(1), bob).total(), 0);
        for (at, whose, message) in [(2, ann, 2), (3, bob, 3), (4, ann, 4), (302, ann, 5)] {
            let losses = cache.push(secs(at), whose, 5, message).unwrap();
            let expected = if at == 302 { 1 } else { 0 };
            assert_eq!(losses.total(), expected);
        }
        assert_eq!(cache.next_expiry(), Some(secs(303)));
        assert_eq!((cache.messages(), cache.bytes()), (3, 3 * (5 + PLACE)));
        let (messages, losses) = cache.take(secs(303), ann);
        assert_eq!(messages, [4, 5]);
        let losses: Vec<_> = losses.iter().collect();
        assert_eq!(losses, [(Loss::Age, 1)], "bob's, too");
        assert_eq!(cache.take(secs(303), ann).0, [0; 0]);
        assert!(cache.knows(bob) && !cache.knows(&user("eve")));
        assert_eq!((cache.users(), cache.messages(), cache.bytes()), (2, 0, 0));
        assert_eq!(cache.next_expiry(), None);
    }

    #[test]
    fn messages_beyond_a_bound_by_themselves_cost_no_other() {
        let config = OfflineConfig {
            max_user_bytes: 1_000,
            max_bytes: 2_000,
            ..OfflineConfig::default()
        };
        for (config, bytes, loss) in [
            (config.clone(), 1_000, Loss::Bytes),
            (
                OfflineConfig {
                    max_user_bytes: usize::MAX,
                    ..config.clone()
                },
                usize::MAX,
                Loss::Total,
            ),
        ] {
            let mut cache = OfflineCache::new(config);
            let _ = cache.know(secs(0), &user("a"));
            assert_eq!(
                cache.push(secs(0), &user("a"), 10, 1),
                Ok(Losses::default())
            );
            let losses = cache.push(secs(0), &user("a"), bytes, 2).unwrap();
            assert_eq!(losses.iter().collect::<Vec<_>>(), [(loss, 1)]);
            assert_eq!(cache.take(secs(0), &user("a")).0, [1]);
        }
        for (config, loss) in [
            (
                OfflineConfig {
                    max_messages: 0,
                    ..config.clone()
                },
                Loss::Messages,
            ),
            (
                OfflineConfig {
                    max_age: Duration::ZERO,
                    ..config
                },
                Loss::Age,
            ),
        ] {
            let mut cache = OfflineCache::new(config);
            let _ = cache.know(secs(0), &user("a"));
            let losses = cache.push(secs(0), &user("a"), 10, 1).unwrap();
            assert_eq!(losses.iter().collect::<Vec<_>>(), [(loss, 1)]);
        }
    }

    #[test]
    fn a_million_messages_of_no_bytes_fill_no_more_than_the_bound() {
        let mut cache = OfflineCache::new(OfflineConfig::default());
        let mut lost = Losses::default();
        let users: Vec<_> = (0..2_000).map(|n| user(&alloc::format!("{n}"))).collect();
        for user in &users {
            lost += cache.know(Tick::ZERO, user);
        }
        for n in 0..200_000 {
            lost += cache.push(Tick::ZERO, &users[n % 2_000], 0, ()).unwrap();
        }
        assert_eq!(cache.messages(), (16 << 20) / PLACE);
        assert_eq!(
            lost.iter().collect::<Vec<_>>(),
            [(Loss::Total, 200_000 - 131_072)]
        );
    }

    /// The same in the plainest words: one list of messages, walked every time.
    struct Model {
        config: OfflineConfig,
        users: Vec<u8>,
        /// When, whose, size, number.
        messages: Vec<(Tick, u8, usize, usize)>,
        lost: Losses,
    }

    impl Model {
        fn lose(&mut self, at: usize, loss: Loss) {
            self.messages.remove(at);
            self.lost.0[loss as usize] += 1;
        }

        fn age(&mut self, now: Tick) {
            while let Some(at) = self
                .messages
                .iter()
                .position(|m| now - m.0 >= self.config.max_age)
            {
                self.lose(at, Loss::Age);
            }
        }

        fn of(&self, user: u8) -> impl Iterator<Item = (usize, usize)> {
            let all = self.messages.iter().enumerate();
            all.filter(move |(_, m)| m.1 == user)
                .map(|(at, m)| (at, m.2))
        }

        fn act(&mut self, now: Tick, action: Action, number: usize) -> Vec<usize> {
            if let Action::Push(user, _) = action
                && !self.users.contains(&user)
            {
                return alloc::vec![number];
            }
            self.age(now);
            match action {
                Action::Know(user) => {
                    self.users.retain(|&other| other != user);
                    self.users.push(user);
                    if self.users.len() > self.config.max_users {
                        let user = self.users.remove(0);
                        while let Some(at) = self.messages.iter().position(|m| m.1 == user) {
                            self.lose(at, Loss::Users);
                        }
                    }
                }
                Action::Push(user, bytes) => {
                    let size = bytes + PLACE;
                    if size > self.config.max_user_bytes {
                        self.lost.0[Loss::Bytes as usize] += 1;
                        return Vec::new();
                    }
                    self.messages.push((now, user, size, number));
                    while self.of(user).count() > self.config.max_messages {
                        let (at, _) = self.of(user).next().unwrap();
                        self.lose(at, Loss::Messages);
                    }
                    while self.of(user).map(|m| m.1).sum::<usize>() > self.config.max_user_bytes {
                        let (at, _) = self.of(user).next().unwrap();
                        self.lose(at, Loss::Bytes);
                    }
                    while self.messages.iter().map(|m| m.2).sum::<usize>() > self.config.max_bytes {
                        self.lose(0, Loss::Total);
                    }
                }
                Action::Take(user) => {
                    let numbers = self.messages.iter().filter(|m| m.1 == user).map(|m| m.3);
                    let numbers = numbers.collect();
                    self.messages.retain(|m| m.1 != user);
                    return numbers;
                }
                Action::Expire => {}
            }
            Vec::new()
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Know(u8),
        Push(u8, usize),
        Take(u8),
        Expire,
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            2 => (0..8_u8).prop_map(Action::Know),
            8 => (0..8_u8, 0..600_usize).prop_map(|(user, bytes)| Action::Push(user, bytes)),
            1 => (0..8_u8).prop_map(Action::Take),
            1 => Just(Action::Expire),
        ]
    }

    proptest! {
        #[test]
        fn it_does_what_a_plain_list_does(
            actions in vec((0..40_u64, action()), 0..400),
            max_messages in 1..8_usize, max_user_bytes in 500..3_000_usize,
            max_users in 1..8_usize, more in 0..8_000_usize,
        ) {
            let config = OfflineConfig {
                max_messages, max_user_bytes, max_users,
                max_age: Duration::from_secs(300),
                max_bytes: max_user_bytes + more,
            };
            let mut model = Model {
                config: config.clone(), users: Vec::new(), messages: Vec::new(),
                lost: Losses::default(),
            };
            let mut cache = OfflineCache::new(config);
            let mut lost = Losses::default();
            let mut now = 0;
            for (number, (pause, action)) in actions.into_iter().enumerate() {
                now += pause;
                let name = |name: u8| user(&alloc::format!("user {name}"));
                let back = match action {
                    Action::Know(user) => {
                        lost += cache.know(secs(now), &name(user));
                        Vec::new()
                    }
                    Action::Push(user, bytes) => {
                        match cache.push(secs(now), &name(user), bytes, number) {
                            Ok(losses) => { lost += losses; Vec::new() }
                            Err(number) => alloc::vec![number],
                        }
                    }
                    Action::Take(user) => {
                        let (messages, losses) = cache.take(secs(now), &name(user));
                        lost += losses;
                        messages
                    }
                    Action::Expire => {
                        lost += cache.expire(secs(now));
                        Vec::new()
                    }
                };
                prop_assert_eq!(back, model.act(secs(now), action, number));
                prop_assert_eq!(lost, model.lost);
                prop_assert_eq!(cache.users(), model.users.len());
                prop_assert_eq!(cache.messages(), model.messages.len());
                let bytes: usize = model.messages.iter().map(|m| m.2).sum();
                prop_assert_eq!(cache.bytes(), bytes);
                let oldest = model.messages.first().map(|m| m.0 + model.config.max_age);
                prop_assert_eq!(cache.next_expiry(), oldest);
            }
        }
    }
}
