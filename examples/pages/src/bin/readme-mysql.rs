//! The program for MySQL in the README, with the URL of the environment in the place of its own.

include!(concat!(env!("OUT_DIR"), "/mysql.rs"));
