//! Messages that tell each other apart, so that a wrong echo is noticed.

use smartsocket_smol::Message;

/// Digits of a message's number.
const NUMBER: usize = 16;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The messages of one connection: hexadecimal digits, so about half as long
/// when compressed, that end in the message's number as far as there is room.
pub(crate) struct Payload {
    pattern: String,
    text: bool,
    sent: u64,
    received: u64,
}

impl Payload {
    pub(crate) fn new(size: usize, text: bool, seed: u64) -> Self {
        // A linear congruential generator (Knuth's MMIX): noise is enough.
        let mut state = seed;
        let pattern = (0..size)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                char::from(DIGITS[(state >> 60) as usize])
            })
            .collect();
        Self {
            pattern,
            text,
            sent: 0,
            received: 0,
        }
    }

    /// The next message to send.
    pub(crate) fn next(&mut self) -> Message {
        let (pattern, number) = self.parts(self.sent);
        let mut text = String::with_capacity(self.pattern.len());
        text.push_str(pattern);
        text.extend(number.iter().map(|digit| char::from(*digit)));
        self.sent += 1;
        if self.text {
            Message::text(text)
        } else {
            Message::binary(text.into_bytes())
        }
    }

    /// Whether this is the echo that is due; otherwise what is wrong with it.
    pub(crate) fn check(&mut self, echo: &Message) -> Result<(), &'static str> {
        let due = self.received;
        self.received += 1;
        let (pattern, number) = self.parts(due);
        let bytes = echo.as_bytes();
        if echo.is_text() != self.text {
            Err("an echo is of another kind, text or binary, than what was sent")
        } else if bytes.len() != self.pattern.len() {
            Err("an echo has another length than what was sent")
        } else if bytes[..pattern.len()] != *pattern.as_bytes() || bytes[pattern.len()..] != *number
        {
            Err("an echo differs from what was sent")
        } else {
            Ok(())
        }
    }

    /// The constant part of a message, and the last digits of its number.
    fn parts(&self, number: u64) -> (&str, Number) {
        let count = self.pattern.len().min(NUMBER);
        let mut digits = [0; NUMBER];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = DIGITS[(number >> (4 * place)) as usize & 15];
        }
        let constant = &self.pattern[..self.pattern.len() - count];
        (constant, Number { digits, count })
    }
}

/// The last `count` digits of a number.
struct Number {
    digits: [u8; NUMBER],
    count: usize,
}

impl std::ops::Deref for Number {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.digits[NUMBER - self.count..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_echo_passes_at_every_size() {
        for size in [0, 1, 15, 16, 17, 1_000] {
            for text in [false, true] {
                let mut payload = Payload::new(size, text, 7);
                for _ in 0..20 {
                    let message = payload.next();
                    assert_eq!((message.len(), message.is_text()), (size, text));
                    assert_eq!(payload.check(&message), Ok(()));
                }
            }
        }
    }

    #[test]
    fn a_wrong_echo_is_noticed() {
        let wrong = |change: fn(Message, Message) -> Message| {
            let mut payload = Payload::new(20, true, 7);
            let (first, second) = (payload.next(), payload.next());
            payload.check(&change(first, second)).is_err()
        };
        assert!(!wrong(|first, _| first));
        assert!(wrong(|_, second| second), "out of order");
        assert!(wrong(|first, _| Message::binary(first.into_bytes())));
        assert!(wrong(
            |first, _| format!("{}x", first.as_text().unwrap()).into()
        ));
        assert!(wrong(|first, _| format!(
            "x{}",
            &first.as_text().unwrap()[1..]
        )
        .into()));
    }
}
