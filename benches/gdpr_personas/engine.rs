//! What a contestant does.

use std::time::Instant;

use crate::generate::Op;
use crate::model::Answer;

pub(crate) trait Engine {
    /// Does these operations one after another.
    fn turn(&mut self, ops: &[Op]) -> Turn;

    /// Goes on to this second and removes what is over; how many records.
    fn expire(&mut self, second: u32) -> u64;

    /// Everything: the marks of all records' data and metadata.
    fn state(&mut self) -> Answer;

    /// Bytes on disk once all is written home: together, and of them the log's.
    fn bytes(&mut self) -> [u64; 2];
}

/// What came of a turn.
pub(crate) struct Turn {
    pub(crate) seconds: f64,
    /// Of each operation the answer, and how many seconds it took.
    pub(crate) answers: Vec<(Answer, f64)>,
}

impl Turn {
    pub(crate) fn of(ops: &[Op], mut each: impl FnMut(Op) -> Answer) -> Self {
        let mut answers = Vec::with_capacity(ops.len());
        let start = Instant::now();
        let mut before = start;
        for op in ops {
            let answer = each(*op);
            let now = Instant::now();
            answers.push((answer, (now - before).as_secs_f64()));
            before = now;
        }
        Self {
            seconds: start.elapsed().as_secs_f64(),
            answers,
        }
    }
}
