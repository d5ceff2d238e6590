//! What it is: the data subject, the record with typed and classified fields, the matter, the
//! document, and every known copy of them.

pub mod category;
pub mod content;
pub mod document;
pub mod group;
pub mod identifier;
pub mod matter;
pub mod placement;
pub mod record;
pub mod subject;
pub mod value;

pub use category::{Category, Classification};
pub use content::{Content, ContentStream, MediaType};
pub use document::{Document, DocumentKind};
pub use group::FieldGroup;
pub use matter::{Matter, MatterState};
pub use placement::{CopyOf, Locator, Placement, PlacementKind, PlacementState, System};
pub use record::{FieldKind, FieldName, FieldSpec, Fields, Record, RecordKey, Schema, SealedField};
pub use subject::{Party, Subject};
pub use value::{Pii, Sealed};
