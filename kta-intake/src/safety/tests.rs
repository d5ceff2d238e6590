use std::io::{Cursor, Write as _};

use zip::write::{SimpleFileOptions, ZipWriter};

use super::*;

const PDF: &[u8] =
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR";

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        writer
            .start_file(*name, SimpleFileOptions::default())
            .unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn docx(extra: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries: Vec<(&str, &[u8])> = vec![
        ("[Content_Types].xml", b"<Types/>"),
        ("word/document.xml", b"<w:document><w:body/></w:document>"),
    ];
    entries.extend_from_slice(extra);
    zip(&entries)
}

fn look(name: &str, bytes: &[u8]) -> Result<Kind, Code> {
    check(Some(name), bytes, &Limits::default())
}

/// The bytes with `from` replaced, length kept.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(from.len()).position(|w| w == from) {
        bytes[at + found..at + found + to.len()].copy_from_slice(to);
        at += found + to.len();
    }
    bytes
}

#[test]
fn what_people_send_comes_in_as_what_it_is() {
    for (name, bytes, kind) in [
        ("passport.pdf", PDF.to_vec(), Kind::Pdf),
        ("Passport.PDF", PDF.to_vec(), Kind::Pdf),
        ("photo.jpeg", JPEG.to_vec(), Kind::Jpeg),
        ("photo.png", PNG.to_vec(), Kind::Png),
        (
            "notes.txt",
            "שלום, JavaScript: five years".as_bytes().to_vec(),
            Kind::Text,
        ),
        ("cv.docx", docx(&[]), Kind::Docx),
        (
            "scans.zip",
            zip(&[("a.pdf", PDF), ("more/b.jpg", JPEG)]),
            Kind::Zip,
        ),
        (
            "nested.zip",
            zip(&[("inner.zip", &zip(&[("a.pdf", PDF)]))]),
            Kind::Zip,
        ),
        ("empty.zip", zip(&[]), Kind::Zip),
    ] {
        assert_eq!(look(name, &bytes), Ok(kind), "{name}");
        assert_eq!(
            check(None, &bytes, &Limits::default()),
            Ok(kind),
            "{name}, unnamed"
        );
    }
}

#[test]
fn bytes_that_are_not_what_the_name_says_are_refused() {
    for (name, bytes) in [
        ("passport.jpg", PDF),
        ("passport.pdf", JPEG),
        ("passport", PDF),
        ("passport.exe.pdf", PDF),
        ("passport.pdf.exe", PDF),
        ("passport.docx", PDF),
        ("passport.html", b"hello".as_slice()),
    ] {
        assert_eq!(look(name, bytes), Err(Code::IntType), "{name}");
    }
}

#[test]
fn what_could_act_is_refused_whatever_it_is_called() {
    let exe = [b"MZ".as_slice(), &[0; 200]].concat();
    let elf = [b"\x7fELF\x02\x01\x01".as_slice(), &[0; 60]].concat();
    let lnk = [
        b"\x4c\x00\x00\x00\x01\x14\x02\x00\x00\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x46"
            .as_slice(),
        &[0; 60],
    ]
    .concat();
    let ole = [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(), &[0; 600]].concat();
    for (what, bytes) in [
        ("program", exe),
        ("linux program", elf),
        ("shortcut", lnk),
        ("old Office document", ole),
        (
            "html",
            b"<!DOCTYPE html><html><script>x()</script></html>".to_vec(),
        ),
        (
            "html after a byte order mark",
            "\u{feff}  <html>".as_bytes().to_vec(),
        ),
        (
            "svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>".to_vec(),
        ),
        (
            "svg after a declaration",
            b"<?xml version='1.0'?><svg onload='x()'/>".to_vec(),
        ),
        ("shell script", b"#!/bin/sh\nrm -rf /\n".to_vec()),
        ("rtf", b"{\\rtf1\\ansi hello}".to_vec()),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
        ("rar", b"Rar!\x1a\x07\x01\x00aaaaaaaa".to_vec()),
        ("7z", b"7z\xbc\xaf\x27\x1c\x00\x04aaaaaaaa".to_vec()),
        ("bytes of no type", vec![1, 2, 3, 0, 255]),
    ] {
        for name in ["x.pdf", "x.txt", "x.jpg", "x.zip"] {
            assert_eq!(look(name, &bytes), Err(Code::IntType), "{what} as {name}");
        }
        assert_eq!(
            check(None, &bytes, &Limits::default()),
            Err(Code::IntType),
            "{what}"
        );
    }
}

#[test]
fn a_file_of_two_types_is_refused() {
    let hidden = zip(&[("a.pdf", PDF)]);
    for (name, front) in [
        ("x.pdf", PDF),
        ("x.jpg", JPEG),
        ("x.png", PNG),
        ("x.txt", b"hello\n"),
    ] {
        let both = [front, &hidden].concat();
        assert_eq!(look(name, &both), Err(Code::IntType), "{name}");
        assert_eq!(look("x.zip", &both), Err(Code::IntType), "{name} as zip");
    }
    assert_eq!(
        look("x.zip", &[hidden.as_slice(), b"trailer"].concat()),
        Err(Code::IntType)
    );
    assert_eq!(
        look("x.pdf", &[PDF, b"<script>x()</script>"].concat()),
        Err(Code::IntType)
    );
    assert_eq!(
        look("x.pdf", &[b"\n".as_slice(), PDF].concat()),
        Err(Code::IntType)
    );
}

#[test]
fn a_pdf_that_starts_or_carries_something_is_refused_and_an_encrypted_one_is_opaque() {
    let with = |what: &str| {
        let text = String::from_utf8(PDF.to_vec()).unwrap();
        text.replace("/Type /Catalog", what).into_bytes()
    };
    assert_eq!(look("x.pdf", &with("/S /Launch")), Err(Code::IntType));
    assert_eq!(look("x.pdf", &with("/S /L#61unch")), Err(Code::IntType));
    assert_eq!(
        look("x.pdf", &with("/EmbeddedFiles 3 0 R")),
        Err(Code::IntType)
    );
    assert_eq!(look("x.pdf", &with("/Encrypt 5 0 R")), Err(Code::IntOpaque));
    assert_eq!(look("x.pdf", &with("/LaunchDate (x)")), Ok(Kind::Pdf));
}

#[test]
fn an_office_document_that_acts_is_refused() {
    for (what, extra, code) in [
        (
            "macros",
            ("word/vbaProject.bin", b"x".as_slice()),
            Code::IntType,
        ),
        (
            "macros in disguise",
            ("word/theme/x.bin", b"x"),
            Code::IntType,
        ),
        (
            "activeX",
            ("word/activeX/activeX1.xml", b"<a/>"),
            Code::IntType,
        ),
        (
            "embedded object",
            ("word/embeddings/oleObject1.bin", b"x"),
            Code::IntType,
        ),
        (
            "remote template",
            (
                "word/_rels/settings.xml.rels",
                b"<r Type=\"http://x/attachedTemplate\" TargetMode=\"External\"/>",
            ),
            Code::IntType,
        ),
        (
            "entities",
            (
                "word/x.xml",
                b"<!DOCTYPE x [<!ENTITY a \"aaaa\">]><x>&a;</x>",
            ),
            Code::IntBomb,
        ),
        (
            "entities in UTF-16",
            ("word/x.xml", b"\xff\xfe<\x00!\x00D\x00"),
            Code::IntType,
        ),
        ("path", ("word/../../x.xml", b"<x/>"), Code::IntPath),
    ] {
        assert_eq!(look("x.docx", &docx(&[extra])), Err(code), "{what}");
    }
    let macro_type = zip(&[
        (
            "[Content_Types].xml",
            b"<Override ContentType=\"application/vnd.ms-word.document.macroEnabled.main+xml\"/>",
        ),
        ("word/document.xml", b"<x/>"),
    ]);
    assert_eq!(look("x.docx", &macro_type), Err(Code::IntType));
    assert_eq!(
        look("x.zip", &docx(&[])),
        Err(Code::IntType),
        "a document under an archive's name"
    );
}

#[test]
fn names_in_an_archive_that_leave_it_are_refused() {
    for name in [
        "../a.pdf",
        "/a.pdf",
        "C:/a.pdf",
        "a/../../b.pdf",
        "nul.pdf",
        "a.pdf:x",
        "a\u{202e}fdp.exe",
        "..\\a.pdf",
    ] {
        assert_eq!(
            look("x.zip", &zip(&[(name, PDF)])),
            Err(Code::IntPath),
            "{name:?}"
        );
    }
    // Two names that are one file on half of the world's desks.
    assert_eq!(
        look("x.zip", &zip(&[("a.pdf", PDF), ("A.PDF", PDF)])),
        Err(Code::IntPath)
    );
}

#[test]
fn a_link_in_an_archive_is_refused() {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .add_symlink("a.pdf", "/etc/passwd", SimpleFileOptions::default())
        .unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    assert_eq!(look("x.zip", &bytes), Err(Code::IntPath));
}

#[test]
fn archives_that_grow_are_refused_before_they_do() {
    let zeros = vec![0_u8; 32 << 20];
    let bomb = zip(&[("a.txt", &zeros)]);
    assert!(bomb.len() < 64 << 10);
    assert_eq!(look("x.zip", &bomb), Err(Code::IntBomb), "ratio");

    let names: Vec<String> = (0..1_001).map(|n| format!("{n}.txt")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), b"".as_slice())).collect();
    assert_eq!(look("x.zip", &zip(&many)), Err(Code::IntBomb), "entries");
    assert_eq!(look("x.zip", &zip(&many[..1_000])), Ok(Kind::Zip));

    let mut nested = zip(&[("a.pdf", PDF)]);
    for _ in 0..2 {
        nested = zip(&[("inner.zip", &nested)]);
    }
    assert_eq!(look("x.zip", &nested), Err(Code::IntBomb), "nesting");

    // Half of the entries in an inner archive: they count together.
    let half = zip(&many[..600]);
    assert_eq!(
        look("x.zip", &zip(&[("1.zip", &half), ("2.zip", &half)])),
        Err(Code::IntBomb)
    );

    let tight = Limits {
        expanded: 1_000,
        ..Limits::default()
    };
    let thousand = zip(&[("a.txt", &[b'a'; 600]), ("b.txt", &[b'b'; 600])]);
    assert_eq!(
        check(Some("x.zip"), &thousand, &tight),
        Err(Code::IntBomb),
        "expanded size"
    );
}

#[test]
fn entries_that_share_their_bytes_are_refused() {
    let mut bytes = zip(&[("a.txt", &[b'a'; 50]), ("b.txt", &[b'b'; 50])]);
    // Point the second directory entry at the first one's bytes, under its name.
    bytes = patched(bytes, b"b.txt", b"a.txt");
    assert_eq!(
        look("x.zip", &bytes),
        Err(Code::IntPath),
        "the same name twice"
    );
    let mut bytes = zip(&[("a.txt", &[b'a'; 50]), ("b.txt", &[b'b'; 50])]);
    let first = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    let second = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    let mut over = bytes.clone();
    over[first + 20..first + 24].copy_from_slice(&60_u32.to_le_bytes());
    assert_eq!(
        look("x.zip", &over),
        Err(Code::IntBomb),
        "the first reaches into the second"
    );
    bytes[second + 42..second + 46].copy_from_slice(&0_u32.to_le_bytes());
    assert_eq!(
        look("x.zip", &bytes),
        Err(Code::IntMalformed),
        "name and entry differ"
    );
}

#[test]
fn an_entry_that_lies_about_its_size_is_refused() {
    let mut bytes = zip(&[("a.txt", &[b'a'; 5_000])]);
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[directory + 24..directory + 28].copy_from_slice(&100_u32.to_le_bytes());
    assert!(matches!(
        look("x.zip", &bytes),
        Err(Code::IntBomb | Code::IntMalformed)
    ));
}

#[test]
fn a_protected_archive_is_opaque() {
    let plain = zip(&[("a.pdf", PDF)]);
    let mut bytes = plain.clone();
    let directory = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[directory + 8] |= 1;
    assert_eq!(
        look("x.zip", &bytes),
        Err(Code::IntOpaque),
        "flag in the directory"
    );
    let mut bytes = plain.clone();
    bytes[6] |= 1;
    assert_eq!(
        look("x.zip", &bytes),
        Err(Code::IntOpaque),
        "flag in the entry"
    );
    let mut bytes = plain;
    bytes[directory + 10..directory + 12].copy_from_slice(&99_u16.to_le_bytes());
    assert_eq!(look("x.zip", &bytes), Err(Code::IntOpaque), "AES method");
    let name: Vec<u8> = "EncryptedPackage"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let office = [
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".as_slice(),
        &[0; 600],
        &name,
    ]
    .concat();
    assert_eq!(
        look("x.docx", &office),
        Err(Code::IntOpaque),
        "Office document under a password"
    );
}

#[test]
fn a_dangerous_file_inside_an_archive_is_as_dangerous_as_outside() {
    assert_eq!(
        look("x.zip", &zip(&[("a.pdf", b"MZ\0\0")])),
        Err(Code::IntType)
    );
    assert_eq!(
        look("x.zip", &zip(&[("a.exe", b"MZ\0\0")])),
        Err(Code::IntType)
    );
    let word = docx(&[("word/vbaProject.bin", b"x")]);
    assert_eq!(
        look("x.zip", &zip(&[("cv.docx", &word)])),
        Err(Code::IntType)
    );
}

#[test]
fn size_is_checked_first() {
    let limits = Limits {
        message: PDF.len() - 1,
        ..Limits::default()
    };
    assert_eq!(check(Some("x.pdf"), PDF, &limits), Err(Code::IntSize));
}

#[test]
fn html_bodies_are_told_apart_by_what_they_do() {
    for harmless in [
        "<html><body><p style='color:red'>Hello <b>you</b></p><img src=\"cid:1\"></body></html>",
        "<p>JavaScript: five years; online = yes</p>",
        "<img alt=\"online\" src=x>",
        "1 < 2 and on = off",
    ] {
        assert!(!has_active_element(harmless), "{harmless}");
    }
    for active in [
        "<SCRIPT>x()</SCRIPT>",
        "<img src=x onerror=x()>",
        "<img src=x onerror = 'x()'>",
        "<img/onload=x()>",
        "<a href=\"java\nscript:x()\">",
        "<iframe src=x>",
        "<form action=x>",
        "<meta http-equiv='refresh' content='0'>",
        "<svg/onload=x()>",
    ] {
        assert!(has_active_element(active), "{active}");
    }
}
