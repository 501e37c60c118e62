//! stub
#![allow(missing_docs, dead_code)]
use alloc::string::String;
pub(crate) fn format(ms: u64) -> String {
    alloc::format!("{ms}")
}
