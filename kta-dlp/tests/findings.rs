//! What is found and what is not, on invented people.

use kta_dlp::{Entity, Scan};
use proptest::prelude::*;

/// The findings as `(kind, text)`.
fn found(text: &str) -> Vec<(&'static str, &str)> {
    let findings = Scan::new().text(text);
    findings
        .iter()
        .map(|found| {
            (
                found.kind.name(),
                &text[found.start as usize..found.end as usize],
            )
        })
        .collect()
}

#[track_caller]
fn finds(text: &str, kind: &str, value: &str) {
    let all = found(text);
    assert!(all.contains(&(kind, value)), "{kind} in {text:?}: {all:?}");
}

#[track_caller]
fn finds_nothing(text: &str) {
    assert_eq!(found(text), vec![], "{text:?}");
}

const TD3: &str =
    "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<\nL898902C36UTO7408122F1204159ZE184226B<<<<<10";

#[test]
fn vectors_of_the_validators_are_found_behind_their_labels() {
    finds("Teudat zehut: 123456782", "IL_TEUDAT_ZEHUT", "123456782");
    finds("ת.ז. 12345674", "IL_TEUDAT_ZEHUT", "12345674");
    finds(
        "case IOE0123456789 approved",
        "USCIS_RECEIPT",
        "IOE0123456789",
    );
    finds(
        "case EAC-22-123-45678 approved",
        "USCIS_RECEIPT",
        "EAC-22-123-45678",
    );
    finds("A-Number: A12345678", "US_A_NUMBER", "A12345678");
    finds("SSN 123-45-6789", "US_SSN", "123-45-6789");
    finds("ITIN 912-70-1234", "US_ITIN", "912-70-1234");
    finds(TD3, "MRZ", TD3);
}

#[test]
fn what_the_validators_refuse_is_not_found() {
    finds_nothing("Teudat zehut: 123456789");
    finds_nothing("Teudat zehut: 000000000");
    finds_nothing("SSN 000-12-3456");
    finds_nothing("ITIN 912-93-1234");
    finds_nothing("A-Number: A123456");
    finds_nothing("card 4111 1111 1111 1112");
    finds_nothing("IBAN GB82 WEST 1234 5698 7654 33");
    finds_nothing("routing 021000022");
    finds_nothing("NHS no. 943 476 5918");
    finds_nothing("born 31/02/1988");
}

#[test]
fn every_kind_is_found() {
    let one_of_each = [
        (
            Entity::Address,
            "Address: 12 Sample Street, Springfield, IL 62704",
            "12 Sample Street, Springfield, IL 62704",
        ),
        (
            Entity::ApiKey,
            "key AKIAIOSFODNN7EXAMPLE",
            "AKIAIOSFODNN7EXAMPLE",
        ),
        (
            Entity::CreditCard,
            "card 4111-1111-1111-1111",
            "4111-1111-1111-1111",
        ),
        (
            Entity::CryptoWallet,
            "to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
            "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        ),
        (Entity::DateOfBirth, "born on May 11, 1988", "May 11, 1988"),
        (
            Entity::Email,
            "write to testa@example.com",
            "testa@example.com",
        ),
        (
            Entity::Iban,
            "GB82 WEST 1234 5698 7654 32",
            "GB82 WEST 1234 5698 7654 32",
        ),
        (Entity::IlTeudatZehut, "Israeli ID 12345678-2", "12345678-2"),
        (
            Entity::IpAddress,
            "from 2001:db8::7:1 today",
            "2001:db8::7:1",
        ),
        (
            Entity::MacAddress,
            "hw 00-1b-44-11-3a-b7",
            "00-1b-44-11-3a-b7",
        ),
        (Entity::Mrz, TD3, TD3),
        (Entity::Passport, "passport no. X1234567", "X1234567"),
        (Entity::Person, "Applicant: Testa Canary", "Testa Canary"),
        (Entity::Phone, "call +972-50-123-4567", "+972-50-123-4567"),
        (Entity::UkNhs, "NHS number 943 476 5919", "943 476 5919"),
        (Entity::UkNino, "NI AB 12 34 56 C", "AB 12 34 56 C"),
        (Entity::UsANumber, "file A123-456-789", "A123-456-789"),
        (Entity::UsBankAccount, "account number 87654321", "87654321"),
        (Entity::UscisReceipt, "WAC2212345678", "WAC2212345678"),
        (
            Entity::UsDriverLicense,
            "driver's license S123-4567-8901",
            "S123-4567-8901",
        ),
        (Entity::UsDs160, "AA00X1Y2Z3", "AA00X1Y2Z3"),
        (Entity::UsI94, "I-94: 12345678901", "12345678901"),
        (Entity::UsItin, "ITIN 912701234", "912701234"),
        (Entity::UsRouting, "ABA 021000021", "021000021"),
        (Entity::UsSevisId, "SEVIS N0012345678", "N0012345678"),
        (
            Entity::UsSsn,
            "social security number 123456789",
            "123456789",
        ),
    ];
    assert_eq!(one_of_each.map(|(kind, ..)| kind), Entity::ALL);
    for (kind, text, value) in one_of_each {
        finds(text, kind.name(), value);
    }
}

#[test]
fn odd_writing_hides_nothing() {
    finds("SSN １２３‑４５‑６７８９", "US_SSN", "１２３‑４５‑６７８９");
    finds(
        "SSN 123\u{A0}45\u{A0}6789",
        "US_SSN",
        "123\u{A0}45\u{A0}6789",
    );
    finds("SSN 123-\u{200B}45-6789", "US_SSN", "123-\u{200B}45-6789");
    finds("SSN 123-\u{202E}45-6789", "US_SSN", "123-\u{202E}45-6789");
    finds("phone ٢١٢-٥٥٥-٠١٤٢", "PHONE", "٢١٢-٥٥٥-٠١٤٢");
    finds(
        "card 4111 1111\n1111 1111",
        "CREDIT_CARD",
        "4111 1111\n1111 1111",
    );
    finds("case eac 2212\n345678", "USCIS_RECEIPT", "eac 2212\n345678");
    finds(
        "testa.canary [at] example [dot] com",
        "EMAIL",
        "testa.canary [at] example [dot] com",
    );
    finds(
        "testa at example dot co dot uk",
        "EMAIL",
        "testa at example dot co dot uk",
    );
    finds("תַּעוּדַת זֶהוּת 123456782", "IL_TEUDAT_ZEHUT", "123456782");
    let address = "https://x.example/ask?mail=testa.canary%40example.com&ssn=123%2D45%2d6789";
    finds(address, "EMAIL", "testa.canary%40example.com");
    finds(address, "US_SSN", "123%2D45%2d6789");
    let shared = "https://x.example/id/123456782/?name=&ssn=123-45-6789)";
    assert_eq!(found(shared), [("US_SSN", "123-45-6789")]);
    let wrapped = TD3.replace("ANNA", "AN\nNA").to_lowercase();
    finds(&wrapped, "MRZ", &wrapped);
}

#[test]
fn a_label_denies_what_the_shape_suggests() {
    finds_nothing("order 123-45-6789");
    finds_nothing("shipment 312-555-0142");
    finds_nothing("release 10.2.30.4 of the software");
    finds_nothing("serial 4111111111111111");
    finds_nothing("tax number of the company 12-3456789");
    finds_nothing("passport renewal fee paid on 12/03/2024");
    finds_nothing("date of issue 11/05/1988, birth certificate of 12/05/1988");
    finds_nothing("sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    finds_nothing("request 123e4567-e89b-12d3-a456-426614174000");
    finds_nothing(
        "Section 214(b) of the Immigration and Nationality Act. The Department of State may refuse.",
    );
}

#[test]
fn a_label_may_stand_behind_its_value() {
    finds(
        "123456789 is my social security number.",
        "US_SSN",
        "123456789",
    );
    finds("X1234567 (passport)", "PASSPORT", "X1234567");
}

#[test]
fn columns_and_keys_say_what_their_values_are() {
    let table = "| Name | DOB | Passport | Ref |\n|---|---|---|---|\n| Testa Canary | May 2, 1988 | X1234567 | 123-45-6789 |\n";
    assert_eq!(
        found(table),
        [
            ("PERSON", "Testa Canary"),
            ("DATE_OF_BIRTH", "May 2, 1988"),
            ("PASSPORT", "X1234567")
        ]
    );
    let csv = "full_name,birth_date,ssn\n\"Canary, Testa\",\"May 2, 1988\",123456789\n";
    assert_eq!(
        found(csv),
        [
            ("PERSON", "Canary, Testa"),
            ("DATE_OF_BIRTH", "May 2, 1988"),
            ("US_SSN", "123456789")
        ]
    );
    let json = r#"{"fullName":"Testa Canary","dateOfBirth":"1988-05-02","passportNo":"X1234567","orderId":"X7654321"}"#;
    assert_eq!(
        found(json),
        [
            ("PERSON", "Testa Canary"),
            ("DATE_OF_BIRTH", "1988-05-02"),
            ("PASSPORT", "X1234567")
        ]
    );
    let sql = "INSERT INTO t (name, dob, ssn) VALUES ('Testa Canary', '1988-05-02', '123456789');";
    assert_eq!(
        found(sql),
        [
            ("PERSON", "Testa Canary"),
            ("DATE_OF_BIRTH", "1988-05-02"),
            ("US_SSN", "123456789")
        ]
    );
}

#[test]
fn a_stream_gives_the_findings_of_the_whole() {
    let mut text = String::from("name;dob;passport\n");
    for row in 0..20_000 {
        text.push_str(&format!("Testa Canary;1988-05-11;X{row:07}\n"));
    }
    let whole = Scan::new().text(&text);
    assert_eq!(whole.len(), 60_000);
    assert_eq!(Scan::new().reader(text.as_bytes()).unwrap(), whole);
}

#[test]
fn debug_of_a_finding_holds_no_value() {
    let findings = Scan::new().text("SSN 123-45-6789");
    assert!(!format!("{findings:?} {:?}", Scan::new()).contains("6789"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _ = Scan::new().text(&text);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Scan::new().reader(bytes.as_slice()).is_ok());
    }

    #[test]
    fn no_heap_of_signs_makes_it_panic(text in "[-+()<>,.;:'\"|@/\\[\\]#=_ \n\tA-Ca-c0-2א-ג⟦⟧]{0,160}") {
        let _ = Scan::new().text(&text);
    }

    #[test]
    fn no_heap_of_fragments_makes_it_panic(fragments in proptest::collection::vec(prop_oneof![
        Just("SSN"), Just("name"), Just("|"), Just(","), Just("("), Just(")"), Just("VALUES ("), Just("'"), Just("\""), Just("-----BEGIN "),
        Just("PRIVATE KEY-----"), Just("-----END "), Just("P<UTO"), Just("<<<<"), Just("eyJ"), Just("ghp_"), Just("May"), Just("11"), Just("1988"),
        Just("+"), Just("."), Just("-"), Just("at"), Just("[dot]"), Just("@"), Just("x"), Just("NY 10001"), Just("Street"), Just("רחוב"), Just("כתובת:"),
        Just("12"), Just("\n"), Just("\n\n"), Just(" "), Just("  "), Just("Dear"), Just("Anna"), Just("de"), Just("é"), Just("שלום"), Just("ב"), Just(":"),
        Just("A"), Just("1:2::3"), Just("0x"), Just("http://"), Just("....."), Just("%40"), Just("%D7%A0"), Just("%"), Just("%2"),
    ], 0..60)) {
        let _ = Scan::new().text(&fragments.concat());
    }
}
