//! Renders the HTML of each page. `maud` escapes every inserted text.

mod chart;
mod compare;
mod facts;
mod failure;
mod filter;
mod highlight;
mod layout;
mod list;
mod markdown;
mod outline;
mod overview;
mod part;
mod place;
mod session;
mod shared;
mod tokens;
mod trace;
mod turn;
mod turn_text;
mod urls;

pub use compare::compare;
pub use facts::known as known_facts;
pub use failure::Failure;
pub use list::{List, ListEnd, Outcome, STREAMED, list_end, list_row, progress, reading};
pub use overview::{Choice, Overview};
pub use part::{is_json, laid_out, part_id};
pub use place::PlaceFacts;
pub use session::{session, session_frame};
pub use shared::{SharedEntry, shared_contents, shared_page, shared_title};
pub use trace::{TracePage, TraceView, title};
pub use turn::{answer_id, turn_id};
pub use urls::trace_url;
