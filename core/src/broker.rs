//! stub
#![allow(missing_docs, dead_code)]
use crate::dialect::{Header, HeaderFailure};
use crate::json::Json;
use crate::message::Utf8Bytes;
use crate::time::Tick;
#[derive(Debug, Default)]
pub struct BrokerConfig {}
pub(crate) enum Effect<K> {
    Send {
        to: K,
        header: Header,
        payload: Json,
    },
    Fail {
        to: K,
        failure: HeaderFailure,
    },
    Subscribe {
        key: K,
        topic: Utf8Bytes,
    },
    Unsubscribe {
        key: K,
        topic: Utf8Bytes,
    },
}
pub(crate) struct Broker<K>(Option<K>);
impl<K> Broker<K> {
    pub(crate) fn new(_c: BrokerConfig) -> Self {
        Self(None)
    }
    pub(crate) fn handle(
        &mut self,
        _now: Tick,
        _r: &mut dyn FnMut() -> [u8; 16],
        _from: K,
        _h: Header,
        _p: Json,
    ) {
    }
    pub(crate) fn leave(&mut self, _now: Tick, _k: K) {}
    pub(crate) fn handle_timeout(&mut self, _now: Tick) {}
    pub(crate) fn next_timeout(&self) -> Option<Tick> {
        None
    }
    pub(crate) fn poll(&mut self) -> Option<Effect<K>> {
        None
    }
}
