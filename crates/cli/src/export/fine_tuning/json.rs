//! Access to the members of JSON values whose bytes stay unchanged.

use indexmap::IndexMap;
use serde_json::value::RawValue;

/// The members of a JSON object.
pub type Members<'a> = IndexMap<String, &'a RawValue>;

/// Returns the members of an object, or `None` for any other value.
pub fn members(value: &RawValue) -> Option<Members<'_>> {
    serde_json::from_str(value.get()).ok()
}

/// Returns the elements of a list, or `None` for any other value.
pub fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// Returns a member that is a string.
pub fn text(members: &Members<'_>, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}
