//! Unit tests of the weaving.
