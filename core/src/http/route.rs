//! stub
#![allow(missing_docs, dead_code)]
use alloc::string::String;
use alloc::vec::Vec;
#[derive(Debug)]
pub struct RouteError;
impl core::fmt::Display for RouteError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bad route")
    }
}
impl core::error::Error for RouteError {}
#[derive(Debug, Default)]
pub struct Params;
pub(crate) struct Router<T>(Vec<(String, T)>);
impl<T> Router<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }
    pub(crate) fn add(&mut self, p: &str, t: T) -> Result<(), RouteError> {
        self.0.push((p.into(), t));
        Ok(())
    }
    pub(crate) fn find(&self, p: &str) -> Option<(&T, Params)> {
        self.0
            .iter()
            .find(|(q, _)| q == p)
            .map(|(_, t)| (t, Params))
    }
}
