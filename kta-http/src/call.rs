//! Which port and operation a request serves, so that its faults say so.

use kta_core::{Fault, FaultKind, Port};

/// The port and operation a request is made for, for example `Crm` and `enter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    port: Port,
    operation: &'static str,
}

impl Call {
    /// A call for `operation` of `port`, in the port's own words.
    #[must_use]
    pub const fn new(port: Port, operation: &'static str) -> Self {
        Self { port, operation }
    }

    /// The port.
    #[must_use]
    pub const fn port(self) -> Port {
        self.port
    }

    /// The operation.
    #[must_use]
    pub const fn operation(self) -> &'static str {
        self.operation
    }

    /// A fault of this call.
    #[must_use]
    pub const fn fault(self, kind: FaultKind) -> Fault {
        Fault::new(kind, self.port, self.operation)
    }
}
