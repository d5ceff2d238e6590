//! What a journal begins with.

/// The head of a journal that is made now.
pub(super) fn of(id: &[u8; 16]) -> Vec<u8> {
    [&MAGIC[..], id, &start_of_machine()].concat()
}

/// What the head of a dead process's journal says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Absent where the process or its machine ended before the head was written.
    pub(super) id: Option<[u8; 16]>,
    /// Whether the machine has run without a break since: then what was written is there.
    pub(super) same_start: bool,
}

impl Head {
    /// Reads it; `None` for the head of something else, or of another version's journal.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = bytes.split_at(bytes.len().min(MAGIC.len()));
        if magic.iter().all(|byte| *byte == 0) {
            let (id, same_start) = (None, false);
            return Some(Self { id, same_start });
        }
        if !MAGIC.starts_with(magic) {
            return None;
        }
        let id = rest.first_chunk().copied();
        let start = rest.get(16..32).unwrap_or(&UNKNOWN);
        let same_start = start != UNKNOWN && start == start_of_machine();
        Some(Self { id, same_start })
    }
}

/// A number that the machine draws whenever it starts; zeros where it does not say.
fn start_of_machine() -> [u8; 16] {
    let said = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = said.trim().split('-').collect();
    u128::from_str_radix(&digits, 16).map_or(UNKNOWN, u128::to_be_bytes)
}

const MAGIC: &[u8; 9] = b"KTA open\x01";

/// No start that we know of; older journals have it too.
const UNKNOWN: [u8; 16] = [0; 16];
