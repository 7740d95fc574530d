//! Lets a page stop its search.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

/// The running searches, by the number that their page contains.
#[derive(Debug, Clone, Default)]
pub struct Searches(Arc<Mutex<Numbered>>);

#[derive(Debug, Default)]
struct Numbered {
    last: u64,
    running: HashMap<u64, Weak<AtomicBool>>,
}

/// Tells a search whether to stop.
#[derive(Debug)]
pub struct Stop {
    pub number: u64,
    is_requested: Arc<AtomicBool>,
}

impl Stop {
    pub fn is_requested(&self) -> bool {
        self.is_requested.load(Ordering::Relaxed)
    }
}

impl Searches {
    pub fn begin(&self) -> Stop {
        let mut searches = self.0.lock().unwrap_or_else(PoisonError::into_inner); // every change leaves a valid map
        searches.running.retain(|_, search| search.strong_count() > 0);
        searches.last += 1;
        let stop = Stop { number: searches.last, is_requested: Arc::default() };
        searches.running.insert(stop.number, Arc::downgrade(&stop.is_requested));
        stop
    }

    /// Stops a search. Does nothing if it has ended.
    pub fn stop(&self, number: u64) {
        let searches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_requested) = searches.running.get(&number).and_then(Weak::upgrade) {
            is_requested.store(true, Ordering::Relaxed);
        }
    }
}
