//! Step 1, receipt: what clients send, by mail and by the website's form.

use kta_core::id::DeliveryId;
use kta_core::pipeline::receive::{self, Reception};
use kta_core::policy::Role;
use kta_core::ports::Intake;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Road;
use crate::cast::{self, DeliveryLine, Failure};
use crate::story::Story;

impl Road<'_> {
    /// Step 1: what clients send, by mail and by the website's form.
    pub(super) async fn receive(
        &self,
        story: &mut Story,
    ) -> Result<Vec<(String, DeliveryId)>, Failure> {
        story.chapter("Receipt: mail and web form, into quarantine before anybody sees them");
        let house = &self.opened.house;
        let clerk = self.case_work(self.cast.staff.clerk, Role::Intake);
        let mut deliveries = Vec::new();
        for line in &self.manifest.delivery {
            self.opened
                .pass_until(cast::instant(&line.received)? + self.shift);
            story.line(&line.story);
            let intake: &dyn Intake = if line.channel == "mail" {
                self.post_mail(line)?;
                &*self.opened.mailbox
            } else {
                self.post_form(line).await?;
                &*self.opened.form
            };
            match receive::receive(house, &clerk, intake).await? {
                Reception::Received(received) => {
                    story.line(&format!(
                        "received: channel {}, {} parts",
                        received.verdict().as_str(),
                        received.parts().len()
                    ));
                    let expected: Vec<_> = line.part.iter().map(|part| part.sha256).collect();
                    let digests: Vec<_> = received.parts().iter().map(|part| part.digest).collect();
                    if expected != digests {
                        return Err("what arrived is not what the manifest lists".into());
                    }
                    deliveries.push((line.id.clone(), received.delivery()));
                }
                Reception::Refused { delivery, refusal } => {
                    let code = refusal.code();
                    story.refused(
                        "a mail under the client's address whose domain disowns it",
                        Err::<(), _>(refusal.into()),
                        code,
                    )?;
                    deliveries.push((line.id.clone(), delivery));
                }
                Reception::Nothing => return Err("a delivery did not arrive".into()),
            }
        }
        story.tell(house).await?;
        Ok(deliveries)
    }

    fn post_mail(&self, line: &DeliveryLine) -> Result<(), Failure> {
        let message = std::fs::read(self.family.join(&line.file))?;
        let unique: String = line
            .id
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        Ok(self.opened.mailbox.import(
            cast::instant(&line.received)? + self.shift,
            &unique,
            &message,
        )?)
    }

    /// Sends the recorded request to the form over a real connection.
    async fn post_form(&self, line: &DeliveryLine) -> Result<(), Failure> {
        let head = std::fs::read(self.family.join(&line.file))?;
        let body = std::fs::read(
            self.family
                .join(line.body.as_ref().ok_or("a form without a body")?),
        )?;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let form = std::sync::Arc::clone(&self.opened.form);
        let server = tokio::spawn(kta_intake::server::serve(form, listener, async move {
            let _ = stopped.await;
        }));
        let mut connection = tokio::net::TcpStream::connect(address).await?;
        // The recorded request, made one that ends its connection so that the answer ends too.
        let head = String::from_utf8(head)?.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        connection.write_all(head.as_bytes()).await?;
        connection.write_all(&body).await?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await?;
        let _ = stop.send(());
        server.await??;
        let status = answer.get(9..12).ok_or("the form gave no answer")?;
        if !status.starts_with(b"2") && !status.starts_with(b"3") {
            return Err(format!("the form answered {}", String::from_utf8_lossy(status)).into());
        }
        Ok(())
    }
}
