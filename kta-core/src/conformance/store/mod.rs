//! The kit of [`Store`], [`Jobs`] and [`Ledger`], which one adapter is together.

mod classes;
mod jobs;
mod ledger;
mod rows;
mod samples;
mod whole;

pub use classes::*;
pub use jobs::*;
pub use ledger::*;
pub use rows::*;
pub use samples::{Samples, marks};
pub use whole::*;

use crate::ports::store::{Jobs, Ledger, Store};

/// A store with its work queue and its log: what the kit is run against.
pub trait Firm: Store + Jobs + Ledger {}

impl<P: Store + Jobs + Ledger + ?Sized> Firm for P {}

conformance_cases! {$
    /// The contract of [`Store`](crate::ports::Store), [`Jobs`](crate::ports::Jobs) and
    /// [`Ledger`](crate::ports::Ledger) as tests: see [`conformance`](crate::conformance).
    store_conformance = store:
    a_change_set_is_committed_whole_or_not_at_all,
    a_change_whose_expected_revision_is_not_stored_is_a_conflict,
    a_revision_that_does_not_follow_the_expected_one_is_refused,
    a_record_never_goes_back_to_a_lower_revision,
    of_concurrent_creates_one_wins,
    a_cancelled_commit_is_whole_or_nothing,
    a_bounded_commit_is_read_back_at_once,
    rows_and_events_of_another_tenant_are_refused,
    a_tenant_sees_nothing_of_another,
    errors_and_debug_hold_no_stored_value,
    a_record_comes_back_as_it_was_written,
    records_are_found_by_person_matter_and_tag_in_order,
    records_come_in_pages,
    writing_a_record_again_replaces_its_tags,
    what_was_removed_is_not_found_and_its_tags_find_nothing,
    removing_what_is_not_there_is_no_error,
    placements_are_found_by_person_matter_and_system,
    a_placement_stays_the_copy_that_it_is,
    a_hold_is_placed_and_released_once,
    a_hold_is_dated_by_the_store,
    holds_are_found_by_person_and_matter,
    a_record_under_an_active_hold_is_not_removed,
    a_sheet_grows_by_one_revision_at_each_change,
    sheets_are_found_by_name_person_and_matter,
    sheets_come_in_pages,
    a_sheet_that_is_no_json_is_refused,
    a_policy_class_is_interned_once,
    a_superseded_class_hands_its_records_to_its_successor,
    what_is_written_under_a_superseded_class_is_governed_by_its_successor,
    a_class_never_supersedes_itself,
    a_class_is_superseded_once,
    a_reinstated_class_governs_what_is_written_from_then_on,
    a_record_is_moved_to_another_class_as_it_is,
    writing_a_record_under_another_class_is_a_conflict,
    records_are_found_by_class_and_purpose_in_pages,
    a_query_for_a_purpose_gives_only_what_its_class_admits,
    successions_are_registered_in_order,
    a_failed_set_leaves_the_classes_as_they_were,
    a_class_is_superseded_for_one_tenant_only,
    the_same_job_twice_is_one_job,
    a_job_that_was_worked_on_is_not_enqueued,
    a_job_is_leased_when_it_is_due_and_oldest_first,
    a_leased_job_is_not_leased_again_before_its_lease_ends,
    concurrent_workers_share_no_job,
    settling_under_a_lost_lease_is_a_conflict,
    a_settled_job_is_not_leased_again,
    a_retried_job_waits_for_its_new_time,
    a_stage_settles_its_own_job_without_a_lease,
    settling_a_job_that_is_not_there_is_not_found,
    events_become_entries_numbered_without_gaps,
    concurrent_commits_leave_no_gap,
    bounded_events_stand_in_the_log_in_their_order,
    an_entry_is_never_older_than_the_one_before,
    entries_come_back_byte_for_byte,
    entries_past_the_end_are_empty,
    an_entry_too_long_for_the_log_is_refused_whole,
    the_trail_lists_every_entry_that_names_the_person,
    the_trail_ends_where_it_is_told,
}

#[cfg(test)]
mod tests {
    use crate::memory::{FaultPlan, Flaky, MemoryStore};

    async fn fresh() -> MemoryStore {
        MemoryStore::new()
    }

    store_conformance!(
        #[tokio::test]
        fresh
    );

    mod flaky_without_a_plan {
        use super::{FaultPlan, Flaky, MemoryStore};

        async fn fresh() -> Flaky<MemoryStore> {
            Flaky::of(MemoryStore::new(), &FaultPlan::none())
        }

        store_conformance!(
            #[tokio::test]
            fresh
        );
    }
}
