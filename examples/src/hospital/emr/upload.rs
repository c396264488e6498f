//! Many drugs at once, as CSV: each row is a drug and an event, and a bad row is reported and left out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

use super::answer::{Json, Refusal};
use super::drug_file::read;
use super::resources::Emr;
use crate::hospital::Engine;

/// How large a file may be, in bytes.
pub(super) const LARGEST: usize = 16 << 20;

/// How many rows one transaction takes: on SQLite, nobody else writes meanwhile.
const A_TRANSACTION: usize = 250;

/// What came of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Uploaded {
    /// So many rows made a drug, or changed one: each is an event.
    pub imported: usize,
    /// So many rows say what is there already.
    pub unchanged: usize,
    /// The rows that were left out.
    pub rejected: Vec<Rejected>,
}

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// On which line of the file the row begins; the header is on line 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// Takes a file in. One that is sent again changes nothing: also what failed half-way is done by sending all
/// of it once more.
pub(super) async fn upload<D: Engine>(
    State(emr): State<Arc<Emr<D>>>,
    headers: HeaderMap,
    file: Bytes,
) -> Result<Json<Uploaded>, Refusal> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/csv") {
        let why = format!("drugs are uploaded as text/csv, and not as {kind:?}");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    let read = read(&file);
    let (drugs, rejected) = read.map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, why))?;
    let mut uploaded = Uploaded {
        rejected,
        ..Uploaded::default()
    };
    for some in drugs.chunks(A_TRANSACTION) {
        let changed = emr.put_all(some).await.map_err(|refusal| {
            let done = uploaded.imported + uploaded.unchanged;
            refusal.and(&format!("; {done} rows are in, send the whole file again"))
        })?;
        uploaded.imported += changed;
        uploaded.unchanged += some.len() - changed;
    }
    Ok(Json(uploaded))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use uuid::Uuid;

    use super::*;
    use crate::hospital::emr::testing::{TestEmr, databases};

    fn uuid(number: u32) -> Uuid {
        Uuid::from_u128(number.into())
    }

    fn good(number: u32) -> String {
        format!("{},Drug {number},Tablet,{number}.50\n", uuid(number))
    }

    #[tokio::test]
    async fn each_good_row_is_a_drug_and_an_event_and_only_once() {
        let mut file = "uuid,name,form,price\n".to_owned();
        for number in 1..=600 {
            file += &match number {
                300 => "bad\n".to_owned(),
                _ => good(number),
            };
        }
        for database in databases("upload") {
            let emr = TestEmr::on(&database).await;
            let upload = async |file: &str| {
                let uploaded = emr.client.upload_drugs(file.into()).await;
                uploaded.unwrap()
            };
            let uploaded = upload(&file).await;
            assert_eq!((uploaded.imported, uploaded.unchanged), (599, 0));
            assert_eq!(uploaded.rejected.len(), 1);
            assert_eq!(uploaded.rejected[0].line, 301);
            let row = emr.row("SELECT COUNT(*) FROM drugs", &[]).await;
            assert_eq!(row[0].number(), 599);
            assert_eq!(emr.events("drug").await, 599);

            let uploaded = upload(&file.replace("Drug 7,", "Drug seven,")).await;
            assert_eq!((uploaded.imported, uploaded.unchanged), (1, 598));
            assert_eq!(emr.events("drug").await, 600);
            let path = format!("/openmrs/ws/rest/v1/drug/{}", uuid(7));
            let (_, shown) = emr.get(&path).await;
            assert_eq!(shown["name"], "Drug seven");
            assert_eq!(shown["price"], 750);
        }
    }

    #[tokio::test]
    async fn a_row_that_is_not_utf8_is_left_out_and_the_others_are_not() {
        let emr = TestEmr::start().await;
        let mut file = format!("uuid,name,form,price\n{}{},Para", good(1), uuid(2)).into_bytes();
        file.extend(b"c\xe9tamol,Tablet,1.00\n");
        file.extend(good(3).into_bytes());
        let uploaded = emr.client.upload_drugs(file).await.unwrap();
        assert_eq!(uploaded.imported, 2);
        let [Rejected { line: 3, reason }] = &uploaded.rejected[..] else {
            panic!("{uploaded:?}");
        };
        assert!(reason.contains("UTF-8"), "{reason}");
        assert_eq!(emr.events("drug").await, 2);
    }

    #[tokio::test]
    async fn what_is_no_csv_is_refused() {
        let emr = TestEmr::start().await;
        let path = "/openmrs/ws/rest/v1/drug/upload";
        for (kind, body, status) in [
            ("application/json", "{}", 415_u16),
            ("text/csv; charset=utf-8", "{}", 400),
        ] {
            let request = emr.signed(emr.http.post(emr.url(path)));
            let request = request.header(header::CONTENT_TYPE, kind).body(body);
            assert_eq!(request.send().await.unwrap().status(), status, "{kind}");
        }
    }
}
