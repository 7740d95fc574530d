//! Adapts the number of requests in flight to the network.
//!
//! Over a slow connection, many concurrent requests all exceed their time limit, and nothing is stored. The window
//! therefore starts small, grows with each confirmation, and halves at a time-out, as TCP's congestion window does (RFC
//! 5681, section 3.1). The rate limiter handles refusals (429 and 503). Other failures do not change the window,
//! because single lines may cause them.

use std::time::Duration;

use tokio::time::Instant;

const START: usize = 8;

/// Up to this many consecutive failures may be due to individual lines. After more, the endpoint may be down.
const SUSPICIOUS: u32 = 64;

/// The first and the longest pause while every request fails.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

pub struct Window {
    size: usize,
    largest: usize,
    /// The time of the last cut. Requests that were sent earlier do not cut the window again.
    cut: Instant,
    failures: u32,
    paused_until: Instant,
}

impl Window {
    pub fn new(largest: usize) -> Self {
        let now = Instant::now();
        Self { size: START.min(largest), largest, cut: now, failures: 0, paused_until: now }
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns the earliest time at which a request may be sent.
    pub fn paused_until(&self) -> Instant {
        self.paused_until
    }

    pub fn confirm(&mut self) {
        self.size = (self.size + 1).min(self.largest);
        self.failures = 0;
        self.paused_until = Instant::now();
    }

    pub fn fail(&mut self) {
        self.failures += 1;
        if let Some(suspicious) = self.failures.checked_sub(SUSPICIOUS) {
            let pause = PAUSE.0.saturating_mul(1 << suspicious.min(8));
            self.paused_until = Instant::now() + pause.min(PAUSE.1);
        }
    }

    /// Counts a request that was sent at `sent` and exceeded its time limit.
    pub fn time_out(&mut self, sent: Instant) {
        self.fail();
        if sent >= self.cut {
            self.cut = Instant::now();
            self.size = (self.size / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_outs_halve_the_window_once_per_round_and_confirmations_widen_it() {
        let mut window = Window::new(32);
        assert_eq!(window.size(), START);
        (0..100).for_each(|_| window.confirm());
        assert_eq!(window.size(), 32);
        tokio::time::advance(Duration::from_secs(1)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_mins(1)).await;
        (0..32).for_each(|_| window.time_out(sent));
        assert_eq!(window.size(), 16, "all of them were sent before the cut");
        for expected in [8, 4, 2, 1, 1] {
            tokio::time::advance(Duration::from_mins(1)).await;
            window.time_out(Instant::now());
            assert_eq!(window.size(), expected);
        }
        window.confirm();
        assert_eq!(window.size(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_many_failures_in_a_row_pause_the_import() {
        let mut window = Window::new(32);
        (1..SUSPICIOUS).for_each(|_| window.fail());
        assert_eq!((window.size(), window.paused_until()), (START, Instant::now()));
        (0..10).for_each(|_| window.fail());
        assert_eq!(window.paused_until(), Instant::now() + PAUSE.1);
        window.confirm();
        assert_eq!(window.paused_until(), Instant::now());
    }

    #[test]
    fn a_small_concurrency_is_the_limit() {
        let mut window = Window::new(1);
        window.confirm();
        assert_eq!(window.size(), 1);
    }
}
