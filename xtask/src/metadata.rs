//! What cargo says of the packages of this workspace.

use serde_json::Value;

use crate::steps::{Failure, ask};

/// Asks it, with this option besides.
pub(crate) fn read(option: &str) -> Result<Value, Failure> {
    let metadata = ask(&["metadata", "--format-version", "1", "--locked", option])?;
    serde_json::from_str(&metadata).map_err(|e| format!("cargo metadata: {e}"))
}

/// What is in a list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A text, empty where there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
