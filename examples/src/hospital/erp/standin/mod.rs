//! What stands in for Odoo: it keeps customers, products and sale orders in a database of its own, and speaks
//! those of Odoo's calls that the integration makes, and that `odoorpc` needs to look at what has become of it.
//!
//! | path | what |
//! |---|---|
//! | `/jsonrpc` | services `common` (`version`, `login`, `authenticate`) and `object` (`execute`, `execute_kw`) |
//! | `/web/webclient/version_info` | which Odoo this is |
//! | `/web/session/authenticate`, `get_session_info`, `destroy` | a session by cookie |
//! | `/web/dataset/call_kw` | as `execute_kw`, in a session |
//!
//! Models are `res.partner`, `product.product`, `sale.order` and `sale.order.line`, and to read `res.users`,
//! `ir.model` and `ir.model.fields`; methods `create`, `write`, `unlink`, `read`, `search`, `search_read`,
//! `search_count`, `name_get`, `fields_get` and `default_get`. Each call has a transaction of its own. What it
//! cannot do it says as Odoo would, by an exception.
//!
//! It has a rule for people to break: an order of more than 100,000 rupees is refused unless its
//! [`APPROVED`](super::APPROVED) is true.

mod domain;
mod exception;
mod methods;
mod reading;
mod rpc;
mod tables;
mod values;
mod virtual_models;
mod web;
mod writing;

use std::sync::Arc;

use atomfeed_client::CancellationToken;
use atomfeed_core::store::sql::SqlStore;
use atomfeed_server::{FeedServer, ServerLimits};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::exception::{Failure, error_of};
use self::web::Sessions;
pub(in crate::hospital) use self::writing::LIMIT;
use crate::hospital::store::{Engine, make_tables};

/// The only database.
pub const DATABASE: &str = "hospital";
/// The only user, whose password is [`PASSWORD`](crate::hospital::feeds::PASSWORD).
pub const USER: &str = "admin";
/// The number of the user.
const UID: i64 = 2;

/// How large a request may be: some thousands of records.
const BODY_BYTES: usize = 1 << 20;

/// Serves until it is stopped.
///
/// # Errors
///
/// When the database lets no table be made.
pub async fn run<D: Engine>(
    store: SqlStore<D>,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let limits = ServerLimits::default().with_body_bytes(BODY_BYTES);
    let server = FeedServer::new(router(store).await?).with_limits(limits);
    server.run(listener, stop).await;
    Ok(())
}

/// What [`run`] serves, with its tables.
///
/// # Errors
///
/// When the database lets no table be made.
pub async fn router<D: Engine>(store: SqlStore<D>) -> anyhow::Result<Router> {
    make_tables(&store, &tables::statements()).await?;
    let sessions = Sessions::default();
    let router = Router::new()
        .route("/jsonrpc", post(jsonrpc::<D>))
        .route("/web/webclient/version_info", post(version_info))
        .route("/web/session/authenticate", post(authenticate::<D>))
        .route("/web/session/get_session_info", post(session_info::<D>))
        .route("/web/session/destroy", post(destroy::<D>))
        .route("/web/dataset/call_kw", post(call_kw::<D>))
        // The pages add model and method, for the log.
        .route("/web/dataset/call_kw/{*what}", post(call_kw::<D>));
    Ok(router.with_state(Arc::new(Standin { store, sessions })))
}

struct Standin<D: Engine> {
    store: SqlStore<D>,
    sessions: Sessions,
}

type Shared<D> = State<Arc<Standin<D>>>;

async fn jsonrpc<D: Engine>(State(standin): Shared<D>, body: Bytes) -> Response {
    let Some(request) = Request::of(&body) else {
        return no_request();
    };
    let result = rpc::serve(&standin.store, &request.params).await;
    request.answer(result)
}

async fn version_info(body: Bytes) -> Response {
    match Request::of(&body) {
        Some(request) => request.answer(Ok(rpc::version())),
        None => no_request(),
    }
}

async fn authenticate<D: Engine>(State(standin): Shared<D>, body: Bytes) -> Response {
    let Some(request) = Request::of(&body) else {
        return no_request();
    };
    match standin.sessions.authenticate(&request.params) {
        Ok((session, user)) => {
            let cookie = format!("session_id={session}; Path=/; HttpOnly; SameSite=Lax");
            let answer = request.answer(Ok(user));
            ([(header::SET_COOKIE, cookie)], answer).into_response()
        }
        Err(failure) => request.answer(Err(failure)),
    }
}

async fn session_info<D: Engine>(
    State(standin): Shared<D>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let known = standin.sessions.check(&headers);
    match Request::of(&body) {
        Some(request) => request.answer(known.map(|()| web::about_the_user())),
        None => no_request(),
    }
}

async fn destroy<D: Engine>(
    State(standin): Shared<D>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    standin.sessions.destroy(&headers);
    match Request::of(&body) {
        Some(request) => request.answer(Ok(Value::Null)),
        None => no_request(),
    }
}

async fn call_kw<D: Engine>(
    State(standin): Shared<D>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(request) = Request::of(&body) else {
        return no_request();
    };
    let result = match standin.sessions.check(&headers) {
        Ok(()) => web::call_kw(&standin.store, &request.params).await,
        Err(failure) => Err(failure),
    };
    request.answer(result)
}

/// A request of JSON-RPC 2.0.
struct Request {
    id: Value,
    params: Value,
}

impl Request {
    /// What a body asks for, if it is one.
    fn of(body: &[u8]) -> Option<Self> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(mut request)) => Some(Self {
                id: request.remove("id").unwrap_or_default(),
                params: request.remove("params").unwrap_or_default(),
            }),
            _ => None,
        }
    }

    fn answer(&self, result: Result<Value, Failure>) -> Response {
        let mut answer = json!({ "jsonrpc": "2.0", "id": self.id });
        match result {
            Ok(result) => answer["result"] = result,
            Err(Failure::Exception { name, message }) => {
                tracing::debug!(name, what = %message, "a call has raised an exception");
                answer["error"] = error_of(name, &message);
            }
            Err(Failure::Database(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the database does not answer, or not in time");
                return (StatusCode::SERVICE_UNAVAILABLE, "try again later").into_response();
            }
        }
        let json = [(header::CONTENT_TYPE, "application/json")];
        (json, answer.to_string()).into_response()
    }
}

fn no_request() -> Response {
    (StatusCode::BAD_REQUEST, "Invalid JSON data").into_response()
}
