//! Scanner for immigration identifiers, redaction and the outbound decision.
