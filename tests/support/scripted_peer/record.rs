//! The witness: what the peer took, and on how many connections.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Request;

/// What the peer did, message by message; a message is known by the text of its alert.
#[derive(Default)]
pub struct Record {
    accepted: Mutex<Vec<String>>,
    arrived: Mutex<Vec<(String, String)>>,
    pub(super) pings: AtomicUsize,
    pub(super) connections: AtomicUsize,
    pub(super) open: AtomicUsize,
    pub(super) chain: AtomicUsize,
}

impl Record {
    /// The messages that were answered with 200, or processed and left without an answer.
    pub fn accepted(&self) -> Vec<String> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn accept(&self, message: &str) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.push(message.to_owned());
    }

    /// The messages that came whole, whatever became of them.
    pub fn arrived(&self) -> Vec<String> {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.iter().map(|(message, _)| message.clone()).collect()
    }

    /// The `apns-id` of each try of each message that came whole.
    pub fn ids(&self) -> HashMap<String, Vec<String>> {
        let mut ids: HashMap<_, Vec<_>> = HashMap::new();
        for (message, id) in &*self.arrived.lock().unwrap_or_else(PoisonError::into_inner) {
            ids.entry(message.clone()).or_default().push(id.clone());
        }
        ids
    }

    pub(super) fn arrive(&self, request: &Request) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push((request.message.clone(), request.apns_id.clone()));
    }

    /// How many PINGs came.
    pub fn pings(&self) -> usize {
        self.pings.load(Ordering::SeqCst)
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
}
