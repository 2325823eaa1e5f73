//! Layer 5: processes that are killed or stopped at any moment.

mod chaos;
mod leases;
mod owners;
mod points;
mod scripts;

use chaos::workers_that_are_killed_and_stopped_at_random_share_nothing;
use leases::{
    a_busy_executor_keeps_its_lease, a_late_verdict_frees_nobody_who_has_renewed,
    a_paused_holder_from_elsewhere_learns_of_its_loss_first,
    a_paused_holder_in_a_pid_namespace_learns_of_its_loss_first,
    a_renewal_counts_from_before_it_was_sent, a_stopped_process_keeps_its_locks_past_its_lease,
};
use owners::{
    a_child_that_outlives_its_supervisor_keeps_the_locks,
    a_stale_guard_releases_nothing_of_the_next_holder, a_task_that_is_freed_by_force_learns_it,
    a_waiter_that_gives_up_lets_the_queue_move_on, a_worker_that_ends_without_a_word_leaks_nothing,
    subtasks_in_other_processes_share_the_lock_of_their_parent,
    sweeping_on_demand_frees_the_dead_and_nobody_else, work_that_fails_under_a_lock_leaks_nothing,
};
use scripts::{
    any_point_of_a_free_acquire, any_point_of_a_set_and_its_downgrade, any_point_of_a_subtask,
    any_point_of_being_refused, any_point_of_closing, any_point_of_freeing_a_task,
    any_point_of_giving_up, any_point_of_renewing, any_point_of_sweeping_at_once,
    any_point_of_sweeping_while_waiting, any_point_of_waiting, every_point_is_passed,
};

use crate::trial::trials;

trials!("crash":
    every_point_is_passed,
    #[random] any_point_of_a_free_acquire,
    #[random] any_point_of_a_set_and_its_downgrade,
    #[random] any_point_of_waiting,
    #[random] any_point_of_being_refused,
    #[random] any_point_of_giving_up,
    #[random] any_point_of_a_subtask,
    #[random] any_point_of_renewing,
    #[random] any_point_of_sweeping_at_once,
    #[random] any_point_of_sweeping_while_waiting,
    #[random] any_point_of_freeing_a_task,
    #[random] any_point_of_closing,
    #[random] workers_that_are_killed_and_stopped_at_random_share_nothing,
    a_child_that_outlives_its_supervisor_keeps_the_locks,
    a_stale_guard_releases_nothing_of_the_next_holder,
    a_task_that_is_freed_by_force_learns_it,
    a_waiter_that_gives_up_lets_the_queue_move_on,
    a_worker_that_ends_without_a_word_leaks_nothing,
    work_that_fails_under_a_lock_leaks_nothing,
    sweeping_on_demand_frees_the_dead_and_nobody_else,
    subtasks_in_other_processes_share_the_lock_of_their_parent,
    a_paused_holder_from_elsewhere_learns_of_its_loss_first,
    a_paused_holder_in_a_pid_namespace_learns_of_its_loss_first,
    a_renewal_counts_from_before_it_was_sent,
    a_late_verdict_frees_nobody_who_has_renewed,
    a_busy_executor_keeps_its_lease,
    a_stopped_process_keeps_its_locks_past_its_lease,
);
