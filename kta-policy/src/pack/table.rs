//! The compiled table as a page that a lawyer reads, prints and signs: one file, no script, nothing
//! fetched.

use core::fmt::Write as _;
use std::collections::{BTreeMap, BTreeSet};

use chrono::NaiveDate;
use kta_core::audit::Label;
use kta_core::retention::{Applies, Rule, Schedule};

use super::words::{Words, holder, limit, listed, period};
use super::{Authority, Pack, ReadIn, overdue};

/// The page of the schedules that these packs were compiled to, as of `today`. Each row of a class
/// names the rule that made it, its source, and the pack it stands in; below the classes stand the
/// rows that give no period: deadlines, duties, rights, transfers.
#[must_use]
pub fn table(packs: &[&Pack], schedules: &BTreeMap<Label, Schedule>, today: NaiveDate) -> String {
    let rows = packs.iter().flat_map(|pack| pack.rows());
    let page = Page {
        packs,
        schedules,
        words: Words::of(packs),
        authorities: rows.map(|row| (row.id, row)).collect(),
        late: overdue(schedules, today).into_iter().collect(),
        today,
        html: String::with_capacity(64 << 10),
    };
    page.write()
}

struct Page<'p> {
    packs: &'p [&'p Pack],
    schedules: &'p BTreeMap<Label, Schedule>,
    words: Words<'p>,
    authorities: BTreeMap<&'p Label, Authority<'p>>,
    late: BTreeSet<Label>,
    today: NaiveDate,
    html: String,
}

impl Page<'_> {
    fn write(mut self) -> String {
        self.html.push_str(HEAD);
        self.summary();
        self.classes();
        self.deadlines();
        self.duties();
        self.rights();
        self.flows();
        self.packs();
        self.html.push_str("</main></body></html>\n");
        self.html
    }

    fn summary(&mut self) {
        let rules: BTreeMap<_, _> = self.rules().map(|rule| (&rule.id, rule)).collect();
        let all = rules.len();
        let verified = self
            .authorities
            .values()
            .filter(|row| row.verified && rules.contains_key(row.id))
            .count();
        let unsigned = rules.values().any(|rule| {
            !rule.verified
                && self
                    .authorities
                    .get(&rule.id)
                    .is_some_and(|row| row.verified)
        });
        let (classes, packs, today) = (self.schedules.len(), self.packs.len(), self.today);
        let (other, late) = (self.authorities.len() - all, self.late.len());
        self.add(format_args!(
            "<header><h1>Retention schedule</h1><p class=lede>How long each class of records is kept, whose duty that is, and where it stands. Compiled for {today}.</p><dl class=counts><div><dt>classes</dt><dd>{classes}</dd></div><div><dt>rules of retention</dt><dd>{all}</dd></div><div><dt>of them verified</dt><dd>{verified}</dd></div><div><dt>overdue for reading</dt><dd>{late}</dd></div><div><dt>deadlines, duties, rights, transfers</dt><dd>{other}</dd></div><div><dt>packs</dt><dd>{packs}</dd></div></dl>"
        ));
        if unsigned {
            self.html.push_str("<p class=warn><b>A simulation.</b> These packs were compiled without signatures: nothing may be destroyed on this table.</p>");
        }
        self.html.push_str("<p class=key>How to read it. Of several minima the latest counts, of several maxima the earliest. Where the minimum ends after the maximum, the record is kept to the minimum and sealed from ordinary use. A legal hold beats every line. A date nobody recorded keeps the record. A line that is <span class=no>not verified</span> stands against destruction of everything it applies to, until somebody has read it in its source.</p></header><main>");
    }

    fn classes(&mut self) {
        let page_words = core::mem::take(&mut self.words);
        self.html.push_str("<h2>What is kept, and how long</h2>");
        let common = self.common();
        if let Some(schedule) = self
            .schedules
            .values()
            .next()
            .filter(|_| !common.is_empty())
        {
            let every = common.len();
            self.add(format_args!("<section><h3>Every class</h3><p class=sum>These {every} lines stand in the schedule of each class below, beside its own.</p>"));
            let rules = schedule.rules.iter();
            self.lines(&page_words, rules.filter(|rule| common.contains(&rule.id)));
        }
        for schedule in self.schedules.values() {
            self.class(&page_words, schedule, &common);
        }
        self.words = page_words;
    }

    /// The rules that stand in every schedule.
    fn common(&self) -> BTreeSet<Label> {
        let ids = |schedule: &Schedule| -> BTreeSet<Label> {
            schedule.rules.iter().map(|rule| rule.id.clone()).collect()
        };
        let all = self.schedules.values().map(ids);
        let common = all.reduce(|one, other| one.intersection(&other).cloned().collect());
        common
            .filter(|_| self.schedules.len() > 1)
            .unwrap_or_default()
    }

    fn class(&mut self, words: &Words<'_>, schedule: &Schedule, common: &BTreeSet<Label>) {
        let own = || {
            schedule
                .rules
                .iter()
                .filter(|rule| !common.contains(&rule.id))
        };
        let verified = |rule: &&Rule| {
            let row = self.authorities.get(&rule.id);
            row.is_some_and(|row| row.verified)
        };
        let open: Vec<_> = own()
            .filter(|rule| !verified(rule))
            .map(|rule| rule.id.to_string())
            .collect();
        let floors = own().filter(|rule| rule.floor.is_some()).count();
        let ceilings = own().filter(|rule| rule.ceiling.is_some()).count();
        let title = Text(&words.say(&schedule.class)).to_string();
        let class = Text(schedule.class.as_str()).to_string();
        self.add(format_args!(
            "<section><h3>{title} <code>{class}</code></h3><p class=sum>Of its own {}. {}</p>",
            counted(floors, ceilings),
            if open.is_empty() {
                "<span class=yes>Each of these lines is verified.</span>".to_owned()
            } else {
                let open = Text(&listed(&open, "and")).to_string();
                format!("<span class=no>Not verified:</span> {open}.")
            }
        ));
        self.lines(words, own());
    }

    fn lines<'r>(&mut self, words: &Words<'_>, rules: impl Iterator<Item = &'r Rule>) {
        self.html.push_str("<table><colgroup><col class=c1><col class=c2><col class=c3><col class=c4><col class=c5><col class=c6></colgroup><thead><tr><th>Rule<th>Applies to<th>Keep at least until<th>Keep at most until<th>Whose duty<th>Source</thead><tbody>");
        for rule in rules {
            self.rule(words, rule);
        }
        self.html.push_str("</tbody></table></section>");
    }

    fn rule(&mut self, words: &Words<'_>, rule: &Rule) {
        let term = |term: &Option<_>| {
            term.as_ref().map_or_else(
                || "<span class=none>none</span>".to_owned(),
                |term| Text(&words.term(term)).to_string(),
            )
        };
        let open = rule.while_open.as_ref().map_or_else(String::new, |open| {
            let open = words.say(open);
            format!("<br><small>not before {} has ended</small>", Text(&open))
        });
        let source = self.source(&rule.id, Some(rule));
        self.add(format_args!(
            "<tr><td><code>{}</code><td>{}<td>{}{open}<td>{}<td>{}<td>{source}",
            Text(rule.id.as_str()),
            Text(&words.applies(&rule.applies)),
            term(&rule.floor),
            term(&rule.ceiling),
            holder(rule.holder),
        ));
    }

    fn source(&self, id: &Label, rule: Option<&Rule>) -> String {
        let Some(row) = self.authorities.get(id) else {
            return "<span class=no>in none of the packs shown</span>".to_owned();
        };
        let mark = match (row.verified, row.read_in) {
            (true, _) => "<span class=yes>verified</span>".to_owned(),
            (false, read @ (ReadIn::Design | ReadIn::Memory | ReadIn::Secondary)) => {
                format!("<span class=no>not verified, {}</span>", read.words())
            }
            (false, ReadIn::Source) => "<span class=no>not verified</span>".to_owned(),
        };
        let late = if self.late.contains(id) {
            " <span class=no>overdue</span>"
        } else {
            ""
        };
        let pack = rule.map_or_else(String::new, |rule| {
            format!(
                " · {} {}",
                Text(rule.pack.id.as_str()),
                Text(rule.pack.version.as_str())
            )
        });
        let note = if row.note.is_empty() {
            String::new()
        } else {
            format!("<br><i>{}</i>", Text(row.note))
        };
        // "from memory" is the whole of such a source, and has been said.
        let source = if row.source == "memory" {
            String::new()
        } else {
            format!("{} · ", Text(row.source))
        };
        format!(
            "{}<br>{mark}{late} <small>{source}read {}{pack}</small>{note}",
            Text(row.citation),
            row.reviewed_on,
        )
    }

    fn deadlines(&mut self) {
        let mut rows = String::new();
        for clock in self.packs.iter().flat_map(|pack| pack.clocks()) {
            let extension = clock.extension.map_or_else(String::new, |by| {
                format!("<br><small>may be prolonged by {}</small>", period(by))
            });
            let phased = if clock.phased {
                "<br><small>in parts, if need be</small>"
            } else {
                ""
            };
            let row = [
                format!("<code>{}</code>", Text(clock.id.as_str())),
                self.regimes(&clock.nexus),
                self.spoken([&clock.starts]),
                format!("{}{extension}{phased}", limit(clock.limit)),
                self.spoken(&clock.recipient),
                self.spoken(&clock.unless),
                self.spoken(&clock.content),
                self.source(&clock.id, None),
            ];
            row_of(&mut rows, &row);
        }
        self.appendix(
            "Deadlines",
            &[
                "Rule",
                "Regime",
                "Starts with",
                "Limit",
                "To whom",
                "Not where",
                "What it says",
                "Source",
            ],
            &rows,
        );
    }

    fn duties(&mut self) {
        let mut rows = String::new();
        for duty in self.packs.iter().flat_map(|pack| pack.duties()) {
            let every = duty.every.map_or_else(String::new, |every| {
                format!("<br><small>every {}</small>", period(every))
            });
            let row = [
                format!("<code>{}</code>", Text(duty.id.as_str())),
                self.regimes(&duty.nexus),
                format!("{}{every}", duty.kind.words()),
                Text(&duty.requires).to_string(),
                holder(duty.duty_holder).to_owned(),
                self.source(&duty.id, None),
            ];
            row_of(&mut rows, &row);
        }
        self.appendix(
            "Duties without a period",
            &[
                "Rule",
                "Regime",
                "Kind",
                "What it asks for",
                "Whose duty",
                "Source",
            ],
            &rows,
        );
    }

    fn rights(&mut self) {
        let mut rows = String::new();
        for right in self.packs.iter().flat_map(|pack| pack.rights()) {
            let extension = right.extension.map_or_else(String::new, |by| {
                format!("<br><small>may be prolonged by {}</small>", period(by))
            });
            let row = [
                format!("<code>{}</code>", Text(right.id.as_str())),
                self.spoken([&right.regime]),
                self.spoken(&right.rights),
                format!(
                    "{}{extension}",
                    right.limit.map_or_else(|| "not modelled".to_owned(), limit)
                ),
                Text(&right.identity).to_string(),
                Text(&right.exceptions.join("; ")).to_string(),
                self.source(&right.id, None),
            ];
            row_of(&mut rows, &row);
        }
        self.appendix(
            "Requests of data subjects",
            &[
                "Rule",
                "Regime",
                "Rights",
                "Answered within",
                "Who asks",
                "Exceptions",
                "Source",
            ],
            &rows,
        );
    }

    fn flows(&mut self) {
        let mut rows = String::new();
        for flow in self.packs.iter().flat_map(|pack| pack.flows()) {
            let row = [
                format!("<code>{}</code>", Text(flow.id.as_str())),
                self.spoken(&flow.from),
                self.spoken(&flow.to),
                Text(&flow.ground).to_string(),
                self.source(&flow.id, None),
            ];
            row_of(&mut rows, &row);
        }
        self.appendix(
            "Grounds for sending elsewhere",
            &["Rule", "From", "To", "Ground", "Source"],
            &rows,
        );
    }

    fn packs(&mut self) {
        let mut rows = String::new();
        for pack in self.packs {
            let reference = pack.reference();
            let zone = pack.time_zone().map_or("", Label::as_str);
            let row = [
                format!("<code>{}</code>", Text(reference.id.as_str())),
                Text(reference.version.as_str()).to_string(),
                Text(pack.jurisdiction().as_str()).to_string(),
                Text(zone).to_string(),
                pack.in_force_from().to_string(),
                pack.rows().count().to_string(),
                format!("<code class=digest>{}</code>", reference.digest),
            ];
            row_of(&mut rows, &row);
        }
        self.appendix(
            "Packs",
            &[
                "Pack",
                "Version",
                "Law of",
                "Calendar of",
                "In force from",
                "Rows",
                "SHA-256 of the file, which two people sign",
            ],
            &rows,
        );
    }

    fn appendix(&mut self, title: &str, heads: &[&str], rows: &str) {
        if rows.is_empty() {
            return;
        }
        let heads = heads.join("<th>");
        self.add(format_args!("<h2>{title}</h2><table class=flat><thead><tr><th>{heads}</thead><tbody>{rows}</tbody></table>"));
    }

    fn regimes(&self, nexus: &BTreeSet<Label>) -> String {
        let applies = Applies {
            any: nexus.clone(),
            ..Applies::default()
        };
        Text(&self.words.applies(&applies)).to_string()
    }

    fn spoken<'l>(&self, labels: impl IntoIterator<Item = &'l Label>) -> String {
        let said: Vec<_> = labels
            .into_iter()
            .map(|label| self.words.say(label).replace(':', ": "))
            .collect();
        if said.is_empty() {
            return "<span class=none>–</span>".to_owned();
        }
        Text(&said.join("; ")).to_string()
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.schedules.values().flat_map(|schedule| &schedule.rules)
    }

    fn add(&mut self, what: core::fmt::Arguments<'_>) {
        // Proof: writing to a string cannot fail.
        let _ = self.html.write_fmt(what);
    }
}

fn row_of(rows: &mut String, cells: &[String]) {
    rows.push_str("<tr>");
    for cell in cells {
        rows.push_str("<td>");
        rows.push_str(cell);
    }
}

fn counted(floors: usize, ceilings: usize) -> String {
    let of = |count, what| match count {
        0 => format!("no {what}imum"),
        1 => format!("one {what}imum"),
        _ => format!("{count} {what}ima"),
    };
    format!("{} and {}", of(floors, "min"), of(ceilings, "max"))
}

/// Text as HTML shows it, in elements and in attributes.
pub(super) struct Text<'t>(pub(super) &'t str);

impl core::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Retention schedule</title>
<style>
:root{--ink:#1b2430;--soft:#5b6776;--line:#d5dbe2;--wash:#f4f6f8;--yes:#17653a;--no:#9a3412}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:#fff;font:14px/1.45 system-ui,"Segoe UI","DejaVu Sans",sans-serif}
header,main{max-width:76rem;margin:0 auto;padding:0 1.5rem}
header{padding-top:2rem}
h1{font-size:1.9rem;margin:0 0 .2rem;letter-spacing:-.01em}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-bottom:.3rem;border-bottom:2px solid var(--ink)}
h3{font-size:1.02rem;margin:1.6rem 0 .1rem}
h3 code{font-weight:400;color:var(--soft);margin-left:.4rem}
code{font:12px/1.4 ui-monospace,"DejaVu Sans Mono",monospace}
td code{white-space:nowrap}
code.digest{white-space:normal;overflow-wrap:anywhere;font-size:10.5px}
.lede{color:var(--soft);margin:.1rem 0 1.1rem;font-size:1.02rem}
.counts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;margin:0 0 1rem}
.counts div{display:flex;flex-direction:column-reverse}
.counts dt{color:var(--soft);font-size:.82rem}
.counts dd{margin:0;font-size:1.5rem;font-variant-numeric:tabular-nums}
.key{background:var(--wash);border-left:3px solid var(--line);padding:.6rem .9rem;margin:0;max-width:60rem}
.warn{background:#fff4e5;border-left:3px solid var(--no);padding:.6rem .9rem;max-width:60rem}
.sum{margin:0 0 .45rem;color:var(--soft)}
table{border-collapse:collapse;width:100%;table-layout:fixed}
table.flat{table-layout:auto}
th,td{text-align:left;vertical-align:top;padding:.4rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:break-word}
th{font-size:.78rem;font-weight:600;color:var(--soft);background:var(--wash);border-bottom:1px solid var(--ink)}
col.c1{width:11.5rem}col.c2{width:17%}col.c3{width:21%}col.c4{width:15%}col.c5{width:6.5rem}
small{color:var(--soft);font-size:.8rem}
i{color:var(--soft);font-size:.86rem}
.yes{color:var(--yes);font-weight:600}.no{color:var(--no);font-weight:600}.none{color:#9aa4b0}
main{padding-bottom:3rem}
@media print{@page{size:A4 landscape;margin:12mm}body{font-size:9.5px}header,main{max-width:none;padding:0}
tr{break-inside:avoid}.sum{break-after:avoid}thead{display:table-header-group}h2,h3{break-after:avoid}
code{font-size:8.5px}.counts dd{font-size:1.1rem}col.c1{width:9.5rem}}
</style></head><body>
"#;
