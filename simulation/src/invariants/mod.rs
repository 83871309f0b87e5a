//! The catalogue of what always holds. One file per invariant: its name, what it says, and the check that is made
//! whenever something happens that could break it. A mutant (`mutants/*.patch`) names the invariant that finds it; every
//! invariant has one (`tests/mutants.rs`), and `tools/mutants` plays them.

pub mod acknowledged_commits_stay;
pub mod acknowledged_is_on_enough_disks;
pub mod acknowledged_records_survive;
pub mod below_high_watermark;
pub mod cluster_heals;
pub mod committed_reads_stay;
pub mod deposed_controllers_change_nothing;
pub mod high_watermark_rises;
pub mod images_never_go_back;
pub mod isr_members_hold_what_is_committed;
pub mod offsets_are_contiguous;
pub mod one_leader_per_epoch;
pub mod one_record_per_offset_and_epoch;

/// All names.
pub const CATALOGUE: [&str; 13] = [
    acknowledged_commits_stay::NAME,
    acknowledged_is_on_enough_disks::NAME,
    acknowledged_records_survive::NAME,
    below_high_watermark::NAME,
    cluster_heals::NAME,
    committed_reads_stay::NAME,
    deposed_controllers_change_nothing::NAME,
    high_watermark_rises::NAME,
    images_never_go_back::NAME,
    isr_members_hold_what_is_committed::NAME,
    offsets_are_contiguous::NAME,
    one_leader_per_epoch::NAME,
    one_record_per_offset_and_epoch::NAME,
];
