//! Every port in memory, strict: the first customers of the conformance kits.
