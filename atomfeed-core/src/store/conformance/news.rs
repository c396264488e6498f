use std::time::Duration;

use tokio::time::timeout;

use super::Harness;
use super::publisher::{at, publish};
use crate::store::{FeedStore, NewestEvent};
use crate::{Category, FeedScope, NewEvent};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The newest event is known by id and uuid, once it has committed.
pub async fn the_newest_event_is_known<H: Harness>(harness: &H) {
    let store = harness.store().await;
    assert_eq!(store.newest_event().await.expect("read"), None);
    for title in ["first", "second"] {
        let event = NewEvent::new(title, "");
        publish::<H>(&store, &event, at(0))
            .await
            .expect("published");
        let newest = store.newest_event().await.expect("read");
        let expected = NewestEvent {
            id: store.newest_id().await.expect("read"),
            uuid: event.uuid().to_string(),
        };
        assert_eq!(newest, Some(expected), "{title}");
    }
}

/// Who listens hears of what is published later, on a database that tells; the others never claim to have
/// heard something.
pub async fn who_listens_hears_of_events<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let mut listener = store.listen().await.expect("a listener");
    for title in ["first", "second"] {
        let event = NewEvent::new(title, "");
        publish::<H>(&store, &event, at(0))
            .await
            .expect("published");
        if harness.shape().tells {
            let heard = timeout(PATIENCE, listener.heard()).await;
            heard.expect("heard in time").expect("heard");
        }
    }
    // What was told is told once.
    let heard = timeout(Duration::from_millis(20), listener.heard()).await;
    assert!(heard.is_err(), "{heard:?}");
}

/// Of spellings that are one feed, one is the same for all; of others, none.
pub async fn spellings_of_one_feed_have_one_in_common<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let one = |name: &str| {
        let category = Category::new(name).expect("a category");
        store.one_spelling(&category)
    };
    assert_eq!(one("Patient"), one("PATIENT"));
    assert_ne!(one("patient"), one("patients"));
    // It is one of them: the same feed.
    let event = NewEvent::new("a", "").in_category("PaTient");
    publish::<H>(&store, &event, at(0))
        .await
        .expect("published");
    let scope = FeedScope::Category(one("Patient"));
    assert_eq!(store.count(&scope, 0, None).await.expect("counted"), 1);
    assert_eq!(one(one("Étude").as_str()), one("Étude"));
}
