//! Layer 1: what one client may expect of a cell: absent, created, swapped, any bytes, any version.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use lock_core::{BackendErrorKind, Snapshot, Swap, Version};

use crate::cell::{load, put, swap};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict, trials};

trials!("contract":
    an_absent_cell_has_version_zero_and_no_bytes,
    a_cell_is_created_once,
    an_absent_cell_is_not_swapped,
    a_swap_from_another_version_changes_nothing,
    a_swap_of_the_same_bytes_is_a_swap,
    #[random] any_text_comes_back,
    #[random] three_megabytes_come_back_or_are_refused,
    versions_go_up_to_the_last,
    #[random] versions_may_skip,
    foreign_data_is_an_error_and_never_an_absent_cell,
);

fn an_absent_cell_has_version_zero_and_no_bytes(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    scene.block_on(async {
        for _ in 0..3 {
            assert_eq!(
                load(&*backend).await?,
                Snapshot::default(),
                "and reading does not create it"
            );
        }
        Ok(())
    })
}

fn a_cell_is_created_once(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        assert_eq!(swap(&*one, Version::ABSENT, Version(5), b"first").await?, Swap::Swapped);
        for (backend, next) in [(&one, 5), (&one, 6), (&other, 1), (&other, 7)] {
            let again = swap(&**backend, Version::ABSENT, Version(next), b"second").await?;
            assert_eq!(again, Swap::Conflict, "it exists");
        }
        let first = Snapshot { version: Version(5), data: b"first".into() };
        assert_eq!(load(&*one).await?, first);
        assert_eq!(load(&*other).await?, first);
        Ok(())
    })
}

fn an_absent_cell_is_not_swapped(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    scene.block_on(async {
        for expected in [1, 5, Version::MAX.0 - 1] {
            let swapped = swap(&*backend, Version(expected), Version(expected + 1), b"x").await?;
            assert_eq!(swapped, Swap::Conflict, "it has no version {expected}");
            assert_eq!(load(&*backend).await?, Snapshot::default());
        }
        Ok(())
    })
}

fn a_swap_from_another_version_changes_nothing(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        assert_eq!(swap(&*one, Version::ABSENT, Version(10), b"ten").await?, Swap::Swapped);
        assert_eq!(swap(&*other, Version(10), Version(20), b"twenty").await?, Swap::Swapped);
        // Below, long ago, beyond, as text a prefix or longer, and what differs in its last bit.
        for expected in [19, 10, 1, 21, 2, 200, 20 << 32, 20 + (1 << 32), Version::MAX.0 - 1] {
            for backend in [&one, &other] {
                let next = Version(expected.max(20) + 1);
                let swapped = swap(&**backend, Version(expected), next, b"x").await?;
                assert_eq!(swapped, Swap::Conflict, "the version is 20, not {expected}");
            }
        }
        let twenty = Snapshot { version: Version(20), data: b"twenty".into() };
        assert_eq!(load(&*one).await?, twenty);
        assert_eq!(load(&*other).await?, twenty);
        Ok(())
    })
}

fn a_swap_of_the_same_bytes_is_a_swap(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    scene.block_on(async {
        for version in 0..4 {
            let (expected, next) = (Version(version), Version(version + 1));
            assert_eq!(swap(&*backend, expected, next, b"same").await?, Swap::Swapped);
            assert_eq!(load(&*backend).await?, Snapshot { version: next, data: b"same".into() });
        }
        Ok(())
    })
}

fn any_text_comes_back(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let mut cells: Vec<Vec<u8>> = vec![
        b"first".into(),
        Vec::new(),
        vec![0],
        ('\0'..='\u{ff}').collect::<String>().into(),
        vec![0; 5000],
        "\u{10ffff}".repeat(20_000).into(),
        "Zoë \u{1F512} e\u{301}\u{feff}".into(),
        b" \t both ends \r\n".into(),
        b"\n\n12\n".into(),
        br#"'; DROP TABLE "x"; -- \' \\ %s ? $1 :name"#.into(),
        b"NULL".into(),
        b"x".into(),
    ];
    let mut random = scene.random(1);
    for _ in 0..scene.cases(10) {
        let length = random.usize(..2048);
        cells.push((0..length).map(|_| random.char(..)).collect::<String>().into());
    }
    scene.count("cases", cells.len());
    scene.block_on(async {
        for data in cells {
            let written = put(&*backend, &data).await?;
            let shown = written.data[..written.data.len().min(40)].escape_ascii();
            assert!(load(&*backend).await? == written, "{shown} comes back as something else");
        }
        // Created empty is not absent.
        let other = scene.other_store()?;
        let backend = scene.open(&other.spec())?;
        assert_eq!(swap(&*backend, Version::ABSENT, Version(1), b"").await?, Swap::Swapped);
        assert_eq!(load(&*backend).await?, Snapshot { version: Version(1), data: Vec::new() });
        assert_eq!(swap(&*backend, Version::ABSENT, Version(2), b"x").await?, Swap::Conflict);
        Ok(())
    })
}

fn three_megabytes_come_back_or_are_refused(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let mut random = scene.random(1);
    let large: Vec<u8> = (0..3 << 20).map(|_| random.u8(..0x80)).collect();
    scene.block_on(async {
        let small = put(&*backend, b"small").await?;
        let next = Version(small.version.0 + 1);
        match swap(&*backend, small.version, next, &large).await {
            Ok(swapped) => {
                assert_eq!(swapped, Swap::Swapped);
                let found = load(&*backend).await?;
                assert_eq!((found.version, found.data.len()), (next, large.len()));
                assert!(found.data == large, "they come back changed");
            }
            Err(error) if error.kind() == BackendErrorKind::TooLarge => {
                assert_eq!(load(&*backend).await?, small, "what is refused changes nothing");
            }
            Err(error) => return Err(Failure::from(error)),
        }
        let last = put(&*backend, b"small again").await?;
        assert_eq!(load(&*backend).await?, last, "nothing is left of what was larger");
        Ok(())
    })
}

fn versions_go_up_to_the_last(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let last = Version::MAX.0;
    // Around what 32 bits, a float and a signed number could spoil.
    let steps = [1, (1 << 31) - 1, 1 << 31, 1 << 32, (1 << 32) + 1, last - 2, last - 1, last];
    scene.block_on(async {
        let mut expected = Version::ABSENT;
        for next in steps.map(Version) {
            let data = next.to_string();
            assert_eq!(swap(&*backend, expected, next, data.as_bytes()).await?, Swap::Swapped);
            let found = load(&*backend).await?;
            assert_eq!(found, Snapshot { version: next, data: data.into() });
            expected = next;
        }
        let before = swap(&*backend, Version(last - 1), Version::MAX, b"x").await?;
        assert_eq!(before, Swap::Conflict, "the last two versions are told apart");
        Ok(())
    })
}

fn versions_may_skip(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let mut random = scene.random(1);
    let versions: BTreeSet<u64> =
        (0..scene.cases(20)).map(|_| random.u64(1..=Version::MAX.0)).collect();
    scene.block_on(async {
        let mut expected = Version::ABSENT;
        for next in versions.into_iter().map(Version) {
            assert_eq!(swap(&*backend, expected, next, b"x").await?, Swap::Swapped);
            assert_eq!(load(&*backend).await?.version, next);
            expected = next;
        }
        Ok(())
    })
}

fn foreign_data_is_an_error_and_never_an_absent_cell(scene: &Scene) -> Verdict {
    let Some(directory) = scene.store().directory() else {
        return Err(Failure::skipped("the suite cannot put foreign data into the store"));
    };
    let backend = scene.backend()?;
    scene.block_on(put(&*backend, b"a cell"))?;
    // Closed, or the store could repair itself from what is in memory.
    drop(backend);
    overwrite(directory)?;
    let opened = scene.open(&scene.store().spec());
    match opened.and_then(|backend| scene.block_on(load(&*backend))) {
        Ok(cell) => Err(Failure::failed(format!("it was read as version {}", cell.version))),
        Err(error) if error.kind() == BackendErrorKind::Misconfigured => Ok(()),
        Err(error) => Err(Failure::failed(format!("the kind is {:?}: {error}", error.kind()))),
    }
}

/// Puts foreign data into all files of a directory, and of those in it.
fn overwrite(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            overwrite(&path)?;
        } else if path.is_file() {
            fs::write(path, b"this is what somebody else keeps here\n".repeat(200))?;
        }
    }
    Ok(())
}
