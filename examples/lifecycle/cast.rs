//! Who takes part: the invented family from the manifest, and the firm's invented staff.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kta_core::audit::Label;
use kta_core::id::{ActorId, Digest, MatterId, SubjectId, TenantId};
use kta_core::pii::{DocumentKind, Fields, Matter, MatterState, Party, Schema};
use kta_core::policy::{Actor, LawfulBasis, Purpose, Role, SpecialGround};
use kta_core::time::{Entropy, Timestamp};
use serde::Deserialize;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The manifest of the input, as `examples/family/manifest.toml` has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) firm: Firm,
    pub(crate) matter: MatterLine,
    pub(crate) person: Vec<Person>,
    pub(crate) delivery: Vec<DeliveryLine>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Firm {
    pub(crate) intake: String,
    pub(crate) gateway: String,
    pub(crate) form_host: String,
    pub(crate) form_version: String,
    pub(crate) form_key: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct MatterLine {
    pub(crate) kind: String,
    pub(crate) first_delivery: toml::value::Datetime,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Person {
    pub(crate) id: String,
    role: String,
    family_name: String,
    given_names: String,
    birth_date: toml::value::Datetime,
    nationality: String,
    passport_number: String,
    passport_expiry: toml::value::Datetime,
    national_id: Option<String>,
    mail: Option<String>,
    phone: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DeliveryLine {
    pub(crate) id: String,
    pub(crate) channel: String,
    pub(crate) file: PathBuf,
    pub(crate) body: Option<PathBuf>,
    pub(crate) received: toml::value::Datetime,
    pub(crate) story: String,
    #[serde(default)]
    pub(crate) part: Vec<PartLine>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PartLine {
    pub(crate) document: String,
    #[serde(rename = "for")]
    pub(crate) for_whom: String,
    pub(crate) sha256: Digest,
}

impl Manifest {
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        Ok(toml::from_str(&std::fs::read_to_string(
            folder.join("manifest.toml"),
        )?)?)
    }

    pub(crate) fn delivery(&self, id: &str) -> Result<&DeliveryLine, Failure> {
        Ok(self
            .delivery
            .iter()
            .find(|delivery| delivery.id == id)
            .ok_or("no such delivery in the manifest")?)
    }
}

impl Person {
    pub(crate) fn party(&self) -> Party {
        match self.role.as_str() {
            "beneficiary" => Party::Beneficiary,
            "spouse" => Party::Spouse,
            _ => Party::Child,
        }
    }

    /// What this person declared on the form.
    pub(crate) fn fields(&self, schema: &Schema) -> Result<Fields, Failure> {
        let mut fields = Fields::new();
        let mut set = |name: &str, value: String| fields.set(schema, name, value);
        set("family_name", self.family_name.clone())?;
        set("given_names", self.given_names.clone())?;
        set("birth_date", self.birth_date.to_string())?;
        set("nationality", self.nationality.clone())?;
        set("passport_number", self.passport_number.clone())?;
        set("passport_expiry", self.passport_expiry.to_string())?;
        for (name, value) in [("national_id", &self.national_id), ("email", &self.mail)] {
            if let Some(value) = value {
                set(name, value.clone())?;
            }
        }
        if let Some(phone) = &self.phone {
            set("phone", phone.clone())?;
        }
        Ok(fields)
    }

    /// Values that must never be seen outside: the canaries of this person.
    pub(crate) fn canaries(&self) -> Vec<String> {
        let mut values = vec![
            self.family_name.clone(),
            self.passport_number.clone(),
            self.birth_date.to_string(),
        ];
        values.extend(
            [&self.national_id, &self.mail, &self.phone]
                .into_iter()
                .flatten()
                .cloned(),
        );
        values
    }
}

/// The cast: ids of everybody.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) tenant: TenantId,
    pub(crate) matter: MatterId,
    pub(crate) people: BTreeMap<String, SubjectId>,
    pub(crate) staff: Staff,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Staff {
    pub(crate) attorney: ActorId,
    pub(crate) paralegal: ActorId,
    pub(crate) trainee: ActorId,
    pub(crate) rival: ActorId,
    pub(crate) clerk: ActorId,
    pub(crate) records: ActorId,
    pub(crate) validator: ActorId,
    pub(crate) counsel: ActorId,
    pub(crate) dpo: ActorId,
    pub(crate) ciso: ActorId,
    pub(crate) employer: ActorId,
    pub(crate) channel: ActorId,
    pub(crate) sync: ActorId,
    pub(crate) retention: ActorId,
    pub(crate) destroyer: ActorId,
}

impl Cast {
    pub(crate) fn draw(manifest: &Manifest, entropy: &dyn Entropy) -> Self {
        let mut people: BTreeMap<_, _> = manifest
            .person
            .iter()
            .map(|person| (person.id.clone(), SubjectId::random(entropy)))
            .collect();
        people.insert("employer".to_owned(), SubjectId::random(entropy));
        let actor = || ActorId::random(entropy);
        Self {
            tenant: TenantId::random(entropy),
            matter: MatterId::random(entropy),
            people,
            staff: Staff {
                attorney: actor(),
                paralegal: actor(),
                trainee: actor(),
                rival: actor(),
                clerk: actor(),
                records: actor(),
                validator: actor(),
                counsel: actor(),
                dpo: actor(),
                ciso: actor(),
                employer: actor(),
                channel: actor(),
                sync: actor(),
                retention: actor(),
                destroyer: actor(),
            },
        }
    }

    pub(crate) fn person(&self, id: &str) -> Result<SubjectId, Failure> {
        Ok(*self
            .people
            .get(id)
            .ok_or("nobody of that name in the manifest")?)
    }

    /// How the story calls each actor: by function, with an invented name.
    pub(crate) fn names(&self) -> BTreeMap<ActorId, &'static str> {
        let staff = &self.staff;
        BTreeMap::from([
            (staff.attorney, "attorney Abend"),
            (staff.paralegal, "paralegal Peretz"),
            (staff.trainee, "trainee Tal"),
            (staff.rival, "attorney Rosen, walled off"),
            (staff.clerk, "intake clerk Carmi"),
            (staff.records, "records officer Raz"),
            (staff.validator, "records officer Vered"),
            (staff.counsel, "general counsel Gal"),
            (staff.dpo, "privacy officer Dror"),
            (staff.ciso, "security officer Sela"),
            (staff.employer, "the employer's contact"),
            (staff.channel, "the channel service"),
            (staff.sync, "the sync service"),
            (staff.retention, "the retention service"),
            (staff.destroyer, "the destruction service"),
        ])
    }

    /// Whom the firm has trained when the road begins: everybody but the trainee.
    pub(crate) fn trained(&self) -> [ActorId; 9] {
        let staff = &self.staff;
        [
            staff.attorney,
            staff.paralegal,
            staff.rival,
            staff.clerk,
            staff.records,
            staff.validator,
            staff.counsel,
            staff.dpo,
            staff.ciso,
        ]
    }

    /// The access list on the first day. Nobody is trained yet as far as it knows.
    pub(crate) fn actors(&self) -> Vec<Actor> {
        let staff = &self.staff;
        let mut employer = Actor::new(staff.employer, Role::Petitioner);
        employer.party = Some(Party::Petitioner);
        employer.subject = self.people.get("employer").copied();
        vec![
            Actor::new(staff.attorney, Role::Attorney),
            Actor::new(staff.paralegal, Role::Paralegal),
            // Hired last week.
            Actor::new(staff.trainee, Role::Paralegal),
            Actor::new(staff.rival, Role::Attorney),
            Actor::new(staff.clerk, Role::Intake),
            Actor::new(staff.records, Role::Records),
            Actor::new(staff.validator, Role::Records),
            Actor::new(staff.counsel, Role::LegalHold),
            Actor::new(staff.dpo, Role::Dpo),
            Actor::new(staff.ciso, Role::Ciso),
            employer,
            Actor::new(staff.channel, Role::ServiceChannel),
            Actor::new(staff.sync, Role::ServiceSync),
            Actor::new(staff.retention, Role::ServiceRetention),
            Actor::new(staff.destroyer, Role::ServiceDestroy),
        ]
    }

    /// The matter as it is opened.
    pub(crate) fn open(&self, manifest: &Manifest) -> Result<Matter, Failure> {
        let staff = &self.staff;
        let mut parties: BTreeMap<_, _> = manifest
            .person
            .iter()
            .filter_map(|person| Some((*self.people.get(&person.id)?, person.party())))
            .collect();
        parties.insert(self.person("employer")?, Party::Petitioner);
        Ok(Matter {
            tenant: self.tenant,
            id: self.matter,
            kind: Label::new(manifest.matter.kind.clone())?,
            state: MatterState::Intake,
            team: BTreeMap::from([
                (staff.attorney, Role::Attorney),
                (staff.paralegal, Role::Paralegal),
                (staff.trainee, Role::Paralegal),
                (staff.rival, Role::Attorney),
                (staff.employer, Role::Petitioner),
            ]),
            parties,
            walled: BTreeSet::new(),
            purposes: BTreeMap::from([
                (Purpose::Representation, LawfulBasis::Contract),
                (Purpose::Filing, LawfulBasis::Contract),
                (Purpose::Retention, LawfulBasis::LegalObligation),
                (Purpose::Disposition, LawfulBasis::LegalObligation),
                (Purpose::Compliance, LawfulBasis::LegalObligation),
                (Purpose::Security, LawfulBasis::LegitimateInterests),
            ]),
            ground: Some(SpecialGround::LegalClaims),
            triggers: BTreeMap::new(),
            open_points: BTreeSet::from([Label::fixed("uscis-decision")]),
            // The sealed medical envelope in the safe is the client's, not ours.
            originals_held: 1,
        })
    }
}

/// The kind of document of this name.
pub(crate) fn kind(name: &str) -> Result<DocumentKind, Failure> {
    Ok(*DocumentKind::ALL
        .iter()
        .find(|kind| kind.as_str() == name)
        .ok_or("an unknown kind of document")?)
}

/// A point in time of the manifest.
pub(crate) fn instant(at: &toml::value::Datetime) -> Result<Timestamp, Failure> {
    Ok(at.to_string().parse()?)
}
