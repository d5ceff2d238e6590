//! The kits of the ports that this adapter implements, against the emulator.

// A failing unwrap is a failing test.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::Office;
use kta_core::conformance::Desk;
use kta_core::conformance::access_review::{AccessReviewBench, KnownUser};
use kta_core::conformance::audit_feed::{AuditFeedBench, Happened};
use kta_core::conformance::change_feed::ChangeFeedBench;
use kta_core::conformance::crm::CrmBench;
use kta_core::conformance::erase::{EraseBench, placement};
use kta_core::id::{IdempotencyKey, RecordId, SubjectId};
use kta_core::pii::placement::CopyOf;
use kta_core::pii::{Category, FieldName, Fields, Locator, Placement, PlacementKind, Schema};
use kta_core::policy::{Act, LawfulBasis, Purpose, Role, Scope};
use kta_core::ports::{AccessReview, AuditFeed, ChangeFeed, Crm, CrmRecord, Erase};
use kta_core::time::Timestamp;
use kta_zoho::emulator::{EmulatedUser, EmulatorOptions};
use kta_zoho::{FieldMap, ZohoCrm};

kta_core::access_review_conformance!(
    #[tokio::test]
    fresh
);
kta_core::audit_feed_conformance!(
    #[tokio::test]
    fresh
);
kta_core::change_feed_conformance!(
    #[tokio::test]
    fresh
);
kta_core::crm_conformance!(
    #[tokio::test]
    fresh
);
kta_core::erase_conformance!(
    #[tokio::test]
    fresh
);

async fn fresh() -> Office {
    // Each adapter that is opened anew fetches a token of its own.
    Office::with(EmulatorOptions {
        tokens_in_ten_minutes: 1_000,
        ..EmulatorOptions::default()
    })
    .await
}

#[async_trait]
impl AccessReviewBench for Office {
    async fn review(&self) -> Arc<dyn AccessReview> {
        if self.emulator.inspect().users().len() == 4 {
            self.emulator.inspect().add_user(EmulatedUser {
                id: 5_843_104_000_000_499_001,
                first_name: "Qzxmark".to_owned(),
                last_name: "Qzxmark".to_owned(),
                email: "qzxmark@firm.example.com".to_owned(),
                active: true,
                confirmed: true,
                profile: 1,
                role: 1,
            });
        }
        Arc::new(self.crm.clone())
    }

    async fn known(&self) -> Vec<KnownUser> {
        let users = self.emulator.inspect().users();
        let integration = users[0].id;
        let known = users.into_iter().map(|user| KnownUser {
            locator: Locator::new(user.id.to_string()).unwrap(),
            active: user.active,
            administrator: user.profile == 0,
            integration: user.id == integration,
            second_factor: None,
        });
        known.collect()
    }
}

#[async_trait]
impl AuditFeedBench for Office {
    async fn feed(&self) -> Arc<dyn AuditFeed> {
        Arc::new(self.crm.clone())
    }

    async fn happen(&self, marked: &str) -> Happened {
        let now = || Timestamp::from_timestamp(self.emulator.clock().now(), 0).unwrap();
        let from = now();
        let desk = Desk::new("audit feed");
        let copy = self.copy(&desk, desk.beneficiary(), marked).await;
        let id = common::number(&copy.locator.unwrap());
        let inspect = self.emulator.inspect();
        let change = [("Occupation".to_owned(), "another one".into())];
        assert!(inspect.edit_by_hand(id, change.into_iter().collect()));
        assert!(inspect.delete_by_hand(id));
        // Record and note added, record updated and deleted.
        Happened {
            from,
            to: now(),
            rows: 4,
        }
    }
}

#[async_trait]
impl ChangeFeedBench for Office {
    async fn feed(&self) -> Arc<dyn ChangeFeed> {
        Arc::new(self.adapter_as(self.emulator.refresh_token()))
    }

    async fn crm(&self) -> Arc<dyn Crm> {
        Arc::new(self.adapter_as(self.emulator.refresh_token()))
    }

    async fn delete(&self, at: &Locator) {
        assert!(self.emulator.inspect().delete_by_hand(common::number(at)));
    }
}

#[async_trait]
impl CrmBench for Office {
    async fn crm(&self) -> Arc<dyn Crm> {
        Arc::new(self.adapter_as(self.emulator.refresh_token()))
    }

    async fn count(&self) -> usize {
        self.emulator.inspect().ids("Contacts").len()
    }

    async fn withhold(&self, field: &FieldName) {
        let map = FieldMap::person();
        let line = map.of(field).expect("the kit withholds a mapped field");
        self.emulator
            .inspect()
            .restrict_field("Contacts", &line.api_name);
    }
}

#[async_trait]
impl EraseBench for Office {
    async fn eraser(&self) -> Arc<dyn Erase> {
        Arc::new(self.adapter_as(self.emulator.refresh_token()))
    }

    async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
        let number = self.emulator.inspect().ids("Contacts").len();
        let record = RecordId::derived(&[subject.as_bytes(), &number.to_be_bytes()]);
        let mut fields = Fields::new();
        for name in ["family_name", "given_names", "occupation"] {
            fields
                .set(&Schema::person(), name, marked.to_owned())
                .unwrap();
        }
        let entry = CrmRecord {
            record,
            subject,
            matter: desk.matter(),
            purpose: Purpose::Representation,
            basis: LawfulBasis::Contract,
            fields,
        };
        let session = desk.session(Role::ServiceSync);
        let scope = Scope::over([subject], [Category::Identity, Category::Case]);
        let permit = session
            .permit(Act::Enter, scope.in_matter(desk.matter()))
            .await
            .unwrap();
        let key = IdempotencyKey::derived("copy", &[record.as_bytes()]);
        let locator = self.crm.enter(&entry, key, &permit).await.unwrap();
        let inspect = self.emulator.inspect();
        inspect
            .note_by_hand(common::number(&locator), marked, marked)
            .unwrap();
        inspect
            .attach_by_hand(common::number(&locator), marked, marked.as_bytes())
            .unwrap();
        let of = (CopyOf::Record(record), Category::Identity);
        placement(
            desk,
            subject,
            (ZohoCrm::SYSTEM, PlacementKind::CrmRecord),
            of,
            locator,
        )
    }
}
