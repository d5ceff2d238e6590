//! What the right answer to every operation is.

use std::collections::BTreeSet;

use kta_core::Code;
use kta_core::policy::Purpose;

use crate::generate::{Meta, Op, data, mark, mix};

/// What an operation gave: how many rows, a number that tells these rows from others whatever
/// their order, and how it was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) rows: u64,
    pub(crate) mark: u64,
    pub(crate) refused: Option<Code>,
}

impl Answer {
    pub(crate) fn row(&mut self, mark: u64) {
        self.rows += 1;
        self.mark = self.mark.wrapping_add(mark);
    }

    pub(crate) const fn rows(rows: u64) -> Self {
        Self {
            rows,
            mark: 0,
            refused: None,
        }
    }

    pub(crate) const fn refused(code: Code) -> Self {
        Self {
            rows: 0,
            mark: 0,
            refused: Some(code),
        }
    }
}

/// The state that every contestant should have.
pub(crate) struct Model {
    pub(crate) records: Vec<Option<Row>>,
    /// Records by person.
    pub(crate) users: Vec<Vec<u32>>,
    /// Records by their set of purposes.
    purposes: Vec<BTreeSet<u32>>,
    pub(crate) second: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) meta: Meta,
    pub(crate) version: u32,
}

impl Model {
    pub(crate) fn new(records: u32, users: u32) -> Self {
        let mut model = Self {
            records: Vec::new(),
            users: vec![Vec::new(); users as usize],
            purposes: vec![BTreeSet::new(); 25],
            second: 0,
        };
        for number in 0..records {
            model.create(number);
        }
        model
    }

    pub(crate) fn live(&self) -> u64 {
        self.records.iter().flatten().count() as u64
    }

    fn create(&mut self, number: u32) {
        let meta = Meta::of(number, self.second);
        assert_eq!(self.records.len(), number as usize);
        self.records.push(Some(Row { meta, version: 0 }));
        let user = number as usize % self.users.len();
        self.users[user].push(number);
        self.purposes[usize::from(meta.purposes)].insert(number);
    }

    fn remove(&mut self, number: u32) -> bool {
        let Some(row) = self.records[number as usize].take() else {
            return false;
        };
        self.purposes[usize::from(row.meta.purposes)].remove(&number);
        let user = number as usize % self.users.len();
        self.users[user].retain(|other| *other != number);
        true
    }

    /// The marks of everything, as every contestant should have it.
    pub(crate) fn state(&self) -> Answer {
        let mut answer = Answer::default();
        for (number, row) in (0_u32..).zip(&self.records) {
            if let Some(row) = row {
                answer.row(mix(row.mark(number), row.meta.mark()));
            }
        }
        answer
    }

    /// Removes what is over by the clock; how many there were.
    pub(crate) fn expire(&mut self) -> u64 {
        let over: Vec<u32> = (0_u32..)
            .zip(&self.records)
            .filter(|(_, row)| row.is_some_and(|row| row.meta.until <= self.second))
            .map(|(number, _)| number)
            .collect();
        over.into_iter()
            .filter(|number| self.remove(*number))
            .count() as u64
    }

    /// The answer of a contestant that enforces purposes and objections, and of one that does
    /// not.
    pub(crate) fn answer(&mut self, op: Op) -> [Answer; 2] {
        let both = |answer| [answer; 2];
        match op {
            Op::Create { number } => {
                self.create(number);
                both(Answer::rows(1))
            }
            Op::Delete { number } => both(Answer::rows(u64::from(self.remove(number)))),
            Op::ReadData { number, purpose } => {
                let Some(row) = self.records[number as usize] else {
                    return both(Answer::default());
                };
                let mut all = Answer::default();
                all.row(row.mark(number));
                let enforced = match row.meta.admits(purpose) {
                    Ok(()) => all,
                    Err(code) => Answer::refused(code),
                };
                [enforced, all]
            }
            Op::ReadDataByPurpose { purposes, purpose } => {
                self.read(self.purposes[usize::from(purposes)].iter(), purpose)
            }
            Op::ReadDataByUser { user, purpose } => {
                self.read(self.users[user as usize].iter(), purpose)
            }
            Op::ReadMetaByUser { user } => {
                let mut answer = Answer::default();
                for number in &self.users[user as usize] {
                    if let Some(row) = self.records[*number as usize] {
                        answer.row(mix(u64::from(*number), row.meta.mark()));
                    }
                }
                both(answer)
            }
            Op::UpdateData { number, version } => {
                let row = self.records[number as usize].as_mut();
                both(Answer::rows(row.map_or(0, |row| {
                    row.version = version;
                    1
                })))
            }
            Op::UpdateMeta { number, set } => both(self.update(&[number], set)),
            Op::UpdateMetaByPurpose { purposes, set } => {
                let numbers: Vec<u32> = self.purposes[usize::from(purposes)]
                    .iter()
                    .copied()
                    .collect();
                both(self.update(&numbers, set))
            }
            Op::UpdateMetaByUser { user, set } => {
                let numbers = self.users[user as usize].clone();
                both(self.update(&numbers, set))
            }
            Op::ReadLog { lines } => both(Answer::rows(u64::from(lines))),
            Op::VerifyDeletion { number } => both(Answer::rows(u64::from(
                self.records[number as usize].is_none(),
            ))),
        }
    }

    fn read<'a>(&self, numbers: impl Iterator<Item = &'a u32>, purpose: Purpose) -> [Answer; 2] {
        let mut answers = [Answer::default(); 2];
        for number in numbers {
            if let Some(row) = self.records[*number as usize] {
                let mark = row.mark(*number);
                answers[1].row(mark);
                if row.meta.admits(purpose).is_ok() {
                    answers[0].row(mark);
                }
            }
        }
        answers
    }

    fn update(&mut self, numbers: &[u32], set: crate::generate::Set) -> Answer {
        let mut rows = 0;
        for number in numbers {
            if let Some(row) = self.records[*number as usize].as_mut() {
                row.meta = row.meta.with(set, self.second);
                rows += 1;
            }
        }
        Answer::rows(rows)
    }
}

impl Row {
    pub(crate) fn mark(&self, number: u32) -> u64 {
        mark(number, data(number, self.version).as_bytes())
    }
}

impl Meta {
    /// Written down apart from the code under test.
    fn admits(self, purpose: Purpose) -> Result<(), Code> {
        let legal = [
            Purpose::Compliance,
            Purpose::Disposition,
            Purpose::Retention,
        ];
        if legal.contains(&purpose) {
            Ok(())
        } else if !self.set().contains(&purpose) {
            Err(Code::PrcPurpose)
        } else if self.objected() == Some(purpose) {
            Err(Code::PrcRestricted)
        } else {
            Ok(())
        }
    }
}
