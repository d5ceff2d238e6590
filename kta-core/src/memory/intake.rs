//! A channel in memory.

use core::fmt;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::audit::Label;
use crate::error::Result;
use crate::id::{DeliveryId, Digest, IdempotencyKey};
use crate::pii::{Locator, MediaType, Pii, Placement, System};
use crate::policy::{Act, Permit};
use crate::ports::intake::{ChannelFacts, Delivery, DeliveryPart, Intake, IntakeChannel};
use crate::ports::{Erase, Erased, Method, Probe, Residue};
use crate::refusal::{Code, Refusal};
use crate::time::Timestamp;

/// An [`Intake`] with its [`Erase`] in memory, into which a test [pushes](Self::push) letters.
/// Clones are handles to one channel; a letter stays, acknowledged or not, until it is erased.
#[derive(Clone)]
pub struct MemoryIntake {
    channel: Label,
    state: Arc<Mutex<State>>,
}

impl MemoryIntake {
    /// An empty channel of this name.
    #[must_use]
    pub fn new(channel: Label) -> Self {
        Self {
            channel,
            state: Arc::default(),
        }
    }

    /// Delivers a letter, behind every other. Gives the id of its delivery, and the channel's own
    /// name for this copy of it.
    pub fn push(&self, letter: Letter) -> (DeliveryId, Locator) {
        let mut state = self.locked();
        state.count += 1;
        let id = letter.id();
        // A word and a number are short and printable ASCII: always a locator.
        let locator = Locator::new(format!("letter-{}", state.count)).expect("a locator");
        state.letters.push(Kept {
            id,
            locator: locator.clone(),
            letter,
            acknowledged: false,
        });
        (id, locator)
    }

    /// How many letters the channel holds, acknowledged or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().letters.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Nothing panics between the first and the last change under a lock, so it is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody sends: by a well protected web form, unless said otherwise.
pub struct Letter {
    at: Timestamp,
    sender: Pii<String>,
    facts: ChannelFacts,
    fields: BTreeMap<String, Pii<String>>,
    parts: Vec<Part>,
    refused: Option<Code>,
}

struct Part {
    name: Pii<String>,
    media: MediaType,
    bytes: Pii<Vec<u8>>,
    refused: Option<Code>,
}

impl Letter {
    /// An empty letter of this sender, arrived at `at`.
    #[must_use]
    pub fn new(at: Timestamp, sender: impl Into<String>) -> Self {
        let facts = ChannelFacts {
            channel: IntakeChannel::WebForm,
            encrypted_in_transit: true,
            sender_vouched: Some(true),
            encrypted_content: false,
            remarks: Vec::new(),
        };
        let (fields, parts) = (BTreeMap::new(), Vec::new());
        Self {
            at,
            sender: Pii::new(sender.into()),
            facts,
            fields,
            parts,
            refused: None,
        }
    }

    /// The same letter by a channel of which these facts are known.
    #[must_use]
    pub fn by(mut self, facts: ChannelFacts) -> Self {
        self.facts = facts;
        self
    }

    /// The same letter with a field.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.insert(name.into(), Pii::new(value.into()));
        self
    }

    /// The same letter with an attachment.
    #[must_use]
    pub fn attach(
        mut self,
        name: impl Into<String>,
        media: MediaType,
        bytes: impl Into<Vec<u8>>,
    ) -> Self {
        let (name, bytes) = (Pii::new(name.into()), Pii::new(bytes.into()));
        self.parts.push(Part {
            name,
            media,
            bytes,
            refused: None,
        });
        self
    }

    /// The same letter with an attachment that is not let in.
    #[must_use]
    pub fn attach_refused(
        mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
        code: Code,
    ) -> Self {
        self = self.attach(name, MediaType::octets(), bytes);
        if let Some(part) = self.parts.last_mut() {
            part.refused = Some(code);
        }
        self
    }

    /// The same letter, of which the channel can read nothing.
    #[must_use]
    pub fn unreadable(mut self, code: Code) -> Self {
        self.refused = Some(code);
        self
    }

    fn id(&self) -> DeliveryId {
        let field = |(name, value): (&String, &Pii<String>)| {
            Digest::of(format!("{}:{name}{}", name.len(), value.bare()).as_bytes())
        };
        let parts = self.parts.iter().map(|part| Digest::of(part.bytes.bare()));
        let digests: Vec<Digest> = self.fields.iter().map(field).chain(parts).collect();
        let mut all = vec![self.sender.bare().as_bytes()];
        all.extend(digests.iter().map(|digest| digest.as_bytes().as_slice()));
        DeliveryId::derived(&all)
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Letter({} parts)", self.parts.len())
    }
}

#[async_trait]
impl Intake for MemoryIntake {
    fn channel(&self) -> Label {
        self.channel.clone()
    }

    async fn oldest(&self, permit: &Permit<'_>) -> Result<Option<Delivery>> {
        permit.require_act(&[Act::Receive])?;
        let state = self.locked();
        Ok(state
            .letters
            .iter()
            .find(|kept| !kept.acknowledged)
            .map(Kept::delivery))
    }

    async fn acknowledge(&self, delivery: DeliveryId, permit: &Permit<'_>) -> Result<()> {
        permit.require_act(&[Act::Receive])?;
        let mut state = self.locked();
        // The oldest of this id only: a second copy is a message of its own.
        if let Some(kept) = state
            .letters
            .iter_mut()
            .find(|kept| kept.id == delivery && !kept.acknowledged)
        {
            kept.acknowledged = true;
        }
        Ok(())
    }
}

#[async_trait]
impl Erase for MemoryIntake {
    fn system(&self) -> System {
        self.channel.clone()
    }

    async fn erase(
        &self,
        placement: &Placement,
        _key: IdempotencyKey,
        permit: &Permit<'_>,
    ) -> Result<Erased> {
        placement.admit(&self.channel, Act::Destroy, permit)?;
        let at = located(placement)?;
        self.locked().letters.retain(|kept| kept.locator != *at);
        Ok(Erased {
            method: Method::Overwrite,
            steps: vec![Label::fixed("letter.delete")],
            window: None,
        })
    }

    async fn probe(&self, placement: &Placement, permit: &Permit<'_>) -> Result<Probe> {
        placement.admit(&self.channel, Act::Probe, permit)?;
        let at = located(placement)?;
        let found = self.locked().letters.iter().any(|kept| kept.locator == *at);
        let residue = Residue {
            what: Label::fixed("letter"),
            until: None,
            content: true,
        };
        Ok(Probe {
            at: permit.now(),
            asked: vec![Label::fixed("letter.list")],
            evidence: Digest::of(format!("letter={found}").as_bytes()),
            residues: found.then_some(residue).into_iter().collect(),
        })
    }
}

impl fmt::Debug for MemoryIntake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryIntake({}, {} letters)", self.channel, self.len())
    }
}

#[derive(Default)]
struct State {
    letters: Vec<Kept>,
    count: u64,
}

struct Kept {
    id: DeliveryId,
    locator: Locator,
    letter: Letter,
    acknowledged: bool,
}

impl Kept {
    fn delivery(&self) -> Delivery {
        let letter = &self.letter;
        let part = |(index, part): (usize, &Part)| DeliveryPart {
            name: Pii::new(part.name.bare().clone()),
            media: part.media.clone(),
            digest: Digest::of(part.bytes.bare()),
            length: part.bytes.bare().len() as u64,
            content: match part.refused {
                Some(code) => Err(Refusal::new(code).about("part", index)),
                None => Ok(Pii::new(part.bytes.bare().clone())),
            },
        };
        let readable = letter.refused.is_none();
        let fields = letter.fields.iter().filter(|_| readable);
        Delivery {
            id: self.id,
            locator: self.locator.clone(),
            at: letter.at,
            facts: letter.facts.clone(),
            sender: Pii::new(if readable {
                letter.sender.bare().clone()
            } else {
                String::new()
            }),
            fields: fields
                .map(|(name, value)| (name.clone(), Pii::new(value.bare().clone())))
                .collect(),
            parts: letter
                .parts
                .iter()
                .filter(|_| readable)
                .enumerate()
                .map(part)
                .collect(),
            refused: letter
                .refused
                .map(|code| Refusal::new(code).about("delivery", self.id)),
        }
    }
}

fn located(placement: &Placement) -> Result<&Locator> {
    // A copy without a name in this channel cannot be told from another's: that is no erasure.
    placement
        .locator
        .as_ref()
        .ok_or_else(|| Code::DstUnmapped.into())
}
