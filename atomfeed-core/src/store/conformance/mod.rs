//! One suite that every store passes: whose suite is green *is* a store.
//!
//! The cases are ordinary functions over a [`Harness`]; [`conformance_tests!`](crate::conformance_tests)
//! makes one `#[tokio::test]` of each, so that a failure names its case and its store. They panic
//! where a store breaks a promise.
//!
//! ```
//! # mod suite {
//! use atomfeed_core::store::conformance::MemoryHarness;
//!
//! atomfeed_core::conformance_tests!(Some(MemoryHarness));
//! # }
//! ```

mod console;
mod consumer;
mod harness;
mod news;
mod publisher;
mod rebase;
mod sequence;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
mod upkeep;
mod watching;

pub use console::*;
pub use consumer::*;
pub use harness::{Harness, MemoryHarness, Rows, Shape, sequence_all};
pub use news::*;
pub use publisher::*;
pub use rebase::*;
pub use sequence::*;
#[cfg(feature = "mysql")]
pub use sql::MySqlHarness;
#[cfg(feature = "postgres")]
pub use sql::PostgresHarness;
#[cfg(feature = "sqlite")]
pub use sql::SqliteHarness;
pub use upkeep::*;
pub use watching::*;

/// Makes a `#[tokio::test]` of every case of the suite, over the `Option` of a harness that an
/// expression makes; `None` where there is no server to check on.
/// The calling crate needs `tokio` with `macros` and `rt`.
#[macro_export]
macro_rules! conformance_tests {
    ($harness:expr) => {
        $crate::conformance_tests!(@ $harness;
            marker_is_made_moved_and_guarded,
            of_two_that_make_a_marker_one_is_told,
            markers_of_feeds_are_apart,
            a_marker_may_name_no_entry,
            worker_and_marker_commit_together,
            what_is_rolled_back_or_dropped_never_happened,
            failed_events_come_back_as_parked,
            failed_events_are_read_in_order_and_by_page,
            a_retry_that_fails_is_counted_and_logged,
            a_retry_that_succeeds_removes_both,
            a_failed_event_is_taken_once,
            parked_events_have_places,
            large_failures_are_kept,
            long_names_are_kept,
            what_cannot_be_kept_beside_others_is_kept_whole,
            a_feed_is_claimed_by_one,
            events_behind_the_marker_are_completed_once,
            statuses_and_counts_are_kept,
            a_host_may_get_another_name,
            what_is_parked_is_found,
            what_is_parked_no_longer_is_not_counted,
            a_parked_event_is_edited_and_reset,
            actions_are_kept_with_what_came_of_them,
            who_looks_keeps_nobody_from_writing,
            an_event_lasts_when_its_transaction_does,
            every_field_comes_back,
            illegal_characters_are_refused,
            an_event_with_a_known_uuid_is_refused,
            what_would_not_fit_is_refused,
            ids_ascend_and_are_never_given_twice,
            times_come_back_to_the_microsecond,
            feeds_match_categories_in_any_case,
            ranges_are_cut_as_asked,
            positions_are_found_below_and_above,
            offset_markers_are_one_a_category,
            the_newest_event_is_known,
            who_listens_hears_of_events,
            spellings_of_one_feed_have_one_in_common,
            what_is_queued_is_counted,
            chunking_is_settled_once,
            chunk_length_changes_beyond_what_is_published,
            time_chunks_end_for_good,
            times_never_go_back_on_time_chunks,
            cuts_are_kept_and_only_rise,
            old_events_are_deleted,
            ids_continue_after_the_lost_ones,
            another_fingerprint_is_noticed_once,
        );
    };
    (@ $harness:expr; $($case:ident),+ $(,)?) => {
        $(
            #[::tokio::test]
            async fn $case() {
                // Nothing, where there is no server to run on.
                if let ::core::option::Option::Some(harness) = $harness {
                    $crate::store::conformance::$case(&harness).await;
                }
            }
        )+
    };
}
