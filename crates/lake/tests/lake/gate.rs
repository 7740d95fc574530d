//! Stops a program at a chosen request.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::FutureExt;
use tokio::sync::Notify;

/// The moment at which the program stops: before its request takes effect, or afterwards but without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// Counts requests, and holds back the chosen one and all later ones.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<State>);

#[derive(Debug, Default)]
struct State {
    requests: AtomicUsize,
    closed: Mutex<Option<(usize, When)>>,
    failing: AtomicUsize,
    reached: Notify,
}

impl Gate {
    /// Chooses the request at which the program stops, counted from 1, or none. Resets the count.
    pub fn close(&self, request: Option<(usize, When)>) {
        self.0.requests.store(0, Ordering::SeqCst);
        let _ = self.0.reached.notified().now_or_never(); // drops an earlier notification
        *self.0.closed.lock().expect("no holder panics") = request;
    }

    /// Returns the number of requests since the count was reset.
    pub fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Chooses the request that is refused, counted from 1, or 0 for none.
    pub fn fail(&self, request: usize) {
        self.close(None);
        self.0.failing.store(request, Ordering::SeqCst);
    }

    pub fn is_failing(&self) -> bool {
        self.requests() + 1 == self.0.failing.load(Ordering::SeqCst)
    }

    pub async fn reached(&self) {
        self.0.reached.notified().await;
    }

    /// Waits for the response to a request, unless the request is held back.
    pub async fn pass<T>(&self, answer: impl Future<Output = T>) -> T {
        let request = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let closed = *self.0.closed.lock().expect("no holder panics");
        let Some((at, when)) = closed.filter(|(at, _)| request >= *at) else { return answer.await };
        if request == at && when == When::After {
            let _ = answer.await;
        }
        if request == at {
            self.0.reached.notify_one();
        }
        std::future::pending().await
    }
}
