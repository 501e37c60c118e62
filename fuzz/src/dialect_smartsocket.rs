//! SmartSocket: its messages, packets and chunks, one after the other.

use smartsocket_core::dialect::{Dialect, Format, SmartSocket};
use smartsocket_core::internals::{Dialogue, Heard};
use smartsocket_core::{Json, Message};
use stats_alloc::Region;

use crate::HEAP;
use crate::input::{Input, bit, choice};

/// `options, (kind, length(2), message)*`: as text with an odd kind where it is
/// UTF-8; a length of zero is all the rest.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let bits = input.byte();
    let format = if bit(bits, 4) {
        Format::Raw
    } else {
        Format::Zlib
    };
    let options = SmartSocket {
        max_message: [64, 1_024, 20_000, 1 << 20][choice(bits, 0)],
        threshold: [0, 40, 1_024, 10_000][choice(bits, 1)],
        level: bits >> 5,
        format,
    };
    let max = options.max_message;
    let dialect = Dialect::SmartSocket(options);

    let mut peer = Dialogue::new(dialect.clone());
    let region = Region::new(HEAP);
    let mut messages = 0;
    while !input.0.is_empty() {
        let kind = input.byte();
        let length = u16::from_be_bytes([input.byte(), input.byte()]);
        let message = match length {
            0 => input.take(usize::MAX),
            length => input.take(length.into()),
        };
        let message = match core::str::from_utf8(message) {
            Ok(text) if bit(kind, 0) => Message::text(text),
            _ => message.into(),
        };
        heard(&dialect, &mut peer, message, max);

        messages += 1;
        let now = region.change();
        let held = now.bytes_allocated - now.bytes_deallocated;
        // Of chunks twice their bytes and a place for each; of echoes 64 hashes.
        let most = 2 * max + 200 * messages + 4_096;
        assert!(held <= most, "{held} held after {messages} messages");
    }
}

fn heard(dialect: &Dialect, peer: &mut Dialogue, message: Message, max: usize) {
    let length = message.len();
    let region = Region::new(HEAP);
    let heard = peer.decode(message);
    let cost = region.change().bytes_allocated;
    // The state of inflating is 11 KiB; what it gives doubles up to the limit.
    let most = 64 * length + 8 * max + 16 * 1_024;
    assert!(cost <= most, "{cost} allocated for {length}");

    for data in &heard.data {
        assert_eq!(Json::parse(data.as_str()).as_ref(), Ok(data));
    }
    for text in &heard.texts {
        let mut other = Dialogue::new(dialect.clone());
        for said in other.encode_all(text) {
            // Escaped and three times, with words around.
            let fits = said.is_text() || 18 * text.len() + 200 < max;
            let kind = other.decode(said).kind;
            assert!(kind != "invalid" || !fits, "{text:?}");
        }
    }
    if heard.kind == "event" {
        again(dialect, &heard, max);
    }
}

/// An event said again is heard again, in packets too; and is an echo to whom
/// it was said.
fn again(dialect: &Dialect, event: &Heard, max: usize) {
    let mut other = Dialogue::new(dialect.clone());
    let said = other.encode_event(&event.texts[0], event.data.first());
    let length: usize = said.iter().map(Message::len).sum();
    let mut heard: Vec<Heard> = said.iter().map(|said| other.decode(said.clone())).collect();
    heard.retain(|heard| heard.kind != "nothing");
    let plain = matches!(&said[..], [said] if said.is_text());
    if heard[..] != [event.clone()] {
        let too_long = !plain && length.max(inflated(event)) > max;
        assert!(
            too_long && heard[0].kind == "invalid",
            "{event:?} {heard:?}"
        );
    }
    if plain {
        other.decode(Message::text(r#"{"event":"connected"}"#));
        other.sent(&said[0]);
        assert_eq!(other.decode(said[0].clone()).kind, "nothing");
        assert_eq!(&other.decode(said[0].clone()), event);
    }
}

/// How long an event is that has no name of its own form.
fn inflated(event: &Heard) -> usize {
    let name = Json::string(&event.texts[0]);
    let data = event.data.first().map_or(0, |data| data.as_str().len());
    name.as_str().len() + data + r#"{"event":,"data":}"#.len()
}
