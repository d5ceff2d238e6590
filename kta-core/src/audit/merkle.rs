//! The Merkle tree of RFC 9162 section 2.1 (the same as RFC 6962), over SHA-256.
//!
//! ```text
//!              root = node(a, node(b, c))            5 entries
//!             /                   \
//!          a: 4 leaves            e: 1 leaf          a frontier keeps only a and e
//!         /      \
//!      2 leaves  2 leaves
//! ```
//!
//! The names are those of the RFC: leaf and node hash, inclusion proof, consistency proof.

use sha2::{Digest as _, Sha256};

use super::defect::Defect;
use crate::id::Digest;

/// The hash of an entry as a leaf: SHA-256 over `0x00` and the entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest::from_bytes(
        Sha256::new()
            .chain_update([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The hash of an inner node: SHA-256 over `0x01` and both children.
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hash = Sha256::new()
        .chain_update([1])
        .chain_update(left.as_bytes())
        .chain_update(right.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// The root of a tree without leaves: the hash of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The root over these leaf hashes, in memory logarithmic in their number.
#[must_use]
pub fn root(leaves: impl IntoIterator<Item = Digest>) -> Digest {
    let mut frontier = Frontier::new();
    leaves.into_iter().for_each(|leaf| frontier.append(leaf));
    frontier.root()
}

/// The right edge of a growing tree: all that is needed to append and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the perfect subtrees that the size's one-bits stand for, largest first.
    nodes: Vec<Digest>,
}

impl Frontier {
    /// The frontier of the empty tree.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            size: 0,
            nodes: Vec::new(),
        }
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash.
    pub fn append(&mut self, leaf: Digest) {
        let mut node = leaf;
        // Each trailing one-bit of the size is a perfect subtree as large as the new one.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// The root of the tree as it stands.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut nodes = self.nodes.iter().rev();
        let Some(smallest) = nodes.next() else {
            return empty_root();
        };
        nodes.fold(*smallest, |right, left| node_hash(left, &right))
    }

    /// The compact state: the size (8 bytes, big-endian), then the kept hashes, largest first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.size.to_be_bytes().to_vec();
        self.nodes
            .iter()
            .for_each(|node| bytes.extend_from_slice(node.as_bytes()));
        bytes
    }

    /// Reads the compact state back.
    ///
    /// A state is believed as far as the tree grown from it reaches a known root; it proves
    /// nothing by itself.
    ///
    /// # Errors
    /// [`Defect::Frontier`] when the length does not fit the size.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Defect> {
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or(Defect::Frontier)?;
        let size = u64::from_be_bytes(*size);
        let (hashes, odd) = rest.as_chunks::<32>();
        if !odd.is_empty() || hashes.len() != size.count_ones() as usize {
            return Err(Defect::Frontier);
        }
        Ok(Self {
            size,
            nodes: hashes.iter().copied().map(Digest::from_bytes).collect(),
        })
    }
}

/// Where proofs take the hashes of perfect subtrees from: leaf hashes in memory, or tiles.
pub trait Nodes {
    /// The hash over the `2^height` leaves from `index * 2^height`.
    ///
    /// # Errors
    /// [`Defect::OutOfRange`] for leaves that do not exist, and what reading them may bring.
    fn node(&self, height: u32, index: u64) -> Result<Digest, Defect>;
}

impl Nodes for [Digest] {
    fn node(&self, height: u32, index: u64) -> Result<Digest, Defect> {
        let missing = Defect::OutOfRange {
            index: self.len() as u64,
        };
        let span = 1_u64.checked_shl(height).ok_or_else(|| missing.clone())?;
        let start = index.checked_mul(span).ok_or_else(|| missing.clone())?;
        let end = start.checked_add(span).ok_or_else(|| missing.clone())?;
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let leaves = range
            .and_then(|(start, end)| self.get(start..end))
            .ok_or(missing)?;
        Ok(root(leaves.iter().copied()))
    }
}

/// The inclusion proof of the entry at `index` in the tree of the first `size` leaves: sibling
/// hashes from the leaf up to the root's child (RFC 9162 section 2.1.3.1).
///
/// # Errors
/// [`Defect::OutOfRange`] when there is no such leaf, and what reading the nodes may bring.
pub fn inclusion_proof(
    nodes: &(impl Nodes + ?Sized),
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, Defect> {
    if index >= size {
        return Err(Defect::OutOfRange { index });
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `first` leaves is the beginning of the tree of `second` leaves
/// (RFC 9162 section 2.1.4.1). Empty when `first` is 0 or equals `second`.
///
/// # Errors
/// [`Defect::Consistency`] when `first` is larger, and what reading the nodes may bring.
pub fn consistency_proof(
    nodes: &(impl Nodes + ?Sized),
    first: u64,
    second: u64,
) -> Result<Vec<Digest>, Defect> {
    if first > second {
        return Err(Defect::Consistency { first, second });
    }
    if first == 0 || first == second {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, second);
    let mut proof = Vec::new();
    while first < end {
        let middle = start + split(end - start);
        if first <= middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, start, middle)?);
            start = middle;
        }
    }
    if start > 0 {
        // Otherwise the verifier has this hash already: it is the root of the first tree.
        proof.push(range_hash(nodes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Checks an inclusion proof (RFC 9162 section 2.1.3.2).
///
/// # Errors
/// [`Defect::Inclusion`] when the proof does not lead from `leaf` at `index` to `root`.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), Defect> {
    let failed = Err(Defect::Inclusion { index });
    if index >= size {
        return failed;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return failed;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    if last == 0 && hash == *root {
        Ok(())
    } else {
        failed
    }
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2) between the tree of `first` leaves
/// with `first_root` and the tree of `second` leaves with `second_root`.
///
/// The empty tree is the beginning of every tree and needs no hashes.
///
/// # Errors
/// [`Defect::Consistency`] when the second tree does not continue the first.
pub fn verify_consistency(
    first: u64,
    second: u64,
    proof: &[Digest],
    first_root: &Digest,
    second_root: &Digest,
) -> Result<(), Defect> {
    let holds = match (first, second) {
        (0, _) => {
            proof.is_empty()
                && *first_root == empty_root()
                && (second > 0 || first_root == second_root)
        }
        _ if first == second => proof.is_empty() && first_root == second_root,
        _ if first > second => false,
        _ => continues(first, second, proof, first_root, second_root),
    };
    if holds {
        Ok(())
    } else {
        Err(Defect::Consistency { first, second })
    }
}

fn continues(first: u64, second: u64, proof: &[Digest], old: &Digest, new: &Digest) -> bool {
    let whole = first.is_power_of_two().then_some(*old);
    let mut hashes = whole.into_iter().chain(proof.iter().copied());
    let Some(seed) = hashes.next() else {
        return false;
    };
    if proof.is_empty() {
        return false;
    }
    let shift = (first - 1).trailing_ones();
    // `first` is below 2^63 here or a power of two, so the shift is at most 63.
    let (mut at, mut last) = ((first - 1) >> shift, (second - 1) >> shift);
    let (mut old_hash, mut new_hash) = (seed, seed);
    for hash in hashes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = node_hash(&hash, &old_hash);
            new_hash = node_hash(&hash, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, &hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old && new_hash == *new
}

/// The largest power of two below `size`, which must be at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The hash over the leaves `start..end`, for a range that the splitting of a tree can yield:
/// `start` is a multiple of every perfect subtree taken from it.
fn range_hash(nodes: &(impl Nodes + ?Sized), start: u64, end: u64) -> Result<Digest, Defect> {
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        let height = (end - at).ilog2();
        parts.push(nodes.node(height, at >> height)?);
        at += 1 << height;
    }
    let mut parts = parts.into_iter().rev();
    let Some(last) = parts.next() else {
        return Ok(empty_root());
    };
    Ok(parts.fold(last, |right, left| node_hash(&left, &right)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The inputs of the well-known Certificate Transparency test tree, and its roots by size.
    const CT_ENTRIES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const CT_ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn ct_leaves() -> Vec<Digest> {
        CT_ENTRIES
            .iter()
            .map(|hex| {
                let entry: Vec<u8> = (0..hex.len() / 2)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                    .collect();
                leaf_hash(&entry)
            })
            .collect()
    }

    fn digests(hex: &[&str]) -> Vec<Digest> {
        hex.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// MTH of RFC 9162 section 2.1.1, word for word.
    fn naive_root(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    /// PATH of section 2.1.3.1.
    fn naive_path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut path, sibling) = if m < k {
            (naive_path(m, left), naive_root(right))
        } else {
            (naive_path(m - k, right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of section 2.1.4.1.
    fn naive_subproof(m: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
        if m == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let k = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(k);
        let (mut proof, other) = if m <= k {
            (naive_subproof(m, left, whole), naive_root(right))
        } else {
            (naive_subproof(m - k, right, false), naive_root(left))
        };
        proof.push(other);
        proof
    }

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count)
            .map(|number| leaf_hash(&number.to_be_bytes()))
            .collect()
    }

    #[test]
    fn roots_are_those_of_the_certificate_transparency_vectors() {
        let leaves = ct_leaves();
        for (size, expected) in CT_ROOTS.iter().enumerate() {
            assert_eq!(root(leaves[..size].iter().copied()).to_string(), *expected);
        }
    }

    #[test]
    fn proofs_are_those_of_the_certificate_transparency_vectors() {
        let leaves = ct_leaves();
        let first_of_eight = digests(&[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]);
        assert_eq!(inclusion_proof(&leaves[..], 0, 8).unwrap(), first_of_eight);
        assert_eq!(
            consistency_proof(&leaves[..], 1, 8).unwrap(),
            first_of_eight
        );
        let six_to_eight = digests(&[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]);
        assert_eq!(consistency_proof(&leaves[..], 6, 8).unwrap(), six_to_eight);
    }

    #[test]
    fn every_small_tree_agrees_with_the_naive_one() {
        let all = leaves(40);
        for size in 0..all.len() {
            let tree = &all[..size];
            let top = naive_root(tree);
            assert_eq!(root(tree.iter().copied()), top);
            for index in 0..size {
                let proof = inclusion_proof(tree, index as u64, size as u64).unwrap();
                assert_eq!(proof, naive_path(index, tree));
                verify_inclusion(&tree[index], index as u64, size as u64, &proof, &top).unwrap();
            }
            for first in 1..=size {
                let old = naive_root(&tree[..first]);
                let proof = consistency_proof(tree, first as u64, size as u64).unwrap();
                assert_eq!(proof, naive_subproof(first, tree, true));
                verify_consistency(first as u64, size as u64, &proof, &old, &top).unwrap();
            }
        }
    }

    #[test]
    fn a_leaf_cannot_pass_for_a_node() {
        let [left, right] = [leaf_hash(b"left"), leaf_hash(b"right")];
        let joined = [left.as_bytes().as_slice(), right.as_bytes()].concat();
        assert_ne!(leaf_hash(&joined), node_hash(&left, &right));
    }

    #[test]
    fn trees_that_shrink_or_begin_otherwise_are_not_consistent() {
        let all = leaves(9);
        let (old, new) = (naive_root(&all[..4]), naive_root(&all));
        let proof = consistency_proof(&all[..], 4, 9).unwrap();
        verify_consistency(4, 9, &proof, &old, &new).unwrap();
        assert!(verify_consistency(9, 4, &proof, &new, &old).is_err());
        assert!(verify_consistency(4, 9, &proof, &new, &new).is_err());
        assert!(verify_consistency(4, 9, &[], &old, &new).is_err());
        assert!(verify_consistency(0, 9, &[], &old, &new).is_err());
        assert!(verify_consistency(0, 9, &[], &empty_root(), &new).is_ok());
        assert!(consistency_proof(&all[..], 9, 4).is_err());
    }

    proptest! {
        #[test]
        fn frontier_state_round_trips_and_grows_on(size in 0_usize..300, more in 0_usize..20) {
            let all = leaves(size + more);
            let mut frontier = Frontier::new();
            all[..size].iter().for_each(|leaf| frontier.append(*leaf));
            let mut again = Frontier::from_bytes(&frontier.to_bytes()).unwrap();
            prop_assert_eq!(&again, &frontier);
            all[size..].iter().for_each(|leaf| again.append(*leaf));
            prop_assert_eq!(again.root(), naive_root(&all));
        }

        #[test]
        fn altered_proofs_are_refused(
            size in 2_usize..200, pick in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let all = leaves(size);
            let top = naive_root(&all);
            let index = pick.index(size);
            let mut proof = inclusion_proof(&all[..], index as u64, size as u64).unwrap();
            let other = (index as u64 + 1) % size as u64;
            prop_assert!(verify_inclusion(&all[index], other, size as u64, &proof, &top).is_err());
            let at = flip.index(proof.len());
            let mut bytes = *proof[at].as_bytes();
            bytes[0] ^= 1 << bit;
            proof[at] = Digest::from_bytes(bytes);
            prop_assert!(verify_inclusion(&all[index], index as u64, size as u64, &proof, &top).is_err());
        }

        #[test]
        fn garbage_is_answered_without_panic(
            first in any::<u64>(), second in any::<u64>(), count in 0_usize..70, bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let proof = leaves(count);
            let top = empty_root();
            prop_assert!(verify_inclusion(&top, first, second, &proof, &top).is_err());
            if first != second {
                prop_assert!(verify_consistency(first.max(1), second, &proof, &top, &top).is_err());
            }
            let _ = Frontier::from_bytes(&bytes);
            prop_assert!(proof[..].node(64, first).is_err());
        }
    }
}
