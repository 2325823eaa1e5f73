//! What the test cell and its clients say to each other: frames of a length, a word, numbers and bytes.

use std::io;

use lock_core::{Snapshot, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// More than any table of a test has.
const BYTES_MAX: u32 = 256 << 20;

/// What is asked of the cell.
#[derive(Debug)]
pub(crate) enum Request {
    Load,
    Swap {
        expected: Version,
        next: Snapshot,
    },
    /// Answered when the version is not this one.
    Changed {
        seen: Version,
    },
    /// Puts a cell there, whatever was there before.
    Restore(Snapshot),
}

/// What it answers.
#[derive(Debug)]
pub(crate) enum Reply {
    Cell(Snapshot),
    Done,
    Conflict,
    ReadOnly,
    Full,
}

impl Request {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Load => frame(0, 0, &Snapshot::default()),
            Self::Swap { expected, next } => frame(1, expected.0, next),
            Self::Changed { seen } => frame(2, seen.0, &Snapshot::default()),
            Self::Restore(cell) => frame(3, 0, cell),
        }
    }

    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let (word, number, cell) = unframe(from).await?;
        match word {
            0 => Ok(Self::Load),
            1 => Ok(Self::Swap { expected: Version(number), next: cell }),
            2 => Ok(Self::Changed { seen: Version(number) }),
            3 => Ok(Self::Restore(cell)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Cell(cell) => frame(0, 0, cell),
            Self::Done => frame(1, 0, &Snapshot::default()),
            Self::Conflict => frame(2, 0, &Snapshot::default()),
            Self::ReadOnly => frame(3, 0, &Snapshot::default()),
            Self::Full => frame(4, 0, &Snapshot::default()),
        }
    }

    pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        match unframe(from).await? {
            (0, _, cell) => Ok(Self::Cell(cell)),
            (1, ..) => Ok(Self::Done),
            (2, ..) => Ok(Self::Conflict),
            (3, ..) => Ok(Self::ReadOnly),
            (4, ..) => Ok(Self::Full),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Asks and reads the answer.
pub(crate) async fn ask(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &Request,
) -> io::Result<Reply> {
    stream.write_all(&request.encode()).await?;
    Reply::read(stream).await
}

fn frame(word: u8, number: u64, cell: &Snapshot) -> Vec<u8> {
    let length = u32::try_from(17 + cell.data.len()).expect("tables of tests are small");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.push(word);
    bytes.extend(number.to_be_bytes());
    bytes.extend(cell.version.0.to_be_bytes());
    bytes.extend(&cell.data);
    bytes
}

async fn unframe(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, u64, Snapshot)> {
    let length = from.read_u32().await?;
    if !(17..=BYTES_MAX).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let (word, number) = (from.read_u8().await?, from.read_u64().await?);
    let version = Version(from.read_u64().await?);
    let mut data = vec![0; length as usize - 17];
    from.read_exact(&mut data).await?;
    Ok((word, number, Snapshot { version, data }))
}
