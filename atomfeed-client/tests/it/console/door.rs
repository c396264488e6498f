//! Who is let in, and who may change something.

use atomfeed_client::console::{Console, ConsoleUser, Role};
use atomfeed_core::ActionKind;
use atomfeed_core::store::{ActionQuery, ConsoleStore, MemoryStore};
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{Request, StatusCode};
use serde_json::json;
use url::form_urlencoded;

use super::{ASHA, Browser, FEED, MOUNT, RAVI, console, event, hidden, json_request, park};

/// The router's own list, walked.
#[tokio::test(start_paused = true)]
async fn without_signing_in_every_route_leads_nowhere() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/secret"), "boom").await;
    let mut open = 0;
    for (method, path) in Console::routes() {
        let path = path
            .replace("{system}", "Lab")
            .replace("{id}", &id.to_string());
        let path = path.replace("{act}", "skip").replace("{format}", "csv");
        for (cookie, authorization) in [
            (None, None),
            (Some("atomfeed_console="), None),
            (Some("atomfeed_console=0123"), None),
            (None, Some("Basic YXNoYTp3cm9uZw==")),
            (None, Some("Bearer YXNoYTpwdw==")),
            (None, Some("Basic")),
        ] {
            let mut browser = Browser::new(console(store.clone()));
            browser.cookie = cookie.map(str::to_owned);
            let mut request = Request::builder()
                .method(method)
                .uri(format!("{MOUNT}{path}"));
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            let page = browser.send(request.body(Body::empty()).unwrap()).await;
            let is_for_all = path == "/sign-in" || path.starts_with("/static/");
            open += usize::from(is_for_all && page.status == 200);
            match page.status.as_u16() {
                200 | 403 if is_for_all => {}
                401 => {}
                303 => assert!(
                    page.location.starts_with("/atomfeed-console/sign-in?next="),
                    "{path}"
                ),
                other => panic!("{method} {path}: {other}"),
            }
            assert!(!page.body.contains("secret"), "{method} {path}");
            let policy = page.headers["content-security-policy"].to_str().unwrap();
            assert!(
                policy.contains("default-src 'none'") && !policy.contains("unsafe"),
                "{policy}"
            );
        }
    }
    assert_eq!(open, 3 * 6, "style, script and where one signs in");
    let mut work = store.look().await.unwrap();
    assert!(work.parked_event(id).await.unwrap().is_some());
    assert_eq!(work.actions(&ActionQuery::newest(1)).await.unwrap(), []);
}

/// One whose host authenticates is mounted by saying so, and still takes its own forms alone.
#[tokio::test]
async fn a_host_may_authenticate() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = Console::host_authenticates(|parts| {
        let name = parts.headers.get("x-user")?.to_str().ok()?;
        Some(ConsoleUser::new(name, Role::Operate))
    });
    let app = app.with_system("Lab", store.clone()).into_router("/");
    let mut browser = Browser::new(app);
    let ask = |method: &str, path: String, user: Option<&str>, body: String| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        request.body(Body::from(body)).unwrap()
    };
    let nobody = browser
        .send(ask("GET", "/".into(), None, String::new()))
        .await;
    assert_eq!(nobody.status, 401);
    let path = format!("/systems/Lab/failed/{id}/skip");
    let form = browser
        .send(ask("GET", path.clone(), Some("mira"), String::new()))
        .await;
    assert_eq!(form.status, 200, "{}", form.body);
    assert!(!form.body.contains("Sign out"));
    let forged = format!("feed={FEED}&why=x&token=abc");
    let refused = browser
        .send(ask("POST", path.clone(), Some("mira"), forged))
        .await;
    assert_eq!(refused.status, 403);
    let fields = hidden(&form.body);
    let fields = form_urlencoded::Serializer::new("why=x".to_owned())
        .extend_pairs(fields)
        .finish();
    let asked = browser.send(ask("POST", path, Some("mira"), fields)).await;
    assert_eq!(
        (asked.status.as_u16(), asked.location.as_str()),
        (303, "/systems/Lab/actions/1")
    );
    let mut work = store.look().await.unwrap();
    assert_eq!(work.action(1).await.unwrap().unwrap().asked.by, "mira");
}

/// Each form is given back once, by whom it was given to, from the same site.
#[tokio::test]
async fn forms_of_others_are_not_taken() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = console(store.clone());
    let mut asha = Browser::signed_in(app.clone(), "asha").await;
    let mut other = Browser::signed_in(app.clone(), "asha").await;
    let path = format!("/systems/Lab/failed/{id}/reset");
    let form = asha.page(&path).await;
    let fields = hidden(&form);
    let with = |token: Option<&str>| -> Vec<(String, String)> {
        let mut fields: Vec<_> = fields
            .iter()
            .filter(|(name, _)| name != "token")
            .cloned()
            .collect();
        fields.extend(token.map(|token| ("token".to_owned(), token.to_owned())));
        fields.push(("why".to_owned(), "a test".to_owned()));
        fields
    };
    let token = fields
        .iter()
        .find(|(name, _)| name == "token")
        .unwrap()
        .1
        .clone();
    let refs = |fields: &[(String, String)]| -> Vec<(String, String)> { fields.to_vec() };
    async fn post(
        browser: &mut Browser,
        path: &str,
        fields: Vec<(String, String)>,
        origin: Option<&str>,
    ) -> StatusCode {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        browser.post_from(path, &fields, origin).await.status
    }
    let here = Some("http://console:9080");
    for (token, origin) in [
        (None, here),
        (Some(""), here),
        (Some("0123"), here),
        (Some(token.as_str()), Some("http://evil:9080")),
        (Some(token.as_str()), Some("http://console:9081")),
        (Some(token.as_str()), Some("null")),
    ] {
        let status = post(&mut asha, &path, refs(&with(token)), origin).await;
        assert_eq!(status, 403, "{token:?} {origin:?}");
    }
    let status = post(&mut other, &path, with(Some(&token)), here).await;
    assert_eq!(status, 403, "of another session");
    let status = post(&mut asha, &path, with(Some(&token)), here).await;
    assert_eq!(status, 303);
    let status = post(&mut asha, &path, with(Some(&token)), here).await;
    assert_eq!(status, 403, "a second time");
    // Who comes by a header needs none, but no browser sends that for another site.
    let body =
        json!({ "kind": "reset-retries", "feed": FEED, "failed_event_id": id, "why": "a script" });
    let mut script = Browser::new(app.clone());
    let answer = script
        .send(json_request(
            "POST",
            "/api/systems/Lab/actions",
            ASHA,
            &body,
        ))
        .await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let mut elsewhere = json_request("POST", "/api/systems/Lab/actions", ASHA, &body);
    elsewhere
        .headers_mut()
        .insert(ORIGIN, "http://evil".parse().unwrap());
    assert_eq!(script.send(elsewhere).await.status, 403);
    let mut with_cookie = json_request("POST", "/api/systems/Lab/actions", ASHA, &body);
    with_cookie.headers_mut().remove(AUTHORIZATION);
    assert_eq!(asha.send(with_cookie).await.status, 403);
    let mut work = store.look().await.unwrap();
    assert_eq!(
        work.actions(&ActionQuery::newest(10)).await.unwrap().len(),
        2
    );
    drop(work);

    // Who has signed out is a stranger.
    let overview = asha.page("/").await;
    let token = hidden(&overview)[0].1.clone();
    let out = asha.post("/sign-out", &[("token", &token)]).await;
    assert_eq!(out.status, 303);
    assert_eq!(asha.get("/").await.status, 303);
}

#[tokio::test]
async fn who_may_look_may_change_nothing() {
    let store = MemoryStore::new();
    let id = park(&store, &event(1, "/patient/1"), "boom").await;
    let app = console(store.clone());
    let mut ravi = Browser::signed_in(app.clone(), "ravi").await;
    let page = ravi.page(&format!("/systems/Lab/failed/{id}")).await;
    assert!(!page.contains("/skip"));
    for act in ["retry", "edit", "reset", "skip"] {
        let path = format!("/systems/Lab/failed/{id}/{act}");
        assert_eq!(ravi.get(&path).await.status, 403);
        // Their own token, from elsewhere on the page.
        let token = hidden(&ravi.page("/").await)[0].1.clone();
        let fields = [
            ("token", token.as_str()),
            ("feed", FEED),
            ("why", "x"),
            ("detail", "y"),
        ];
        assert_eq!(ravi.post(&path, &fields).await.status, 403);
    }
    for kind in ActionKind::ALL {
        let body =
            json!({ "kind": kind.as_str(), "feed": FEED, "failed_event_id": id, "why": "x" });
        let request = json_request("POST", "/api/systems/Lab/actions", RAVI, &body);
        assert_eq!(ravi.send(request).await.status, 403);
    }
    let mut work = store.look().await.unwrap();
    assert_eq!(work.actions(&ActionQuery::newest(1)).await.unwrap(), []);
}
