//! How often what happened, so that a run which checks nothing is noticed.

macro_rules! counts {
    ($($name:ident)*) => {
        #[derive(Clone, PartialEq, Eq, Debug, Default)]
        pub(super) struct EngineCounts {
            $(pub(super) $name: u64,)*
        }

        impl EngineCounts {
            pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),*]
            }
        }
    };
}

counts! {
    kills
    freezes
    hand_overs
    suspicions
    requests_lost
    requests_repeated
    requests_late
    answers_lost
    answers_late
    cuts
    client_silences
    replication_stalls
    waits_cut_short
    failovers
    commits_vanished
    nodes_out_of_office
    reads_out_of_office
    writes_out_of_office
    engine_pauses
    refusals
    groups_too_large
    rollbacks
    trims
    overtaken
    vacancies_released
    vacancies_silent
    takeovers
    contended
    fenced
    candidates_stalled
    stalled
    resumed
    closed
    restarts_with_a_fault
    records
    groups
    requests_with_several_logs
    settled_by_a_barrier
    reads
    records_read
    barriers
    fences_confirmed
    fences_lost
}
