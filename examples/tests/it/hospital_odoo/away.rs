//! An Odoo that does not answer, or not as one, or not in time, or lets nobody in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use atomfeed_client::WorkerError;
use atomfeed_examples::hospital::documents::OrderKind;
use atomfeed_examples::hospital::erp::{Odoo, OdooError, standin};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{Redirect, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};

use super::erp::{Workers, address, drug, encounter, http, lab_test, on_a_file, order, patient};
use super::{sell_by, stocked};

/// What is to be an Odoo, and answers by this router.
async fn odoo_of(router: Router) -> Odoo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let odoo = Odoo::new(address(http(&listener))).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    odoo
}

#[tokio::test]
async fn an_odoo_that_is_away_is_waited_for() {
    // Bound and not listening: nobody else can have the port meanwhile.
    let nowhere = TcpSocket::new_v4().unwrap();
    nowhere.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}/", nowhere.local_addr().unwrap());
    let odoo = Odoo::new(address(url.parse().unwrap())).unwrap();
    let error = Workers::of(&odoo).partners.apply(&patient()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, OdooError::Away { .. }), "{error}");
    assert!(WorkerError::from(error).is_transient());

    let busy = post(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "") });
    let odoo = odoo_of(Router::new().route("/jsonrpc", busy)).await;
    let early = encounter(&[order(1, OrderKind::Drug, 1)]);
    let error = sell_by(&Workers::of(&odoo), &early, false).await;
    let error = error.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.retry_after().unwrap().as_secs(), 7);
}

const PAGE: &str = "<html>It works!</html>";

#[tokio::test]
async fn who_is_no_odoo_parks_nothing() {
    for (answer, said) in [
        (post(|| async { StatusCode::NOT_FOUND }), "answers 404"),
        (
            post(|| async { (StatusCode::INTERNAL_SERVER_ERROR, PAGE) }),
            "answers 500",
        ),
        (
            post(|| async { Redirect::permanent("/web/login") }),
            "refers to /web/login",
        ),
        (post(|| async { PAGE }), "It works!"),
        (post(|| async { r#"{"status": "ok"}"# }), "no JSON-RPC"),
    ] {
        let odoo = odoo_of(Router::new().route("/jsonrpc", answer)).await;
        let workers = Workers::of(&odoo);
        let early = encounter(&[order(1, OrderKind::Drug, 1)]);
        let error = workers.partners.apply(&patient()).await.unwrap_err();
        for error in [
            WorkerError::from(error),
            sell_by(&workers, &early, false).await.unwrap_err(),
        ] {
            assert!(error.is_transient(), "{error}");
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}

/// How long the slow one takes for each answer.
const SLOW: Duration = Duration::from_millis(400);

async fn slowly(call: Request, next: Next) -> Response {
    tokio::time::sleep(SLOW).await;
    next.run(call).await
}

#[tokio::test]
async fn all_that_is_asked_for_an_event_has_one_time_together() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store.clone()).await;
    let slow = standin::router(store).await.unwrap();
    let odoo = odoo_of(slow.layer(from_fn(slowly))).await;
    // The service is looked for and made, then the order is, which is the fourth call.
    let encounter = encounter(&[order(1, OrderKind::Service, 1)]);
    let orders = async || erp.rows("SELECT id FROM sale_order").await.len();

    let hurried = odoo.clone().with_time_for_an_event(SLOW * 5 / 2);
    let sold = sell_by(&Workers::of(&hurried), &encounter, false).await;
    let error = sold.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("for an event"), "{error}");
    assert_eq!(orders().await, 0);

    // Each of its calls is quick enough.
    let sold = sell_by(&Workers::of(&odoo), &encounter, false).await;
    sold.unwrap();
    assert_eq!(orders().await, 1);
}

#[tokio::test]
async fn nothing_is_asked_when_the_time_for_an_event_is_over() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store).await;
    let late = erp.odoo.clone().with_time_for_an_event(Duration::ZERO);
    let late = Workers::of(&late);
    for error in [
        late.partners.apply(&patient()).await.unwrap_err(),
        late.drugs.apply(&drug()).await.unwrap_err(),
        late.tests.apply(&lab_test()).await.unwrap_err(),
    ] {
        assert!(error.is_transient(), "{error}");
    }
    assert_eq!(erp.take_asked(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_password_is_waited_for_and_reads_nothing() {
    let (_folder, store) = on_a_file().await;
    let erp = stocked(store).await;
    let mut wrong = address(erp.url.clone());
    wrong.password = "guessed".to_owned();
    let odoo = Odoo::new(wrong).unwrap();
    let error = odoo.authenticate().await.unwrap_err();
    assert!(matches!(error, OdooError::NotLetIn { .. }), "{error}");
    let error = Workers::of(&odoo).drugs.apply(&drug()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(!error.to_string().contains("guessed"), "{error}");
    assert_eq!(erp.take_asked(), ["authenticate"; 2]);
}

/// An Odoo that counts who signs in, and lets in the last one alone.
async fn forgetful(State(users): State<Arc<AtomicI64>>, call: String) -> String {
    let call: Value = serde_json::from_str(&call).unwrap();
    let params = &call["params"];
    let answer = match params["service"].as_str() {
        Some("common") => json!({ "result": users.fetch_add(1, Ordering::Relaxed) + 1 }),
        _ if params["args"][1] == users.load(Ordering::Relaxed) => json!({ "result": [] }),
        _ => {
            let data =
                json!({ "name": "odoo.exceptions.AccessDenied", "message": "Access Denied" });
            json!({ "error": { "code": 200, "data": data } })
        }
    };
    answer.to_string()
}

#[tokio::test]
async fn a_login_that_is_not_taken_any_more_is_renewed() {
    let users = Arc::new(AtomicI64::new(0));
    let app = Router::new().route("/jsonrpc", post(forgetful));
    let odoo = odoo_of(app.with_state(Arc::clone(&users))).await;
    let read = async || odoo.search_read("res.partner", json!([]), &["name"]).await;
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 1);
    users.store(7, Ordering::Relaxed);
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 8, "signed in once more");
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 8);
}
