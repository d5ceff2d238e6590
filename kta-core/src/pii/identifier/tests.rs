use super::*;

const TD3_NAMES: &str = "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<";
const TD3_DATA: &str = "L898902C36UTO7408122F1204159ZE184226B<<<<<10";
const TD1: &str =
    "I<UTOD231458907<<<<<<<<<<<<<<<7408122F1204159UTO<<<<<<<<<<<6ERIKSSON<<ANNA<MARIA<<<<<<<<<<";
const TD2: &str = "I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<D231458907UTO7408122F1204159<<<<<<<6";
const MRV_A: &str =
    "V<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<L8988901C4XXX4009078F96121096ZE184226B<<<<<<";

#[test]
fn icao_specimens_of_every_size_are_read() {
    let td3 = Mrz::parse(&format!("{TD3_NAMES}\n{TD3_DATA}")).unwrap();
    assert_eq!(
        (td3.surname(), td3.given_names()),
        ("ERIKSSON", "ANNA MARIA")
    );
    assert_eq!(
        (td3.number(), td3.issuer(), td3.nationality()),
        ("L898902C3", "UTO", "UTO")
    );
    assert_eq!(
        (
            td3.birth().year_not_after(2026),
            td3.birth().month(),
            td3.birth().day()
        ),
        (1974, Some(8), Some(12))
    );
    assert_eq!(
        (td3.expiry().year_not_after(2076), td3.sex(), td3.optional()),
        (2012, MrzSex::Female, "ZE184226B")
    );
    assert!(!td3.names_may_be_cut());
    for (text, format) in [
        (TD1, MrzFormat::Td1),
        (TD2, MrzFormat::Td2),
        (MRV_A, MrzFormat::MrvA),
    ] {
        let zone = Mrz::parse(text).unwrap();
        assert_eq!(
            (zone.format(), zone.surname(), zone.given_names()),
            (format, "ERIKSSON", "ANNA MARIA")
        );
        assert_eq!(zone.reveal().replace('\n', ""), text);
    }
}

#[test]
fn any_single_altered_digit_of_a_covered_field_is_refused() {
    for place in (0..10).chain(13..20).chain(21..44) {
        let mut data = TD3_DATA.as_bytes().to_vec();
        if !data[place].is_ascii_digit() {
            continue;
        }
        data[place] = if data[place] == b'9' {
            b'0'
        } else {
            data[place] + 1
        };
        let text = format!("{TD3_NAMES}{}", String::from_utf8(data).unwrap());
        assert!(Mrz::parse(&text).is_err(), "place {place}");
    }
}

#[test]
fn the_flaw_of_a_zone_names_the_field_and_nothing_else() {
    let flaw = Mrz::parse(&format!(
        "{TD3_NAMES}{}",
        TD3_DATA.replace("7408122", "7408132")
    ))
    .unwrap_err();
    assert_eq!(flaw, IdentifierFlaw::MrzCheckDigit(MrzField::Birth));
    assert_eq!(
        flaw.to_string(),
        "check digit of the machine readable zone does not fit: date of birth"
    );
}

#[test]
fn a_composed_zone_reads_back_as_composed() {
    for format in [
        MrzFormat::Td1,
        MrzFormat::Td2,
        MrzFormat::Td3,
        MrzFormat::MrvA,
        MrzFormat::MrvB,
    ] {
        let visa = matches!(format, MrzFormat::MrvA | MrzFormat::MrvB);
        let fields = MrzFields {
            format,
            document_code: if visa {
                "V"
            } else if format == MrzFormat::Td3 {
                "P"
            } else {
                "ID"
            },
            issuer: "UTO",
            surname: "SAMPLE CANARY",
            given_names: "Noa Tamar",
            number: "X1234567",
            nationality: "UTO",
            birth: MrzDate::new(2016, 2, 29).unwrap(),
            sex: MrzSex::Unspecified,
            expiry: MrzDate::new(2031, 12, 31).unwrap(),
            optional: "AB12",
        };
        let zone = Mrz::compose(&fields).unwrap();
        assert_eq!(Mrz::parse(&zone.reveal()).unwrap(), zone);
        assert_eq!(
            (zone.surname(), zone.given_names()),
            ("SAMPLE CANARY", "NOA TAMAR")
        );
        assert_eq!(
            (zone.number(), zone.optional(), zone.format()),
            ("X1234567", "AB12", format)
        );
        assert!(!format!("{zone:?} {fields:?}").contains("CANARY"));
    }
}

#[test]
fn a_card_number_longer_than_nine_characters_carries_on_in_the_optional_data() {
    // D23145890 and 734, check digit 9, as in the worked example of ICAO 9303 part 5.
    let first = "I<UTOD23145890<7349<<<<<<<<<<<";
    let second = "3407127M9507122UTO<<<<<<<<<<<2";
    let zone = Mrz::parse(&format!(
        "{first}\n{second}\nSTEVENSON<<PETER<JOHN<<<<<<<<<"
    ))
    .unwrap();
    assert_eq!((zone.number(), zone.optional()), ("D23145890734", ""));
}

#[test]
fn dates_that_do_not_exist_are_refused() {
    assert_eq!(MrzDate::new(2023, 2, 29), Err(IdentifierFlaw::Date));
    assert_eq!(MrzDate::new(2023, 13, 1), Err(IdentifierFlaw::Date));
    assert_eq!(MrzDate::new(2023, 4, 31), Err(IdentifierFlaw::Date));
}

#[test]
fn israeli_ids_follow_the_vectors() {
    assert_eq!(IsraeliId::parse("123456782").unwrap().reveal(), "123456782");
    assert!(IsraeliId::parse("000000018").is_ok());
    assert_eq!(IsraeliId::parse("12345674").unwrap().reveal(), "012345674");
    assert_eq!(
        IsraeliId::parse("123456789"),
        Err(IdentifierFlaw::CheckDigit)
    );
    assert_eq!(
        IsraeliId::parse("000000000"),
        Err(IdentifierFlaw::NeverIssued)
    );
}

#[test]
fn receipts_follow_the_vectors() {
    assert!(
        ReceiptNumber::parse("IOE0123456789")
            .unwrap()
            .has_known_office()
    );
    assert_eq!(
        ReceiptNumber::parse("EAC-22-123-45678").unwrap().reveal(),
        "EAC2212345678"
    );
    assert_eq!(
        ReceiptNumber::parse("EAC221234567"),
        Err(IdentifierFlaw::Length)
    );
    assert!(
        !ReceiptNumber::parse("qqq2212345678")
            .unwrap()
            .has_known_office()
    );
    assert_eq!(
        ReceiptNumber::parse("EA12212345678"),
        Err(IdentifierFlaw::Shape)
    );
}

#[test]
fn a_numbers_follow_the_vectors() {
    assert_eq!(ANumber::parse("A12345678").unwrap().reveal(), "A012345678");
    assert_eq!(ANumber::parse("a-012 345 678"), ANumber::parse("A12345678"));
    assert_eq!(ANumber::parse("A123456"), Err(IdentifierFlaw::Length));
    assert_eq!(ANumber::parse("1234567890"), Err(IdentifierFlaw::Length));
    assert_eq!(ANumber::parse("B12345678"), Err(IdentifierFlaw::Character));
}

#[test]
fn taxpayer_and_social_security_ranges_are_kept_apart() {
    assert!(Ssn::parse("123-45-6789").is_ok());
    for never in [
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
    ] {
        assert_eq!(Ssn::parse(never), Err(IdentifierFlaw::NeverIssued));
    }
    assert!(Itin::parse("912-70-1234").is_ok());
    for never in ["912-93-1234", "912-66-1234", "912-89-1234", "912-49-1234"] {
        assert_eq!(Itin::parse(never), Err(IdentifierFlaw::NeverIssued));
    }
    assert_eq!(Itin::parse("123-70-1234"), Err(IdentifierFlaw::Prefix));
    assert!(Fein::parse("12-3456789").is_ok());
    assert_eq!(Fein::parse("123-45-6789"), Err(IdentifierFlaw::Shape));
}

#[test]
fn labour_case_numbers_have_a_day_of_the_year() {
    for (text, program) in [
        ("I-200-24123-123456", CaseProgram::LabourCondition),
        ("A-19001-12345", CaseProgram::Permanent),
        ("G-100-24366-123456", CaseProgram::Permanent),
        ("P-200-23365-123456", CaseProgram::PrevailingWage),
    ] {
        assert_eq!(LabourCaseNumber::parse(text).unwrap().program(), program);
    }
    for never in [
        "I-200-24000-123456",
        "I-200-24367-123456",
        "I-200-23366-123456",
    ] {
        assert_eq!(LabourCaseNumber::parse(never), Err(IdentifierFlaw::Date));
    }
    assert_eq!(
        LabourCaseNumber::parse("I-999-24001-123456"),
        Err(IdentifierFlaw::Prefix)
    );
    assert_eq!(
        LabourCaseNumber::parse("A-19001-123456"),
        Err(IdentifierFlaw::Shape)
    );
}

#[test]
fn shapes_of_the_other_numbers_hold() {
    assert!(SevisId::parse("N0012345678").is_ok() && SevisId::parse("N001234567").is_err());
    assert!(I94Number::parse("12345678901").is_ok() && I94Number::parse("123456789A1").is_ok());
    assert!(I94Number::parse("12345678A12").is_err());
    assert!(
        Ds160Confirmation::parse("aa00x1y2z3").is_ok()
            && Ds160Confirmation::parse("AB00X1Y2Z3").is_err()
    );
}

#[test]
fn full_width_digits_fold_and_bidi_controls_are_refused() {
    assert_eq!(
        Ssn::parse("１２３‑４５‑６７８９"),
        Ssn::parse("123-45-6789")
    );
    assert_eq!(
        IsraeliId::parse("\u{202E}123456782"),
        Err(IdentifierFlaw::Bidi)
    );
    for control in ('\u{202A}'..='\u{202E}').chain('\u{2066}'..='\u{2069}') {
        assert_eq!(
            PersonName::parse(&format!("Noa {control}Sample")),
            Err(IdentifierFlaw::Bidi)
        );
    }
}

#[test]
fn names_fold_and_are_written_for_the_zone() {
    let name = PersonName::parse("  Ｎｏａ   Müller-O’Canary ").unwrap();
    assert_eq!(name.reveal(), "Noa Müller-O’Canary");
    assert_eq!(name.to_mrz().unwrap(), "NOA<MUELLER<OCANARY");
    assert_eq!(PersonName::parse("Żółć").unwrap().to_mrz().unwrap(), "ZOLC");
    assert_eq!(
        PersonName::parse("Straße").unwrap().to_mrz().unwrap(),
        "STRASSE"
    );
    assert_eq!(
        PersonName::parse("נועה").unwrap().to_mrz(),
        Err(IdentifierFlaw::Script)
    );
    assert_eq!(format!("{name:?}"), "PersonName(redacted)");
    assert_eq!(
        PersonName::parse(" \u{200B} "),
        Err(IdentifierFlaw::Character)
    );
    assert_eq!(
        PersonName::parse(&"x".repeat(100_000)),
        Err(IdentifierFlaw::Length)
    );
}

#[test]
fn debug_of_every_identifier_is_redacted() {
    let shown = format!(
        "{:?}{:?}{:?}{:?}{:?}",
        Ssn::parse("123-45-6789"),
        ANumber::parse("A123456789"),
        ReceiptNumber::parse("IOE0123456789"),
        IsraeliId::parse("123456782"),
        LabourCaseNumber::parse("I-200-24123-456789"),
    );
    assert!(
        !shown.chars().any(|character| character.is_ascii_digit()),
        "{shown}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,120}") {
        let _ = (Mrz::parse(&text), ANumber::parse(&text), ReceiptNumber::parse(&text), IsraeliId::parse(&text));
        let _ = (Ssn::parse(&text), Itin::parse(&text), SevisId::parse(&text), I94Number::parse(&text));
        let _ = (Ds160Confirmation::parse(&text), Fein::parse(&text), LabourCaseNumber::parse(&text));
        let _ = PersonName::parse(&text).and_then(|name| name.to_mrz());
    }

    #[test]
    fn no_zone_of_the_right_length_makes_the_parser_panic(text in "[PVIAC][A-Z0-9<]{71}([A-Z0-9<]{16}([A-Z0-9<]{2})?)?") {
        let _ = Mrz::parse(&text);
    }
}
