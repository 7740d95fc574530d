//! Limits the request rate. Requests are sent as fast as they are answered until the endpoint refuses some.
//!
//! A usage plan allows a rate that the import does not know. The limiter finds it as TCP finds the capacity of a link
//! (RFC 5681). A refusal (429 or 503) cuts the rate below the rate of recent confirmations. Each confirmation raises
//! it a little.
//!
//! An outage is not a limit: while nothing is confirmed, the limiter learns nothing about the rate. It then sends only
//! occasional requests. The first confirmation ends the outage, and the rate recovers within seconds.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    select,
    sync::{Mutex as Queue, Notify},
    time::{Instant, sleep_until},
};

/// Increase per confirmation at the limit, in requests per second: 8 % per second.
const RAISE: f64 = 0.08;

/// Increase per confirmation below the limit: the rate doubles in a quarter of a second.
const RECOVER: f64 = std::f64::consts::LN_2 / 0.25;

/// The smallest and the largest share of the rate that may remain after a refusal.
const CUT: (f64, f64) = (0.3, 0.9);

/// The rate after the first refusal of an outage, in requests per second.
const PROBE: f64 = 4.0;

/// The lowest rate, in requests per second. One request every two seconds soon detects the end of an outage.
const LOWEST: f64 = 0.5;

/// The rate above which nothing is limited, in requests per second.
const UNLIMITED: f64 = 50_000.0;

/// The shortest time between two cuts, unless nothing was confirmed in between or the rate was unlimited.
const MEASURED: Duration = Duration::from_millis(250);

/// The time without a refusal after which the limit is assumed to be gone.
const QUIET: Duration = Duration::from_secs(3);

/// The largest delay of a request that does not delay the next one. Timers have millisecond resolution.
const LATE: Duration = Duration::from_millis(10);

/// The limiter of one import, shared by all its requests.
pub struct RateLimiter {
    /// The queue of requests. Only the first one waits for its time. The others have not reserved a time, so a new
    /// rate applies to them.
    queue: Queue<()>,
    changed: Notify,
    state: Mutex<State>,
}

struct State {
    /// Requests per second; infinite while the endpoint accepts every request.
    rate: f64,
    /// The rate at which recovery ends and the careful search starts.
    limit: f64,
    last_turn: Option<Instant>,
    paused_until: Instant,
    /// The time of the last cut. Requests that were sent earlier say nothing about the current rate.
    cut: Instant,
    confirmed_since_cut: u32,
    is_outage: bool,
    last_refusal: Instant,
}

impl RateLimiter {
    pub fn new() -> Self {
        let now = Instant::now();
        let state = State {
            rate: f64::INFINITY,
            limit: f64::INFINITY,
            last_turn: None,
            paused_until: now,
            cut: now,
            confirmed_since_cut: 0,
            is_outage: false,
            last_refusal: now,
        };
        Self { queue: Queue::new(()), changed: Notify::new(), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent. Returns that time, which identifies the request in the other methods.
    pub async fn acquire(&self) -> Instant {
        let _first = self.queue.lock().await;
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut state = self.state();
                let now = Instant::now();
                let due = state.due(now);
                if due <= now {
                    state.last_turn = Some(due.max(now.checked_sub(LATE).unwrap_or(now)));
                    return now;
                }
                due
            };
            select! {
                () = sleep_until(due) => {}
                () = changed => {}
            }
        }
    }

    /// Counts a request that was sent at `turn` and succeeded.
    pub fn confirm(&self, turn: Instant) {
        let mut state = self.state();
        if turn < state.cut {
            return;
        }
        state.confirmed_since_cut += 1;
        state.is_outage = false;
        if state.rate.is_finite() {
            state.raise();
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Counts a request that was sent at `turn` and refused. Nothing is sent for `pause`.
    pub fn refuse(&self, turn: Instant, pause: Duration) {
        self.state().refuse(turn, pause);
        self.changed.notify_waiters();
    }
}

impl State {
    /// Returns the time at which the next request may be sent.
    fn due(&self, now: Instant) -> Instant {
        let next = match self.last_turn {
            Some(last) if self.rate.is_finite() => last + Duration::from_secs_f64(1.0 / self.rate),
            _ => now,
        };
        next.max(self.paused_until)
    }

    fn raise(&mut self) {
        let is_quiet = self.last_refusal.elapsed() > QUIET;
        self.rate = if is_quiet {
            self.rate + RECOVER
        } else if self.rate < self.limit {
            (self.rate + RECOVER).min(self.limit)
        } else {
            self.rate + RAISE
        };
        if self.rate > UNLIMITED {
            self.rate = f64::INFINITY;
        }
        self.limit = self.limit.max(self.rate);
    }

    fn refuse(&mut self, turn: Instant, pause: Duration) {
        let now = Instant::now();
        self.paused_until = self.paused_until.max(now + pause);
        self.last_refusal = now;
        if turn < self.cut {
            return;
        }
        let lasted = now - self.cut;
        if self.confirmed_since_cut == 0 {
            // The first request after a cut counts too, so a far lower limit is found immediately.
            self.rate = if self.is_outage { (self.rate / 2.0).max(LOWEST) } else { self.rate.min(PROBE) };
            self.is_outage = true;
        } else if lasted >= MEASURED || self.rate.is_infinite() {
            let seen = f64::from(self.confirmed_since_cut) / lasted.as_secs_f64().max(0.1);
            let rate = if self.rate.is_finite() { self.rate } else { seen };
            self.rate = seen.clamp(CUT.0 * rate, CUT.1 * rate).max(LOWEST);
            self.limit = self.rate;
        } else {
            return;
        }
        self.confirmed_since_cut = 0;
        self.cut = now.max(self.paused_until);
    }
}

#[cfg(test)]
mod tests;
