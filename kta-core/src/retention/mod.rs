//! For how long, and what then: rules and schedules compiled from packs of law, triggers, legal
//! holds, and the explained decision on one record.

mod calendar;
mod disposition;
mod evaluate;
mod hold;
mod schedule;
mod watch;

pub use calendar::Period;
pub use disposition::{Certificate, CertificateState, CopyOutcome, KeyKept};
pub use evaluate::{Evaluation, Facts, Judgement, Outcome, Step, evaluate, judge};
pub use hold::{Hold, Release};
pub use schedule::{Applies, Bound, Combine, Holder, PackRef, Rule, Schedule, Term};
pub use watch::Watch;
