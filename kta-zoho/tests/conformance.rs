//! The kits of the ports that this adapter implements, against the emulator.

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use common::Office;
use kta_core::conformance::crm::CrmBench;
use kta_core::pii::FieldName;
use kta_core::ports::Crm;
use kta_zoho::FieldMap;
use kta_zoho::emulator::EmulatorOptions;

kta_core::crm_conformance!(#[tokio::test] fresh);

async fn fresh() -> Office {
    // Each adapter that is opened anew fetches a token of its own.
    Office::with(EmulatorOptions { tokens_in_ten_minutes: 1_000, ..EmulatorOptions::default() })
        .await
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
        self.emulator.inspect().restrict_field("Contacts", &line.api_name);
    }
}
