//! One stage a file, in order.
