//! Whether the processing of a person's data is stopped. No query and no bulk file has it: only
//! reading records tells, a hundred in a call.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use kta_core::Result;
use kta_core::pii::Locator;
use kta_http::{Call, Method};

use crate::ZohoCrm;
use crate::coql::text_id;
use crate::records::MODULE;

impl ZohoCrm {
    /// Which of these records are there, and whether their processing is stopped.
    pub(crate) async fn stopped(
        &self,
        call: Call,
        records: &[&Locator],
    ) -> Result<BTreeMap<Locator, bool>> {
        let asked = records.chunks(MOST_IDS).map(|some| {
            let ids: Vec<&str> = some.iter().map(|at| at.as_str()).collect();
            self.stopped_among(call, ids.join(","))
        });
        // Collected first: the futures borrow, and the client limits how many run at a time.
        let asked: Vec<_> = asked.collect();
        stream::iter(asked)
            .buffer_unordered(self.config.concurrency)
            .try_fold(BTreeMap::new(), async |mut all, some| {
                all.extend(some);
                Ok(all)
            })
            .await
    }

    async fn stopped_among(&self, call: Call, ids: String) -> Result<Vec<(Locator, bool)>> {
        let answer = self.by_ids(call, &ids, STOPPED).await?;
        let mut told = Vec::new();
        for row in answer.into_list(call, "data")? {
            let at = crate::records::locator(call, &text_id(call, &row)?)?;
            let stopped = match row[STOPPED].as_bool() {
                Some(stopped) => stopped,
                // Not shown in a list: the record alone shows it, where there is such a setting.
                None => self.is_stopped(call, &at).await?,
            };
            told.push((at, stopped));
        }
        Ok(told)
    }

    async fn is_stopped(&self, call: Call, at: &Locator) -> Result<bool> {
        let path = [MODULE, at.as_str()];
        let request = || self.client.request(call, Method::GET, &path);
        let rows = self.client.answer(call, request).await?;
        let rows = rows.into_list(call, "data")?;
        Ok(rows.first().is_some_and(|row| row[STOPPED] == true))
    }
}

/// The vendor's name for it.
pub(crate) const STOPPED: &str = "$stop_processing";
const MOST_IDS: usize = 100;
