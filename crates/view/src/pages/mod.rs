//! The HTML of each page. `maud` escapes every inserted text.

mod chart;
mod compare;
mod failure;
mod highlight;
mod layout;
mod list;
mod markdown;
mod outline;
mod overview;
mod part;
mod session;
mod shared;
mod tokens;
mod trace;
mod urls;

pub use compare::compare;
pub use failure::Failure;
pub use list::{List, ListEnd, Outcome, STREAMED, list_end, list_row, progress};
pub use overview::Overview;
pub use session::{session, session_frame};
pub use shared::shared_page;
pub use trace::TracePage;
pub use urls::trace_url;
