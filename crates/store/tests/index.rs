//! The index: atomic batches, ordered scans, and damage that is noticed and mended by building it again.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, path::Path};

use anya_primitives::{Classified as _, ErrorKind};
use anya_store::{Batch, Error, Index};
use proptest::prelude::*;

const FAMILIES: &[&str] = &["coins", "blocks"];

fn open(folder: &Path) -> Index {
    Index::open(folder, FAMILIES).unwrap()
}

fn filled(folder: &Path) -> Index {
    let index = open(folder);
    let mut batch = Batch::new();
    for id in 0..2000_u32 {
        batch.put("coins", id.to_be_bytes(), format!("value {id}"));
    }
    index.write(batch).unwrap();
    index
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let place = tempfile::tempdir().unwrap();
    drop(filled(place.path()));
    let index = open(place.path());
    assert_eq!(index.get("coins", &7_u32.to_be_bytes()).unwrap(), Some(b"value 7".to_vec()));
    assert_eq!(index.get("blocks", &7_u32.to_be_bytes()).unwrap(), None, "families are apart");
    let several =
        index.multi_get("coins", &[9_u32.to_be_bytes(), 9999_u32.to_be_bytes(), 3_u32.to_be_bytes()]);
    assert_eq!(several.unwrap(), [Some(b"value 9".to_vec()), None, Some(b"value 3".to_vec())]);
}

#[test]
fn a_batch_with_an_unknown_family_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let index = open(place.path());
    let mut batch = Batch::new();
    batch.put("coins", *b"k", *b"v").put("nowhere", *b"k", *b"v");
    assert!(matches!(index.write(batch), Err(Error::UnknownFamily { .. })));
    assert_eq!(index.get("coins", b"k").unwrap(), None);
    assert!(matches!(index.get("nowhere", b"k"), Err(Error::UnknownFamily { .. })));
}

#[test]
fn a_family_of_another_version_does_not_stand_in_the_way() {
    let place = tempfile::tempdir().unwrap();
    drop(Index::open(place.path(), &["coins", "newer"]).unwrap());
    drop(filled(place.path()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The index answers as an ordered map does.
    #[test]
    fn it_behaves_as_an_ordered_map(
        steps in prop::collection::vec(
            (0u8..4, prop::collection::vec(250u8.., 0..3), prop::collection::vec(250u8.., 0..3)), 1..40),
        prefix in prop::collection::vec(250u8.., 0..3),
        limit in 0usize..20,
    ) {
        let place = tempfile::tempdir().unwrap();
        let index = open(place.path());
        let mut model = BTreeMap::new();
        for (kind, one, two) in steps {
            let mut batch = Batch::new();
            match kind {
                0 | 1 => {
                    batch.put("coins", one.clone(), two.clone());
                    model.insert(one, two);
                }
                2 => {
                    batch.delete("coins", one.clone());
                    model.remove(&one);
                }
                _ => {
                    let (from, to) = (one.clone().min(two.clone()), one.max(two));
                    batch.delete_range("coins", from.clone(), to.clone());
                    model.retain(|key, _| *key < from || *key >= to);
                }
            }
            index.write(batch).unwrap();
        }
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix))
            .take(limit)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        prop_assert_eq!(index.scan_prefix("coins", &prefix, limit).unwrap(), expected);
    }
}

#[test]
fn a_second_opener_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let index = open(place.path());
    assert!(matches!(Index::open(place.path(), FAMILIES), Err(Error::Locked { .. })));
    assert!(matches!(Index::destroy(place.path()), Err(Error::Locked { .. })));
    drop(index);
    open(place.path());
}

#[test]
fn damage_is_told_apart_and_mended_by_building_again() {
    type Harm = fn(&Path);
    let each = |folder: &Path, part: &str, harm: &dyn Fn(&Path)| {
        let mut met = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().contains(part) {
                harm(&path);
                met += 1;
            }
        }
        assert!(met > 0, "no file like {part}");
    };
    let overwrite: Harm = |path| {
        let length = usize::try_from(path.metadata().unwrap().len()).unwrap();
        std::fs::write(path, vec![0xa5; length]).unwrap();
    };
    let remove: Harm = |path| std::fs::remove_file(path).unwrap();
    let cases = [
        ("MANIFEST", overwrite),
        ("MANIFEST", remove),
        ("CURRENT", overwrite),
        (".sst", overwrite),
        (".sst", remove),
    ];
    for (part, harm) in cases {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("index");
        // Opening again moves what the log holds into sorted files.
        drop(filled(&folder));
        drop(open(&folder));
        each(&folder, part, &harm);
        let found = Index::open(&folder, FAMILIES)
            .and_then(|index| index.scan_prefix("coins", b"", usize::MAX).map(|rows| rows.len()));
        let error = found.unwrap_err();
        assert!(matches!(error, Error::IndexDamaged { .. }), "{part}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        Index::destroy(&folder).unwrap();
        assert!(!folder.exists());
        let index = filled(&folder);
        assert_eq!(index.scan_prefix("coins", b"", usize::MAX).unwrap().len(), 2000);
    }
}

#[test]
fn destroy_spares_what_is_not_an_index() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("index");
    Index::destroy(&folder).unwrap();
    drop(filled(&folder));
    std::fs::write(folder.join("keystore.json"), "{}").unwrap();
    assert!(matches!(Index::destroy(&folder), Err(Error::AlreadyInUse { .. })));
    assert_eq!(open(&folder).scan_prefix("coins", b"", 1).unwrap().len(), 1);
}

#[test]
fn a_checkpoint_is_an_index_of_its_moment() {
    let place = tempfile::tempdir().unwrap();
    let index = filled(&place.path().join("index"));
    let copy = place.path().join("copy");
    index.checkpoint(&copy).unwrap();
    let mut batch = Batch::new();
    batch.put("coins", *b"later", *b"");
    index.write(batch).unwrap();
    let copy = open(&copy);
    assert_eq!(copy.scan_prefix("coins", b"", usize::MAX).unwrap().len(), 2000);
    assert_eq!(copy.get("coins", b"later").unwrap(), None);
}
