//! A server that says when it wants to be asked again is not asked before.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomfeed_client::{AtomFeedClient, CancellationToken, InProcessFeedSource, worker_fn};
use atomfeed_core::store::{MemoryConnection, MemoryStore};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::time::Instant;

use crate::feeds::feed_uri;

#[tokio::test(start_paused = true)]
async fn a_feed_that_is_busy_is_read_when_it_says() {
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let stop = CancellationToken::new();
    let (asking, stopping) = (Arc::clone(&asked), stop.clone());
    let busy = move || {
        let mut asked = asking.lock().unwrap();
        asked.push(Instant::now());
        if asked.len() == 4 {
            stopping.cancel();
        }
        std::future::ready((StatusCode::TOO_MANY_REQUESTS, [("retry-after", "600")], ""))
    };
    let router = Router::new().route("/feed/recent", get(busy));
    let worker = worker_fn(|_, _: &mut MemoryConnection| Box::pin(async { Ok(()) }));
    let client = AtomFeedClient::builder(feed_uri(), InProcessFeedSource::new(router))
        .interval(Duration::from_secs(1))
        .build(MemoryStore::new(), worker);
    client.run(stop).await.unwrap();
    let asked = asked.lock().unwrap();
    let minutes = |from: usize| (asked[from + 1] - asked[from]).as_secs_f64() / 60.0;
    let waits = [0, 1, 2].map(minutes);
    for waited in waits {
        // And up to a fifth more, so that not all who were told the same come back at once.
        assert!((10.5..12.5).contains(&waited), "{waited} minutes");
    }
    assert!(waits != [waits[0]; 3], "{waits:?}");
}
