//! What was asked for, and what came of it.

use atomfeed_core::store::{ActionQuery, StoreResult};
use atomfeed_core::{Action, ActionKind, ActionState};
use axum::http::StatusCode;
use futures_util::future::join_all;

use super::answer::{Answer, Ended, PAGE, Visit};
use super::desk::STALLED;
use super::pages::{ActionPage, ActionRow, ActionsOf, ActionsPage};
use super::response::{html, report, to};
use super::shown::{When, visible};
use super::system::System;

impl Visit<'_> {
    pub(super) async fn actions(&self) -> Answer {
        let (before, now) = (self.before()?, self.now());
        let read = self.systems()?.into_iter().map(|system| async move {
            let query = ActionQuery::newest(PAGE).before(before);
            let actions = system.read(async { system.look().await?.actions(&query).await });
            (system, actions.await)
        });
        let mut sections = Vec::new();
        for (system, actions) in join_all(read).await {
            let (away, actions) = match actions {
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
        let action = self.action_now(system, id).await?;
        let unheard = match action.progress.state.is_open() {
            true => self.unheard(system, &action).await?,
            false => None,
        };
        let row = ActionRow::of(&action, system.name(), self.now());
        let frame = self.frame("actions");
        Ok(html(
            StatusCode::OK,
            &ActionPage {
                frame,
                unheard,
                row,
            },
        ))
    }

    /// That no consumer is there to take an action up, as far as is known.
    async fn unheard(&self, system: &System, action: &Action) -> StoreResult<Option<String>> {
        let feed = &action.asked.feed_uri;
        let is_adopted = system.store().await?.is_adopted();
        let mut work = system.look().await?;
        let is_the_consoles = action.asked.kind == ActionKind::RetryMany
            && self
                .desk
                .is_foreign(is_adopted, work.as_mut(), feed)
                .await?;
        if is_the_consoles {
            return Ok(None);
        }
        let statuses = work.statuses().await?;
        let own = statuses.iter().find(|status| status.feed_uri == *feed);
        let now = self.now();
        let since = match own.and_then(|status| status.seen_at) {
            Some(seen) if now - seen <= STALLED => return Ok(None),
            Some(seen) => format!(" since {}", When::of(seen, now).ago),
            None => String::new(),
        };
        Ok(Some(format!(
            "No consumer of this feed was heard of{since}: it waits until one runs, or is called off."
        )))
    }

    /// An action, once what is the console's to do about it is begun.
    pub(super) async fn action_now(&self, system: &System, id: i64) -> Result<Action, Ended> {
        let read = async || system.look().await?.action(id).await;
        let action = read().await?.ok_or(Ended::NotFound)?;
        self.desk.go_on_resetting(system, &action).await?;
        let may = self.must_operate().is_ok();
        if action.progress.state != ActionState::Waiting || !may {
            return Ok(action);
        }
        if let Err(error) = self.desk.take_over(system, &action).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                action = id,
                error,
                "what was asked for is not carried out now"
            );
        }
        Ok(read().await?.unwrap_or(action))
    }

    pub(super) async fn call_off(&self) -> Answer {
        let (system, id) = (self.system()?, self.id()?);
        self.desk.call_off(system, &self.visitor.user, id).await?;
        Ok(to(&self.here(&format!("/actions/{id}"))))
    }
}
