//! May it go? One refusal for each flaw, and the same package by day.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use chrono::NaiveDate;
use kta_agency::{Authority, ChannelKind, KnownDocument, MatterFacts, Register, Signature, check};
use kta_core::Code;
use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, DocumentId, MatterId, SubjectId};
use kta_core::pii::{Category, DocumentKind, MediaType, Party};
use kta_core::ports::channel::{Package, Part};

/// A family's matter, and the packages that are filed for it.
#[derive(Clone)]
struct Case {
    facts: MatterFacts,
    package: Package,
    by: ChannelKind,
}

impl Case {
    /// The petition for the worker of client `name`.
    fn petition(name: &str) -> Self {
        let mut case = Self::empty(name, "i-129", "2025-01-20", "2026-01-15");
        case.add(
            "lca",
            "employer",
            DocumentKind::Lca,
            Category::EmployerRecord,
        );
        case.add(
            "letter",
            "employer",
            DocumentKind::EmployerLetter,
            Category::Case,
        );
        case.add(
            "passport",
            "worker",
            DocumentKind::Passport,
            Category::Identity,
        );
        case.add("degree", "worker", DocumentKind::Degree, Category::Case);
        case
    }

    /// The application of the worker's spouse and two children.
    fn dependants(name: &str) -> Self {
        let mut case = Self::empty(name, "i-539", "2025-01-20", "2026-01-15");
        for person in ["spouse", "child 1", "child 2"] {
            case.add(
                &format!("passport {person}"),
                person,
                DocumentKind::Passport,
                Category::Identity,
            );
        }
        case.add(
            "marriage",
            "spouse",
            DocumentKind::MarriageCertificate,
            Category::Identity,
        );
        case.add(
            "birth 1",
            "child 1",
            DocumentKind::BirthCertificate,
            Category::Identity,
        );
        case.add(
            "birth 2",
            "child 2",
            DocumentKind::BirthCertificate,
            Category::Identity,
        );
        case
    }

    fn empty(name: &str, form: &str, edition: &str, on: &str) -> Self {
        let matter = MatterId::derived(&[name.as_bytes()]);
        let attorney = ActorId::derived(&[b"attorney"]);
        let authority = Digest::of(name.as_bytes());
        let parties = [
            ("employer", Party::Petitioner),
            ("worker", Party::Beneficiary),
            ("spouse", Party::Spouse),
            ("child 1", Party::Child),
            ("child 2", Party::Child),
        ];
        let facts = MatterFacts {
            matter,
            parties: parties
                .into_iter()
                .map(|(person, party)| (subject(name, person), party))
                .collect(),
            documents: BTreeMap::new(),
            authority: Some(Authority {
                digest: authority,
                attorney,
                from: "2024-01-01".parse().unwrap(),
                until: Some("2026-12-31".parse().unwrap()),
            }),
        };
        let package = Package {
            matter,
            agency: Label::fixed("us.uscis"),
            form: Label::new(form).unwrap(),
            edition: edition.parse().unwrap(),
            on: on.parse().unwrap(),
            authority: Some(authority),
            attorney,
            parts: Vec::new(),
        };
        Self {
            facts,
            package,
            by: ChannelKind::Portal,
        }
    }

    fn add(&mut self, document: &str, person: &str, kind: DocumentKind, category: Category) {
        let matter = self.package.matter;
        // The name of the matter's client is in each person's id, so it is in the document's.
        let owner = *self
            .facts
            .parties
            .keys()
            .find(|known| self.is(**known, person))
            .unwrap();
        let id = DocumentId::derived(&[matter.as_bytes(), document.as_bytes()]);
        let digest = Digest::of(id.as_bytes());
        let known = KnownDocument {
            matter,
            subject: owner,
            digest,
            category,
            signature: Signature::Electronic,
            language: Label::fixed("en"),
            translates: None,
        };
        self.facts.documents.insert(id, known);
        let media = MediaType::pdf();
        self.package.parts.push(Part {
            document: id,
            subject: owner,
            kind,
            category,
            media,
            length: 9_000,
            digest,
        });
    }

    fn is(&self, known: SubjectId, person: &str) -> bool {
        ["Testa", "Probe"].iter().any(|name| {
            MatterId::derived(&[name.as_bytes()]) == self.package.matter
                && subject(name, person) == known
        })
    }

    fn part(&mut self, kind: DocumentKind) -> &mut Part {
        self.package
            .parts
            .iter_mut()
            .find(|part| part.kind == kind)
            .unwrap()
    }

    fn known(&mut self, kind: DocumentKind) -> &mut KnownDocument {
        let id = self.part(kind).document;
        self.facts.documents.get_mut(&id).unwrap()
    }

    fn refusal(&self) -> Option<Code> {
        let register = Register::shipped().unwrap();
        check(&self.package, self.by, &register, &self.facts)
            .err()
            .map(|refusal| refusal.code())
    }

    /// The refusal after one change.
    fn with(&self, change: impl FnOnce(&mut Self)) -> Option<Code> {
        let mut changed = self.clone();
        change(&mut changed);
        changed.refusal()
    }
}

fn subject(name: &str, person: &str) -> SubjectId {
    SubjectId::derived(&[name.as_bytes(), person.as_bytes()])
}

fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

#[test]
fn complete_packages_are_accepted() {
    assert_eq!(Case::petition("Testa").refusal(), None);
    assert_eq!(Case::dependants("Testa").refusal(), None);
}

#[test]
fn the_same_package_is_accepted_on_the_last_day_and_refused_on_the_next() {
    let mut case = Case::petition("Testa");
    case.package.edition = day("2024-04-01");
    case.package.on = day("2025-01-16");
    assert_eq!(case.refusal(), None);
    case.package.on = day("2025-01-17");
    assert_eq!(case.refusal(), Some(Code::AgyEdition));
    case.package.edition = day("2025-01-17");
    assert_eq!(
        case.refusal(),
        None,
        "the next edition is taken from that day"
    );
    case.package.on = day("2025-01-16");
    assert_eq!(
        case.refusal(),
        Some(Code::AgyEdition),
        "and not a day earlier"
    );
}

#[test]
fn documents_swapped_between_two_clients_are_refused_in_both_packages() {
    let (mut one, mut other) = (Case::petition("Testa"), Case::petition("Probe"));
    // The firm knows the documents of both matters.
    one.facts
        .documents
        .append(&mut other.facts.documents.clone());
    other
        .facts
        .documents
        .append(&mut one.facts.documents.clone());
    assert_eq!((one.refusal(), other.refusal()), (None, None));
    core::mem::swap(
        one.part(DocumentKind::Passport),
        other.part(DocumentKind::Passport),
    );
    assert_eq!(one.refusal(), Some(Code::AgyWrongPerson));
    assert_eq!(other.refusal(), Some(Code::AgyWrongPerson));
    // Even under the right person's name.
    one.part(DocumentKind::Passport).subject = subject("Testa", "worker");
    assert_eq!(one.refusal(), Some(Code::AgyWrongPerson));
}

#[test]
fn two_childrens_documents_under_each_others_name_are_refused() {
    let case = Case::dependants("Testa");
    let swapped = case.with(|case| {
        let births: Vec<usize> = (0..case.package.parts.len())
            .filter(|at| case.package.parts[*at].kind == DocumentKind::BirthCertificate)
            .collect();
        let [one, two] = [births[0], births[1]].map(|at| case.package.parts[at].subject);
        case.package.parts[births[0]].subject = two;
        case.package.parts[births[1]].subject = one;
    });
    assert_eq!(swapped, Some(Code::AgyWrongPerson));
}

#[test]
fn content_that_is_not_what_was_taken_in_is_refused() {
    let case = Case::petition("Testa");
    let other = Digest::of(b"another page set");
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).digest = other),
        Some(Code::AgyWrongPerson)
    );
    let unknown = DocumentId::derived(&[b"unknown"]);
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).document = unknown),
        Some(Code::AgyWrongPerson)
    );
}

#[test]
fn without_a_valid_authority_of_this_attorney_nothing_goes() {
    let case = Case::petition("Testa");
    let no = Some(Code::AgyNoAuth);
    assert_eq!(case.with(|case| case.package.authority = None), no);
    assert_eq!(case.with(|case| case.facts.authority = None), no);
    assert_eq!(
        case.with(|case| case.package.authority = Some(Digest::of(b"forged"))),
        no
    );
    assert_eq!(
        case.with(|case| case.package.attorney = ActorId::derived(&[b"somebody"])),
        no
    );
    let authority = |case: &mut Case, from: &str, until: &str| {
        let known = case.facts.authority.as_mut().unwrap();
        (known.from, known.until) = (day(from), Some(day(until)));
    };
    assert_eq!(
        case.with(|case| authority(case, "2026-01-16", "2026-12-31")),
        no,
        "signed later"
    );
    assert_eq!(
        case.with(|case| authority(case, "2024-01-01", "2026-01-14")),
        no,
        "ended"
    );
    assert_eq!(
        case.with(|case| authority(case, "2026-01-15", "2026-01-15")),
        None
    );
}

#[test]
fn a_category_that_may_not_go_by_the_channel_is_refused_whatever_the_package_calls_it() {
    let case = Case::petition("Testa");
    let barred = Some(Code::AgyChannel);
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).category = Category::SpecialProtected),
        barred
    );
    assert_eq!(
        case.with(|case| case.known(DocumentKind::Degree).category = Category::Special),
        barred
    );
    assert_eq!(
        case.with(|case| case.by = ChannelKind::Api),
        barred,
        "no such channel"
    );
}

#[test]
fn what_the_form_does_not_ask_for_is_refused() {
    let case = Case::petition("Testa");
    let excess = Some(Code::AgyExcess);
    let add = |person: &'static str, kind| {
        move |case: &mut Case| case.add("more", person, kind, Category::Identity)
    };
    assert_eq!(
        case.with(add("child 1", DocumentKind::Passport)),
        excess,
        "not of this party"
    );
    assert_eq!(
        case.with(add("worker", DocumentKind::Photo)),
        excess,
        "not of this kind"
    );
    assert_eq!(
        case.with(add("worker", DocumentKind::Passport)),
        excess,
        "one is enough"
    );
    assert_eq!(
        case.with(add("worker", DocumentKind::Degree)),
        None,
        "several are welcome"
    );
    let twice = case.with(|case| {
        let again = case.part(DocumentKind::Degree).clone();
        case.package.parts.push(again);
    });
    assert_eq!(twice, excess, "the same document twice");
}

#[test]
fn file_types_and_sizes_that_the_agency_does_not_take_are_refused() {
    let case = Case::petition("Testa");
    let format = Some(Code::AgyFormat);
    let docx =
        MediaType::parse("application/vnd.openxmlformats-officedocument.wordprocessingml.document");
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).media = docx),
        format
    );
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).length = 12_582_912),
        None
    );
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).length = 12_582_913),
        format
    );
    assert_eq!(
        case.with(|case| case.part(DocumentKind::Degree).length = 0),
        format
    );
    assert_eq!(
        case.with(|case| case
            .package
            .parts
            .iter_mut()
            .for_each(|part| part.length = u64::MAX)),
        format
    );
}

#[test]
fn a_form_without_the_signature_it_needs_is_refused() {
    let mut case = Case::petition("Testa");
    case.add("form", "employer", DocumentKind::FormI129, Category::Case);
    assert_eq!(case.refusal(), None);
    assert_eq!(
        case.with(|case| case.known(DocumentKind::FormI129).signature = Signature::None),
        Some(Code::AgySign)
    );
    let by_courier = |signature| {
        case.with(|case| {
            case.by = ChannelKind::Courier;
            case.add("g28", "employer", DocumentKind::G28, Category::Case);
            case.known(DocumentKind::FormI129).signature = signature;
            case.known(DocumentKind::G28).signature = Signature::Wet;
        })
    };
    assert_eq!(by_courier(Signature::Electronic), Some(Code::AgySign));
    assert_eq!(by_courier(Signature::Wet), None);
}

#[test]
fn a_document_in_another_language_needs_its_own_translation() {
    let case = Case::dependants("Testa");
    let hebrew =
        |case: &mut Case| case.known(DocumentKind::BirthCertificate).language = Label::fixed("he");
    let translated = |case: &mut Case, person: &str, language: &str| {
        case.add(
            "translation",
            person,
            DocumentKind::Translation,
            Category::Identity,
        );
        let original = case.part(DocumentKind::BirthCertificate).document;
        let known = case.known(DocumentKind::Translation);
        known.translates = Some(original);
        known.language = Label::new(language).unwrap();
    };
    assert_eq!(case.with(hebrew), Some(Code::AgyTranslation));
    let with = |person: &str, language: &str| {
        case.with(|case| {
            hebrew(case);
            translated(case, person, language);
        })
    };
    assert_eq!(with("child 1", "en"), None);
    assert_eq!(
        with("child 1", "ru"),
        Some(Code::AgyTranslation),
        "into a third language"
    );
    assert_eq!(
        with("child 2", "en"),
        Some(Code::AgyExcess),
        "of somebody else's document"
    );
    let loose = case.with(|case| {
        case.add(
            "loose",
            "spouse",
            DocumentKind::Translation,
            Category::Identity,
        )
    });
    assert_eq!(loose, Some(Code::AgyExcess), "of nothing");
}

#[test]
fn what_is_missing_is_missed_for_each_person() {
    let case = Case::dependants("Testa");
    for at in 0..case.package.parts.len() {
        let missing = case.with(|case| drop(case.package.parts.remove(at)));
        assert_eq!(missing, Some(Code::RevIncomplete), "part {at}");
    }
}

#[test]
fn a_form_that_is_not_in_the_register_is_refused() {
    let case = Case::petition("Testa");
    assert_eq!(
        case.with(|case| case.package.form = Label::fixed("i-130")),
        Some(Code::AgyEdition)
    );
    assert_eq!(
        case.with(|case| case.package.agency = Label::fixed("us.dos")),
        Some(Code::AgyEdition)
    );
}
