//! Operations, policy, approvals and the audit log.
