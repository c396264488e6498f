//! What comes in at `/jsonrpc`: the services `common` and `object`.

use atomfeed_core::store::sql::SqlStore;
use serde_json::{Map, Value, json};

use super::exception::Failure;
use super::methods::Call;
use super::reading::Work;
use super::{DATABASE, UID, USER};
use crate::hospital::feeds::PASSWORD;
use crate::hospital::store::Engine;

/// As which Odoo it passes.
const VERSION: &str = "16.0";

pub(super) fn version() -> Value {
    json!({
        "server_version": VERSION,
        "server_version_info": [16, 0, 0, "final", 0, ""],
        "server_serie": VERSION,
        "protocol_version": 1,
    })
}

/// Does what `params` ask for: `{"service": "object", "method": "execute_kw", "args": […]}`.
pub(super) async fn serve<D: Engine>(
    store: &SqlStore<D>,
    params: &Value,
) -> Result<Value, Failure> {
    let text = |name: &str| params[name].as_str().unwrap_or_default();
    let args = params["args"].as_array().map_or(&[][..], Vec::as_slice);
    match (text("service"), text("method")) {
        ("common", "version") => Ok(version()),
        ("common", "login" | "authenticate") => match args {
            [database, user, password, ..] => log_in(database, user, password),
            _ => Err(Failure::kind("authenticate() misses arguments")),
        },
        ("object", "execute") => match args {
            [database, uid, password, model, method, args @ ..] => {
                check(database, uid, password)?;
                let call = call(model, method, args, Map::new())?;
                execute(store, &call).await
            }
            _ => Err(Failure::kind("execute() misses arguments")),
        },
        ("object", "execute_kw") => match args {
            [database, uid, password, model, method, args @ ..] => {
                check(database, uid, password)?;
                let listed = args.first().and_then(Value::as_array);
                let named = args.get(1).and_then(Value::as_object).cloned();
                let listed = listed.map_or(&[][..], Vec::as_slice);
                let call = call(model, method, listed, named.unwrap_or_default())?;
                execute(store, &call).await
            }
            _ => Err(Failure::kind("execute_kw() misses arguments")),
        },
        (service, method) => Err(Failure::no_method(service, method)),
    }
}

/// The number of the user, or `false` to who is not let in.
fn log_in(database: &Value, user: &Value, password: &Value) -> Result<Value, Failure> {
    if database != DATABASE {
        return Err(Failure::no_database(database.as_str().unwrap_or_default()));
    }
    Ok(match user == USER && password == PASSWORD {
        true => json!(UID),
        false => json!(false),
    })
}

/// That somebody may call: each call has the password.
fn check(database: &Value, uid: &Value, password: &Value) -> Result<(), Failure> {
    if database != DATABASE {
        return Err(Failure::no_database(database.as_str().unwrap_or_default()));
    }
    match *uid == UID && password == PASSWORD {
        true => Ok(()),
        false => Err(Failure::access_denied()),
    }
}

/// A call of a method of a model.
pub(super) fn call(
    model: &Value,
    method: &Value,
    args: &[Value],
    kwargs: Map<String, Value>,
) -> Result<Call, Failure> {
    let (Some(model), Some(method)) = (model.as_str(), method.as_str()) else {
        return Err(Failure::kind("model and method are to be texts"));
    };
    Ok(Call {
        model: model.to_owned(),
        method: method.to_owned(),
        args: args.to_vec(),
        kwargs,
    })
}

/// Does a call in a transaction of its own.
pub(super) async fn execute<D: Engine>(store: &SqlStore<D>, call: &Call) -> Result<Value, Failure> {
    let begin = match call.writes() {
        true => D::BEGIN,
        false => D::BEGIN_READING,
    };
    let mut transaction = store.pool().begin_with(begin).await?;
    let answer = call.answer(&mut Work::on(&mut *transaction)).await?;
    transaction.commit().await?;
    Ok(answer)
}
