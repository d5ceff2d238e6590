//! Government agencies: channel register, package manifest, transmission by person or machine.
