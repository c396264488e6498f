//! An event on its three stations: raised by a publisher, stored by the server, delivered to a
//! consumer.

mod delivered;
mod new;
mod record;

pub use delivered::Event;
pub use new::{InvalidEvent, NewEvent};
pub use record::EventRecord;

/// The distinct, non-empty terms of a category and a comma-separated tags column, category first.
fn terms<'a>(category: Option<&'a str>, tags: Option<&'a str>) -> Vec<&'a str> {
    let mut terms: Vec<&str> = Vec::with_capacity(1);
    let tags = tags.into_iter().flat_map(|tags| tags.split(','));
    for term in category.into_iter().chain(tags) {
        if !term.is_empty() && !terms.contains(&term) {
            terms.push(term);
        }
    }
    terms
}
