//! How often what happened, so that a run which checks nothing is noticed.

macro_rules! counts {
    ($($name:ident)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: &Counts) {
                $(self.$name += other.$name;)*
            }

            /// Every kind of fault, and all that is checked because of it, has come up.
            pub(crate) fn check_all_happened(&self) {
                $(assert!(self.$name > 0, concat!(stringify!($name), " never happened"));)*
            }
        }
    };
}

counts! {
    crashes
    takeovers
    fenced
    cuts
    repeated_frames
    repeated_requests
    reregistrations
    rebounds
    failed_calls
    timers
    clock_jumps
    records
    messages
    answers
    prints
    compared
    lost_records
    refusals
    held
    exits
}
