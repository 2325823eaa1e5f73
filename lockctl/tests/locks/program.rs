//! What is tested, for users who may not be allowed to go where it was built.

use std::{
    fs::{Permissions, set_permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
};

use crate::{scene::Scene, world::LOCKCTL};

/// A copy in the directory of the scene, which everybody may enter from now on.
pub(crate) fn for_all(scene: &Scene) -> PathBuf {
    let program = scene.path("lockctl");
    // By a process of its own: a child of another test could inherit a descriptor that writes to it, and what
    // is written to cannot be executed.
    let copied = Command::new("install").args(["-m", "755", LOCKCTL]).arg(&program).status();
    assert!(copied.unwrap().success());
    set_permissions(scene.path("."), Permissions::from_mode(0o755)).unwrap();
    program
}
