//! What holds for the dialects whose messages are JSON objects.

use smartsocket_core::dialect::Dialect;
use smartsocket_core::internals::{Dialogue, Heard};
use smartsocket_core::{Json, Message};
use stats_alloc::Region;

use crate::HEAP;

/// Plays `messages, with zeros between`, each as text where it is text and as
/// bytes, to one peer's dialect. `check` sees what was heard of each text, and
/// of the same as bytes.
pub(crate) fn run(dialect: &Dialect, data: &[u8], check: impl Fn(&str, &Heard, &Heard)) {
    let mut dialogue = Dialogue::new(dialect.clone());
    for message in data.split(|byte| *byte == 0) {
        let bytes = heard(&mut dialogue, message.into());
        if let Ok(text) = core::str::from_utf8(message) {
            let text_heard = heard(&mut dialogue, text.into());
            check(text, &text_heard, &bytes);
        }
    }
}

fn heard(dialogue: &mut Dialogue, message: Message) -> Heard {
    let length = message.len();
    let region = Region::new(HEAP);
    let heard = dialogue.decode(message);
    let cost = region.change();
    let grown = usize::try_from(cost.bytes_reallocated).unwrap_or(0);
    // The worst are names of rooms: two bytes of `0,` are a slice to look at.
    let bytes = cost.bytes_allocated + grown;
    assert!(bytes <= 64 * length + 1_024, "{bytes} for {length}");
    let calls = cost.allocations + cost.reallocations;
    assert!(calls <= length + 32, "{calls} allocations for {length}");

    for data in &heard.data {
        assert_eq!(Json::parse(data.as_str()).as_ref(), Ok(data));
    }
    for text in &heard.texts {
        for said in dialogue.encode_all(text) {
            let said = said.as_text().expect("an object is text");
            assert!(said.starts_with('{') && Json::parse(said).is_ok(), "{said}");
        }
    }
    if heard.kind == "event" {
        let said = dialogue.encode_event(&heard.texts[0], heard.data.first());
        let [said] = &said[..] else {
            panic!("{} messages", said.len());
        };
        let again = dialogue.decode(said.clone());
        // A timestamp added may be one value too many.
        if again.kind != "invalid" || said.len() < 10_000 {
            assert_eq!(again.kind, "event");
            assert_eq!(again.texts[0], heard.texts[0]);
            assert_eq!(again.data, heard.data);
        }
    }
    heard
}
