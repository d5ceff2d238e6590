//! Both channels against the kits of the ports they implement, on real files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

/// The text layer of files as real tools lay them out.
mod text_layer {
    use std::io::{Cursor, Write as _};
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use kta_core::conformance::reader::ReaderBench;
    use kta_core::pii::MediaType;
    use kta_core::ports::Reader;
    use kta_intake::TextLayer;
    use kta_intake::safety::Kind;
    use zip::write::{SimpleFileOptions, ZipWriter};

    struct Page;

    impl ReaderBench for Page {
        fn reader(&self) -> Arc<dyn Reader> {
            Arc::new(TextLayer)
        }

        fn files(&self, lines: &[&str]) -> Vec<(MediaType, Vec<u8>)> {
            let shown: Vec<_> = lines
                .iter()
                .map(|line| format!("({line}) Tj T*\n"))
                .collect();
            let shown = format!("BT /F1 12 Tf 14 TL 72 720 Td\n{}ET\n", shown.concat());
            let runs = lines.iter().map(|line| {
                let line = quick_xml::escape::escape(*line);
                format!("<w:p><w:r><w:t>{line}</w:t></w:r></w:p>")
            });
            vec![
                (MediaType::text(), lines.join("\n").into_bytes()),
                (MediaType::pdf(), pdf("", shown.as_bytes())),
                (
                    MediaType::pdf(),
                    pdf("/Filter /FlateDecode", &deflated(shown.as_bytes())),
                ),
                (Kind::Docx.into(), docx(&runs.collect::<String>())),
            ]
        }

        fn textless(&self) -> Vec<(MediaType, Vec<u8>)> {
            let drawing = b"0 0 612 792 re f\n";
            vec![
                (MediaType::pdf(), pdf("", drawing)),
                (
                    MediaType::pdf(),
                    pdf("/Filter /FlateDecode", &deflated(drawing)),
                ),
                (
                    Kind::Docx.into(),
                    docx("<w:p/><w:p><w:r><w:t> </w:t></w:r></w:p>"),
                ),
            ]
        }
    }

    /// One page with this content stream.
    fn pdf(filter: &str, stream: &[u8]) -> Vec<u8> {
        let length = stream.len();
        let head = format!(
            "%PDF-1.7\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n\
             2 0 obj\n<< /Type /Pages /Kids [3 0 R] /Count 1 >>\nendobj\n\
             3 0 obj\n<< /Type /Page /Parent 2 0 R /Contents 4 0 R >>\nendobj\n\
             4 0 obj\n<< /Length {length} {filter} >>\nstream\n"
        );
        let tail = b"\nendstream\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF\n";
        [head.as_bytes(), stream, tail].concat()
    }

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn docx(paragraphs: &str) -> Vec<u8> {
        let document = format!("<w:document><w:body>{paragraphs}</w:body></w:document>");
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in [
            ("[Content_Types].xml", "<Types/>"),
            ("word/document.xml", &document),
        ] {
            let options = SimpleFileOptions::default().compression_level(Some(1));
            writer.start_file(name, options).unwrap();
            writer.write_all(content.as_bytes()).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    async fn fresh() -> Page {
        Page
    }

    kta_core::reader_conformance!(
        #[tokio::test]
        fresh
    );
}

/// A mailbox that a gateway fills.
mod mailbox {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use async_trait::async_trait;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use chrono::TimeDelta;
    use kta_core::audit::Label;
    use kta_core::conformance::Desk;
    use kta_core::conformance::erase::{EraseBench, placement};
    use kta_core::conformance::intake::{IntakeBench, Letter};
    use kta_core::id::{DocumentId, SubjectId};
    use kta_core::pii::placement::CopyOf;
    use kta_core::pii::{Category, Locator, Placement, PlacementKind};
    use kta_core::ports::{Erase, Intake};

    use crate::common::{instant, maildir};

    pub(crate) struct Mailbox {
        folder: tempfile::TempDir,
        sent: AtomicI64,
    }

    impl Mailbox {
        /// As the gateway delivers: its own line on top, MIME as a mail program writes it.
        fn deliver(&self, message: &[u8]) -> i64 {
            let number = self.sent.fetch_add(1, Ordering::SeqCst);
            let at = instant("2026-03-02T08:00:00Z") + TimeDelta::seconds(number);
            maildir(self.folder.path())
                .import(at, "kit", message)
                .unwrap();
            number
        }

        fn newest(&self) -> Locator {
            let names = std::fs::read_dir(self.folder.path().join("new")).unwrap();
            let newest = names
                .map(|name| name.unwrap().file_name().into_string().unwrap())
                .max();
            Locator::new(newest.unwrap()).unwrap()
        }
    }

    fn mime(letter: &Letter) -> String {
        let name = STANDARD.encode(&letter.attachment.0);
        let bytes = STANDARD.encode(&letter.attachment.1);
        format!(
            "Authentication-Results: mx.kta.example; dmarc=pass; dkim=pass; spf=pass\r\n\
             Delivered-To: intake@kta.example\r\n\
             Received: from mail.client.example (mail.client.example [192.0.2.1])\r\n\
             \t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n\
             \tby mx.kta.example (Postfix) with ESMTPS id 1; Mon, 2 Mar 2026 08:00:00 +0000\r\n\
             From: {}\r\nTo: intake@kta.example\r\nSubject: papers\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/mixed; boundary=\"kit\"\r\n\r\n\
             --kit\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}\r\n\
             --kit\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Disposition: attachment; filename=\"=?utf-8?B?{name}?=\"\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{bytes}\r\n--kit--\r\n",
            letter.sender, letter.text
        )
    }

    #[async_trait]
    impl IntakeBench for Mailbox {
        async fn intake(&self) -> Arc<dyn Intake> {
            Arc::new(maildir(self.folder.path()))
        }

        async fn send(&self, letter: &Letter) {
            self.deliver(mime(letter).as_bytes());
        }

        async fn send_unreadable(&self) {
            self.deliver(b"From: a@client.example\r\nContent-Type: multipart/mixed\r\n\r\ncut of");
        }
    }

    #[async_trait]
    impl EraseBench for Mailbox {
        async fn eraser(&self) -> Arc<dyn Erase> {
            Arc::new(maildir(self.folder.path()))
        }

        async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
            let letter = Letter {
                sender: "a@client.example".into(),
                text: marked.into(),
                attachment: ("x.txt".into(), marked.as_bytes().to_vec()),
            };
            self.deliver(mime(&letter).as_bytes());
            let what = (
                CopyOf::Document(DocumentId::from_bytes([9; 16])),
                Category::Case,
            );
            let system = (Label::fixed("mail"), PlacementKind::MailboxItem);
            placement(desk, subject, system, what, self.newest())
        }
    }

    async fn fresh() -> Mailbox {
        Mailbox {
            folder: tempfile::tempdir().unwrap(),
            sent: AtomicI64::new(0),
        }
    }

    kta_core::intake_conformance!(
        #[tokio::test]
        fresh
    );
    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}

/// A web form whose posts are spooled.
mod form {
    use std::path::PathBuf;
    use std::sync::Arc;

    use async_trait::async_trait;
    use chrono::TimeDelta;
    use kta_core::audit::Label;
    use kta_core::conformance::Desk;
    use kta_core::conformance::erase::{EraseBench, placement};
    use kta_core::conformance::intake::{IntakeBench, Letter};
    use kta_core::id::{DocumentId, SubjectId};
    use kta_core::memory::ManualClock;
    use kta_core::pii::placement::CopyOf;
    use kta_core::pii::{Category, Locator, Placement, PlacementKind};
    use kta_core::ports::{Erase, Intake};
    use kta_intake::{COOKIE, WebForm};

    use crate::common::{clock, web_form};

    pub(crate) struct Form {
        folder: tempfile::TempDir,
        clock: ManualClock,
        /// One process takes the posts in; those that serve them are opened anew.
        door: WebForm,
    }

    impl Form {
        async fn post(&self, letter: &Letter) {
            let (token, cookie) = self.door.token();
            let (name, bytes) = &letter.attachment;
            let mut body = String::new();
            for (field, value) in [
                ("csrf_token", token.as_str()),
                ("form_version", "h1b-family-2026-02"),
                ("submitter", &letter.sender),
                ("message", &letter.text),
            ] {
                body += &format!(
                    "--kit\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
                );
            }
            body += &format!(
                "--kit\r\nContent-Disposition: form-data; name=\"paper\"; filename=\"{name}\"\r\n\
                 Content-Type: text/plain\r\n\r\n"
            );
            let body = [body.as_bytes(), bytes, b"\r\n--kit--\r\n"].concat();
            let head = format!(
                "POST /forms/h1b HTTP/1.1\r\nHost: intake.kta.example\r\nX-Tls-Version: TLSv1.3\r\n\
                 Origin: https://intake.kta.example\r\nCookie: {COOKIE}={cookie}\r\n\
                 Content-Type: multipart/form-data; boundary=kit\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            self.door.submit(head.as_bytes(), body).await.unwrap();
            self.clock.advance(TimeDelta::seconds(1));
        }

        fn newest(&self) -> PathBuf {
            let names = std::fs::read_dir(self.folder.path().join("new")).unwrap();
            names.map(|name| name.unwrap().path()).max().unwrap()
        }
    }

    #[async_trait]
    impl IntakeBench for Form {
        async fn intake(&self) -> Arc<dyn Intake> {
            Arc::new(web_form(self.folder.path(), &self.clock))
        }

        async fn send(&self, letter: &Letter) {
            self.post(letter).await;
        }

        /// The door refuses what it cannot read; in the spool only a damaged disk leaves such.
        async fn send_unreadable(&self) {
            let attachment = ("x.txt".into(), b"x".to_vec());
            let letter = Letter {
                sender: "a@client.example".into(),
                text: "x".into(),
                attachment,
            };
            self.post(&letter).await;
            let (file, half) = (self.newest(), 300);
            let bytes = std::fs::read(&file).unwrap();
            std::fs::write(&file, &bytes[..half]).unwrap();
        }
    }

    #[async_trait]
    impl EraseBench for Form {
        async fn eraser(&self) -> Arc<dyn Erase> {
            Arc::new(web_form(self.folder.path(), &self.clock))
        }

        async fn copy(&self, desk: &Desk, subject: SubjectId, marked: &str) -> Placement {
            let attachment = ("x.txt".into(), marked.as_bytes().to_vec());
            let letter = Letter {
                sender: "a@client.example".into(),
                text: marked.into(),
                attachment,
            };
            self.post(&letter).await;
            let file = self.newest();
            let locator = Locator::new(file.file_name().unwrap().to_str().unwrap()).unwrap();
            let what = (
                CopyOf::Document(DocumentId::from_bytes([9; 16])),
                Category::Case,
            );
            let system = (Label::fixed("web-form"), PlacementKind::MailboxItem);
            placement(desk, subject, system, what, locator)
        }
    }

    async fn fresh() -> Form {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let door = web_form(folder.path(), &clock);
        Form {
            folder,
            clock,
            door,
        }
    }

    kta_core::intake_conformance!(
        #[tokio::test]
        fresh
    );
    kta_core::erase_conformance!(
        #[tokio::test]
        fresh
    );
}
