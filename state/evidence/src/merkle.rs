//! The Merkle tree of RFC 6962, section 2.1, over SHA-256. Pure.

use crate::encode::sha256;

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of a leaf.
pub fn leaf(content: &[u8]) -> Hash {
    sha256(&[&[0], content])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// A tree with the hashes of all its complete subtrees: twice the leaves.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// `levels[k][i]` covers the leaves from `i << k` to `(i + 1) << k`.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree of these leaves.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let above = last.chunks_exact(2).map(|pair| node(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// The leaves.
    pub fn leaves(&self) -> &[Hash] {
        self.levels.first().map_or(&[], Vec::as_slice)
    }

    /// The number of leaves.
    pub fn size(&self) -> usize {
        self.leaves().len()
    }

    /// The root of the tree of the first `size` leaves. `None` if there are fewer.
    pub fn root_of(&self, size: usize) -> Option<Hash> {
        match size {
            0 => Some(sha256(&[])),
            size => (size <= self.size()).then(|| self.range(0, size)),
        }
    }

    /// The root.
    pub fn root(&self) -> Hash {
        self.root_of(self.size()).unwrap_or_else(|| sha256(&[]))
    }

    /// What proves to a reader of the root that the leaf at `index` is in the tree. Empty if it is not.
    pub fn path(&self, index: usize) -> Vec<Hash> {
        let (mut from, mut size, mut path) = (0, self.size(), Vec::new());
        if index >= size {
            return path;
        }
        while size > 1 {
            let left = split(size);
            if index < from + left {
                path.push(self.range(from + left, size - left));
                size = left;
            } else {
                path.push(self.range(from, left));
                (from, size) = (from + left, size - left);
            }
        }
        path.reverse();
        path
    }

    /// The hash of the tree of `size` leaves from `from` on. Each range that is asked for begins at a multiple
    /// of the power of two that covers it.
    fn range(&self, from: usize, size: usize) -> Hash {
        if size.is_power_of_two() {
            let level = size.trailing_zeros() as usize;
            return self.levels[level][from >> level];
        }
        let left = split(size);
        node(&self.range(from, left), &self.range(from + left, size - left))
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

/// The root of a tree of `size` leaves in which the leaf at `index` has this path. `None` if the path fits no
/// such leaf.
pub fn root_by_path(leaf: Hash, index: usize, size: usize, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for other in path {
        if last == 0 {
            return None;
        }
        if at % 2 == 1 || at == last {
            hash = node(other, &hash);
            while at % 2 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::hex;

    /// The test vectors of the certificate transparency project.
    const INPUTS: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];

    #[test]
    fn the_roots_are_those_of_rfc_6962() {
        let tree = Tree::new(INPUTS.iter().map(|input| leaf(input)).collect());
        let roots: Vec<String> = (0..=8).map(|size| hex(&tree.root_of(size).unwrap())[..16].into()).collect();
        let known = [
            "e3b0c44298fc1c14",
            "6e340b9cffb37a98",
            "fac54203e7cc696c",
            "aeb6bcfe274b70a1",
            "d37ee418976dd957",
            "4e3bbb1f7b478dcf",
            "76e67dadbcdf1e10",
            "ddb89be403809e32",
            "5dc9da79a70659a9",
        ];
        assert_eq!(roots, known);
        assert_eq!(tree.root_of(9), None);
    }

    #[test]
    fn a_path_proves_its_own_leaf_and_no_other() {
        for size in 1..40 {
            let tree = Tree::new((0..size).map(|n| leaf(&[n as u8])).collect());
            for index in 0..size {
                let path = tree.path(index);
                let proves =
                    |leaf, index, path: &[Hash]| root_by_path(leaf, index, size, path) == Some(tree.root());
                assert!(proves(tree.leaves()[index], index, &path), "{index} of {size}");
                assert!(!proves(leaf(b"other"), index, &path));
                assert!(size == 1 || !proves(tree.leaves()[index], (index + 1) % size, &path));
                assert!(size == 1 || !proves(tree.leaves()[index], index, &path[1..]));
            }
        }
    }
}
