//! Filters the turns on a trace's page by role, or by whether a tool failed.

use attest_mapping::conversation::{Conversation, Turn};

/// The filter for turns in which a tool failed.
const ERRORS: &str = "errors";

/// The largest number of roles that are offered, because a trace may have many.
const ROLES: usize = 8;

/// Returns whether a filter shows a turn: the empty filter shows all, and any other is the name of a role.
pub fn shows(filter: &str, turn: &Turn) -> bool {
    match filter {
        "" => true,
        ERRORS => turn.has_error(),
        role => turn.has_role(|own| own == role),
    }
}

/// Returns the filters for a conversation, each with the number of turns that it shows.
pub fn filters(conversation: &Conversation) -> Vec<(&str, usize)> {
    let mut filters = vec![""];
    for turn in &conversation.turns {
        let roles = [turn.role.as_str(), "tool"];
        filters.extend(
            roles
                .into_iter()
                .filter(|role| turn.has_role(|own| own == *role) && !filters.contains(role))
                .collect::<Vec<_>>(),
        );
        if filters.len() > ROLES {
            break;
        }
    }
    filters.push(ERRORS);
    let count = |filter: &&str| conversation.turns.iter().filter(|turn| shows(filter, turn)).count();
    let counted = filters.into_iter().map(|filter| (filter, count(&filter)));
    counted.filter(|(filter, count)| filter.is_empty() || *count > 0).collect()
}
