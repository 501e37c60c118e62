//! Messages with numbers, and their replies.

use std::error::Error;

use crate::message::{DIGITS, Load, MASK, Reply, Sends, digits, push_frame};
use crate::{Args, Mode, Opcode};

/// Messages of which none reaches a handler, or a handler that does nothing,
/// for one that is answered.
const SILENT: usize = 15;

/// What a connection sends, message by message, over and over.
#[derive(Debug)]
pub(crate) struct Script {
    turns: Vec<Numbered>,
    replies: Vec<Reply>,
    messages: usize,
    opcode: u8,
}

/// Frames with a number.
#[derive(Debug)]
struct Numbered {
    frames: Vec<u8>,
    /// Where its first digit is.
    at: usize,
    /// The part of the mask it meets.
    phase: usize,
}

impl Numbered {
    /// The last of `payloads` has number 0 in it.
    fn new(opcode: u8, payloads: &[impl AsRef<[u8]>]) -> Result<Self, Box<dyn Error>> {
        let mut frames = Vec::new();
        let (mut start, mut phase) = (0, 0);
        for payload in payloads.iter().map(AsRef::as_ref) {
            push_frame(&mut frames, opcode, false, payload);
            start = frames.len() - payload.len();
            phase = place(payload).ok_or("no number in a message")?;
        }
        let at = start + phase;
        Ok(Self { frames, at, phase })
    }

    fn append(&self, out: &mut Vec<u8>, number: u64) {
        let start = out.len() + self.at;
        out.extend_from_slice(&self.frames);
        let place = &mut out[start..start + DIGITS];
        for (i, (byte, digit)) in place.iter_mut().zip(digits(number)).enumerate() {
            *byte = digit ^ MASK[(self.phase + i) % MASK.len()];
        }
    }
}

/// Where number 0 is in a payload.
fn place(payload: &[u8]) -> Option<usize> {
    let zero = digits(0);
    payload.windows(DIGITS).position(|window| *window == zero)
}

impl Script {
    pub(crate) fn new(args: &Args) -> Result<Self, Box<dyn Error>> {
        if args.size < DIGITS {
            return Err(format!("messages of {DIGITS} bytes or more, please").into());
        }
        let language = args.language;
        if !language.has_events() {
            if args.mode != Mode::Fanout {
                return Err("that needs a language with events".into());
            }
            let payload = numbered(args);
            return Self::of(args.opcode, &[(vec![&payload], &payload)]);
        }
        let text = numbered(args);
        let text = str::from_utf8(&text)?;
        let object = format!(r#"{{"text":"{text}"}}"#);
        // Its number is in the acknowledgement.
        let plain = object.replace(str::from_utf8(&digits(0))?, "a number's worth");
        let question = language.question("echo", &plain, 0);
        let answer = language.answer(0, &plain);
        let silent = |name| {
            let event = language.event(name, &object);
            let mut messages = vec![event; SILENT];
            messages.push(question.clone());
            vec![(messages, answer.clone())]
        };
        let turns = match args.mode {
            Mode::Fanout => {
                let event = language.event("publish", &format!(r#""{text}""#));
                vec![(vec![event.clone()], event)]
            }
            Mode::Events => {
                let event = language.event("event", &object);
                vec![(vec![event.clone()], event)]
            }
            Mode::Rooms => [language.join(0), language.leave(0)]
                .map(|question| (vec![question], language.done(0)))
                .into(),
            Mode::Heard => silent("heard"),
            Mode::Unheard => silent("unheard"),
            Mode::Ack | Mode::Echo | Mode::Idle | Mode::Storm => {
                vec![(vec![question], answer)]
            }
        };
        Self::of(Opcode::Text, &turns)
    }

    /// Of what is sent in each turn, and what comes for it.
    fn of<T: AsRef<[u8]>>(opcode: Opcode, turns: &[(Vec<T>, T)]) -> Result<Self, Box<dyn Error>> {
        let opcode = opcode.bits();
        Ok(Self {
            messages: turns.first().map_or(1, |(messages, _)| messages.len()),
            replies: turns
                .iter()
                .map(|(_, reply)| Reply {
                    payload: reply.as_ref().to_vec(),
                    at: place(reply.as_ref()),
                })
                .collect(),
            turns: turns
                .iter()
                .map(|(messages, _)| Numbered::new(opcode, messages))
                .collect::<Result<_, _>>()?,
            opcode,
        })
    }

    pub(crate) fn load(mut self) -> Load {
        Load {
            replies: std::mem::take(&mut self.replies),
            messages: self.messages,
            opcode: self.opcode,
            sends: Sends::Script(self),
        }
    }

    /// Appends what is sent for reply `number`.
    pub(crate) fn append(&self, out: &mut Vec<u8>, number: u64) {
        self.turns[number as usize % self.turns.len()].append(out, number);
    }
}

/// A payload that begins with its number.
fn numbered(args: &Args) -> Vec<u8> {
    let mut payload = args.payload.make(args.size);
    payload[..DIGITS].copy_from_slice(&digits(0));
    payload
}
