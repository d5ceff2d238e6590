//! May this leave, by this way, to these people?

use crate::entity::Entity;
use kta_core::pii::Category;
use kta_core::ports::Inspection;
use kta_core::{Code, Refusal};

/// The way by which something leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// Mail encrypted from end to end.
    EncryptedMail,
    /// Mail that only the transport may encrypt.
    Mail,
    /// The recipient's own portal over HTTPS.
    Portal,
    /// A link into the firm's document library, with named recipients and an end.
    SharedLink,
    /// A mutually authenticated transfer to a registered endpoint.
    Transfer,
}

/// Who would receive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A government agency on the register.
    Agency,
    /// The data subject, or the guardian.
    DataSubject,
    /// The petitioning employer.
    Employer,
    /// People of the firm.
    Firm,
    /// Anybody else outside.
    Outsider,
}

/// What is to be done before it may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may leave as it is.
    Allow,
    /// Only encrypted for the recipient.
    Encrypt,
    /// A person has to look first.
    Hold,
    /// Only without findings of these kinds.
    Redact(Vec<Entity>),
}

/// The decision over content of class `class` in which a scanner saw `seen`.
///
/// | content | to | decision |
/// |---|---|---|
/// | a part could not be read | anybody outside | refused, `DLP-OPAQUE` |
/// | a credential | anybody | refused, `DLP-BLOCK` |
/// | sealed by its sender | anybody but an agency | refused, `DLP-BLOCK` |
/// | asylum, trafficking, violence | employer or outsider | refused, `DLP-BLOCK` |
/// | health, crime, biometrics, belief | employer or outsider | refused, `DLP-BLOCK` |
/// | public file with any finding | anybody | redact |
/// | identity numbers in class `CASE` or lower | employer or outsider | redact, hold for an outsider if more than a few |
/// | any finding, or a special class | outside, by plain mail | encrypt |
///
/// # Errors
/// [`Code::DlpOpaque`], [`Code::DlpBlock`]: it may not leave.
pub fn decide(
    class: Category,
    route: Route,
    audience: Audience,
    seen: &Inspection,
) -> Result<Verdict, Refusal> {
    let kinds: Vec<Entity> = {
        let mut kinds: Vec<Entity> = seen
            .findings
            .iter()
            .filter_map(|finding| Entity::named(finding.kind.as_str()))
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    };
    let stranger = matches!(audience, Audience::Employer | Audience::Outsider);
    if seen.opaque && audience != Audience::Firm {
        return Err(Refusal::new(Code::DlpOpaque));
    }
    if kinds.contains(&Entity::ApiKey) {
        return Err(blocked(Entity::ApiKey));
    }
    if class == Category::SpecialSealed && audience != Audience::Agency
        || class.is_special() && stranger
    {
        return Err(Refusal::new(Code::DlpBlock)
            .about("class", kta_core::audit::Label::fixed(class.as_str())));
    }
    if class == Category::PublicFile && !kinds.is_empty() {
        return Ok(Verdict::Redact(kinds));
    }
    if stranger {
        let guarded: Vec<Entity> = kinds
            .iter()
            .copied()
            .filter(|kind| is_guarded(*kind))
            .collect();
        let many = seen.findings.len() > FEW;
        if audience == Audience::Outsider && many && !guarded.is_empty() {
            return Ok(Verdict::Hold);
        }
        if !guarded.is_empty() {
            return Ok(Verdict::Redact(guarded));
        }
    }
    let personal = !kinds.is_empty() || class.is_special();
    if route == Route::Mail && audience != Audience::Firm && personal {
        return Ok(Verdict::Encrypt);
    }
    Ok(Verdict::Allow)
}

fn blocked(kind: Entity) -> Refusal {
    Refusal::new(Code::DlpBlock).about("kind", kta_core::audit::Label::fixed(kind.name()))
}

/// Numbers with which somebody can pass for the person or take their money.
fn is_guarded(kind: Entity) -> bool {
    !matches!(
        kind,
        Entity::Address
            | Entity::Email
            | Entity::IpAddress
            | Entity::MacAddress
            | Entity::Person
            | Entity::Phone
            | Entity::UscisReceipt
    )
}

/// More findings than this to somebody outside is for a person to look at.
const FEW: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use kta_core::audit::Label;
    use kta_core::ports::Finding;

    fn seen(kinds: &[Entity], times: usize) -> Inspection {
        let findings = kinds
            .iter()
            .cycle()
            .take(kinds.len() * times)
            .map(|kind| Finding {
                kind: Label::fixed(kind.name()),
                start: 0,
                end: 1,
                confidence: 90,
            })
            .collect();
        Inspection {
            findings,
            opaque: false,
        }
    }

    fn code(outcome: Result<Verdict, Refusal>) -> Code {
        outcome.unwrap_err().code()
    }

    #[test]
    fn what_cannot_be_read_does_not_leave_the_firm() {
        let opaque = Inspection {
            findings: Vec::new(),
            opaque: true,
        };
        assert_eq!(
            code(decide(
                Category::Case,
                Route::Portal,
                Audience::Agency,
                &opaque
            )),
            Code::DlpOpaque
        );
        assert_eq!(
            decide(Category::Case, Route::Mail, Audience::Firm, &opaque),
            Ok(Verdict::Allow)
        );
    }

    #[test]
    fn a_credential_never_leaves() {
        for audience in [Audience::Agency, Audience::Firm, Audience::DataSubject] {
            let key = seen(&[Entity::ApiKey], 1);
            assert_eq!(
                code(decide(Category::Case, Route::Portal, audience, &key)),
                Code::DlpBlock
            );
        }
    }

    #[test]
    fn special_classes_never_reach_the_employer() {
        for class in [
            Category::Special,
            Category::SpecialProtected,
            Category::SpecialSealed,
        ] {
            let clean = seen(&[], 0);
            assert_eq!(
                code(decide(
                    class,
                    Route::EncryptedMail,
                    Audience::Employer,
                    &clean
                )),
                Code::DlpBlock
            );
        }
    }

    #[test]
    fn a_public_file_holds_no_personal_value() {
        let found = seen(&[Entity::Person, Entity::UsSsn], 1);
        let verdict = decide(
            Category::PublicFile,
            Route::Portal,
            Audience::Outsider,
            &found,
        )
        .unwrap();
        assert_eq!(
            verdict,
            Verdict::Redact(vec![Entity::Person, Entity::UsSsn])
        );
    }

    #[test]
    fn identity_numbers_are_taken_out_for_strangers_and_held_in_bulk() {
        let one = seen(&[Entity::UsSsn, Entity::Person], 1);
        let verdict = decide(Category::Case, Route::Mail, Audience::Outsider, &one).unwrap();
        assert_eq!(verdict, Verdict::Redact(vec![Entity::UsSsn]));
        let bulk = seen(&[Entity::UsSsn], 21);
        assert_eq!(
            decide(Category::Case, Route::Mail, Audience::Outsider, &bulk),
            Ok(Verdict::Hold)
        );
    }

    #[test]
    fn personal_values_go_by_mail_only_encrypted() {
        let found = seen(&[Entity::Passport], 1);
        assert_eq!(
            decide(
                Category::Identity,
                Route::Mail,
                Audience::DataSubject,
                &found
            ),
            Ok(Verdict::Encrypt)
        );
        assert_eq!(
            decide(
                Category::Identity,
                Route::EncryptedMail,
                Audience::DataSubject,
                &found
            ),
            Ok(Verdict::Allow)
        );
        assert_eq!(
            decide(
                Category::Case,
                Route::Mail,
                Audience::DataSubject,
                &seen(&[], 0)
            ),
            Ok(Verdict::Allow)
        );
    }
}
