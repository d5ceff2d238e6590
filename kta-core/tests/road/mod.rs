//! The road that the pipeline tests drive: one family, invented, in memory.

use std::collections::{BTreeMap, BTreeSet};

use kta_core::Result;
use kta_core::audit::Label;
use kta_core::id::{ActorId, DeliveryId, Digest, MatterId, SubjectId};
use kta_core::memory::{Letter, MemoryPorts};
use kta_core::pii::identifier::{Mrz, MrzDate, MrzFields, MrzFormat, MrzSex};
use kta_core::pii::{DocumentKind, Fields, Matter, MatterState, MediaType, Party, Pii, Schema};
use kta_core::pipeline::dispose::{self, Approved, Disposed};
use kta_core::pipeline::receive::{self, Reception};
use kta_core::pipeline::retain::Nexus;
use kta_core::pipeline::transmit::Filing;
use kta_core::pipeline::verify::{CaseFile, Desk, Sorted};
use kta_core::pipeline::{
    House, collaborate, enter, manage, process, retain, store, transfer, transmit, verify,
};
use kta_core::policy::{Actor, LawfulBasis, Permit, Purpose, Role, Session, SpecialGround};
use kta_core::ports::collaboration::Recipient;
use kta_core::ports::store::{PlacementQuery, Register, SheetQuery, Store as _};
use kta_core::time::Timestamp;

/// Values that must not be seen anywhere outside.
pub(crate) const CANARIES: [&str; 6] = [
    "Qzxcanary",
    "QZXCANARY",
    "XQ9900001",
    "1990-02-03",
    "noa@qzx-canary.example",
    "+1 202 555 0199",
];

pub(crate) struct Cast {
    pub(crate) matter: MatterId,
    /// Beneficiary, spouse, two children, and the employer's contact.
    pub(crate) people: [SubjectId; 5],
    pub(crate) deliveries: Vec<DeliveryId>,
}

impl Cast {
    pub(crate) fn actor(&self, role: Role) -> ActorId {
        actor(role, 0)
    }
}

fn actor(role: Role, number: u8) -> ActorId {
    ActorId::derived(&[role.as_str().as_bytes(), &[number]])
}

/// Ports into which the family has sent its letters.
pub(crate) async fn ports(seed: u64) -> (MemoryPorts, Cast) {
    let now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    let ports = MemoryPorts::new(seed, now);
    let subject = |who: u8| SubjectId::derived(&[b"person", &seed.to_be_bytes(), &[who]]);
    let cast = Cast {
        matter: MatterId::derived(&[b"matter", &seed.to_be_bytes()]),
        people: [0, 1, 2, 3, 4].map(subject),
        deliveries: letters(&ports, now, "our documents"),
    };
    (ports, cast)
}

/// Opens a second matter of the same parents and employer, with children under ids of its own,
/// and the letters for it.
pub(crate) async fn second_matter(ports: &MemoryPorts, house: &House, cast: &Cast) -> Cast {
    found(house, cast).await.unwrap();
    let mut people = cast.people;
    for child in &mut people[2..4] {
        *child = SubjectId::derived(&[b"second", child.as_bytes()]);
    }
    let second = Cast {
        matter: MatterId::derived(&[b"second", cast.matter.as_bytes()]),
        people,
        deliveries: letters(ports, house.gate.now(), "and for the second matter"),
    };
    let first = |directory: &kta_core::policy::Directory| directory.matters[&cast.matter].clone();
    let mut matter = house.gate.directory(first);
    let parties = cast.people.map(|person| matter.parties[&person]);
    matter.id = second.matter;
    matter.parties = people.into_iter().zip(parties).collect();
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    let opened = manage::open_matter(house, &attorney, matter, &people[2..4]).await;
    opened.unwrap();
    second
}

fn letters(ports: &MemoryPorts, now: Timestamp, body: &str) -> Vec<DeliveryId> {
    let mut letter = Letter::new(now, "noa@qzx-canary.example").with("body", body);
    for (number, kind) in FAMILY_DOCUMENTS {
        letter = letter.attach(
            format!("{kind}-{number}.txt"),
            MediaType::text(),
            content(number, kind),
        );
    }
    let (family, _) = ports.intake.push(letter);
    let employer = Letter::new(now, "hr@example.com")
        .with("body", body)
        .attach("lca.txt", MediaType::text(), content(4, DocumentKind::Lca))
        .attach(
            "letter.txt",
            MediaType::text(),
            content(4, DocumentKind::EmployerLetter),
        );
    let (petition, _) = ports.intake.push(employer);
    vec![family, petition]
}

const FAMILY_DOCUMENTS: [(usize, DocumentKind); 9] = [
    (0, DocumentKind::Passport),
    (0, DocumentKind::Degree),
    (0, DocumentKind::Resume),
    (1, DocumentKind::Passport),
    (1, DocumentKind::MarriageCertificate),
    (2, DocumentKind::Passport),
    (2, DocumentKind::BirthCertificate),
    (3, DocumentKind::Passport),
    (3, DocumentKind::BirthCertificate),
];

/// Number, given name and birth year of each family member.
const FAMILY: [(&str, &str, u16); 4] = [
    ("XQ9900001", "Noa", 1990),
    ("XQ9900002", "Adam", 1989),
    ("XQ9900003", "Lia", 2012),
    ("XQ9900004", "Ben", 2015),
];

fn content(number: usize, kind: DocumentKind) -> Vec<u8> {
    if kind != DocumentKind::Passport {
        return format!("{kind} of person {number}, invented, Qzxcanary\n").into_bytes();
    }
    let (passport, given, year) = FAMILY[number];
    let zone = Mrz::compose(&MrzFields {
        format: MrzFormat::Td3,
        document_code: "P",
        issuer: "UTO",
        surname: "QZXCANARY",
        given_names: &given.to_uppercase(),
        number: passport,
        nationality: "UTO",
        birth: MrzDate::new(year, 2, 3).unwrap(),
        sex: MrzSex::Unspecified,
        expiry: MrzDate::new(2031, 6, 30).unwrap(),
        optional: "",
    });
    format!("PASSPORT specimen\n{}\n", zone.unwrap().reveal()).into_bytes()
}

fn fields(number: usize) -> Fields {
    let schema = Schema::person();
    let (passport, given, year) = FAMILY[number];
    let mut fields = Fields::new();
    for (name, value) in [
        ("family_name", "Qzxcanary".to_owned()),
        ("given_names", given.to_owned()),
        ("birth_date", format!("{year}-02-03")),
        ("nationality", "UTO".to_owned()),
        ("passport_number", passport.to_owned()),
        ("passport_expiry", "2031-06-30".to_owned()),
    ] {
        fields.set(&schema, name, value).unwrap();
    }
    if number == 0 {
        fields
            .set(&schema, "email", "noa@qzx-canary.example".to_owned())
            .unwrap();
        fields
            .set(&schema, "phone", "+1 202 555 0199".to_owned())
            .unwrap();
    }
    fields
}

/// Puts the staff on the access list and opens the matter; does nothing the second time.
pub(crate) async fn found(house: &House, cast: &Cast) -> Result<()> {
    if house
        .gate
        .directory(|directory| directory.actors.is_empty())
    {
        let trained = "2099-01-01".parse().unwrap();
        let mut actors: Vec<_> = Role::ALL
            .iter()
            .map(|role| Actor::new(actor(*role, 0), *role).trained_until(trained))
            .collect();
        actors.push(Actor::new(actor(Role::Records, 1), Role::Records).trained_until(trained));
        manage::found(house, cast.actor(Role::Ciso), actors).await?;
    }
    if house
        .gate
        .directory(|directory| directory.matters.is_empty())
    {
        let parties = [
            Party::Beneficiary,
            Party::Spouse,
            Party::Child,
            Party::Child,
            Party::Petitioner,
        ];
        let matter = Matter {
            tenant: house.tenant(),
            id: cast.matter,
            kind: Label::fixed("us.h1b"),
            state: MatterState::Intake,
            team: BTreeMap::from([
                (actor(Role::Attorney, 0), Role::Attorney),
                (actor(Role::Paralegal, 0), Role::Paralegal),
            ]),
            parties: cast.people.into_iter().zip(parties).collect(),
            walled: BTreeSet::new(),
            purposes: BTreeMap::from(
                [
                    Purpose::Representation,
                    Purpose::Filing,
                    Purpose::Retention,
                    Purpose::Disposition,
                    Purpose::Compliance,
                ]
                .map(|purpose| (purpose, LawfulBasis::Contract)),
            ),
            ground: Some(SpecialGround::LegalClaims),
            triggers: BTreeMap::new(),
            open_points: BTreeSet::new(),
            originals_held: 0,
        };
        let attorney = session(house, Role::Attorney, Purpose::Representation);
        manage::open_matter(house, &attorney, matter, &cast.people[2..4]).await?;
    }
    Ok(())
}

pub(crate) fn session(house: &House, role: Role, purpose: Purpose) -> Session<'_> {
    house.session(actor(role, 0), role, purpose)
}

/// The whole road, from wherever it was left.
pub(crate) async fn drive(ports: &MemoryPorts, house: &House, cast: &Cast) -> Result<Disposed> {
    if let Some(disposed) = dispose::disposed(house, cast.matter).await? {
        return Ok(disposed);
    }
    let approved = match dispose::begun(house, cast.matter).await? {
        Some(approved) => approved,
        None => until_approved(ports, house, cast).await?,
    };
    execute(house, cast, approved).await
}

pub(crate) async fn execute(house: &House, _cast: &Cast, approved: Approved) -> Result<Disposed> {
    let destroyer = session(house, Role::ServiceDestroy, Purpose::Disposition);
    let prober = house.session(actor(Role::Records, 1), Role::Records, Purpose::Disposition);
    dispose::execute(house, &destroyer, &prober, approved, &Nexus::default()).await
}

/// The road to the review.
pub(crate) async fn until_verified(
    ports: &MemoryPorts,
    house: &House,
    cast: &Cast,
) -> Result<verify::Verified> {
    found(house, cast).await?;
    let clerk = session(house, Role::Intake, Purpose::Representation);
    // The intake port of the house is among its erasers; the letters come through the same one.
    while let Reception::Received(_) | Reception::Refused { .. } =
        receive::receive(house, &clerk, &*ports.intake).await?
    {}
    let mut received = Vec::new();
    for delivery in &cast.deliveries {
        received.extend(receive::received(house, &clerk, *delivery).await?);
    }
    assert_eq!(received.len(), cast.deliveries.len(), "a delivery was lost");
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let destroyer = session(house, Role::ServiceDestroy, Purpose::Disposition);
    let desk = Desk {
        clerk: &clerk,
        reviewer: &paralegal,
        destroyer: &destroyer,
    };
    verify::verify(house, desk, received, case(cast)).await
}

/// The road to the agency.
pub(crate) async fn until_processed(
    ports: &MemoryPorts,
    house: &House,
    cast: &Cast,
) -> Result<process::Processed> {
    let verified = until_verified(ports, house, cast).await?;
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let entered = enter::enter(house, &paralegal, verified).await?;
    let sync = session(house, Role::ServiceSync, Purpose::Representation);
    let transferred = transfer::transfer(house, &sync, entered).await?;
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    process::process(house, &attorney, transferred, &draft).await
}

pub(crate) async fn until_transmitted(
    ports: &MemoryPorts,
    house: &House,
    cast: &Cast,
) -> Result<transmit::Transmitted> {
    let processed = until_processed(ports, house, cast).await?;
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    let stored = store::store(house, &paralegal, processed).await?;
    let mut shared = collaborate::collaborate(house, stored).await?;
    let wish = letter_to_employer(&shared)?;
    if house.gate.now() < "2027-01-01T00:00:00Z".parse::<Timestamp>().unwrap() {
        collaborate::share(house, &attorney, &mut shared, wish).await?;
    }
    let documents = shared
        .stored()
        .documents()
        .filter(|d| {
            [
                DocumentKind::Passport,
                DocumentKind::Degree,
                DocumentKind::Lca,
            ]
            .contains(&d.kind)
        })
        .map(|d| d.id)
        .collect();
    let filing = Filing {
        agency: Label::fixed("us.uscis"),
        form: Label::fixed("i-129"),
        edition: "2025-01-20".parse().unwrap(),
        documents,
        authority: Some(Digest::of(b"G-28, signed")),
    };
    let filer = session(house, Role::Attorney, Purpose::Filing);
    transmit::transmit(house, &filer, shared, filing).await
}

pub(crate) fn letter_to_employer(shared: &collaborate::Shared) -> Result<collaborate::Wish> {
    let mut documents = shared.stored().documents();
    let letter = documents.find(|d| d.kind == DocumentKind::EmployerLetter);
    Ok(collaborate::Wish {
        document: letter.expect("the employer's letter came in").id,
        recipient: Recipient::new("hr@example.com".to_owned())?,
        expires: Some("2026-12-06T09:00:00Z".parse().unwrap()),
    })
}

pub(crate) async fn finalise(house: &House, disposed: Disposed) -> Result<Disposed> {
    let prober = house.session(actor(Role::Records, 1), Role::Records, Purpose::Disposition);
    dispose::finalise(house, &prober, disposed).await
}

pub(crate) async fn until_approved(
    ports: &MemoryPorts,
    house: &House,
    cast: &Cast,
) -> Result<Approved> {
    let transmitted = until_transmitted(ports, house, cast).await?;
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    if house
        .gate
        .directory(|directory| directory.matters[&cast.matter].state)
        == MatterState::Filed
    {
        manage::close_matter(house, &attorney, cast.matter, "2026-12-31".parse().unwrap()).await?;
    }
    ports.clock.set("2045-01-02T09:00:00Z".parse().unwrap());
    let service = session(house, Role::ServiceRetention, Purpose::Retention);
    let retained = retain::retain(house, &service, transmitted, &Nexus::default()).await?;
    approved(house, &retained).await
}

/// A proposal with both approvals, of what was evaluated.
pub(crate) async fn approved(house: &House, retained: &retain::Retained) -> Result<Approved> {
    let records = session(house, Role::Records, Purpose::Disposition);
    let proposed = dispose::propose(house, &records, retained).await?;
    let officer = session(house, Role::Dpo, Purpose::Disposition);
    let once = approve(house, proposed, &records).await?;
    let once = match once {
        Some(once) => once,
        None => {
            dispose::approve(
                house,
                &officer,
                dispose::propose(house, &records, retained).await?,
            )
            .await?
        }
    };
    let second = house.session(actor(Role::Records, 1), Role::Records, Purpose::Disposition);
    dispose::approve_second(house, &second, once).await
}

/// The proposer may not approve; the attempt must leave everything as it was.
async fn approve(
    house: &House,
    proposed: dispose::Proposed,
    records: &Session<'_>,
) -> Result<Option<dispose::ApprovedOnce>> {
    match dispose::approve(house, records, proposed).await {
        Ok(once) => Ok(Some(once)),
        Err(error)
            if error
                .refusal()
                .is_some_and(|refusal| refusal.code() == kta_core::Code::DspSelf) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn case(cast: &Cast) -> CaseFile {
    let mut sorted: Vec<_> = FAMILY_DOCUMENTS
        .iter()
        .enumerate()
        .map(|(part, (number, kind))| Sorted {
            delivery: cast.deliveries[0],
            part,
            subject: cast.people[*number],
            kind: *kind,
        })
        .collect();
    for (part, kind) in [DocumentKind::Lca, DocumentKind::EmployerLetter]
        .into_iter()
        .enumerate()
    {
        sorted.push(Sorted {
            delivery: cast.deliveries[1],
            part,
            subject: cast.people[4],
            kind,
        });
    }
    CaseFile {
        matter: cast.matter,
        persons: (0..4).map(|who| (cast.people[who], fields(who))).collect(),
        sorted,
        set_aside: BTreeSet::new(),
    }
}

/// Tries to bring the family back in a new matter, under new ids.
pub(crate) async fn reimport(ports: &MemoryPorts, house: &House, cast: &Cast) -> Result<()> {
    let clerk = session(house, Role::Intake, Purpose::Representation);
    let mut again = Cast {
        matter: MatterId::derived(&[b"another matter"]),
        people: cast
            .people
            .map(|id| SubjectId::derived(&[b"again", id.as_bytes()])),
        deliveries: Vec::new(),
    };
    let mut matter = house
        .gate
        .directory(|directory| directory.matters[&cast.matter].clone());
    matter.id = again.matter;
    matter.state = MatterState::Intake;
    matter.parties = again
        .people
        .into_iter()
        .zip(matter.parties.into_values())
        .collect();
    let attorney = session(house, Role::Attorney, Purpose::Representation);
    manage::open_matter(house, &attorney, matter, &[]).await?;
    let now = house.gate.now();
    let mut letter = Letter::new(now, "noa@qzx-canary.example").with("body", "it is us again");
    for (number, kind) in FAMILY_DOCUMENTS {
        letter = letter.attach("again.txt", MediaType::text(), content(number, kind));
    }
    let (family, _) = ports.intake.push(letter);
    let employer = Letter::new(now, "hr@example.com")
        .attach("lca.txt", MediaType::text(), "lca again")
        .attach("letter.txt", MediaType::text(), "letter again");
    let (petition, _) = ports.intake.push(employer);
    again.deliveries = vec![family, petition];
    let mut received = Vec::new();
    while let Reception::Received(one) = receive::receive(house, &clerk, &*ports.intake).await? {
        received.push(one);
    }
    let paralegal = session(house, Role::Paralegal, Purpose::Representation);
    let destroyer = session(house, Role::ServiceDestroy, Purpose::Disposition);
    let desk = Desk {
        clerk: &clerk,
        reviewer: &paralegal,
        destroyer: &destroyer,
    };
    verify::verify(house, desk, received, case(&again))
        .await
        .map(drop)
}

/// What must be the same however the road was travelled.
pub(crate) async fn end_state(ports: &MemoryPorts, house: &House, cast: &Cast) -> Vec<String> {
    let mut state = Vec::new();
    for subject in cast.people {
        for placement in ports
            .store
            .placements(&PlacementQuery::of(house.tenant(), subject))
            .await
            .unwrap()
        {
            let word = format!("{:?}", placement.state);
            let word = word.split([' ', '{']).next().unwrap_or_default().to_owned();
            state.push(format!(
                "{} {} {:?} {word}",
                placement.id, placement.system, placement.kind
            ));
        }
    }
    for register in [
        Register::Receipts,
        Register::Documents,
        Register::Certificates,
        Register::Disclosures,
    ] {
        for sheet in ports
            .store
            .sheets(&SheetQuery::all(house.tenant(), register))
            .await
            .unwrap()
        {
            state.push(format!("{} {}", register.as_str(), sheet.id));
        }
    }
    // Their ids are made under a key of the firm's, which is drawn anew in each run.
    let grants = house.filed_in::<collaborate::SharedGrant>(Register::Grants, cast.matter);
    for grant in grants.await.unwrap() {
        state.push(format!("grant of {}", grant.document));
    }
    state.push(format!("crm {}", ports.crm.len()));
    state.push(format!("library {}", ports.library.names().len()));
    state.push(format!("blobs {}", ports.blobs.stored().len()));
    state.push(format!("channel {}", ports.channel.submissions().len()));
    state.push(format!("intake {}", ports.intake.len()));
    state
}

fn draft(
    _: SubjectId,
    fields: &Fields,
    permit: &Permit<'_>,
) -> Option<(DocumentKind, Pii<String>)> {
    let name = fields.field("family_name")?.expose(permit);
    Some((
        DocumentKind::FormDraft,
        Pii::new(format!("draft for {name}\n")),
    ))
}
