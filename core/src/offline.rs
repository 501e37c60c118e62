//! stub
#![allow(missing_docs, dead_code)]
use crate::time::Tick;
use alloc::vec::Vec;
#[derive(Clone, Debug, Default)]
pub struct OfflineConfig {}
#[derive(Debug, Default)]
pub struct Dropped {}
pub(crate) struct OfflineCache<M>(Vec<M>);
impl<M> OfflineCache<M> {
    pub(crate) fn new(_c: OfflineConfig) -> Self {
        Self(Vec::new())
    }
    pub(crate) fn know(&mut self, _now: Tick, _user: &str) {}
    pub(crate) fn knows(&self, _user: &str) -> bool {
        true
    }
    pub(crate) fn push(&mut self, _now: Tick, _user: &str, _bytes: usize, m: M) -> Dropped {
        self.0.push(m);
        Dropped {}
    }
    pub(crate) fn take(&mut self, _now: Tick, _user: &str) -> (Vec<M>, Dropped) {
        (core::mem::take(&mut self.0), Dropped {})
    }
}
