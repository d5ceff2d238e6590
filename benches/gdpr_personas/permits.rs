//! Who is at work, for what, and what each was admitted to.

use std::collections::HashMap;

use kta_core::pii::Category;
use kta_core::policy::{Act, Permit, Purpose, Role, Scope, Session};

use crate::firm::{Firm, actor};
use crate::generate::{Op, USES};

pub(crate) struct Sessions<'f> {
    attorney: Session<'f>,
    destroyer: Session<'f>,
    officer: Session<'f>,
    own: Session<'f>,
    paralegals: Vec<(Purpose, Session<'f>)>,
}

impl<'f> Sessions<'f> {
    pub(crate) fn of(firm: &'f Firm) -> Self {
        let session = |role, purpose| firm.gate.session(actor(role), role, purpose);
        Self {
            attorney: session(Role::Attorney, Purpose::Representation),
            destroyer: session(Role::ServiceDestroy, Purpose::Disposition),
            officer: session(Role::Dpo, Purpose::Compliance),
            own: session(Role::Paralegal, Purpose::Compliance),
            paralegals: USES
                .map(|purpose| (purpose, session(Role::Paralegal, purpose)))
                .into(),
        }
    }
}

/// The permits that some operations need.
#[derive(Default)]
pub(crate) struct Permits<'s> {
    amend: Option<Permit<'s>>,
    destroy: Option<Permit<'s>>,
    log: Option<Permit<'s>>,
    manage: Option<Permit<'s>>,
    open: HashMap<Purpose, Permit<'s>>,
    search: Option<Permit<'s>>,
    store: Option<Permit<'s>>,
}

impl<'s> Permits<'s> {
    pub(crate) async fn of(sessions: &'s Sessions<'_>, firm: &Firm, ops: &[Op]) -> Self {
        let people = || {
            let everybody = firm.people.iter().copied();
            Scope::over(everybody, [Category::Identity]).in_matter(firm.matter)
        };
        let mut permits = Self::default();
        for op in ops {
            match op {
                Op::Create { .. } if permits.store.is_none() => {
                    permits.store = Some(admit(&sessions.attorney, Act::Store, people()).await);
                }
                Op::Delete { .. } if permits.destroy.is_none() => {
                    permits.destroy =
                        Some(admit(&sessions.destroyer, Act::Destroy, people()).await);
                }
                Op::ReadData { purpose, .. }
                | Op::ReadDataByPurpose { purpose, .. }
                | Op::ReadDataByUser { purpose, .. }
                    if !permits.open.contains_key(purpose) =>
                {
                    let paralegal = sessions.paralegals.iter().find(|(of, _)| of == purpose);
                    let session = paralegal.map_or(&sessions.own, |(_, session)| session);
                    let permit = admit(session, Act::Open, people()).await;
                    permits.open.insert(*purpose, permit);
                }
                Op::ReadMetaByUser { .. } | Op::VerifyDeletion { .. }
                    if permits.search.is_none() =>
                {
                    permits.search = Some(admit(&sessions.officer, Act::Search, people()).await);
                }
                Op::UpdateData { .. } | Op::UpdateMeta { .. } | Op::UpdateMetaByUser { .. }
                    if permits.amend.is_none() =>
                {
                    permits.amend = Some(admit(&sessions.attorney, Act::Amend, people()).await);
                }
                Op::UpdateMetaByPurpose { .. } if permits.manage.is_none() => {
                    let scope = Scope::firm().in_matter(firm.matter);
                    permits.manage = Some(admit(&sessions.attorney, Act::Manage, scope).await);
                }
                Op::ReadLog { .. } if permits.log.is_none() => {
                    permits.log = Some(admit(&sessions.officer, Act::Review, Scope::firm()).await);
                }
                _ => {}
            }
        }
        permits
    }

    pub(crate) fn amend(&self) -> &Permit<'s> {
        self.amend.as_ref().unwrap()
    }

    pub(crate) fn destroy(&self) -> &Permit<'s> {
        self.destroy.as_ref().unwrap()
    }

    pub(crate) fn log(&self) -> &Permit<'s> {
        self.log.as_ref().unwrap()
    }

    pub(crate) fn manage(&self) -> &Permit<'s> {
        self.manage.as_ref().unwrap()
    }

    pub(crate) fn open(&self, purpose: Purpose) -> &Permit<'s> {
        &self.open[&purpose]
    }

    pub(crate) fn search(&self) -> &Permit<'s> {
        self.search.as_ref().unwrap()
    }

    pub(crate) fn store(&self) -> &Permit<'s> {
        self.store.as_ref().unwrap()
    }
}

async fn admit<'s>(session: &'s Session<'_>, act: Act, scope: Scope) -> Permit<'s> {
    session.permit(act, scope).await.unwrap()
}
