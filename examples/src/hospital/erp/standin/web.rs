//! What clients of Odoo's web pages call, `odoorpc` among them: a session by cookie.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atomfeed_core::store::sql::SqlStore;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::exception::Failure;
use super::rpc;
use super::{DATABASE, UID, USER};
use crate::hospital::feeds::PASSWORD;
use crate::hospital::store::Engine;

/// So many people are signed in at once, at most; then all of them sign in anew.
const MOST_SESSIONS: usize = 1_000;

/// The cookies of who is signed in.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashSet<String>>);

impl Sessions {
    /// Signs in, and gives the cookie with what there is to know of the user.
    pub(super) fn authenticate(&self, params: &Value) -> Result<(String, Value), Failure> {
        if params["db"] != DATABASE {
            let name = params["db"].as_str().unwrap_or_default();
            return Err(Failure::no_database(name));
        }
        if params["login"] != USER || params["password"] != PASSWORD {
            return Err(Failure::access_denied());
        }
        let session = Uuid::new_v4().simple().to_string();
        let mut known = self.known();
        if known.len() >= MOST_SESSIONS {
            known.clear();
        }
        known.insert(session.clone());
        Ok((session, about_the_user()))
    }

    /// That a request is of somebody who is signed in.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let known = self.known();
        match session(headers).is_some_and(|session| known.contains(session)) {
            true => Ok(()),
            false => Err(Failure::session_expired()),
        }
    }

    /// Signs out.
    pub(super) fn destroy(&self, headers: &HeaderMap) {
        if let Some(session) = session(headers) {
            self.known().remove(session);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let mut cookies = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split("; "));
    cookies.find_map(|cookie| cookie.strip_prefix("session_id="))
}

/// What there is to know of who is signed in.
pub(super) fn about_the_user() -> Value {
    let version = rpc::version();
    json!({
        "uid": UID,
        "username": USER,
        "name": "Administrator",
        "db": DATABASE,
        "is_admin": true,
        "is_system": true,
        "server_version": version["server_version"],
        "server_version_info": version["server_version_info"],
        "user_context": { "lang": "en_US", "tz": "Asia/Kolkata", "uid": UID },
    })
}

/// A call of a method of a model, as web pages make them.
pub(super) async fn call_kw<D: Engine>(
    store: &SqlStore<D>,
    params: &Value,
) -> Result<Value, Failure> {
    let args = params["args"].as_array().map_or(&[][..], Vec::as_slice);
    let kwargs = params["kwargs"].as_object().cloned().unwrap_or_default();
    let call = rpc::call(&params["model"], &params["method"], args, kwargs)?;
    rpc::execute(store, &call).await
}
