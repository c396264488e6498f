//! What writes into the EMR over HTTP: it waits while the EMR is away, since a PUT may be repeated.

use std::time::Duration;

use anyhow::Context;
use axum::body::Bytes;
use reqwest::{Method, StatusCode};
use url::Url;
use uuid::Uuid;

use super::resources::{Kept, Put};
use super::sending::{Ask, Sender};
use super::upload::Uploaded;
use crate::hospital::documents::{Drug, Encounter, LabTest, Patient};

/// How long the EMR may take for a document.
const A_DOCUMENT: Duration = Duration::from_secs(30);
/// How long it may take for a file of many rows.
const A_FILE: Duration = Duration::from_secs(300);

/// A client of the EMR. It signs in when it must; clones share the session, and the connections.
#[derive(Debug, Clone)]
pub struct EmrClient(Sender);

impl EmrClient {
    /// A client of the EMR at an address: `http://127.0.0.1:8050`. It sends a request again for a minute while
    /// the EMR is away.
    ///
    /// # Errors
    ///
    /// When this machine's certificates are needed, and cannot be read.
    pub fn new(base: Url) -> anyhow::Result<Self> {
        Ok(Self(Sender::new(base)?))
    }

    /// Sends a request again for so long while the EMR is away.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self(self.0.with_patience(patience))
    }

    /// Registers a patient, or changes one, and says whether there is an event for it: not when it was there
    /// exactly so already.
    ///
    /// # Errors
    ///
    /// This and every other call: when the EMR refuses it, or is away for longer than the patience lasts. It
    /// may then have been done.
    pub async fn put_patient(&self, patient: &Patient) -> anyhow::Result<bool> {
        self.put(patient).await
    }

    /// Makes a drug, or changes one, and says whether there is an event for it.
    ///
    /// # Errors
    ///
    /// As [`put_patient`](Self::put_patient).
    pub async fn put_drug(&self, drug: &Drug) -> anyhow::Result<bool> {
        self.put(drug).await
    }

    /// Makes a test or a panel, or changes one, and says whether there is an event for it.
    ///
    /// # Errors
    ///
    /// As [`put_patient`](Self::put_patient).
    pub async fn put_lab_test(&self, test: &LabTest) -> anyhow::Result<bool> {
        self.put(test).await
    }

    /// Makes an encounter with its orders, or changes them, and says whether there is an event for it.
    ///
    /// # Errors
    ///
    /// As [`put_patient`](Self::put_patient); also when the patient was not registered, when an order that was
    /// there is missing or of another kind, and when one is changed or cancelled that has results.
    pub async fn put_encounter(&self, encounter: &Encounter) -> anyhow::Result<bool> {
        self.put(encounter).await
    }

    /// An encounter as it is now, with the results that the lab has sent; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`put_patient`](Self::put_patient).
    pub async fn encounter(&self, uuid: Uuid) -> anyhow::Result<Option<Encounter>> {
        let ask = Ask {
            method: Method::GET,
            path: path::<Encounter>(uuid),
            kind: "application/json",
            body: Bytes::new(),
            limit: A_DOCUMENT,
        };
        let answer = self.0.send(&ask).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(answer.json(&ask)?))
    }

    /// Uploads a file of drugs (CSV: `uuid,name,form,price`). Where it was sent twice, since the EMR went away
    /// in between, rows that were in by then are counted as unchanged. What is not UTF-8 spoils its own row, and
    /// not the file.
    ///
    /// # Errors
    ///
    /// As [`put_patient`](Self::put_patient).
    pub async fn upload_drugs(&self, csv: Vec<u8>) -> anyhow::Result<Uploaded> {
        let ask = Ask {
            method: Method::POST,
            path: "/openmrs/ws/rest/v1/drug/upload".to_owned(),
            kind: "text/csv",
            body: csv.into(),
            limit: A_FILE,
        };
        self.0.send(&ask).await?.json(&ask)
    }

    async fn put<K: Kept>(&self, resource: &K) -> anyhow::Result<bool> {
        let document = serde_json::to_vec(resource).context("writing a document as JSON")?;
        let ask = Ask {
            method: Method::PUT,
            path: path::<K>(resource.uuid()),
            kind: "application/json",
            body: document.into(),
            limit: A_DOCUMENT,
        };
        let put: Put = self.0.send(&ask).await?.json(&ask)?;
        Ok(put.published)
    }
}

fn path<K: Kept>(uuid: Uuid) -> String {
    format!("/openmrs/ws/rest/v1/{}/{uuid}", K::NAME)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::hospital::emr::testing::{TestEmr, encounter, patient};

    #[tokio::test]
    async fn what_is_refused_is_not_sent_again() {
        let emr = TestEmr::start().await;
        let error = emr
            .client
            .put_encounter(&encounter(5, 1))
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("409"), "{error:#}");
        assert!(
            emr.client
                .encounter(encounter(5, 1).uuid)
                .await
                .unwrap()
                .is_none()
        );

        emr.client.put_patient(&patient(1)).await.unwrap();
        emr.client.put_encounter(&encounter(5, 1)).await.unwrap();
        let found = emr.client.encounter(encounter(5, 1).uuid).await.unwrap();
        assert_eq!(found, Some(encounter(5, 1)));
    }
}
