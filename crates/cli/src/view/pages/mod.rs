//! The HTML of each page. `maud` escapes every text that is put in.

mod compare;
mod failure;
mod layout;
mod list;
mod markdown;
mod part;
mod trace;

pub use compare::compare;
pub use failure::Failure;
pub use list::List;
pub use trace::TracePage;
