//! How often one may try to get in, and for how long one stays.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use atomfeed_client::console::{Console, ConsoleUsers, Role};
use atomfeed_core::store::MemoryStore;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::{Instant, advance};

use super::{ASHA, Browser, FEED, MOUNT, Two, console, event, hidden, json_request, park};

const WRONG: [(&str, &str); 2] = [("name", "asha"), ("password", "wrong")];

/// Knows the two once nobody keeps it from looking for them.
struct Kept(Arc<Semaphore>);

#[async_trait]
impl ConsoleUsers for Kept {
    async fn role(&self, name: &str, password: &str) -> Option<Role> {
        let _looking = self.0.acquire().await.unwrap();
        Two.role(name, password).await
    }
}

/// Each takes memory and a processor for a while. Whoever is in already is not kept waiting.
#[tokio::test(start_paused = true)]
async fn sixteen_passwords_are_checked_at_once_and_no_more() {
    let may_look = Arc::new(Semaphore::new(1));
    let app = Console::new(Kept(Arc::clone(&may_look)))
        .with_system("Lab", MemoryStore::new())
        .into_router(MOUNT);
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let held = may_look.acquire().await.unwrap();
    let tries = (0..20).map(|number| {
        let mut browser = Browser::new(app.clone());
        async move {
            let page = match number {
                // With the right password.
                19 => {
                    let request = json_request("GET", "/api/systems", ASHA, &Value::Null);
                    browser.send(request).await
                }
                _ => browser.post("/sign-in", &WRONG).await,
            };
            (page.status.as_u16(), page.body)
        }
    });
    let (tried, overview) = tokio::join!(biased; join_all(tries), async {
        let overview = asha.page("/").await;
        drop(held);
        overview
    });
    assert!(overview.contains("Lab"), "{overview}");
    for (number, (status, body)) in tried.iter().enumerate() {
        let is_busy = body.contains("too many sign in at once");
        let expected = if number < 16 { 403 } else { 429 };
        assert_eq!((*status, is_busy), (expected, number >= 16), "{number}");
    }
    let in_json: Value = serde_json::from_str(&tried[19].1).unwrap();
    assert!(in_json["error"].is_string(), "{in_json}");
    // It is open again as soon as they are through.
    Browser::signed_in(app, "asha").await;
}

/// Nor do those who wait for the answer that they were wrong take anybody's place.
#[tokio::test(start_paused = true)]
async fn who_guesses_passwords_is_slowed_down_and_nobody_else() {
    let app = console(MemoryStore::new());
    let begun = Instant::now();
    let mut guessing = Browser::new(app.clone());
    for _again in 0..20 {
        let page = guessing.post("/sign-in", &WRONG).await;
        assert_eq!(page.status, 403);
        assert!(!page.headers.contains_key(SET_COOKIE));
    }
    assert!(begun.elapsed() >= Duration::from_secs(10));
    let begun = Instant::now();
    let guesses = (0..20).map(|_| {
        let mut browser = Browser::new(app.clone());
        async move { browser.post("/sign-in", &WRONG).await.status }
    });
    let (guessed, waited) = tokio::join!(biased; join_all(guesses), async {
        Browser::signed_in(app.clone(), "asha").await;
        begun.elapsed()
    });
    assert_eq!(guessed, [StatusCode::FORBIDDEN; 20]);
    assert_eq!(waited, Duration::ZERO);
}

/// Lets time pass until so much of it has since then.
async fn until(begun: Instant, hours: u64, minutes: u64) {
    let since = Duration::from_secs((hours * 60 + minutes) * 60);
    advance(since - begun.elapsed()).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_nobody_uses_it_for_eight_hours_and_after_a_day() {
    let app = console(MemoryStore::new());
    let begun = Instant::now();
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let mut ravi = Browser::signed_in(app.clone(), "ravi").await;
    for (hours, minutes) in [(7, 59), (15, 58)] {
        until(begun, hours, minutes).await;
        asha.page("/").await;
        ravi.page("/").await;
    }
    until(begun, 23, 57).await;
    let token = hidden(&asha.page("/").await)[0].1.clone();
    until(begun, 23, 58).await;
    let idle = ravi.get("/").await;
    let sign_in = format!("{MOUNT}/sign-in?next=");
    assert_eq!(idle.status, 303, "{}", idle.body);
    assert!(idle.location.starts_with(&sign_in), "{}", idle.location);
    until(begun, 23, 59).await;
    asha.page("/").await;
    until(begun, 24, 0).await;
    let over = asha.get("/").await;
    assert_eq!(over.status, 303, "{}", over.body);
    assert!(over.location.starts_with(&sign_in), "{}", over.location);
    let late = asha.post("/sign-out", &[("token", &token)]).await;
    assert_eq!(late.status, 401);
    Browser::signed_in(app, "asha").await.page("/").await;
}

/// Whoever has kept its cookie, or taken it.
#[tokio::test]
async fn the_cookie_of_who_has_signed_out_leads_nowhere() {
    let app = console(MemoryStore::new());
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let mut elsewhere = Browser::signed_in(app.clone(), "asha").await;
    let mut thief = Browser::new(app);
    thief.cookie = asha.cookie.clone();
    let token = hidden(&thief.page("/").await)[0].1.clone();
    let out = asha.post("/sign-out", &[("token", &token)]).await;
    assert_eq!(out.status, 303, "{}", out.body);
    assert_eq!(out.location, format!("{MOUNT}/sign-in"));
    let cookie = out.headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("atomfeed_console=;"), "{cookie}");
    assert!(cookie.contains("Max-Age=0"), "{cookie}");
    assert_eq!(thief.get("/").await.status, 303);
    assert_eq!(thief.get("/api/systems").await.status, 401);
    let again = thief.post("/sign-out", &[("token", &token)]).await;
    assert_eq!(again.status, 401);
    // Who is signed in twice has signed out once.
    elsewhere.page("/").await;
}

/// Asha alone, who may do what stands here by now.
struct Staff(Arc<Mutex<Option<Role>>>);

#[async_trait]
impl ConsoleUsers for Staff {
    async fn role(&self, name: &str, password: &str) -> Option<Role> {
        let role = *self.0.lock().unwrap();
        role.filter(|_| (name, password) == ("asha", "pw"))
    }
}

/// By a header, or signing in, that holds at once; a session ends within a day, however much it is used.
#[tokio::test(start_paused = true)]
async fn who_may_less_or_nothing_any_more_is_out_within_a_day() {
    let role = Arc::new(Mutex::new(Some(Role::Operate)));
    let store = MemoryStore::new();
    park(&store, &event(1, "/patient/1"), "boom").await;
    let app = Console::new(Staff(Arc::clone(&role)))
        .with_system("Lab", store)
        .into_router(MOUNT);
    let begun = Instant::now();
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let mut script = Browser::new(app.clone());
    let mut ask = async || {
        let body = json!({ "kind": "retry-many", "feed": FEED, "why": "a script" });
        let request = json_request("POST", "/api/systems/Lab/actions", ASHA, &body);
        script.send(request).await.status
    };
    assert_eq!(ask().await, 202);
    *role.lock().unwrap() = Some(Role::View);
    assert_eq!(ask().await, 403);
    let page = Browser::signed_in(app.clone(), "asha")
        .await
        .page("/")
        .await;
    assert!(page.contains("(may look)"), "{page}");
    *role.lock().unwrap() = None;
    assert_eq!(ask().await, 401);
    let sign_in = [("name", "asha"), ("password", "pw")];
    let refused = Browser::new(app).post("/sign-in", &sign_in).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    for hours in [7, 14, 21] {
        until(begun, hours, 0).await;
        asha.get("/").await;
    }
    until(begun, 24, 0).await;
    assert_eq!(asha.get("/").await.status, 303);
}
