//! What the lab's events name.

use anyhow::Context;
use atomfeed_core::store::is_transient;
use atomfeed_core::store::sql::SqlStore;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use uuid::Uuid;

use crate::hospital::documents::{Accession, TestResult};
use crate::hospital::{Engine, Field, Sql};

const ACCESSION: &str = "SELECT encounter_uuid, patient_uuid FROM accessions WHERE uuid = $1";

const RESULTS: &str = "SELECT order_uuid, test_uuid, value, unit FROM results
    WHERE accession_uuid = $1 ORDER BY position";

/// `GET /openelis/ws/rest/accession/{uuid}`
pub(super) fn router<D: Engine>(store: SqlStore<D>) -> Router {
    Router::new()
        .route("/openelis/ws/rest/accession/{uuid}", get(accession::<D>))
        .with_state(store)
}

async fn accession<D: Engine>(
    State(store): State<SqlStore<D>>,
    Path(uuid): Path<String>,
) -> Response {
    let Ok(uuid) = uuid.parse::<Uuid>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match find(&store, uuid).await {
        Ok(Some(accession)) => ([(CONTENT_TYPE, "application/json")], accession).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => {
            tracing::error!("accession {uuid} was not read: {error:#}");
            let status = match is_transient(&*error) {
                true => StatusCode::SERVICE_UNAVAILABLE,
                false => StatusCode::INTERNAL_SERVER_ERROR,
            };
            status.into_response()
        }
    }
}

/// An accession as JSON.
async fn find<D: Engine>(store: &SqlStore<D>, uuid: Uuid) -> anyhow::Result<Option<String>> {
    let mut conn = store.pool().acquire().await?;
    let Some(row) = conn.row(ACCESSION, &[uuid.into()]).await? else {
        return Ok(None);
    };
    let results = conn.rows(RESULTS, &[uuid.into()]).await?;
    let results: anyhow::Result<Vec<_>> = results.iter().map(|row| result(row)).collect();
    let accession = Accession {
        uuid,
        encounter_uuid: to_uuid(&row[0])?,
        patient_uuid: to_uuid(&row[1])?,
        results: results?,
    };
    Ok(Some(serde_json::to_string(&accession)?))
}

fn result(row: &[Field]) -> anyhow::Result<TestResult> {
    Ok(TestResult {
        order_uuid: to_uuid(&row[0])?,
        test_uuid: to_uuid(&row[1])?,
        value: row[2].text().to_owned(),
        unit: row[3].text().to_owned(),
    })
}

fn to_uuid(field: &Field) -> anyhow::Result<Uuid> {
    let text = field.text();
    let uuid = text.parse::<Uuid>();
    uuid.with_context(|| format!("{text:?} in the lab's tables is no uuid"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::hospital::lab::fixture::{HAEMOGLOBIN, Lab, PLATELETS, browser, serve, uuid};

    #[tokio::test]
    async fn an_accession_has_its_results_in_their_order() {
        let lab = Lab::new().await;
        let mut conn = lab.store.pool().acquire().await.unwrap();
        let accession: [Field; 3] = [uuid(7).into(), uuid(101).into(), uuid(1).into()];
        let insert =
            "INSERT INTO accessions (uuid, encounter_uuid, patient_uuid) VALUES ($1, $2, $3)";
        conn.run(insert, &accession).await.unwrap();
        for (position, test) in [(1, HAEMOGLOBIN), (0, PLATELETS)] {
            let result = [
                uuid(201).into(),
                uuid(test).into(),
                uuid(7).into(),
                Field::Number(position),
            ];
            let insert = "INSERT INTO results
                    (order_uuid, test_uuid, value, unit, accession_uuid, position)
                VALUES ($1, $2, '11.2', 'g/dl', $3, $4)";
            conn.run(insert, &result).await.unwrap();
        }
        drop(conn);

        let url = serve(router(lab.store.clone())).await;
        let get = async |path: String| browser().get(url.join(&path).unwrap()).send().await;
        let path = format!("/openelis/ws/rest/accession/{}", uuid(7));
        let answer = get(path).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        assert_eq!(answer.headers()["content-type"], "application/json");
        let found: Accession = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        let result = |test| TestResult {
            order_uuid: uuid(201),
            test_uuid: uuid(test),
            value: "11.2".to_owned(),
            unit: "g/dl".to_owned(),
        };
        let expected = Accession {
            uuid: uuid(7),
            encounter_uuid: uuid(101),
            patient_uuid: uuid(1),
            results: vec![result(PLATELETS), result(HAEMOGLOBIN)],
        };
        assert_eq!(found, expected);

        for unknown in [uuid(8).to_string(), "7".to_owned()] {
            let answer = get(format!("/openelis/ws/rest/accession/{unknown}")).await;
            assert_eq!(answer.unwrap().status().as_u16(), 404, "{unknown}");
        }
    }
}
