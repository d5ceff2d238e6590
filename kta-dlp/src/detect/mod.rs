//! The detectors, from what proves itself to what needs its context.

mod address;
mod date;
mod email;
mod name_hebrew;
mod network;
mod number;
mod person;
mod phone;
mod postcode;
mod secret;
mod table;
mod value;
mod zone;

pub(crate) use table::Table;

use crate::page::Page;

/// Fills `page.found`; `table` is the table that reaches in from above, if any.
pub(crate) fn run(page: &mut Page, table: &mut Option<Table>, core: std::ops::Range<usize>) {
    secret::find(page);
    zone::find(page);
    email::find(page);
    network::find(page);
    table::find(page, table, core);
    value::find(page);
    address::find(page);
    person::find(page);
}
