//! The witness: what the peer took, and on how many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the peer did, message by message; a message is known by the text of its alert.
#[derive(Default)]
pub struct Record {
    pub(super) accepted: Mutex<Vec<String>>,
    pub(super) arrived: Mutex<Vec<String>>,
    pub(super) connections: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) chain: AtomicUsize,
}

impl Record {
    /// The messages that were answered with 200, or processed and left without an answer.
    pub fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The messages that came whole, whatever became of them.
    pub fn arrived(&self) -> Vec<String> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many TLS connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many certificates the relay sent beside its own, at most.
    pub fn chain(&self) -> usize {
        self.chain.load(Ordering::SeqCst)
    }

    /// How many of them have not ended.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(super) fn note(list: &Mutex<Vec<String>>, message: &str) {
        list.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_owned());
    }
}
