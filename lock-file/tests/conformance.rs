//! The conformance suite on directories, with both strategies.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, io};

use lock_conformance::{Damage, Failure, Fixture, Start, Store, Verdict};
use lock_core::{BackendError, LockBackend, Snapshot, Swap, Version};
use lock_file::{FileOptions, Strategy};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

fn main() -> ExitCode {
    let fixtures = [Strategy::Flock, Strategy::Excl];
    lock_conformance::run(&fixtures.map(|strategy| Arc::new(Files(strategy)) as Arc<dyn Fixture>))
}

struct Files(Strategy);

impl Fixture for Files {
    fn name(&self) -> &'static str {
        match self.0 {
            Strategy::Flock => "file-flock",
            _ => "file-excl",
        }
    }

    fn start(&self) -> Start {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("locks");
        Ok(Box::new(Directory { strategy: self.0, around: directory, path }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(Arc::new(FileOptions::new(spec).strategy(self.0).open()?))
    }
}

struct Directory {
    strategy: Strategy,
    /// The store is in it, and nothing else.
    around: TempDir,
    path: PathBuf,
}

impl Store for Directory {
    fn spec(&self) -> String {
        self.path.display().to_string()
    }

    fn directory(&self) -> Option<&Path> {
        Some(self.around.path())
    }

    fn spec_in(&self, directory: &Path) -> Option<String> {
        Some(directory.join(self.path.file_name()?).display().to_string())
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        Some(self.try_to_restore(cell))
    }

    fn replace(&self, cell: Option<&Snapshot>) -> Option<Verdict> {
        Some(self.try_to_replace(cell))
    }

    fn damage(&self, how: Damage) -> Option<Verdict> {
        if matches!(how, Damage::ReadOnly | Damage::Full) {
            return None; // Those trials do it to its directory.
        }
        Some(self.try_to_damage(how))
    }

    fn repair(&self) -> Verdict {
        Ok(fs::rename(self.beside("aside"), self.newest()?)?)
    }

    fn open_to(&self, _user: u32, group: u32) -> Option<Verdict> {
        Some(open_to(self.around.path(), group).map_err(Failure::from))
    }
}

impl Directory {
    fn beside(&self, name: &str) -> PathBuf {
        self.around.path().join(name)
    }

    fn namespace(&self) -> PathBuf {
        self.path.join("default")
    }

    /// Another store, in which this cell is.
    fn with(&self, cell: &Snapshot) -> Result<PathBuf, Failure> {
        let path = self.beside("new");
        let backend = FileOptions::new(&path).strategy(self.strategy).open()?;
        let put = backend.compare_and_swap(Version::ABSENT, cell.version, &cell.data);
        assert_eq!(pollster::block_on(put)?, Swap::Swapped);
        Ok(path)
    }

    fn try_to_restore(&self, cell: &Snapshot) -> Verdict {
        let new = self.with(cell)?;
        match self.strategy {
            Strategy::Flock => fs::rename(new.join("default/cell"), self.namespace().join("cell"))?,
            _ => exchange(&new.join("default"), &self.namespace())?,
        }
        Ok(fs::remove_dir_all(new)?)
    }

    fn try_to_replace(&self, cell: Option<&Snapshot>) -> Verdict {
        let old = if let Some(cell) = cell {
            let new = self.with(cell)?;
            exchange(&new, &self.path)?;
            new
        } else {
            let old = self.beside("old");
            fs::rename(&self.path, &old)?;
            old
        };
        Ok(fs::remove_dir_all(old)?)
    }

    /// The file that the cell is in.
    fn newest(&self) -> Result<PathBuf, Failure> {
        let mut newest = None;
        for entry in fs::read_dir(self.namespace())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("after-").map(str::parse::<u64>);
            match number {
                Some(number) => newest = newest.max(Some((number.unwrap(), entry.path()))),
                None if name == "cell" => return Ok(entry.path()),
                None => {}
            }
        }
        newest.map(|(_, path)| path).ok_or_else(|| Failure::failed("there is no cell"))
    }

    fn try_to_damage(&self, how: Damage) -> Verdict {
        let (path, bad) = (self.newest()?, self.beside("bad"));
        let bytes = fs::read(&path)?;
        let bytes = match how {
            Damage::Truncated => bytes[..bytes.len() / 2].into(),
            Damage::Garbage => [0xA5].repeat(bytes.len()),
            Damage::Foreign => b"{\"jobs\": []}\n".into(),
            Damage::Newer => String::from_utf8_lossy(&bytes)
                .replace("\"interlock\":1,", "\"interlock\":99,")
                .into(),
            other => return Err(Failure::skipped(format!("there is no way to make it {other:?}"))),
        };
        fs::hard_link(&path, self.beside("aside"))?;
        fs::write(&bad, bytes)?;
        Ok(fs::rename(bad, path)?)
    }
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Gives all in a directory to a group.
fn open_to(path: &Path, group: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    let is_directory = path.is_dir();
    let mode = if is_directory { 0o2770 } else { 0o660 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if is_directory {
        for entry in fs::read_dir(path)? {
            open_to(&entry?.path(), group)?;
        }
    }
    Ok(())
}
