//! MB's messages, and its broker.

use smartsocket_core::dialect::Dialect;
use smartsocket_core::internals::{Dialogue, Exchange};
use smartsocket_core::{Json, Message, Tick};
use stats_alloc::Region;

use crate::HEAP;

/// `messages, with zeros between`, said by three in turn; after an empty one
/// the next of them leaves, and time passes.
pub fn run(data: &[u8]) {
    let mut dialogue = Dialogue::new(Dialect::HeaderLine);
    let mut exchange = Exchange::default();
    let mut now = Tick::ZERO;
    for (turn, message) in data.split(|byte| *byte == 0).enumerate() {
        let from = (turn % 3) as u8;
        decode(&mut dialogue, message);
        let said = exchange.handle(now, from, Message::binary(message.to_vec()));
        heard(&mut dialogue, said);
        if message.is_empty() {
            exchange.leave(now, from);
            while let Some(due) = exchange.next_timeout() {
                assert!(due >= now);
                now = due;
                let said = exchange.handle_timeout(now);
                heard(&mut dialogue, said);
            }
        }
    }
}

fn decode(dialogue: &mut Dialogue, message: &[u8]) {
    let length = message.len();
    let bytes = Message::binary(message.to_vec());
    let region = Region::new(HEAP);
    let heard = dialogue.decode(bytes.clone());
    let cost = region.change();
    let grown = usize::try_from(cost.bytes_reallocated).unwrap_or(0);
    let allocated = cost.bytes_allocated + grown;
    // A payload that is none is told back, with escapes, if it is short.
    let bound = 32 * length.min(2_048) + 4_096;
    assert!(allocated <= bound, "{allocated} for {length}");

    if let Ok(text) = core::str::from_utf8(message) {
        assert_eq!(dialogue.decode(text.into()), heard);
    }
    let said = dialogue.repeat(bytes);
    let [said] = &said[..] else {
        panic!("{} messages", said.len());
    };
    match heard.kind {
        "broker" => {
            for data in &heard.data {
                assert_eq!(Json::parse(data.as_str()).as_ref(), Ok(data));
            }
            assert_eq!(dialogue.decode(said.clone()), heard);
            assert_eq!(dialogue.repeat(said.clone()), std::slice::from_ref(said));
        }
        kind => {
            assert_eq!(kind, "invalid");
            response(dialogue, said);
        }
    }
}

/// What is said of what is no message is one.
fn response(dialogue: &mut Dialogue, said: &Message) {
    let text = said.as_text().expect("answers are text");
    assert!(text.starts_with("response:"), "{text}");
    assert_eq!(dialogue.decode(said.clone()).kind, "broker", "{text}");
}

fn heard(dialogue: &mut Dialogue, said: Vec<(u8, Message)>) {
    for (to, said) in said {
        assert!(to < 3);
        assert!(said.is_text());
        assert_eq!(dialogue.decode(said).kind, "broker");
    }
}
