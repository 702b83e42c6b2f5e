//! What a later version may add, and what this one makes of it.

use super::forge::{Entry, Item, Manifest};
use super::*;
use kv_log_engine::storage::sim::OpKind;
use kv_log_engine::{Create, verify};
use kv_tests::workload::contents_of;
use kv_trait::{Effect, ErrorKind};

/// A closed store; its manifest is changed by somebody who knows more.
fn changed(change: impl FnOnce(&mut Manifest)) -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    rotate(&store).unwrap();
    store.put(b"k", b"v").unwrap();
    drop(store);
    let mut manifest = Manifest::of(&disk);
    change(&mut manifest);
    manifest.write(&disk);
    disk
}

fn unknown(class: u16, body: &[u8]) -> Item {
    Item {
        kind: 400,
        class,
        body: body.to_vec(),
    }
}

/// An edit of such items.
fn edit(manifest: &mut Manifest, items: Vec<Item>) {
    let number = manifest.last() + 1;
    manifest.0.push(Entry {
        number,
        features: None,
        items,
    });
}

#[test]
fn what_is_compatible_is_carried_by_every_later_writer_byte_for_byte() {
    let disk = changed(|manifest| {
        manifest.0[0].features = Some([0, 0, 1 << 40 | 5]);
        manifest.0[0].items.insert(0, unknown(2, b"in the image"));
        edit(manifest, vec![unknown(2, b"in an edit"), unknown(2, b"")]);
    });
    let carried = |disk: &SimDisk| {
        let manifest = Manifest::of(disk);
        let items = manifest.0.iter().flat_map(|entry| &entry.items);
        let unknown: Vec<_> = items.filter(|item| item.kind == 400).cloned().collect();
        (manifest.0[0].features, unknown)
    };
    let before = carried(&disk);
    assert_eq!(before.1.len(), 3);
    for life in 0..4 {
        let store = open(&disk, 2 + life);
        assert_eq!(carried(&disk), before, "life {life}, opened");
        rotate(&store).unwrap();
        assert_eq!(Manifest::of(&disk).0.len(), 2, "an image and an edit");
        assert_eq!(carried(&disk), before, "life {life}");
        if life % 2 == 0 {
            store.close().unwrap();
        }
    }
    // A generation that is begun for its length carries it, too.
    let store = open(&disk, 9);
    for _ in 0..400 {
        rotate(&store).unwrap();
    }
    assert!(Manifest::of(&disk).0.len() < 400);
    assert_eq!(carried(&disk), before);
}

#[test]
fn what_only_later_versions_may_write_with_is_read_and_not_written() {
    let feature: fn(&mut Manifest) = |manifest| manifest.0[0].features = Some([0, 6, 0]);
    let item: fn(&mut Manifest) = |manifest| edit(manifest, vec![unknown(1, b"index")]);
    for (change, what) in [(feature, "feature"), (item, "item")] {
        let disk = changed(change);
        disk.write_file("/db/MANIFEST.new", b"debris").unwrap();
        let before: Vec<_> = COPIES.map(|copy| disk.read_file(copy).unwrap()).to_vec();
        let names = disk.files();
        for life in 0..2 {
            let store = open(&disk, 2 + life);
            assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
            let told = store.recovery_report().read_only.clone().unwrap();
            assert!(told.contains(what), "{told}");
            let refused = [
                store.put(b"a", b"b").unwrap_err(),
                store.delete(b"k").unwrap_err(),
                rotate(&store).unwrap_err(),
            ];
            for error in refused {
                assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}");
                assert_eq!(error.effect(), Effect::Nothing);
                let source = std::error::Error::source(&error).unwrap().to_string();
                assert!(source.contains(what), "{source}");
            }
            store.close().unwrap();
        }
        assert_eq!(disk.files(), names);
        assert_eq!(
            COPIES.map(|copy| disk.read_file(copy).unwrap()).to_vec(),
            before
        );
        assert!(verify(STORE, options(&disk, 5, 1024)).unwrap().is_clean());
        // What it showed lasts all the same.
        disk.power_cut_losing_all();
        assert_eq!(
            contents_of(&open(&disk, 6)).get(&b"k"[..]),
            Some(&b"v".to_vec())
        );
    }
}

#[test]
fn what_only_later_versions_can_read_is_refused_by_name() {
    let feature: fn(&mut Manifest) = |manifest| manifest.0[0].features = Some([8, 0, 0]);
    let item: fn(&mut Manifest) = |manifest| edit(manifest, vec![unknown(0, b"runs")]);
    let class: fn(&mut Manifest) = |manifest| edit(manifest, vec![unknown(3, b"?")]);
    let reserved: fn(&mut Manifest) = |manifest| {
        edit(
            manifest,
            vec![Item {
                kind: 14,
                class: 0,
                body: vec![0; 30],
            }],
        );
    };
    for (change, what) in [
        (feature, "manifest features 8"),
        (item, "item of the manifest 400"),
        (class, "item of the manifest 400"),
        (reserved, "item of the manifest 14"),
    ] {
        let disk = changed(change);
        let names = disk.files();
        let calls = disk.calls().get(&OpKind::Sync).copied();
        for create in [Create::Never, Create::IfMissing] {
            let options = options(&disk, 2, 1024).create(create);
            let error = Engine::open(STORE, options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(what), "{source}");
        }
        assert_eq!(disk.files(), names);
        assert_eq!(disk.calls().get(&OpKind::Sync).copied(), calls);
        // One copy that says so is enough: it is the newer one, or the other is damaged.
        disk.erase_file(COPIES[0]).unwrap();
        let error = try_open(&disk, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}");
    }
}
