//! Scenarios from the field with stores that lose, refuse, lag or are restored.

pub(super) mod damaged;
pub(super) mod formats;
pub(super) mod media;
pub(super) mod restored;
pub(super) mod rewound;
