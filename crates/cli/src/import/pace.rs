//! How fast requests are sent: as fast as they are answered, until the endpoint says that this is too fast.
//!
//! A usage plan allows a rate that nobody has told us. It is found as TCP finds a link's: each 429 or 503 cuts the rate to
//! below what was just confirmed, each confirmation raises it a little.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// By how much a confirmation raises the rate, in requests per second: 8 % a second.
const RAISE: f64 = 0.08;

/// What is left of the rate after a refusal, at most and at least.
const CUT: (f64, f64) = (0.9, 0.3);

/// No refusal brings the rate below this, in requests per second.
const SLOWEST: f64 = 0.1;

/// The pace of one import, which all its requests share.
pub struct Pace(Mutex<State>);

struct State {
    /// Requests per second; `None` while the endpoint takes whatever comes.
    rate: Option<f64>,
    next: Instant,
    paused_until: Instant,
    /// Since when `confirmed` counts.
    since: Instant,
    confirmed: u32,
}

impl Pace {
    pub fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State { rate: None, next: now, paused_until: now, since: now, confirmed: 0 }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent, and gives that time.
    pub async fn turn(&self) -> Instant {
        let mut turn = {
            let mut state = self.state();
            let turn = state.next.max(Instant::now());
            state.next = turn + state.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
            turn
        };
        loop {
            turn = turn.max(self.state().paused_until);
            if turn <= Instant::now() {
                return turn;
            }
            sleep_until(turn).await;
        }
    }

    /// A request was answered with success.
    pub fn confirmed(&self) {
        let mut state = self.state();
        state.confirmed += 1;
        state.rate = state.rate.map(|rate| rate + RAISE);
    }

    /// The request that was sent at `turn` was too much; nothing is sent for `pause`.
    pub fn refused(&self, turn: Instant, pause: Duration) {
        let mut state = self.state();
        let now = Instant::now();
        state.paused_until = state.paused_until.max(now + pause);
        // Those that were under way when the rate was cut say nothing of the new one.
        if turn < state.since {
            return;
        }
        let seen = f64::from(state.confirmed) / (now - state.since).as_secs_f64().max(0.1);
        let rate = state.rate.unwrap_or(seen);
        state.rate = Some(seen.clamp(CUT.1 * rate, CUT.0 * rate).max(SLOWEST));
        state.confirmed = 0;
        state.since = state.paused_until;
        state.next = state.next.max(state.paused_until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An endpoint that takes ten a second, with a burst of twenty, as a usage plan's token bucket does.
    #[tokio::test(start_paused = true)]
    async fn it_finds_the_rate_that_the_endpoint_takes() {
        let pace = Pace::new();
        let start = Instant::now();
        let (mut tokens, mut filled) = (20.0, start);
        let (mut taken, mut refused) = (0.0, 0.0);
        while start.elapsed() < Duration::from_mins(2) {
            let turn = pace.turn().await;
            tokens = f64::min(20.0, tokens + (turn - filled).as_secs_f64() * 10.0);
            filled = turn;
            tokio::time::sleep(Duration::from_millis(5)).await;
            if tokens >= 1.0 {
                tokens -= 1.0;
                taken += 1.0;
                pace.confirmed();
            } else {
                refused += 1.0;
                pace.refused(turn, Duration::ZERO);
            }
        }
        println!("{taken} taken, {refused} refused");
        assert!(taken > 0.8 * 1200.0 && refused < 0.1 * taken, "{taken} taken, {refused} refused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_pauses_all() {
        let pace = Pace::new();
        let turn = pace.turn().await;
        pace.refused(turn, Duration::from_secs(7));
        let start = Instant::now();
        pace.turn().await;
        assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
    }
}
