//! The channel verdict over real-looking header sets: same headers, same verdict, and only the
//! gateway's own word counts.

use kta_intake::mail::{Gateway, way};
use kta_intake::verdict::{Origin, Reason as R, Tls, Token, WebFacts, judge_web};
use kta_intake::{Limits, Verdict, judge_mail, mail_facts};

fn verdict(headers: &str) -> Verdict {
    let message = format!("{headers}From: a@example.org\nSubject: x\n\nbody\n");
    let facts = way(
        message.as_bytes(),
        &Gateway::named("mx.kta.example"),
        &Limits::default(),
    );
    judge_mail(&facts.expect("readable headers"))
}

const GOOD: &str = "Authentication-Results: mx.kta.example; spf=pass smtp.mailfrom=example.org; dkim=pass header.d=example.org; dmarc=pass header.from=example.org\n";
const TLS13: &str = "Received: from mail.example.org (mail.example.org [203.0.113.25])\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\n\tby mx.kta.example (Postfix) with ESMTPS id 4332B9940D0\n\tfor <intake@kta.example>; Mon,  2 Mar 2026 08:05:04 +0000 (UTC)\n";
const TLS12: &str = "Received: from mail.example.org (mail.example.org [203.0.113.25])\n\tby mx.kta.example with ESMTPS (version=TLS1_2 cipher=ECDHE-RSA-AES256-GCM-SHA384)\n\tid 1; Mon,  2 Mar 2026 08:05:04 +0000\n";
const TLS10: &str = "Received: from mail.example.org (mail.example.org [203.0.113.25])\n\t(using TLSv1 with cipher ECDHE-RSA-AES256-SHA (256/256 bits))\n\tby mx.kta.example (Postfix) with ESMTPS id 1; Mon,  2 Mar 2026 08:05:04 +0000\n";
const UNSTATED: &str = "Received: from mail.example.org (mail.example.org [203.0.113.25])\n\tby mx.kta.example (Postfix) with ESMTPS id 1; Mon,  2 Mar 2026 08:05:04 +0000\n";
const PLAIN: &str = "Received: from mail.example.net (mail.example.net [198.51.100.66])\n\tby mx.kta.example (Postfix) with ESMTP id 1; Mon,  2 Mar 2026 08:05:04 +0000\n";
const ELSEWHERE: &str = "Received: from home.example.org (home.example.org [198.51.100.23])\n\tby mail.example.org (Postfix) with ESMTPS id 1; Mon,  2 Mar 2026 08:05:00 +0000\n";
const EARLIER_PLAIN: &str = "Received: from home.example.org (home.example.org [198.51.100.23])\n\tby mail.example.org (Postfix) with ESMTP id 1; Mon,  2 Mar 2026 08:05:00 +0000\n";
const EARLIER_LOCAL: &str = "Received: from localhost (localhost [127.0.0.1])\n\tby mail.example.org (Postfix) with ESMTP id 1; Mon,  2 Mar 2026 08:05:00 +0000\n";
const LMTP_AFTER: &str = "Received: from mx.kta.example ([10.0.0.1])\n\tby store.kta.example with LMTP id 2; Mon,  2 Mar 2026 08:05:05 +0000\n";

fn results(text: &str) -> String {
    format!("Authentication-Results: mx.kta.example; {text}\n")
}

#[test]
fn the_verdict_follows_from_the_headers_alone() {
    use Verdict::{Degraded as D, Insecure as I, Secure as S};
    let none = || vec![R::DmarcMissing, R::DkimNotPassed, R::SpfNotPassed];
    let fail = || vec![R::DmarcFail, R::DkimNotPassed, R::SpfNotPassed];
    let forged_fail = results("spf=fail; dkim=fail; dmarc=fail");
    let table: Vec<(&str, String, Verdict)> = vec![
        ("all passed over TLS 1.3", format!("{GOOD}{TLS13}"), S),
        (
            "all passed over TLS 1.2 as Exchange and Gmail write it",
            format!("{GOOD}{TLS12}"),
            S,
        ),
        (
            "a later hop inside the firm changes nothing",
            format!("{GOOD}{LMTP_AFTER}{TLS13}"),
            S,
        ),
        (
            "results above the inner hop count too",
            format!("{LMTP_AFTER}{GOOD}{TLS13}"),
            S,
        ),
        (
            "an encrypted earlier hop changes nothing",
            format!("{GOOD}{TLS13}{ELSEWHERE}"),
            S,
        ),
        (
            "a loopback hop is no hop",
            format!("{GOOD}{TLS13}{EARLIER_LOCAL}"),
            S,
        ),
        (
            "an earlier hop in the clear is a reservation",
            format!("{GOOD}{TLS13}{EARLIER_PLAIN}"),
            D(vec![R::EarlierHopPlain]),
        ),
        (
            "arrival in the clear",
            format!("{GOOD}{PLAIN}"),
            I(vec![R::PlainArrival]),
        ),
        (
            "arrival over TLS 1.0",
            format!("{GOOD}{TLS10}"),
            I(vec![R::OldTls]),
        ),
        (
            "TLS of unstated version",
            format!("{GOOD}{UNSTATED}"),
            D(vec![R::TlsVersionUnstated]),
        ),
        (
            "no Received of ours",
            format!("{GOOD}{ELSEWHERE}"),
            I([vec![R::UnknownArrival], none()].concat()),
        ),
        (
            "no headers at all",
            String::new(),
            I([vec![R::UnknownArrival], none()].concat()),
        ),
        ("no results", TLS13.to_owned(), D(none())),
        (
            "results of a foreign authserv-id are ignored",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example", "mx.example.net")
            ),
            D(none()),
        ),
        (
            "a lookalike authserv-id is foreign",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example", "mx.kta.example.attacker.test")
            ),
            D(none()),
        ),
        (
            "our id in a comment is not our id",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example;", "evil.test (mx.kta.example);")
            ),
            D(none()),
        ),
        (
            "our id quoted inside another is not our id",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example;", "\"evil.test; mx.kta.example\";")
            ),
            D(none()),
        ),
        (
            "results below our Received came with the message",
            format!("{TLS13}{GOOD}"),
            D(none()),
        ),
        (
            "a forged pass below our fail changes nothing",
            format!("{forged_fail}{TLS13}{GOOD}"),
            I(fail()),
        ),
        (
            "a forged Received below ours changes nothing",
            format!("{forged_fail}{PLAIN}{GOOD}{TLS13}"),
            I([
                vec![R::DmarcFail, R::PlainArrival],
                vec![R::DkimNotPassed, R::SpfNotPassed],
            ]
            .concat()),
        ),
        (
            "a pass smuggled in a quoted reason",
            format!(
                "{}{TLS13}",
                results("spf=fail reason=\"; dmarc=pass\"; dkim=fail; dmarc=fail")
            ),
            I(fail()),
        ),
        (
            "a pass smuggled in a comment",
            format!(
                "{}{TLS13}",
                results("dmarc=fail (x; dmarc=pass; y); spf=fail; dkim=fail")
            ),
            I(fail()),
        ),
        (
            "two DMARC results mean the worse one",
            format!(
                "{}{TLS13}",
                results("spf=pass; dkim=pass; dmarc=pass; dmarc=fail")
            ),
            I(vec![R::DmarcFail]),
        ),
        (
            "two fields of ours, one failing",
            format!("{GOOD}{}{TLS13}", results("dmarc=fail")),
            I(vec![R::DmarcFail]),
        ),
        (
            "one good signature of two is enough",
            format!(
                "{}{TLS13}",
                results(
                    "dkim=fail header.d=list.test; dkim=pass header.d=example.org; spf=pass; dmarc=pass"
                )
            ),
            S,
        ),
        (
            "forwarded: SPF fails, DKIM carries DMARC",
            format!("{}{TLS13}", results("spf=fail; dkim=pass; dmarc=pass")),
            D(vec![R::SpfNotPassed]),
        ),
        (
            "softfail is noted",
            format!("{}{TLS13}", results("spf=softfail; dkim=pass; dmarc=pass")),
            D(vec![R::SpfNotPassed]),
        ),
        (
            "a domain without DMARC policy",
            format!("{}{TLS13}", results("spf=pass; dkim=pass; dmarc=none")),
            D(vec![R::DmarcMissing]),
        ),
        (
            "a DMARC check that could not be made",
            format!("{}{TLS13}", results("spf=pass; dkim=pass; dmarc=temperror")),
            D(vec![R::DmarcMissing]),
        ),
        (
            "SPF alone vouches for nobody",
            format!("{}{TLS13}", results("spf=pass")),
            D(vec![R::DmarcMissing, R::DkimNotPassed]),
        ),
        (
            "the word none",
            format!("{}{TLS13}", results("none")),
            D(none()),
        ),
        (
            "an unknown version of the field",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example;", "mx.kta.example 2;")
            ),
            D(none()),
        ),
        (
            "version 1 stated, and capitals",
            format!(
                "{}{TLS13}",
                GOOD.replace("mx.kta.example;", "MX.KTA.EXAMPLE 1;")
                    .replace("pass", "PASS")
            ),
            S,
        ),
        (
            "methods with a version",
            format!(
                "{}{TLS13}",
                results("spf/1=pass; dkim/1=pass; dmarc/1=pass")
            ),
            S,
        ),
        (
            "an unended comment spoils the field",
            format!(
                "{}{TLS13}",
                results("dmarc=pass (oops; spf=pass; dkim=pass")
            ),
            D(none()),
        ),
        (
            "unknown results are no pass",
            format!("{}{TLS13}", results("spf=passed; dkim=ok; dmarc=yes")),
            D(none()),
        ),
    ];
    assert!(table.len() >= 20);
    for (name, headers, expected) in table {
        assert_eq!(verdict(&headers), expected, "{name}");
        assert_eq!(verdict(&headers), expected, "{name}, a second time");
    }
}

#[test]
fn encrypted_content_makes_up_for_the_way_but_not_for_the_sender() {
    let sealed =
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n";
    assert_eq!(verdict(&format!("{GOOD}{PLAIN}{sealed}")), Verdict::Secure);
    let forged = results("spf=fail; dkim=fail; dmarc=fail");
    let reasons = vec![R::DmarcFail, R::DkimNotPassed, R::SpfNotPassed];
    assert_eq!(
        verdict(&format!("{forged}{PLAIN}{sealed}")),
        Verdict::Insecure(reasons)
    );
    let signed_only = sealed.replace("enveloped-data", "signed-data");
    assert_eq!(
        verdict(&format!("{GOOD}{PLAIN}{signed_only}")),
        Verdict::Insecure(vec![R::PlainArrival])
    );
}

#[test]
fn the_port_is_told_facts_and_that_foreign_results_were_ignored() {
    let message = format!("{TLS13}{GOOD}From: a@example.org\n\nx\n");
    let facts = way(
        message.as_bytes(),
        &Gateway::named("mx.kta.example"),
        &Limits::default(),
    )
    .unwrap();
    let facts = mail_facts(&facts);
    assert!(facts.encrypted_in_transit);
    assert_eq!(facts.sender_vouched, None);
    let remarks: Vec<&str> = facts.remarks.iter().map(|label| label.as_str()).collect();
    assert_eq!(
        remarks,
        [
            "dmarc-missing",
            "dkim-not-passed",
            "spf-not-passed",
            "foreign-authres-ignored"
        ]
    );
}

#[test]
fn the_verdict_on_a_form_follows_from_the_facts_alone() {
    use Verdict::{Degraded as D, Insecure as I, Secure as S};
    let good = WebFacts {
        tls: Tls::V1_3,
        hsts: true,
        token: Token::Valid,
        origin: Origin::Own,
        form_current: true,
    };
    let table = [
        ("as it should be", good, S),
        (
            "TLS 1.2",
            WebFacts {
                tls: Tls::V1_2,
                ..good
            },
            S,
        ),
        (
            "TLS 1.1",
            WebFacts {
                tls: Tls::Old,
                ..good
            },
            I(vec![R::OldTls]),
        ),
        (
            "in the clear",
            WebFacts {
                tls: Tls::None,
                ..good
            },
            I(vec![R::PlainArrival]),
        ),
        (
            "TLS unstated",
            WebFacts {
                tls: Tls::Unstated,
                ..good
            },
            D(vec![R::TlsVersionUnstated]),
        ),
        (
            "no HSTS",
            WebFacts {
                hsts: false,
                ..good
            },
            D(vec![R::NoHsts]),
        ),
        (
            "no token",
            WebFacts {
                token: Token::Wrong,
                ..good
            },
            I(vec![R::TokenWrong]),
        ),
        (
            "token too old",
            WebFacts {
                token: Token::Expired,
                ..good
            },
            D(vec![R::TokenExpired]),
        ),
        (
            "from another site",
            WebFacts {
                origin: Origin::Foreign,
                ..good
            },
            I(vec![R::OriginForeign]),
        ),
        (
            "from nowhere",
            WebFacts {
                origin: Origin::Absent,
                ..good
            },
            D(vec![R::OriginAbsent]),
        ),
        (
            "an old form",
            WebFacts {
                form_current: false,
                ..good
            },
            D(vec![R::FormOutdated]),
        ),
        (
            "everything at once, gravest first",
            WebFacts {
                tls: Tls::None,
                hsts: false,
                token: Token::Wrong,
                origin: Origin::Foreign,
                form_current: false,
            },
            I(vec![
                R::PlainArrival,
                R::TokenWrong,
                R::OriginForeign,
                R::NoHsts,
                R::FormOutdated,
            ]),
        ),
    ];
    for (name, facts, expected) in table {
        assert_eq!(judge_web(&facts), expected, "{name}");
    }
}

#[test]
fn verdicts_are_stored_in_words() {
    let verdict = Verdict::Degraded(vec![R::NoHsts, R::FormOutdated]);
    let json = serde_json::to_string(&verdict).unwrap();
    assert_eq!(
        json,
        r#"{"verdict":"degraded","reasons":["no-hsts","form-outdated"]}"#
    );
    assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
    assert_eq!(
        serde_json::to_string(&Verdict::Secure).unwrap(),
        r#"{"verdict":"secure"}"#
    );
    for reason in [
        R::DmarcFail,
        R::TlsVersionUnstated,
        R::OriginAbsent,
        R::SpfNotPassed,
    ] {
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}
