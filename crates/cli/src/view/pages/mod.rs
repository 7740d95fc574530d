//! The HTML of each page. `maud` escapes every text that is put in.

mod chart;
mod compare;
mod failure;
mod highlight;
mod layout;
mod list;
mod markdown;
mod overview;
mod part;
mod shared;
mod trace;

pub use compare::compare;
pub use failure::Failure;
pub use list::List;
pub use overview::Overview;
pub use shared::shared;
pub use trace::TracePage;
