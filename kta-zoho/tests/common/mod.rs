//! An office with an emulator, an adapter on it, and a desk that gives permits.
// Each test file uses its own part of this; a failing unwrap is a failing test.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod spec;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use kta_core::Result;
use kta_core::conformance::Desk;
use kta_core::id::{IdempotencyKey, PlacementId, RecordId, SubjectId};
use kta_core::memory::SeededEntropy;
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, Fields, Locator, Placement, PlacementKind, PlacementState, Schema};
use kta_core::policy::{Act, LawfulBasis, Permit, Purpose, Role, Scope, Session};
use kta_core::ports::crm::Fetched;
use kta_core::ports::{Crm as _, CrmRecord};
use kta_core::time::Timestamp;
use kta_http::Roots;
use kta_zoho::emulator::{Emulator, EmulatorOptions};
use kta_zoho::{Credentials, ZohoConfig, ZohoCrm};

/// Stands in no test person's data by chance.
pub(crate) const CANARY: &str = "ZZCANARYVALUE";

pub(crate) struct Office {
    pub(crate) emulator: Emulator,
    pub(crate) crm: ZohoCrm,
    pub(crate) desk: &'static Desk,
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::with(EmulatorOptions::default()).await
    }

    pub(crate) async fn with(options: EmulatorOptions) -> Self {
        Self::with_config(options, |config| config).await
    }

    pub(crate) async fn with_config(
        options: EmulatorOptions,
        amend: impl FnOnce(ZohoConfig) -> ZohoConfig,
    ) -> Self {
        let emulator = Emulator::start(options).await.unwrap();
        let config = amend(configuration(&emulator, emulator.refresh_token()));
        let crm = ZohoCrm::new(config, Arc::new(SeededEntropy::new(7))).unwrap();
        // Sessions borrow from the desk; a test's process ends soon enough.
        Self {
            crm,
            emulator,
            desk: Box::leak(Box::new(Desk::new("zoho"))),
        }
    }

    pub(crate) fn adapter_as(&self, refresh_token: &str) -> ZohoCrm {
        adapter(&self.emulator, refresh_token)
    }

    /// A permit over the beneficiary's ordinary data.
    pub(crate) async fn permit(&self, act: Act) -> Permit<'static> {
        self.permit_for(self.desk.beneficiary(), act).await
    }

    pub(crate) async fn permit_for(&self, subject: SubjectId, act: Act) -> Permit<'static> {
        let scope = Scope::over([subject], [Category::Identity, Category::Case]);
        self.ask(act, scope.in_matter(self.desk.matter())).await
    }

    /// A permit over the ordinary data of these people.
    pub(crate) async fn firm_permit_over(
        &self,
        people: &[(SubjectId, Locator)],
        act: Act,
    ) -> Permit<'static> {
        let subjects = people.iter().map(|(subject, _)| *subject);
        let scope = Scope::over(subjects, [Category::Identity, Category::Case]);
        self.ask(act, scope.in_matter(self.desk.matter())).await
    }

    /// A permit over the firm's own affairs.
    pub(crate) async fn firm_permit(&self, act: Act) -> Permit<'static> {
        self.ask(act, Scope::firm()).await
    }

    async fn ask(&self, act: Act, scope: Scope) -> Permit<'static> {
        let role = match act {
            Act::Destroy | Act::Probe => Role::ServiceDestroy,
            Act::Transfer => Role::ServiceSync,
            Act::Manage if scope == Scope::firm() => Role::Ciso,
            Act::Review if scope == Scope::firm() => Role::Auditor,
            _ => Role::Paralegal,
        };
        let session: &'static Session<'static> = Box::leak(Box::new(self.desk.session(role)));
        session.permit(act, scope).await.unwrap()
    }

    /// The fields of the test person. Invented, in three scripts.
    pub(crate) fn texts(&self) -> Vec<(&'static str, String)> {
        [
            ("family_name", "Exemplárová-Sample"),
            ("given_names", "Ναταλία דוגמה"),
            ("birth_date", "1991-02-03"),
            ("birth_place", "Musterstadt"),
            ("nationality", "Utopian"),
            ("passport_number", "XT0000017"),
            ("passport_expiry", "2031-02-03"),
            ("email", "family@example.org"),
            ("phone", "+1 555 0100"),
            ("address", "1 Example Way"),
            ("occupation", "Tester"),
        ]
        .map(|(name, text)| (name, text.to_owned()))
        .to_vec()
    }

    pub(crate) fn record_id(&self, subject: SubjectId) -> RecordId {
        RecordId::derived(&[b"crm", self.desk.matter().as_bytes(), subject.as_bytes()])
    }

    pub(crate) fn record(&self, subject: SubjectId) -> CrmRecord {
        let schema = Schema::person();
        let mut fields = Fields::new();
        for (name, text) in self.texts() {
            fields.set(&schema, name, text).unwrap();
        }
        CrmRecord {
            record: self.record_id(subject),
            subject,
            matter: self.desk.matter(),
            purpose: Purpose::Representation,
            basis: LawfulBasis::Contract,
            fields,
        }
    }

    pub(crate) async fn enter(&self, step: &str) -> Result<Locator> {
        self.enter_person(self.desk.beneficiary(), step).await
    }

    pub(crate) async fn enter_person(&self, subject: SubjectId, step: &str) -> Result<Locator> {
        let permit = self.permit_for(subject, Act::Enter).await;
        let key = IdempotencyKey::derived(step, &[subject.as_bytes()]);
        self.crm.enter(&self.record(subject), key, &permit).await
    }

    pub(crate) async fn fetch(&self, locator: &Locator) -> Result<Fetched> {
        self.fetch_of(self.desk.beneficiary(), locator).await
    }

    pub(crate) async fn fetch_of(&self, subject: SubjectId, locator: &Locator) -> Result<Fetched> {
        let permit = self.permit_for(subject, Act::Transfer).await;
        self.crm.fetch(subject, locator, &permit).await
    }

    pub(crate) async fn amend(
        &self,
        locator: &Locator,
        expected: Timestamp,
        field: &str,
        text: &str,
    ) -> Result<Timestamp> {
        let mut fields = Fields::new();
        fields
            .set(&Schema::person(), field, text.to_owned())
            .unwrap();
        let permit = self.permit(Act::Amend).await;
        self.crm
            .amend(self.desk.beneficiary(), locator, expected, &fields, &permit)
            .await
    }

    /// Somebody writes into the CRM by hand.
    pub(crate) fn by_hand(&self, locator: &Locator, api_name: &str, text: &str) {
        let fields = [(api_name.to_owned(), text.into())].into_iter().collect();
        assert!(
            self.emulator
                .inspect()
                .edit_by_hand(number(locator), fields)
        );
    }

    /// The placement of a person's record.
    pub(crate) fn placement(&self, subject: SubjectId, locator: Option<&Locator>) -> Placement {
        let record = self.record_id(subject);
        Placement {
            tenant: self.desk.tenant(),
            id: PlacementId::derived(&[record.as_bytes()]),
            subject,
            matter: Some(self.desk.matter()),
            system: ZohoCrm::SYSTEM,
            kind: PlacementKind::CrmRecord,
            of: CopyOf::Record(record),
            category: Category::Identity,
            locator: locator.cloned(),
            state: PlacementState::Present,
            since: self.desk.now(),
        }
    }

    pub(crate) fn around_now(&self) -> (Timestamp, Timestamp) {
        let now = Timestamp::from_timestamp(self.emulator.clock().now(), 0).unwrap();
        (now - TimeDelta::hours(1), now + TimeDelta::minutes(1))
    }
}

pub(crate) fn number(locator: &Locator) -> u64 {
    locator.as_str().parse().unwrap()
}

pub(crate) fn configuration(emulator: &Emulator, refresh_token: &str) -> ZohoConfig {
    let credentials = Credentials::new(
        emulator.client_id().to_owned(),
        emulator.client_secret().to_owned().into(),
        refresh_token.to_owned().into(),
    );
    ZohoConfig::at(&emulator.api_url(), &emulator.accounts_url(), credentials)
        .unwrap()
        .waits(Duration::from_millis(1), Duration::from_millis(5))
        // Nothing here is encrypted, and reading the system's roots takes time.
        .trusting(Roots::Only(Vec::new()))
}

fn adapter(emulator: &Emulator, refresh_token: &str) -> ZohoCrm {
    let config = configuration(emulator, refresh_token);
    ZohoCrm::new(config, Arc::new(SeededEntropy::new(7))).unwrap()
}
