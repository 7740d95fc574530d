//! Latency promises: warm requests, and a burst that causes cold starts.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    endpoint::Endpoint,
    report::{Mismatch, Report, Verdict, ensure},
    storing::AT_ONCE,
};

const WARM: usize = 30;

/// The threshold of the alarm `Slow` in `template.yaml`.
const WARM_LIMIT: Duration = Duration::from_secs(5);

/// The time limit of every request: the store's deadline of 20 s, plus a cold start.
const LIMIT: Duration = Duration::from_secs(22);

pub async fn check(endpoint: &Endpoint, report: &mut Report) {
    report.add("a burst of 64 requests, some of them cold, is answered within 22 s", burst(endpoint).await);
    report.add("warm requests are answered within 5 s", warm(endpoint).await);
}

async fn one(endpoint: &Endpoint) -> Result<Duration, Mismatch> {
    Ok(endpoint.store(&endpoint.new_trace(), 201).await?.took)
}

async fn burst(endpoint: &Endpoint) -> Verdict {
    let times: Result<Vec<_>, _> = join_all((0..AT_ONCE).map(|_| one(endpoint))).await.into_iter().collect();
    within(times, LIMIT)
}

async fn warm(endpoint: &Endpoint) -> Verdict {
    let mut times = Vec::new();
    for _ in 0..WARM {
        match one(endpoint).await {
            Ok(took) => times.push(took),
            Err(mismatch) => return Verdict::Fails(mismatch),
        }
    }
    within(Ok(times), WARM_LIMIT)
}

fn within(times: Result<Vec<Duration>, Mismatch>, limit: Duration) -> Verdict {
    let mut times = match times {
        Ok(times) => times,
        Err(mismatch) => return Verdict::Fails(mismatch),
    };
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() - 1) * percent / 100].as_millis();
    let measured = format!(
        "p50 {} ms, p90 {} ms, p99 {} ms, longest {} ms",
        percentile(50),
        percentile(90),
        percentile(99),
        percentile(100)
    );
    let is_fast = times.last().is_none_or(|longest| *longest <= limit);
    match ensure(is_fast, format!("at most {} s", limit.as_secs()), &measured) {
        Ok(()) => Verdict::Holds { measured: Some(measured) },
        Err(mismatch) => Verdict::Fails(mismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_over_the_limit_fail() {
        let times = |longest| Ok(vec![Duration::from_secs(1), Duration::from_secs(longest), Duration::from_secs(2)]);
        let Verdict::Holds { measured } = within(times(5), WARM_LIMIT) else { panic!("5 s are within the limit") };
        assert_eq!(measured.as_deref(), Some("p50 2000 ms, p90 2000 ms, p99 2000 ms, longest 5000 ms"));
        assert!(matches!(within(times(6), WARM_LIMIT), Verdict::Fails(_)));
    }
}
