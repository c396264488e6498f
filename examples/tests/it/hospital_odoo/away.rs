//! An Odoo that does not answer, or lets nobody in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use atomfeed_client::WorkerError;
use atomfeed_examples::hospital::documents::OrderKind;
use atomfeed_examples::hospital::erp::{Odoo, OdooError};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::erp::{Workers, address, drug, encounter, http, on_a_file, order, patient};
use super::stocked;

#[tokio::test]
async fn an_odoo_that_is_away_is_waited_for() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = http(&gone);
    drop(gone);
    let odoo = Odoo::new(address(nowhere)).unwrap();
    let error = Workers::of(&odoo).partners.apply(&patient()).await;
    let error = error.unwrap_err();
    assert!(matches!(error, OdooError::Away { .. }), "{error}");
    assert!(WorkerError::from(error).is_transient());

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let odoo = Odoo::new(address(http(&listener))).unwrap();
    let busy = Router::new().route(
        "/jsonrpc",
        post(|| async { (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "7")], "") }),
    );
    tokio::spawn(async move { axum::serve(listener, busy).await });
    let early = encounter(&[order(1, OrderKind::Drug, 1)]);
    let error = Workers::of(&odoo).orders.apply(early, false).await;
    let error = error.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(error.retry_after().unwrap().as_secs(), 7);
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
    let app = app.with_state(Arc::clone(&users));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let odoo = Odoo::new(address(http(&listener))).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let read = async || odoo.search_read("res.partner", json!([]), &["name"]).await;
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 1);
    users.store(7, Ordering::Relaxed);
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 8, "signed in once more");
    assert!(read().await.unwrap().is_empty());
    assert_eq!(users.load(Ordering::Relaxed), 8);
}
