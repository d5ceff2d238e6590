//! One session with a token, and what is done in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::RvError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use kta_core::audit::Label;
use kta_core::crypto::SecretKey;
use kta_core::ports::kms::{KekDestroyed, KekDestruction, KekId, KekState, WrappedKey};
use kta_core::time::{Entropy as _, Timestamp};
use kta_core::{Code, FaultKind};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::TokenName;
use super::trouble::{Answer, Trouble, fault};
use crate::OsEntropy;

/// Where a token is, and what opens it.
pub(super) struct Place {
    module: PathBuf,
    name: TokenName,
    pin: SecretString,
}

impl Place {
    pub(super) const fn new(module: PathBuf, name: TokenName, pin: SecretString) -> Self {
        Self { module, name, pin }
    }

    /// A session, logged in.
    pub(super) fn token(&self) -> Answer<Token> {
        let module = self.module()?;
        let session = module.open_rw_session(self.slot(&module)?)?;
        match session
            .login(UserType::User, Some(&self.pin))
            .map_err(Trouble::from)
        {
            Ok(()) => {}
            Err(trouble) if trouble.rv() == Some(RvError::UserAlreadyLoggedIn) => {}
            Err(trouble) => return Err(trouble),
        }
        Ok(Token { session })
    }

    /// The module, loaded once in a process and never unloaded: others may be using it.
    fn module(&self) -> Answer<Pkcs11> {
        static LOADED: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match loaded.get(&self.module) {
            Some(module) => module.clone(),
            None => {
                let module = Pkcs11::new(&self.module)?;
                loaded.insert(self.module.clone(), module.clone());
                module
            }
        };
        match module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .map_err(Trouble::from)
        {
            Ok(()) => Ok(module),
            Err(trouble) if trouble.rv() == Some(RvError::CryptokiAlreadyInitialized) => Ok(module),
            Err(trouble) => Err(trouble),
        }
    }

    fn slot(&self, module: &Pkcs11) -> Answer<Slot> {
        let (mut found, mut broken) = (None, None);
        for slot in module.get_slots_with_token()? {
            let fits = match &self.name {
                TokenName::Label(label) => match module.get_token_info(slot) {
                    Ok(about) => about.label() == label,
                    // Another token's trouble is none of ours.
                    Err(error) => {
                        broken = Some(error);
                        false
                    }
                },
                TokenName::Slot(number) => slot.id() == *number,
            };
            if fits && found.replace(slot).is_some() {
                return Err(Trouble::NoToken);
            }
        }
        found.ok_or_else(|| broken.map_or(Trouble::NoToken, Trouble::Module))
    }
}

/// A session, logged in.
pub(super) struct Token {
    session: Session,
}

/// What the token knows of a KEK.
enum Standing {
    Active(Vec<Key>),
    Destroyed(KekDestroyed),
    Unknown,
}

/// One key under a KEK's label; nearly always there is just one.
struct Key {
    handle: ObjectHandle,
    id: Vec<u8>,
    /// It is, or once was, within reach of somebody outside the token.
    exposed: bool,
}

impl Token {
    pub(super) fn create(&self, kek: &KekId) -> Answer<()> {
        if !matches!(self.standing(kek)?, Standing::Unknown) {
            return Ok(());
        }
        let mut id = [0; ID];
        self.draw(&mut id)?;
        let handle = self.session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::ValueLen((SecretKey::LENGTH as u64).into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Copyable(false),
                Attribute::Modifiable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::Wrap(false),
                Attribute::Unwrap(false),
                Attribute::Sign(false),
                Attribute::Verify(false),
                Attribute::Derive(false),
                Attribute::Label(kek.as_str().into()),
                Attribute::Id(id.to_vec()),
            ],
        )?;
        if self.is_exposed(handle)? {
            self.session.destroy_object(handle)?;
            return Err(fault(FaultKind::Misconfigured)
                .because("the token makes keys that can be taken out")
                .into());
        }
        // Destroyed by somebody else meanwhile: then this one goes, too.
        self.standing(kek).map(|_| ())
    }

    pub(super) fn wrap(
        &self,
        kek: &KekId,
        secret: &SecretKey,
        context: &[u8],
    ) -> Answer<WrappedKey> {
        let keys = self.active(kek)?;
        let key = keys.first().ok_or(Code::CryKey)?;
        let mut nonce = [0; NONCE];
        self.draw(&mut nonce)?;
        let sealed = self.seal(key, &nonce, &about(kek, &key.id, context), secret.expose())?;
        let mut bytes = vec![VERSION, u8::try_from(key.id.len()).unwrap_or(u8::MAX)];
        bytes.extend_from_slice(&key.id);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(WrappedKey::from_bytes(bytes))
    }

    pub(super) fn unwrap(
        &self,
        kek: &KekId,
        wrapped: &WrappedKey,
        context: &[u8],
    ) -> Answer<SecretKey> {
        let keys = self.active(kek)?;
        let (id, nonce, sealed) = parts(wrapped.as_bytes()).ok_or(Code::CryKey)?;
        let key = keys.iter().find(|key| key.id == id).ok_or(Code::CryKey)?;
        match self.open(key, nonce, &about(kek, id, context), sealed) {
            Ok(secret) => Ok(SecretKey::from_slice(&secret).ok_or(Code::CryKey)?),
            Err(trouble) if trouble.is_bad_ciphertext() => Err(Code::CryKey.into()),
            // Some modules say no more than that it failed. If the same key opens what it has
            // just sealed, and these bytes still not, then the bytes are at fault.
            Err(trouble) if trouble.is_general() => {
                let mut fresh = [0; NONCE];
                self.draw(&mut fresh)?;
                let probe = self.seal(key, &fresh, PROBE, &[0; SecretKey::LENGTH])?;
                self.open(key, &fresh, PROBE, &probe)?;
                let again = self.open(key, nonce, &about(kek, id, context), sealed);
                let secret = again.map_err(|_| Code::CryKey)?;
                Ok(SecretKey::from_slice(&secret).ok_or(Code::CryKey)?)
            }
            Err(trouble) => Err(trouble),
        }
    }

    pub(super) fn destroy(&self, kek: &KekId, at: Timestamp) -> Answer<KekDestroyed> {
        let keys = match self.standing(kek)? {
            Standing::Active(keys) => keys,
            Standing::Destroyed(evidence) => return Ok(evidence),
            Standing::Unknown => return Err(Code::CryKey.into()),
        };
        let exposed = keys.iter().filter(|key| key.exposed).count();
        let copies = exposed + self.holders(kek)?;
        let evidence = KekDestroyed {
            kek: kek.clone(),
            at,
            method: KekDestruction::Immediate,
            copies: u32::try_from(copies).unwrap_or(u32::MAX),
        };
        // The evidence first: cut off here, whatever is called next destroys the keys.
        self.note(kek.as_str(), TOMBSTONE, &evidence)?;
        match self.standing(kek)? {
            Standing::Destroyed(evidence) => Ok(evidence),
            Standing::Active(_) | Standing::Unknown => Err(fault(FaultKind::Misconfigured)
                .because("the token does not keep data objects")
                .into()),
        }
    }

    pub(super) fn state(&self, kek: &KekId) -> Answer<KekState> {
        match self.standing(kek)? {
            Standing::Active(_) => Ok(KekState::Active),
            Standing::Destroyed(evidence) => Ok(KekState::Destroyed(evidence)),
            Standing::Unknown => Err(Code::CryKey.into()),
        }
    }

    pub(super) fn declare_copy(&self, holder: &Label) -> Answer<()> {
        let mut keks = BTreeSet::new();
        let ours = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
        ];
        for handle in self.session.find_objects(&ours)? {
            let attributes = self
                .session
                .get_attributes(handle, &[AttributeType::Label])?;
            if let Some(Attribute::Label(label)) = attributes.first()
                && let Ok(label) = String::from_utf8(label.clone())
                && label.starts_with("kek_")
                && let Ok(kek) = KekId::new(label)
            {
                keks.insert(kek);
            }
        }
        self.note(holder.as_str(), COPY, &keks)
    }

    pub(super) fn copy_destroyed(&self, holder: &Label) -> Answer<()> {
        let of_holder = noted(Some(holder.as_str()), COPY);
        for handle in self.session.find_objects(&of_holder)? {
            self.session.destroy_object(handle)?;
        }
        Ok(())
    }

    /// What the token knows. Finishes a destruction that was cut off.
    fn standing(&self, kek: &KekId) -> Answer<Standing> {
        // Keys before tombstone: the other way round, a KEK destroyed in between is unknown.
        let keys = self.keys(kek)?;
        let Some(evidence) = self.tombstone(kek)? else {
            return Ok(if keys.is_empty() {
                Standing::Unknown
            } else {
                Standing::Active(keys)
            });
        };
        for key in &keys {
            match self
                .session
                .destroy_object(key.handle)
                .map_err(Trouble::from)
            {
                Ok(()) => {}
                Err(trouble) if trouble.rv() == Some(RvError::ObjectHandleInvalid) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        if keys.is_empty() || self.keys(kek)?.is_empty() {
            Ok(Standing::Destroyed(evidence))
        } else {
            Err(fault(FaultKind::Misconfigured)
                .because("the token did not destroy the key")
                .into())
        }
    }

    fn active(&self, kek: &KekId) -> Answer<Vec<Key>> {
        match self.standing(kek)? {
            Standing::Active(keys) => Ok(keys),
            Standing::Destroyed(_) => Err(Code::CryErased.into()),
            Standing::Unknown => Err(Code::CryKey.into()),
        }
    }

    /// Every key under the label, those that never left the token first.
    fn keys(&self, kek: &KekId) -> Answer<Vec<Key>> {
        let mut keys = Vec::new();
        let ours = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Label(kek.as_str().into()),
        ];
        for handle in self.session.find_objects(&ours)? {
            let attributes = self.session.get_attributes(handle, &[AttributeType::Id])?;
            let id = match attributes.into_iter().next() {
                Some(Attribute::Id(id)) if id.len() <= usize::from(u8::MAX) => id,
                _ => Vec::new(),
            };
            let exposed = self.is_exposed(handle)?;
            keys.push(Key {
                handle,
                id,
                exposed,
            });
        }
        keys.sort_by(|one, other| (one.exposed, &one.id).cmp(&(other.exposed, &other.id)));
        Ok(keys)
    }

    /// Whether the token fails to swear that nobody outside ever had the key.
    fn is_exposed(&self, handle: ObjectHandle) -> Answer<bool> {
        let sworn = [
            AttributeType::AlwaysSensitive,
            AttributeType::Extractable,
            AttributeType::Local,
            AttributeType::NeverExtractable,
        ];
        let told = self.session.get_attributes(handle, &sworn)?;
        let kept = told.iter().filter(|attribute| {
            matches!(
                attribute,
                Attribute::AlwaysSensitive(true)
                    | Attribute::Extractable(false)
                    | Attribute::Local(true)
                    | Attribute::NeverExtractable(true)
            )
        });
        Ok(kept.count() < sworn.len())
    }

    /// The evidence, if there is any; of two that raced, always the same.
    fn tombstone(&self, kek: &KekId) -> Answer<Option<KekDestroyed>> {
        let mut all: Vec<KekDestroyed> = Vec::new();
        for handle in self
            .session
            .find_objects(&noted(Some(kek.as_str()), TOMBSTONE))?
        {
            all.push(self.read_note(handle)?);
        }
        if all.iter().any(|evidence| evidence.kek != *kek) {
            return Err(altered());
        }
        all.sort_by_key(|evidence| (evidence.at, evidence.copies));
        Ok(all.into_iter().next())
    }

    /// How many holders of declared backups have this KEK.
    fn holders(&self, kek: &KekId) -> Answer<usize> {
        let mut holders = BTreeSet::new();
        for handle in self.session.find_objects(&noted(None, COPY))? {
            let keks: BTreeSet<KekId> = self.read_note(handle)?;
            let attributes = self
                .session
                .get_attributes(handle, &[AttributeType::Label])?;
            if let Some(Attribute::Label(holder)) = attributes.into_iter().next()
                && keks.contains(kek)
            {
                holders.insert(holder);
            }
        }
        Ok(holders.len())
    }

    fn note(&self, label: &str, kind: &str, value: &impl serde::Serialize) -> Answer<()> {
        let value = serde_json::to_vec(value).map_err(|_| altered())?;
        let mut template = noted(Some(label), kind).to_vec();
        template.extend([
            Attribute::Private(true),
            Attribute::Modifiable(false),
            Attribute::Value(value),
        ]);
        self.session.create_object(&template)?;
        Ok(())
    }

    fn read_note<T: serde::de::DeserializeOwned>(&self, handle: ObjectHandle) -> Answer<T> {
        let attributes = self
            .session
            .get_attributes(handle, &[AttributeType::Value])?;
        match attributes.first() {
            Some(Attribute::Value(value)) => serde_json::from_slice(value).map_err(|_| altered()),
            _ => Err(altered()),
        }
    }

    /// Random bytes of the token, combined with the operating system's.
    fn draw(&self, bytes: &mut [u8]) -> Answer<()> {
        let mut own = vec![0; bytes.len()];
        match self
            .session
            .generate_random_slice(&mut own)
            .map_err(Trouble::from)
        {
            Ok(()) => {}
            // Then the operating system's alone.
            Err(trouble) if trouble.rv() == Some(RvError::RandomNoRng) => {}
            Err(trouble) => return Err(trouble),
        }
        OsEntropy.fill(bytes);
        bytes
            .iter_mut()
            .zip(own)
            .for_each(|(byte, own)| *byte ^= own);
        Ok(())
    }

    fn seal(&self, key: &Key, nonce: &[u8], about: &[u8], secret: &[u8]) -> Answer<Vec<u8>> {
        let mut nonce = nonce.to_vec();
        let params = GcmParams::new(&mut nonce, about, TAG_BITS.into())?;
        let sealed = self
            .session
            .encrypt(&Mechanism::AesGcm(params), key.handle, secret)?;
        if sealed.len() == SEALED {
            Ok(sealed)
        } else {
            Err(fault(FaultKind::Protocol)
                .because("not the length of a sealed key")
                .into())
        }
    }

    fn open(
        &self,
        key: &Key,
        nonce: &[u8],
        about: &[u8],
        sealed: &[u8],
    ) -> Answer<Zeroizing<Vec<u8>>> {
        let mut nonce = nonce.to_vec();
        let params = GcmParams::new(&mut nonce, about, TAG_BITS.into())?;
        let opened = self
            .session
            .decrypt(&Mechanism::AesGcm(params), key.handle, sealed)?;
        Ok(Zeroizing::new(opened))
    }
}

/// A wrapped secret's key id, nonce and sealed bytes.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let [VERSION, length, rest @ ..] = bytes else {
        return None;
    };
    let (id, rest) = rest.split_at_checked(usize::from(*length))?;
    let (nonce, sealed) = rest.split_at_checked(NONCE)?;
    (sealed.len() == SEALED).then_some((id, nonce, sealed))
}

/// The associated data: what is sealed under what, each part behind its length.
fn about(kek: &KekId, id: &[u8], context: &[u8]) -> Vec<u8> {
    crate::ring::joined(&[b"kta-pkcs11/1 wrap", kek.as_str().as_bytes(), id, context])
}

/// What a note of ours looks like.
fn noted(label: Option<&str>, kind: &str) -> Vec<Attribute> {
    let mut template = vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Application(kind.into()),
    ];
    template.extend(label.map(|label| Attribute::Label(label.into())));
    template
}

fn altered() -> Trouble {
    fault(FaultKind::Corrupt)
        .because("a note on the token is not what was written")
        .into()
}

const VERSION: u8 = 1;
const ID: usize = 16;
const NONCE: usize = 12;
const TAG_BITS: u64 = 128;
const SEALED: usize = SecretKey::LENGTH + 16;
const TOMBSTONE: &str = "kta-keys tombstone";
const COPY: &str = "kta-keys copy";
const PROBE: &[u8] = b"kta-pkcs11/1 probe";
