//! Breaks a whole fleet on purpose and proves from outside what held.

fn main() {}
