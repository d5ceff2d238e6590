//! What a module's return values mean here.

use cryptoki::context::Function;
use cryptoki::error::{Error as ModuleError, RvError};
use kta_core::{Code, Error, Fault, FaultKind, Port};

pub(super) type Answer<T> = Result<T, Trouble>;

/// Why a call to the token gave nothing.
pub(super) enum Trouble {
    /// What the caller is told as it is.
    House(Error),
    /// What the module returned.
    Module(ModuleError),
    /// The module has no such token.
    NoToken,
}

impl Trouble {
    /// Whether the session or a handle had become invalid before anything was done, so that the
    /// same call in a new session may succeed.
    pub(super) fn is_stale(&self) -> bool {
        matches!(
            self.rv(),
            Some(
                RvError::SessionClosed
                    | RvError::SessionHandleInvalid
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized
                    | RvError::KeyHandleInvalid
                    | RvError::ObjectHandleInvalid
            )
        )
    }

    pub(super) fn is_refused_pin(&self) -> bool {
        matches!(
            self.rv(),
            Some(
                RvError::PinIncorrect
                    | RvError::PinInvalid
                    | RvError::PinLenRange
                    | RvError::PinExpired
                    | RvError::PinLocked
                    | RvError::UserPinNotInitialized
            )
        )
    }

    /// Whether decryption says for certain that the bytes do not belong to the key.
    pub(super) fn is_bad_ciphertext(&self) -> bool {
        matches!(
            self.rv(),
            Some(
                RvError::EncryptedDataInvalid
                    | RvError::EncryptedDataLenRange
                    | RvError::SignatureInvalid
            )
        )
    }

    /// Whether it says that something failed, which some modules do for a wrong tag as well.
    pub(super) fn is_general(&self) -> bool {
        matches!(
            self.rv(),
            Some(
                RvError::GeneralError
                    | RvError::FunctionFailed
                    | RvError::DeviceError
                    | RvError::DataInvalid
                    | RvError::DataLenRange
                    | RvError::VendorDefined(_)
                    | RvError::UnknownErrorCode(_)
            )
        )
    }

    pub(super) fn rv(&self) -> Option<RvError> {
        match self {
            Self::Module(ModuleError::Pkcs11(rv, _)) => Some(*rv),
            _ => None,
        }
    }
}

impl From<ModuleError> for Trouble {
    fn from(error: ModuleError) -> Self {
        Self::Module(error)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::House(error)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::House(fault.into())
    }
}

impl From<Code> for Trouble {
    fn from(code: Code) -> Self {
        Self::House(code.into())
    }
}

impl From<Trouble> for Error {
    /// The module's own words are not kept: they may name files and slots.
    fn from(trouble: Trouble) -> Self {
        let because = |kind, detail| fault(kind).because(detail).into();
        if trouble.is_refused_pin() {
            return because(
                FaultKind::Misconfigured,
                "the token does not accept the PIN",
            );
        }
        let error = match trouble {
            Trouble::House(error) => return error,
            Trouble::NoToken => return because(FaultKind::NotFound, "no such token"),
            Trouble::Module(error) => error,
        };
        match error {
            ModuleError::LibraryLoading(_) | ModuleError::MissingSymbol(_) => {
                because(FaultKind::Misconfigured, "not a PKCS#11 module")
            }
            // What was found a moment ago lacks what every object of its kind has: somebody else is
            // writing or removing it.
            ModuleError::Pkcs11(RvError::AttributeTypeInvalid, Function::GetAttributeValue) => {
                because(FaultKind::Unavailable, "an object is being changed")
            }
            ModuleError::Pkcs11(rv, _) => match rv {
                RvError::AttributeReadOnly
                | RvError::AttributeTypeInvalid
                | RvError::AttributeValueInvalid
                | RvError::FunctionNotSupported
                | RvError::KeyFunctionNotPermitted
                | RvError::KeySizeRange
                | RvError::KeyTypeInconsistent
                | RvError::MechanismInvalid
                | RvError::MechanismParamInvalid
                | RvError::TemplateIncomplete
                | RvError::TemplateInconsistent => because(
                    FaultKind::Misconfigured,
                    "the token lacks AES-GCM or another thing needed",
                ),
                RvError::ActionProhibited
                | RvError::SessionReadOnly
                | RvError::TokenWriteProtected => because(
                    FaultKind::Misconfigured,
                    "the token does not let itself be changed",
                ),
                RvError::DeviceMemory => because(FaultKind::Misconfigured, "the token is full"),
                RvError::CantLock | RvError::NeedToCreateThreads => because(
                    FaultKind::Misconfigured,
                    "the module is not for several threads",
                ),
                RvError::DeviceRemoved
                | RvError::SlotIdInvalid
                | RvError::TokenNotPresent
                | RvError::TokenNotRecognized => {
                    because(FaultKind::Unavailable, "the token is not in its slot")
                }
                _ => because(FaultKind::Unavailable, "the token did not do it"),
            },
            _ => because(FaultKind::Protocol, "not an answer of PKCS#11"),
        }
    }
}

/// A fault of the token.
pub(super) const fn fault(kind: FaultKind) -> Fault {
    Fault::new(kind, Port::Kms, "PKCS#11 token")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rv: RvError) -> Fault {
        let error = Error::from(Trouble::from(ModuleError::Pkcs11(rv, Function::Login)));
        *error.fault().expect("a fault")
    }

    #[test]
    fn an_object_that_another_process_is_writing_is_worth_another_try() {
        let missing = RvError::AttributeTypeInvalid;
        let read = ModuleError::Pkcs11(missing, Function::GetAttributeValue);
        let read = Error::from(Trouble::from(read));
        assert!(read.fault().is_some_and(Fault::is_transient));
        assert!(!told(RvError::AttributeTypeInvalid).is_transient());
    }

    #[test]
    fn what_may_pass_is_transient_and_what_must_be_mended_is_not() {
        for rv in [
            RvError::DeviceRemoved,
            RvError::TokenNotPresent,
            RvError::DeviceError,
            RvError::GeneralError,
            RvError::SessionCount,
            RvError::UnknownErrorCode(0x8000_0001),
        ] {
            assert!(told(rv).is_transient(), "{rv:?}");
        }
        for rv in [
            RvError::PinIncorrect,
            RvError::PinLocked,
            RvError::PinExpired,
            RvError::MechanismInvalid,
            RvError::TokenWriteProtected,
            RvError::DeviceMemory,
        ] {
            assert_eq!(told(rv).kind(), FaultKind::Misconfigured, "{rv:?}");
        }
    }
}
