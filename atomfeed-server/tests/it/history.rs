//! What RFC 5005 asks of an archived feed: archive documents say that they are that, every page leads to
//! the newest, and to the oldest there is.

use atomfeed_core::NewEvent;
use atomfeed_core::store::conformance::Harness;
use atomfeed_server::{EventFeedService, FeedConfig, FeedRouter};
use axum::Router;
use chrono::{DateTime, TimeDelta, Utc};

use crate::feeds::{Answer, HandClock, ask, config, mounted, on_every_store, publish, publish_at};

on_every_store!(
    sealed_pages_say_that_they_are_archives,
    every_feed_leads_to_its_oldest_page,
    what_was_lost_is_no_oldest_page,
    time_chunks_lead_to_their_oldest_page,
);

fn day(n: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000 + n)
}

/// Events of one day each, one in three of category lab.
fn events(days: std::ops::Range<i64>) -> impl Iterator<Item = NewEvent> {
    days.map(|n| {
        NewEvent::new(n.to_string(), "")
            .in_category(if n % 3 == 0 { "Lab" } else { "patient" })
            .published_at(day(n))
    })
}

async fn service<H: Harness>(store: &H::Store) -> EventFeedService {
    let config = config().with_page_size(5);
    EventFeedService::open(store.clone(), config).await.unwrap()
}

async fn sealed_pages_say_that_they_are_archives<H: Harness>(harness: &H) {
    let store = harness.store().await;
    publish::<H>(&store, events(0..12)).await;
    let feed = mounted(service::<H>(&store).await);
    for (path, is_archive) in [("1", true), ("2", true), ("3", false), ("recent", false)] {
        let page = ask(&feed, &format!("/feed/{path}"), &[]).await;
        let page = page.text();
        assert_eq!(page.contains("<fh:archive />"), is_archive, "{path}");
        let declares = page.contains(" xmlns:fh=\"http://purl.org/syndication/history/1.0\"");
        assert_eq!(declares, is_archive, "{path}");
        for (rel, last) in [("current", "recent"), ("first", "first")] {
            let link = format!(
                "<link rel=\"{rel}\" type=\"application/atom+xml\" \
                 href=\"http://127.0.0.1:8080/feed/{last}\" />"
            );
            assert_eq!(page.matches(&link).count(), 1, "{path} {rel}: {page}");
        }
    }
    let page = ask(&feed, "/feed/lab/recent", &[]).await;
    let page = page.text();
    assert!(page.contains("rel=\"current\" type=\"application/atom+xml\" href=\"http://127.0.0.1:8080/feed/lab/recent\""));
    assert!(
        page.contains("href=\"http://127.0.0.1:8080/feed/lab/first\""),
        "{page}"
    );
}

/// Where `first` leads, which nobody may keep.
async fn led_to(feed: &Router, path: &str) -> String {
    let Answer {
        status, headers, ..
    } = ask(feed, path, &[("host", "evil.example")]).await;
    assert_eq!(status, 302, "{path}");
    assert_eq!(headers["cache-control"], "no-store");
    let location = headers["location"].to_str().unwrap();
    let base = "http://127.0.0.1:8080";
    location.strip_prefix(base).unwrap().to_owned()
}

async fn every_feed_leads_to_its_oldest_page<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = service::<H>(&store).await;
    let feed = mounted(service.clone());
    assert_eq!(
        led_to(&feed, "/feed/first").await,
        "/feed/recent",
        "no events yet"
    );
    publish::<H>(&store, events(0..43)).await;
    for path in ["/feed", "/feed/lab", "/feed/LAB"] {
        assert_eq!(
            led_to(&feed, &format!("{path}/first")).await,
            format!("{path}/1")
        );
        assert_eq!(
            led_to(&feed, &format!("{path}/first/?x")).await,
            format!("{path}/1")
        );
    }
    assert_eq!(led_to(&feed, "/feed/none/first").await, "/feed/none/recent");

    // Pruned, it leads elsewhere, and no page that is left has changed.
    let before = ask(&feed, "/feed/6", &[]).await;
    service.prune(day(22)).await.unwrap();
    for (path, page) in [("/feed", 5), ("/feed/lab", 2), ("/feed/patient", 3)] {
        let oldest = led_to(&feed, &format!("{path}/first")).await;
        assert_eq!(oldest, format!("{path}/{page}"));
        assert_eq!(ask(&feed, &oldest, &[]).await.status, 200);
        let gone = ask(&feed, &format!("{path}/{}", page - 1), &[]).await;
        assert_eq!(gone.status, 410, "{path}");
    }
    let after = ask(&feed, "/feed/6", &[]).await;
    assert_eq!((after.headers, after.body), (before.headers, before.body));
}

async fn what_was_lost_is_no_oldest_page<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let service = service::<H>(&store).await;
    // A restore to the beginning: twelve events are gone.
    service.continue_after(12).await.unwrap();
    let feed = mounted(service);
    assert_eq!(led_to(&feed, "/feed/first").await, "/feed/recent");
    publish::<H>(&store, events(12..20)).await;
    let oldest = led_to(&feed, "/feed/first").await;
    assert_ne!(oldest, "/feed/1");
    let page = ask(&feed, &oldest, &[]).await;
    assert_eq!(page.status, 200, "{oldest}");
    assert!(page.text().contains("<title>12</title>"), "{}", page.text());
}

async fn time_chunks_lead_to_their_oldest_page<H: Harness>(harness: &H) {
    let store = harness.store().await;
    let clock = HandClock::at("2024-03-01T08:30:00Z");
    let config = || FeedConfig::new("http://127.0.0.1:8080/feed".parse().unwrap());
    let config = config().with_time_chunks();
    publish_at::<H>(&store, &clock, "first").await;
    let service = EventFeedService::open_with_clock(store.clone(), config, clock.clone());
    let service = service.await.unwrap();
    let router = FeedRouter::new(service.clone()).into_router();
    let feed = Router::new().nest("/feed", router);
    assert_eq!(led_to(&feed, "/feed/first").await, "/feed/1");
    assert!(
        !ask(&feed, "/feed/1", &[])
            .await
            .text()
            .contains("fh:archive")
    );
    clock.move_by(TimeDelta::hours(3));
    publish_at::<H>(&store, &clock, "second").await;
    assert!(
        ask(&feed, "/feed/1", &[])
            .await
            .text()
            .contains("fh:archive")
    );
    service
        .prune("2024-03-01T10:00:00Z".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(led_to(&feed, "/feed/first").await, "/feed/3");
}
