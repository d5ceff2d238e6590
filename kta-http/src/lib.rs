//! Shared plumbing of HTTP adapters: transport policy, token cache, retry, rate limit.
