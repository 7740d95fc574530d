//! Tests the limiter against simulated endpoints, in virtual time.

use std::{cell::Cell, rc::Rc};

use proptest::{
    prelude::{ProptestConfig, any, prop, proptest},
    prop_assert, prop_oneof,
    strategy::{Just, Strategy},
};
use tokio::{task::LocalSet, time::sleep};

use super::*;

/// An endpoint that accepts ten requests per second with a burst of twenty, like the token bucket of a usage plan.
#[tokio::test(start_paused = true)]
async fn the_rate_that_the_endpoint_accepts_is_found() {
    let limiter = RateLimiter::new();
    let start = Instant::now();
    let (mut tokens, mut filled) = (20.0, start);
    let (mut taken, mut refused) = (0.0, 0.0);
    while start.elapsed() < Duration::from_mins(2) {
        let turn = limiter.acquire().await;
        tokens = f64::min(20.0, tokens + (turn - filled).as_secs_f64() * 10.0);
        filled = turn;
        sleep(Duration::from_millis(5)).await;
        if tokens >= 1.0 {
            tokens -= 1.0;
            taken += 1.0;
            limiter.confirm(turn);
        } else {
            refused += 1.0;
            limiter.refuse(turn, Duration::ZERO);
        }
    }
    println!("{taken} taken, {refused} refused");
    assert!(taken > 0.8 * 1200.0 && refused < 0.1 * taken, "{taken} taken, {refused} refused");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_pauses_all_requests() {
    let limiter = RateLimiter::new();
    let turn = limiter.acquire().await;
    limiter.refuse(turn, Duration::from_secs(7));
    let start = Instant::now();
    limiter.acquire().await;
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_request_is_sent_earlier_when_the_rate_rises() {
    let limiter = RateLimiter::new();
    let mut turn = limiter.acquire().await;
    for _ in 0..8 {
        limiter.refuse(turn, Duration::ZERO);
        turn = limiter.acquire().await;
    }
    // The next request is due in two seconds.
    let start = Instant::now();
    let (waited, ()) = tokio::join!(
        async {
            limiter.acquire().await;
            start.elapsed()
        },
        async {
            sleep(Duration::from_millis(10)).await;
            limiter.confirm(turn);
        },
    );
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}

/// An endpoint that answers after `latency`, and refuses a share of the requests from `down.0` to `down.1` after the
/// start.
#[derive(Debug, Clone)]
struct SimulatedEndpoint {
    latency: Duration,
    down: (Duration, Duration),
    refused_percent: u32,
    retry_after: Duration,
    /// The number of requests accepted per second, which is also the burst.
    limit: Option<f64>,
}

impl SimulatedEndpoint {
    /// Sends requests from `concurrency` tasks for `time`. Returns when each was confirmed, measured from the start.
    async fn confirmations(self, concurrency: usize, time: Duration) -> Vec<Duration> {
        let limiter = Rc::new(RateLimiter::new());
        let start = Instant::now();
        let sent = Rc::new(Cell::new(0_u32));
        let tokens = Rc::new(Cell::new((self.limit.unwrap_or_default(), start)));
        let tasks = LocalSet::new();
        let mut running = Vec::new();
        for _ in 0..concurrency {
            let (limiter, endpoint) = (Rc::clone(&limiter), self.clone());
            let (sent, tokens) = (Rc::clone(&sent), Rc::clone(&tokens));
            running.push(tasks.spawn_local(async move {
                let mut confirmed = Vec::new();
                while start.elapsed() < time {
                    let turn = limiter.acquire().await;
                    sleep(endpoint.latency / 2).await;
                    sent.set(sent.get().wrapping_add(1));
                    let at = start.elapsed();
                    let is_down = (endpoint.down.0..endpoint.down.1).contains(&at);
                    // Multiplying by a number that is coprime to 100 spreads the refusals.
                    let mut is_refused = is_down && sent.get().wrapping_mul(37) % 100 < endpoint.refused_percent;
                    if let Some(limit) = endpoint.limit {
                        let (left, filled) = tokens.get();
                        let left = (left + filled.elapsed().as_secs_f64() * limit).min(limit);
                        is_refused |= left < 1.0;
                        tokens.set((if is_refused { left } else { left - 1.0 }, Instant::now()));
                    }
                    sleep(endpoint.latency / 2).await;
                    if is_refused {
                        limiter.refuse(turn, if is_down { endpoint.retry_after } else { Duration::ZERO });
                    } else {
                        limiter.confirm(turn);
                        confirmed.push(start.elapsed());
                    }
                }
                confirmed
            }));
        }
        let all = tasks.run_until(async {
            let mut all = Vec::new();
            for task in running {
                all.extend(task.await.expect("no task panics"));
            }
            all
        });
        let mut all = all.await;
        all.sort_unstable();
        all
    }
}

/// Returns how long after `end` the confirmations reach 90 % of `full_rate`, measured over one second.
fn recovered_after(confirmations: &[Duration], end: Duration, full_rate: f64) -> Option<Duration> {
    let is_full = |from: Duration| {
        let count = confirmations.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(*at)).count();
        f64::from(u32::try_from(count).expect("it is small")) >= 0.9 * full_rate
    };
    (0..2_000).map(|step| Duration::from_millis(50 * step)).find(|after| is_full(end + *after))
}

async fn recovery(endpoint: SimulatedEndpoint, concurrency: usize) -> Option<Duration> {
    let end = endpoint.down.1;
    let outage = end.saturating_sub(endpoint.down.0);
    #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
    let possible = concurrency as f64 / endpoint.latency.as_secs_f64();
    let full_rate = possible.min(endpoint.limit.unwrap_or(f64::INFINITY));
    let confirmations = endpoint.confirmations(concurrency, end + 2 * outage + Duration::from_secs(8)).await;
    recovered_after(&confirmations, end, full_rate)
}

#[tokio::test(start_paused = true)]
async fn the_full_rate_is_back_soon_after_an_outage() {
    for (from, seconds, retry_after) in [(0, 1, 0), (0, 1, 1), (3, 1, 0), (0, 8, 1), (3, 8, 1), (2, 30, 0), (2, 60, 5)]
    {
        let endpoint = SimulatedEndpoint {
            latency: Duration::from_millis(20),
            down: (Duration::from_secs(from), Duration::from_secs(from + seconds)),
            refused_percent: 100,
            retry_after: Duration::from_secs(retry_after),
            limit: None,
        };
        let recovered = recovery(endpoint, 32).await;
        println!("{seconds} s from {from} s, Retry-After {retry_after}: {recovered:?}");
        let allowed = Duration::from_secs(2 * seconds + 5);
        assert!(recovered.is_some_and(|after| after <= allowed), "{seconds} s from {from} s: {recovered:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_lines_after_a_second_of_429_take_seconds() {
    let endpoint = SimulatedEndpoint {
        latency: Duration::from_millis(20),
        down: (Duration::ZERO, Duration::from_secs(1)),
        refused_percent: 100,
        retry_after: Duration::ZERO,
        limit: None,
    };
    let confirmations = endpoint.confirmations(32, Duration::from_secs(10)).await;
    println!("{:?}", confirmations[199]);
    assert!(confirmations[199] < Duration::from_secs(5), "{:?}", confirmations[199]);
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_find_the_accepted_rate_too() {
    for limit in [5.0, 50.0, 500.0] {
        let endpoint = SimulatedEndpoint {
            latency: Duration::from_millis(20),
            down: (Duration::ZERO, Duration::ZERO),
            refused_percent: 0,
            retry_after: Duration::ZERO,
            limit: Some(limit),
        };
        let confirmations = endpoint.confirmations(32, Duration::from_mins(1)).await;
        let share = f64::from(u32::try_from(confirmations.len()).expect("it is small")) / (60.0 * limit);
        println!("{limit} a second: {share:.2} of it");
        assert!(share > 0.8, "{limit}: {share}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_outage_the_full_rate_is_back(
        from in 0_u64..4_000,
        milliseconds in 100_u64..20_000,
        half_latency in 3_u64..100,
        concurrency in 4_usize..48,
        refused_percent in prop_oneof![Just(100_u32), 10_u32..100],
        retry_after in 0_u64..3,
        is_limited in any::<bool>(),
        limit in prop::num::f64::POSITIVE.prop_map(|seed| 10.0 + seed.ln_1p().abs() % 200.0),
    ) {
        let endpoint = SimulatedEndpoint {
            latency: Duration::from_millis(2 * half_latency),
            down: (Duration::from_millis(from), Duration::from_millis(from + milliseconds)),
            refused_percent,
            retry_after: Duration::from_secs(retry_after),
            limit: is_limited.then_some(limit),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let recovered = runtime.expect("a runtime starts").block_on(recovery(endpoint.clone(), concurrency));
        let allowed = 2 * Duration::from_millis(milliseconds) + Duration::from_secs(5);
        prop_assert!(recovered.is_some_and(|after| after <= allowed), "{endpoint:?}: {recovered:?}");
    }
}
