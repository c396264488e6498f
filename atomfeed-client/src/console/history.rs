//! What was asked for, and what came of it.

use atomfeed_core::store::ActionQuery;
use axum::http::StatusCode;

use super::answer::{Answer, Ended, PAGE, Visit};
use super::pages::{ActionPage, ActionRow, ActionsOf, ActionsPage};
use super::response::{html, report, to};
use super::shown::visible;

impl Visit<'_> {
    pub(super) async fn actions(&self) -> Answer {
        let (before, now) = (self.before()?, self.now());
        let mut sections = Vec::new();
        for system in self.systems()? {
            let query = ActionQuery::newest(PAGE).before(before);
            let actions = async { system.look().await?.actions(&query).await };
            let (away, actions) = match actions.await {
                Ok(actions) => (None, actions),
                Err(error) => (Some(visible(&report(&error))), Vec::new()),
            };
            let is_full = actions.len() as u32 == PAGE;
            let next = actions.last().filter(|_| is_full).map(|last| last.id);
            let rows = actions
                .iter()
                .map(|action| ActionRow::of(action, system.name(), now));
            sections.push(ActionsOf {
                system: system.name().to_owned(),
                away,
                rows: rows.collect(),
                next,
            });
        }
        let frame = self.frame("actions");
        Ok(html(StatusCode::OK, &ActionsPage { frame, sections }))
    }

    pub(super) async fn action(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        let action = system
            .look()
            .await?
            .action(id)
            .await?
            .ok_or(Ended::NotFound)?;
        self.desk.go_on_resetting(system, &action).await?;
        let row = ActionRow::of(&action, system.name(), self.now());
        let frame = self.frame("actions");
        Ok(html(StatusCode::OK, &ActionPage { frame, row }))
    }

    pub(super) async fn call_off(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        self.desk.call_off(system, &self.visitor.user, id).await?;
        Ok(to(&self.here(&format!("/actions/{id}"))))
    }
}
